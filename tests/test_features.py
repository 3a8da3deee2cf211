import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import features
from thalweg.errors import BadData, BadOption
from thalweg.store import Store, load_weights

SCALES = torch.tensor([1.0, 1e3, 1e-2, 5.0])


def rows(count=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=g) * SCALES + torch.tensor([0.0, 5e3, 1.0, -20.0])


def task(x, **options):
    y = (x[:, 0] > x[:, 0].median()).long()
    return tw.Task(model=lambda: nn.Linear(4, 2), train=(x, y), batch_size=20, epochs=1, name="rows", **options)


@pytest.mark.parametrize("kind", ["standardize", "minmax", "log", "whiten"])
def test_a_fitted_transform_does_to_training_rows_what_it_says(kind):
    x = rows().double()
    y = features.fit(kind, x)(x)
    if kind == "minmax":
        assert y.amin(0).tolist() == pytest.approx([0] * 4, abs=1e-9) and y.amax(0).tolist() == pytest.approx([1] * 4)
        return
    assert y.mean(0).abs().max() < 1e-8 and y.std(0, correction=0).numpy() == pytest.approx(1, abs=1e-8)
    if kind == "whiten":
        assert (y.T @ y / len(y)).numpy() == pytest.approx(np.eye(4), abs=1e-8)
    if kind == "log":
        wanted = np.log1p((x - x.amin(0)).numpy())
        assert y.numpy() == pytest.approx((wanted - wanted.mean(0)) / wanted.std(0), abs=1e-8)


def test_channels_of_pictures():
    x = 5 + 3 * torch.randn(50, 3, 8, 8)
    y = features.fit("channels", x)(x)
    assert y.shape == x.shape and y.mean((0, 2, 3)).abs().max() < 1e-4
    assert y.std((0, 2, 3), correction=0).numpy() == pytest.approx(1, abs=1e-4)
    bytes_ = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8)
    assert features.fit("channels", bytes_)(bytes_).is_floating_point()


def test_features_that_do_not_vary_stay_finite():
    x = torch.cat([rows(), torch.full((400, 1), 7.0)], 1)
    for kind in ("standardize", "minmax", "log", "whiten"):
        y = features.fit(kind, x)(x)
        assert y.isfinite().all()
    assert (features.fit("standardize", x)(x)[:, 4] == 0).all()


def test_what_cannot_be_fitted():
    with pytest.raises(BadOption, match="did you mean 'standardize'"):
        features.fit("standardise", rows())
    with pytest.raises(BadData, match="channels needs at least two pictures"):
        features.fit("channels", rows())
    with pytest.raises(BadData, match="whiten needs"):
        features.fit("whiten", torch.randn(5, 1, 4, 4))
    bad = rows()
    bad[3, 1] = float("nan")
    with pytest.raises(BadData, match="training row 3 has a number that is not finite"):
        features.fit("standardize", bad)


def test_d12_centring_makes_the_valley_round():
    x = torch.tensor([[101.0, 101.0], [101.0, 99.0]])
    assert features.condition(x) == pytest.approx(40_006, rel=1e-4)
    assert features.condition(features.fit("standardize", x.double())(x.double())) == pytest.approx(1)
    many = rows(4000).double()
    assert features.condition(features.fit("whiten", many)(many)) == pytest.approx(1, abs=1e-6)
    assert features.condition(many) > 1e8


def test_a_task_with_features_fits_them_on_its_training_rows_alone():
    x = rows()
    own = task(x, valid=(x[:100] + 1e6, torch.zeros(100).long()))
    made = features.add(own, "standardize")
    model = made.build(0)
    train = own.prepare().train.inputs
    assert torch.allclose(model.features.shift, train.mean(0), rtol=1e-4)
    assert torch.equal(model.model.weight, own.build(0).weight), "the same weights as without"
    assert made.fingerprint() != own.fingerprint() and own.prepare().train.inputs is train
    run = tw.train(made, tw.Recipe("sgd", lr=0.1), quiet=True)
    assert run.outcome.status == "finished"


def test_the_transform_is_saved_with_the_weights_and_applied_on_reload(tmp_path):
    made = features.add(task(rows()), "whiten")
    run = tw.train(made, tw.Recipe("sgd", lr=0.1), quiet=True)
    file = Store(tmp_path).save_weights("model", run.model.state_dict())
    other = features.add(task(rows(seed=9)), "whiten").build(5)
    other.load_state_dict(load_weights(file))
    x = rows(30, seed=3)
    assert torch.equal(other.eval()(x), run.model.eval()(x)) and "features.rotation" in run.model.state_dict()


