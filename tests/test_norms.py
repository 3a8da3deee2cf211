import copy

import pytest
import torch
from networks import KINDS, PICTURES, Residual, mlp, plain_cnn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import thalweg as tw
from thalweg import loop, norms
from thalweg.arguments import axes_of
from thalweg.errors import BadOption, BadTask
from thalweg.modes import batch_statistics
from thalweg.norms import fuse, swap
from thalweg.norms.kinds import KNOWN
from thalweg.stacked import Entry

HOW = ("none", "batch", "layer", "group(4)", "instance", "rms", "weight")


def of_kind(name):
    torch.manual_seed(0)
    build, shape = KINDS[name]
    return build(), torch.randn(shape)


def in_eval(net, x):
    modes = [m.training for m in net.modules()]
    with torch.no_grad():
        found = net.eval()(x)
    for module, mode in zip(net.modules(), modes, strict=True):
        module.training = mode
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", HOW)
def test_a_swapped_model_trains_and_can_be_undone(kind, how):
    net, x = of_kind(kind)
    names = {k: v.clone() for k, v in net.state_dict().items()}
    before, modules = in_eval(net, x), [type(m) for m in net.modules()]
    if how == "instance" and kind in ("mlp", "shared", "transformer"):
        with pytest.raises(BadOption, match=r"norm: \S+: instance norm averages over positions"):
            swap(net, how, lambda m: m(x))
        assert torch.equal(in_eval(net, x), before)
        return
    done = swap(net, how, lambda m: m(x))
    kinds = [m for m in net.modules() if isinstance(m, (*KNOWN, norms.ChannelRMS))]
    assert bool(kinds) == (how not in ("none", "weight"))
    assert bool(done.placed) == (how != "none" or kind in ("residual", "transformer")) and str(done)
    out = net(x)
    assert out.shape == before.shape and in_eval(net, x).shape == before.shape
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(net(x).flatten(0, -2), torch.arange(before[..., 0].numel()) % 3)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] and all(p.grad is not None for p in net.parameters())
    done.undo()
    assert [type(m) for m in net.modules()] == modules and set(net.state_dict()) == set(names)
    own = {k: v for k, v in names.items() if "num_batches" not in k}
    assert all(net.state_dict()[k].shape == v.shape for k, v in own.items())
    fresh, _ = of_kind(kind)
    undone = copy.deepcopy(fresh)
    swap(undone, how, lambda m: m(x)).undo()
    assert torch.allclose(in_eval(undone, x), in_eval(fresh, x), atol=1e-6)


def test_biases_without_effect_are_dropped_and_others_are_not():
    net, x = plain_cnn(), torch.randn(PICTURES)
    assert swap(net, "batch", lambda m: m(x)).biases == ("0.bias", "2.bias") and net[5].bias is not None
    for how in ("layer", "rms", "group(4)"):
        net = plain_cnn()
        assert swap(net, how, lambda m: m(x)).biases == () and net[0].bias is not None
    net, x = of_kind("transformer")
    dropped = swap(net, "batch", lambda m: m(x)).biases
    assert dropped == ("0.layers.0.linear2.bias", "0.layers.1.linear2.bias"), (
        "before a norm of the sum, in the eye of each"
    )
    torch.manual_seed(0)

    class Twice(nn.Module):  # what the layer gives goes around its normalization as well
        def __init__(self):
            super().__init__()
            self.a, self.n, self.head = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)

        def forward(self, x):
            y = self.a(x)
            return self.head(torch.relu(self.n(y)) + y)

    assert swap(Twice(), "batch", lambda m: m(torch.randn(6, 4))).biases == ()


def test_a_model_without_its_batch_norms_gets_biases_in_their_place():
    net = Residual()
    done = swap(net, "none", lambda m: m(torch.randn(PICTURES)))
    assert done.added == ("a.bias", "b.bias") and (net.a.bias == 0).all()
    assert not any(isinstance(m, _BatchNorm) for m in net.modules())


def test_names_of_parameters_stay_and_the_norm_is_inside_its_layer():
    net = mlp()
    before = set(net.state_dict())
    swap(net, "layer", lambda m: m(torch.randn(6, 4)))
    assert set(net.state_dict()) - before == {f"{i}.norm.{p}" for i in (0, 2) for p in ("weight", "bias")}
    assert before <= set(net.state_dict())


