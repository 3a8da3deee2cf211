import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import inits
from thalweg.errors import BadData
from thalweg.store import Store


def net(outputs=3, width=8):
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, outputs))


@pytest.mark.parametrize("form", ["state_dict", "safetensors", "pt", "checkpoint"])
def test_what_fits_is_copied_and_the_rest_is_said(tmp_path, form):
    trained, model = net(), net(5)
    trained[1].running_mean += 2
    before = model[3].weight.detach().clone()
    source = trained.state_dict()
    if form == "safetensors":
        source = Store(tmp_path).save_weights("net", source)
    elif form in ("pt", "checkpoint"):
        torch.save(source if form == "pt" else {"state_dict": source, "epoch": 3}, tmp_path / "net.pt")
        source = tmp_path / "net.pt"
    found = inits.load(model, source)
    assert len(found.matched) == 7 and not found.missing and not found.unexpected
    assert found.refused == {
        "3.weight": "it is (3, 8), the model's is (5, 8)",
        "3.bias": "it is (3,), the model's is (5,)",
    }
    assert all(torch.equal(model.state_dict()[k], trained.state_dict()[k]) for k in found.matched)
    assert torch.equal(model[3].weight, before) and model[0].weight.data_ptr() != trained[0].weight.data_ptr()
    assert "refused: 3.bias" in str(found)


def test_names_can_be_changed_and_left_out():
    trained = {f"body.{k}": v for k, v in net().state_dict().items()} | {"head.weight": torch.ones(2)}
    found = inits.load(net(), trained, rename=lambda name: name.removeprefix("body.") if "body" in name else None)
    assert not found.missing and not found.unexpected and len(found.matched) == 9
    found = inits.load(net(), trained, rename=lambda name: name.removeprefix("body."))
    assert found.unexpected == ("head.weight",) and "not used: head.weight" in str(found)
    with pytest.raises(BadData, match="two tensors are named x"):
        inits.load(net(), trained, rename=lambda name: "x")


def test_what_fails_leaves_the_model_as_it_was(tmp_path):
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(BadData, match="no name and shape agrees"):
        inits.load(model, {"other": torch.ones(3)})
    with pytest.raises(BadData, match="not everything fits"):
        inits.load(model, net(5).state_dict(), strict=True)
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(BadData, match="cannot read"):
        inits.load(model, tmp_path / "bad.pt")
    torch.save({"a": [1, 2]}, tmp_path / "list.pt")
    with pytest.raises(BadData, match="more than tensors"):
        inits.load(model, tmp_path / "list.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(BadData, match="cannot read"):
        inits.load(model, tmp_path / "module.pt")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_loaded_body_is_frozen_and_its_head_learns_faster():
    model = net(5)
    inits.load(model, net().state_dict())
    recipe = tw.Recipe("sgd", lr=0.1, freeze=["0.*", "1.*"], groups={"3.bias": {"lr_scale": 10}})
    optimizer, _ = recipe.build(model, steps=10)
    assert {n for g in optimizer.param_groups for n in g["param_names"]} == {"3.weight", "3.bias"}
    assert sorted(g["initial_lr"] for g in optimizer.param_groups) == pytest.approx([0.1, 1.0])