def test_a_module_and_a_factory_with_arguments():
    x = rows()
    y = (x[:, 0] > 0).long()
    module = features.add(tw.Task(model=nn.Linear(4, 2), train=(x, y), batch_size=20, epochs=1), "minmax")
    assert not torch.equal(module.build(0).model.weight, module.build(1).model.weight)

    def net(width=8):
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))

    made = features.add(tw.Task(model=net, train=(x, y), batch_size=20, epochs=1))
    assert isinstance(made.build(0).features, nn.Identity)
    assert made.build(0, features="standardize", width=16).model[0].out_features == 16


def test_compare_takes_features_as_an_axis(tmp_path):
    made = features.add(tw.Task.load("digits"))
    study = tw.compare(
        made, field=["sgd"], axes={"model.features": ["none", "standardize"]}, budget="16 runs", quiet=True, executor="cohorts",
        folder=tmp_path / "study",
    )  # fmt: skip
    names = [s.name for s in study.finalists] + study.not_tried
    assert any("features=standardize" in name for name in names) and study.best.model(torch.zeros(2, 64)).shape == (
        2,
        10,
    )


def leaky(kind, x):
    """All rows scaled with statistics of all rows: the fault."""
    fitted = features.fit(kind, x.double())(x.double())
    return task(fitted.float())


@pytest.mark.parametrize("kind", ["standardize", "minmax", "whiten"])
def test_a_planted_leak_is_found(kind):
    found = features.look(leaky(kind, rows()))
    assert found.codes == ("leakage",) and "fit them on the training rows alone" in str(found), str(found)


@pytest.mark.parametrize("kind", ["standardize", "minmax", "whiten"])
@pytest.mark.parametrize("seed", range(4))
def test_statistics_of_the_training_rows_are_no_leak(kind, seed):
    x = rows(seed=seed)
    own = task(x).prepare()
    fitted = features.fit(kind, own.train.inputs.double())
    parts = [fitted(getattr(own, split).inputs.double()) for split in ("train", "select", "judge")]
    labels = [getattr(own, split).targets for split in ("train", "select", "judge")]
    made = tw.Task(
        model=lambda: nn.Linear(4, 2).double(), train=(parts[0], labels[0]),
        valid=(torch.cat(parts[1:]), torch.cat(labels[1:])), batch_size=20, epochs=1,
    )  # fmt: skip
    assert features.look(made).codes == ()


def test_healthy_inputs_raise_nothing():
    g = torch.Generator().manual_seed(0)
    gauss = torch.randn(300, 4, generator=g)
    pixels = torch.rand(300, 4, generator=g).round(decimals=1)
    marks = torch.randint(2, (300, 4), generator=g).float()
    bounded = torch.randn(300, 4, generator=g).clamp(-1, 1) / 2 + 0.5  # it meets its bounds often, but not in each part
    for x in (gauss, pixels, marks, bounded, torch.cat([gauss[:, :2], marks[:, :2]], 1)):
        assert features.look(task(x)).codes == (), str(features.look(task(x)))
    assert features.look(tw.Task.load("digits")).codes == ()


def test_badly_scaled_inputs_are_found_and_a_number_that_is_none():
    found = features.look(task(rows()))
    assert found.codes == ("input-scale",) and "features.add(task, 'standardize')" in found.sentences[0]
    assert found.condition > 1e8 and found.standardized < 2 and found.features[0][0] == 2, "a mean of 100 deviations"
    x = rows() / SCALES
    y = (x[:, 0] > 0).long()
    x[7, 2] = float("inf")
    how = {"model": lambda: nn.Linear(4, 2), "valid": (x[300:], y[300:]), "epochs": 1}
    with pytest.raises(BadData, match="infinite, the first in row 7"):
        features.look(tw.Task(train=(x[:300], y[:300]), batch_size=20, **how))
    x[7, 2] = 3
    for transform in (lambda x: (x + 2).sqrt(), lambda x: x - torch.inf):  # in some rows, in all
        made = tw.Task(train=(x[:300], y[:300]), batch_size=20, transform=transform, **how)
        assert features.look(made).codes[0] == "input-non-finite" and "not finite" in str(features.look(made))


def test_transforms_that_differ_are_other_tasks():
    tasks = [features.add(task(rows()), kind) for kind in ("none", *features.KINDS) if kind != "channels"]
    tasks.append(features.add(task(rows(seed=5)), "standardize"))
    assert len({made.fingerprint() for made in tasks}) == len(tasks)
    assert features.add(task(rows()), "whiten").fingerprint() == features.add(task(rows()), "whiten").fingerprint()