def test_normalization_is_before_the_non_linearity():
    net, x = mlp(nn.Tanh), torch.randn(50, 4)
    swap(net, "batch", lambda m: m(x))
    seen = []
    net[1].register_forward_pre_hook(lambda m, a: seen.append(a[0].detach()))
    net(x)
    assert torch.allclose(seen[0].mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(seen[0].var(0, correction=0), torch.ones(8), atol=1e-3)


@pytest.mark.parametrize("shape", [(6, 8), (6, 5, 8), (6, 2, 3, 8)])
def test_each_kind_normalizes_what_it_says(shape):
    x = 3 + 2 * torch.randn(shape)
    rows = tuple(range(len(shape) - 1))
    one = norms.make("layer", None, shape, last=True)(x)
    assert torch.allclose(one.mean(-1), torch.zeros(shape[:-1]), atol=1e-5)
    rms = norms.make("rms", None, shape, last=True)(x)
    assert torch.allclose(rms.square().mean(-1), torch.ones(shape[:-1]), atol=1e-5)
    batch = norms.make("batch", None, shape, last=True).train()(x)
    assert batch.shape == x.shape and torch.allclose(batch.mean(rows), torch.zeros(8), atol=1e-5)
    group = norms.make("group", 2, shape, last=True)(x)
    assert group.shape == x.shape and torch.allclose(group.reshape(-1, 2, 4).mean(2), torch.zeros(1), atol=1e-5)


@pytest.mark.parametrize("how", ["layer", "group(4)", "rms"])
@pytest.mark.parametrize("last", [True, False])
def test_no_position_of_a_sequence_sees_another(how, last):
    kind, groups = norms.kinds.read(how)
    x = torch.randn(6, 5, 8) if last else torch.randn(6, 8, 5)
    norm = norms.make(kind, groups, x.shape, last=last)
    later = x.clone()
    (later[:, 3:] if last else later[..., 3:]).add_(7)
    a, b = (norm(v) if last else norm(v).movedim(1, -1) for v in (x, later))
    assert torch.equal(a[:, :3], b[:, :3])


def test_a_function_that_normalizes_is_named_and_arguments_may_have_names():
    class Functions(nn.Module):
        def __init__(self, own):
            super().__init__()
            self.a, self.n, self.head, self.own = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2), own

        def forward(self, x):
            x = self.a(input=x)
            x = nn.functional.layer_norm(x, (8,)) if self.own else self.n(input=x)
            return self.head(torch.relu(x))

    net = nn.Sequential(Functions(True))
    with pytest.raises(BadTask, match=r"norm: 0 \(Functions\) calls a normalization as a function"):
        swap(net, "batch", lambda m: m(torch.randn(6, 4)))
    net = nn.Sequential(Functions(False))
    swap(net, "batch", lambda m: m(torch.randn(6, 4)))
    assert isinstance(net[0].n, nn.BatchNorm1d)


def test_kinds_of_pictures():
    x = 3 + 2 * torch.randn(6, 8, 5, 5)
    for kind, dims in (("layer", (1, 2, 3)), ("instance", (2, 3)), ("batch", (0, 2, 3))):
        y = norms.make(kind, None, x.shape, last=False).train()(x)
        assert torch.allclose(y.mean(dims), torch.zeros(1), atol=1e-4), kind
    y = norms.make("rms", None, x.shape, last=False)(x)
    assert torch.allclose(y.square().mean((1, 2, 3)), torch.ones(6), atol=1e-4)


@pytest.mark.parametrize("text", ["bach", "group(0)", "layer(2)", "", "group(x)", "keep(1)"])
def test_what_is_not_a_kind(text):
    with pytest.raises(BadOption) as error:
        tw.Recipe("sgd", lr=0.1, norm=text)
    assert error.value.hint


def test_what_does_not_fit_names_the_layer_and_leaves_the_model_alone():
    for net, how, said in (
        (plain_cnn(), "group(3)", "norm: 0: 3 groups do not divide 8 channels"),
        (Residual(), "group(5)", "norm: n1: 5 groups do not divide 8 channels"),
    ):
        x, before = torch.randn(PICTURES), str(net)
        with pytest.raises(BadOption, match=said) as error:
            swap(net, how, lambda m, x=x: m(x))
        assert "[1, 2, 4, 8]" in str(error.value.hint) and str(net) == before
        net(x)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 4))

        def forward(self, x):
            return torch.relu(x @ self.weight.T)

    net = nn.Sequential(Own(), nn.Linear(8, 2))
    with pytest.raises(BadTask, match=r"norm: 0.weight is used in Own, whose output is not"):
        swap(net, "batch", lambda m: m(torch.randn(6, 4)))
    with pytest.raises(BadTask, match="no layer goes into a non-linearity"):
        swap(nn.Linear(4, 2), "batch", lambda m: m(torch.randn(6, 4)))


def test_norms_of_ones_own_are_exchanged_too():
    class OwnNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(8))

        def forward(self, x):
            return self.weight * x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt()

    net = nn.Sequential(nn.Linear(4, 8), OwnNorm(), nn.ReLU(), nn.Linear(8, 2))
    swap(net, "layer", lambda m: m(torch.randn(6, 5, 4)))
    assert isinstance(net[1], nn.LayerNorm)


@pytest.mark.parametrize("kind", ["plain cnn", "residual", "mlp", "shared"])
def test_a_fused_model_is_the_model(kind):
    net, x = of_kind(kind)
    swap(net, "batch", lambda m: m(x))
    for _ in range(3):
        net(2 * torch.randn_like(x) + 1)
    for norm in (m for m in net.modules() if isinstance(m, _BatchNorm)):
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fused = fuse(net, lambda m: m(x))
    assert not any(isinstance(m, _BatchNorm) for m in fused.modules())
    wanted = in_eval(net, x)
    assert float((in_eval(fused, x) - wanted).abs().max()) < 1e-5 * max(1.0, float(wanted.abs().max()))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and net.training


