import copy

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.errors import BadData
from thalweg.norms import gap, recalibrate
from thalweg.seeds import RandomState


def net(momentum=0.1, dropout=0.0):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6, momentum=momentum), nn.ReLU(), nn.Dropout(dropout), nn.Conv2d(6, 6, 3),
        nn.BatchNorm2d(6, momentum=momentum), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3),
    )  # fmt: skip


def pictures(count=40, rows=32, seed=0):
    g = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        y = torch.randint(3, (rows,), generator=g)
        x = 0.7 * torch.randn(rows, 1, 8, 8, generator=g) + y.reshape(-1, 1, 1, 1) * torch.linspace(-1, 1, 8) + 0.5
        batches.append((x, y))
    return batches


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def train(model, batches, lr=0.05, seed=0):
    """Plain training, the rate falling to zero."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    model.train()
    for i, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - i / len(batches))
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def healthy():
    torch.manual_seed(0)
    return train(net(), pictures(200))


def test_healthy_models_raise_nothing(healthy):
    for seed in range(6):
        found = gap(healthy, pictures(seed=seed + 1), loss)
        assert found.codes == () and found.sentences == () and "agree" in str(found), str(found)
    torch.manual_seed(1)
    slow = train(net(momentum=0.01), pictures(600))
    assert gap(slow, pictures(seed=9), loss).codes == ()
    cumulative = train(net(momentum=None), pictures(300))
    recalibrate(cumulative, pictures())
    assert gap(cumulative, pictures(seed=9), loss).codes == ()


def wrong(healthy, what):
    """A model with one of six troubles, the batches to look with, the codes to find, and the layers that are wrong."""
    model, batches = copy.deepcopy(healthy), pictures(seed=5)
    if what == "momentum 0":
        torch.manual_seed(0)
        return train(net(momentum=0.0), pictures(200)), batches, {"batchnorm-gap"}, {"1", "5"}
    if what == "one layer":
        model[5].running_mean += 3
        return model, batches, {"batchnorm-gap"}, {"5"}
    if what == "few updates":
        for norm in (model[1], model[5]):
            norm.reset_running_stats()
        model.train()
        with torch.no_grad():
            model(batches[0][0])
        return model, batches, {"batchnorm-gap", "batchnorm-stale"}, {"1", "5"}
    if what == "batch of 2":
        torch.manual_seed(0)
        flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        pairs = [(x[i : i + 2], y[i : i + 2]) for x, y in pictures(40) for i in (0, 2, 4, 6)]
        return train(flat, pairs), pairs[:100], {"batchnorm-small-batch"}, None
    if what == "averaged weights":
        torch.manual_seed(0)
        parts = [train(net(), pictures(100, seed=1), seed=1), train(net(), pictures(100, seed=2), seed=2)]
        with torch.no_grad():
            for p, q in zip(parts[0].parameters(), parts[1].parameters(), strict=True):
                p.add_(q).div_(2)
        return parts[0], batches, {"batchnorm-gap"}, {"5"}
    brighter = [(1.5 * x + 2, y) for x, y in batches]
    return model, brighter, {"batchnorm-gap"}, {"1"}


@pytest.mark.parametrize(
    "what", ["momentum 0", "one layer", "few updates", "batch of 2", "averaged weights", "other pictures"]
)
def test_six_troubles_are_found_located_and_measured(healthy, what):
    model, batches, codes, layers = wrong(healthy, what)
    found = gap(model, batches, loss)
    assert codes <= set(found.codes), str(found)
    if layers is not None:
        assert layers <= {layer.name for layer in found.layers if layer.wrong}, str(found)
    if what == "one layer":
        [bad, good] = found.layers
        assert bad.name == "5" and bad.wrong and not good.wrong
    if what == "batch of 2":
        assert "accumulating gradients does not help" in found.sentences[-1] and found.batch > found.population
        return
    assert found.running > found.population and found.stale > 0
    counted = recalibrate(model, batches)
    assert counted == 40
    closed = gap(model, batches, loss)
    assert "batchnorm-gap" not in closed.codes and abs(closed.running - closed.population) < 1e-6


def test_the_three_losses_are_what_they_say(healthy):
    model, batches = copy.deepcopy(healthy), pictures(10, seed=7)
    found = gap(model, batches, loss)

    def mean(mode):
        twin = copy.deepcopy(model).train(mode)
        with torch.no_grad():
            return sum(loss(twin, batch).item() for batch in batches) / len(batches)

    assert found.running == pytest.approx(mean(False), rel=1e-6) and found.batch == pytest.approx(mean(True), rel=1e-6)
    recalibrate(model, batches)
    assert found.population == pytest.approx(mean(False), rel=1e-6)


def test_after_t_steps_the_running_mean_is_a_share_of_the_mean():
    norm, x = nn.BatchNorm1d(3, momentum=0.1), torch.tensor([[1.0, 2, 3], [3, 6, 9]])
    for t in range(1, 20):
        norm(x)
        assert norm.running_mean.tolist() == pytest.approx([(1 - 0.9**t) * m for m in (2, 4, 6)], rel=1e-5)


def test_at_batch_two_values_are_plus_and_minus_one_and_the_running_variance_is_twice_the_batchs():
    norm, x = nn.BatchNorm1d(4, momentum=1.0), torch.tensor([[1.0, -2.0, 3.0, 0.5], [-1.0, 2.0, 1.0, 4.0]])
    assert norm(x).abs().detach().numpy() == pytest.approx(1, abs=1e-3)
    assert norm.running_var.tolist() == pytest.approx((2 * x.var(0, correction=0)).tolist(), rel=1e-5)


class Several(nn.Module):
    """Takes two inputs, or a dictionary."""

    def __init__(self):
        super().__init__()
        self.a, self.n, self.d = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)

    def forward(self, left, right):
        return self.d(self.n(self.a(left) + right))


@pytest.mark.parametrize("form", ["tuple", "dict", "forward"])
def test_recalibration_is_the_plain_mean_and_changes_nothing_else(form):
    torch.manual_seed(0)
    model = Several()
    model.d.eval()
    left, right = torch.randn(5, 8, 4), torch.randn(5, 8, 6)
    batches = {
        "tuple": [((a, b), torch.zeros(8)) for a, b in zip(left, right, strict=True)],
        "dict": [{"left": a, "right": b, "labels": torch.zeros(8)} for a, b in zip(left, right, strict=True)],
        "forward": list(zip(left, right, strict=True)),
    }[form]
    forward = (lambda m, batch: m(*batch)) if form == "forward" else None
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes, state = [m.training for m in model.modules()], RandomState.capture()
    assert recalibrate(model, batches, forward) == 5
    with torch.no_grad():
        sums = torch.stack([model.a(a) + b for a, b in zip(left, right, strict=True)])
    assert torch.allclose(model.n.running_mean, sums.mean((0, 1)), atol=1e-6)
    assert torch.allclose(model.n.running_var, sums.var(1).mean(0), atol=1e-6) and int(model.n.num_batches_tracked) == 5
    assert modes == [m.training for m in model.modules()] and model.n.momentum == 0.1
    assert torch.equal(torch.get_rng_state(), state.torch) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if not k.startswith("n."))
    assert recalibrate(nn.Linear(2, 2), batches) == 0


def test_what_fails_leaves_the_statistics_as_they_were(healthy):
    model = copy.deepcopy(healthy)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(BadData, match="no batch"):
        recalibrate(model, [])
    with pytest.raises(RuntimeError):
        recalibrate(model, [pictures(1)[0], (torch.randn(2, 5), None)])
    with pytest.raises(BadData, match="two batches"):
        gap(model, pictures(1), loss)
    with pytest.raises(BadData, match="no batch norm"):
        gap(nn.Linear(2, 2), pictures(3), loss)

    def interrupted(model, batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gap(model, pictures(3), interrupted)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model[1].momentum == 0.1


def test_looking_changes_nothing(healthy):
    model = copy.deepcopy(healthy).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    gap(model, pictures(5), loss)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and model.training
    assert torch.equal(state, torch.get_rng_state())


def test_the_loop_recalibrates_averaged_weights_by_itself():
    batches = pictures(10)
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    task = tw.Task(model=net, train=(x, y), batch_size=32, epochs=2)
    run = tw.train(task, tw.Recipe("sgd", lr=0.05, average=0.9), quiet=True)
    assert gap(run.model, batches, loss).codes == () and any("batch-norm statistics" in note for note in run.notes)