def test_a_batch_norm_that_cannot_be_folded_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.n, self.head = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)

        def forward(self, x):
            y = self.a(x)
            return self.head(torch.relu(self.n(y)) + y)

    net, x = Twice(), torch.randn(6, 4)
    net(x)
    fused = fuse(net, lambda m: m(x))
    assert isinstance(fused.n, _BatchNorm) and torch.equal(in_eval(fused, x), in_eval(net, x))


def test_batch_norm_is_independent_of_the_scale_of_its_weights():
    torch.manual_seed(0)
    layer, norm, x = nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8, eps=1e-12), torch.randn(20, 4)
    weight = torch.randn(20, 8)
    grads, outs = [], []
    for a in (1.0, 3.0):
        w = (a * layer.weight.detach()).requires_grad_()
        out = norm(x @ w.T)
        (weight * out).sum().backward()
        outs.append(out.detach())
        grads.append(w.grad)
    assert torch.allclose(*outs, atol=1e-5) and torch.allclose(grads[1], grads[0] / 3, atol=1e-5)


def test_inside_batch_statistics_nothing_is_remembered():
    net, x = of_kind("residual")
    net.eval()
    buffers = {k: v.clone() for k, v in net.named_buffers()}
    plain = net(x)
    with batch_statistics(net):
        inside = net(x)
    assert not torch.allclose(plain, inside) and torch.equal(net(x), plain) and not net.n1.training
    assert all(torch.equal(v, buffers[k]) for k, v in net.named_buffers())


@pytest.mark.parametrize("how", ["batch", "layer", "weight"])
def test_members_of_a_cohort_train_as_they_do_alone(how):
    task = tw.Task.load("digits")
    entries = [Entry(tw.Recipe("sgd", lr=lr, norm=how), seed, 20) for seed, lr in enumerate((0.1, 0.3))]
    runs, cohort = loop.run_cohort(task, entries, [1] * 2, splits=("select",))
    assert type(cohort).__name__ == "Stacked"
    for entry, run in zip(entries, runs, strict=True):
        alone, _ = loop.run(task, entry.recipe, entry.seed, steps=20)
        assert run.trace.loss == pytest.approx(alone.trace.loss, rel=1e-4)


def test_compare_with_norm_and_init_as_axes_hands_over_a_model_that_reloads(tmp_path):
    study = tw.compare(
        "digits", field=["sgd"], axes={"norm": ["keep", "batch"], "init": ["torch", "lsuv"]}, budget="24 runs",
        executor="cohorts", folder=tmp_path / "study", quiet=True,
    )  # fmt: skip
    names = {s.name for s in study.finalists} | set(study.not_tried)
    assert any("norm=batch" in name for name in names) and any("init=lsuv" in name for name in names), names
    again = tw.Study.load(study.folder, tw.Task.load("digits"))
    x, y = tw.Task.load("digits").prepare().judge.inputs, tw.Task.load("digits").prepare().judge.targets
    score = float((again.best.model(x).argmax(1) == y).float().mean())
    best = next(s for s in again.finalists if s.name == again.verdict.best or s.recipe == again.best.recipe)
    assert score == pytest.approx(best.scores[0], abs=1e-6)


def test_an_axis_on_the_command_line_may_be_none():
    assert axes_of(["norm=keep,batch,layer,none", "model.features=none,whiten"]) == {
        "norm": ["keep", "batch", "layer", "none"],
        "model.features": ["none", "whiten"],
    }
    assert axes_of(["clip_norm=none,1"]) == {"clip_norm": [None, 1]}


def test_spectral_and_weight_norms_are_no_layers_to_exchange():
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2))
    done = swap(net, "layer", lambda m: m(torch.randn(6, 4)))
    assert [where for where, _ in done.placed] == ["0.norm"]


def test_interrupted_or_failed_swaps_leave_the_model_as_it_was():
    for fault in (KeyboardInterrupt, RuntimeError):
        net, x = plain_cnn(), torch.randn(PICTURES)
        before, calls = {k: v.clone() for k, v in net.state_dict().items()}, []

        def forward(m, x=x, calls=calls, fault=fault):
            calls.append(1)
            if len(calls) == 5:  # while a bias is tried
                raise fault
            return m(x)

        with pytest.raises((KeyboardInterrupt, BadTask)):
            swap(net, "batch", forward)
        after = net.state_dict()
        assert set(after) == set(before) and all(torch.equal(v, before[k]) for k, v in after.items())


@pytest.mark.parametrize("how", ["weight", "batch"])
def test_branches_at_zero_stay_finite_with_normalized_weights(how):
    net, x = Residual(norm=False), torch.randn(PICTURES)
    tw.Recipe("sgd", lr=0.1, norm=how, init="he_normal+zero_residual").initialize(net, x)
    net(x).sum().backward()
    assert net(x).isfinite().all() and all(p.grad.isfinite().all() for p in net.parameters())
