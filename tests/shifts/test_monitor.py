import copy
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.data import Tensors
from thalweg.errors import BadData, BadOption
from thalweg.minimization import minimize
from thalweg.shifts.monitor import Monitor
from thalweg.shifts.sketch import Column
from thalweg.shifts.tracking import best_tracking, tracking
from thalweg.shifts.windows import drift_of

RNG = np.random.default_rng


def at_most(share, rows):
    """Beyond this count of rows by chance once in a thousand runs."""
    return binom.ppf(0.999, rows, share)


def followed(rate, drift, noise, curvature, steps=200_000, seed=0):
    """Gradient descent behind a drifting minimum: distances after each step."""
    e, found = 0.0, np.empty(steps)
    for k, z in enumerate(RNG(seed).normal(size=steps)):
        e = e - drift
        e -= rate * (curvature * e + noise * z)
        found[k] = e
    return found[steps // 10 :]


@pytest.mark.parametrize(
    ("rate", "drift", "noise", "h"), [(0.1, 0.01, 0.3, 1.0), (0.3, 0.2, 0.5, 2.0), (0.02, 0.001, 1.0, 5.0)]
)
def test_the_tracking_error_is_that_of_a_simulation(rate, drift, noise, h):
    found, e = tracking(rate, drift, noise, h), followed(rate, drift, noise, h)
    assert -e.mean() == pytest.approx(found.lag, rel=0.03) and e.std() == pytest.approx(found.spread, rel=0.03)
    assert np.sqrt((e**2).mean()) == pytest.approx(found.error, rel=0.03)
    assert np.abs(e).mean() == pytest.approx(found.absolute, rel=0.03)


def test_it_is_the_demonstration_of_the_drifting_target():
    assert tracking(0.1, 0.01, 0.3).absolute == pytest.approx(0.096, abs=0.001)
    targets = []

    def fn(x):
        targets.append(0.01 * len(targets))
        return (x - targets[-1]) ** 2 / 2

    best = best_tracking(0.01, 0.3)
    path = minimize(fn, 0.0, rule="gd", lr=best.rate, steps=4000, gradient_noise=0.3).path[1:, 0]
    error = np.abs(path - np.array(targets[:4000]))[2000:]
    assert error.mean() == pytest.approx(best.absolute, abs=0.006) and best.absolute < 0.084


@given(st.floats(1e-8, 1e3), st.floats(1e-6, 1e3), st.floats(1e-3, 1e3))
def test_no_other_rate_follows_better(drift, noise, h):
    best = best_tracking(drift, noise, h)
    assert 0 < best.gain <= 1
    for factor in (0.5, 0.95, 1.05, 2.0):
        assert tracking(factor * best.rate, drift, noise, h).error >= best.error * (1 - 1e-9)
    r = noise / h / drift
    u = best.gain
    assert (1 - u) * (2 - u) ** 2 == pytest.approx(r * r * u**3, rel=1e-5, abs=1e-9)
    if r > 1e6:
        assert u == pytest.approx((2 / r) ** (2 / 3), rel=1e-3)


def test_the_ends_of_tracking():
    still = best_tracking(0.0, 1.0)
    assert still.rate == 0 and still.error == 0 and still.memory == math.inf
    assert best_tracking(0.1, 0.0, 4.0).rate == 0.25 and best_tracking(0.1, 0.0, 4.0).error == 0
    assert tracking(0.0, 0.1, 1.0).error == math.inf and tracking(2.0, 0.1, 1.0).error == math.inf
    assert tracking(0.1, 0.0, 0.0).absolute == 0 and tracking(0.1, 0.0, 0.3).memory == pytest.approx(-1 / math.log(0.9))
    for wrong in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (1, 1, 1, 0)):
        with pytest.raises(BadOption):
            tracking(*wrong)


def test_a_rate_that_falls_to_zero_does_not_track():
    e, drift = 0.0, 0.01
    lag = []
    for k in range(4000):
        e = (e - drift) * (1 - 1 / (k + 1))
        lag.append(-e)
    assert np.mean(lag[2000:]) == pytest.approx(15.0, abs=0.05) and lag[-1] > 150 * best_tracking(drift, 0.3).error


@pytest.mark.parametrize(
    ("draw", "categories"),
    [
        (lambda rng, n: rng.normal(size=n), None),
        (lambda rng, n: rng.poisson(1.0, n).astype(float), None),
        (lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.exponential(size=n)), None),
        (lambda rng, n: rng.integers(5, size=n).astype(float), 5),
        (lambda rng, n: np.full(n, 3.0), None),
    ],
)
def test_a_columns_p_keeps_every_level(draw, categories):
    rng, p = RNG(0), []
    for _ in range(1500):
        column = Column.of("x", draw(rng, 200), categories)
        p.append(column.test(column.count(draw(rng, 80)))[1])
    for level in (0.002, 0.01, 0.05, 0.2):
        assert (np.array(p) < level).sum() <= at_most(level, len(p))


def test_a_tail_is_fishers_exact_one():
    rng = RNG(1)
    x, y = rng.normal(size=300), rng.normal(size=90) + 0.5
    column = Column.of("x", x)
    effect, p, where = column.test(column.count(y))
    tails, apart = [], []
    for low, high, own in zip(column.low_e, column.high_e, column.below_e, strict=True):
        few, many = int((y <= low).sum()), int((y < high).sum())
        tails.append(fisher_exact([[few, 90 - few], [own, 300 - own]], "less").pvalue)
        tails.append(fisher_exact([[many, 90 - many], [own, 300 - own]], "greater").pvalue)
        apart += [own / 300 - few / 90, many / 90 - own / 300]
    assert p == pytest.approx(min(tails) * (len(tails) + 2)) and effect == pytest.approx(max(apart))
    assert where.startswith("more above")


@given(st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0, 7.0, math.nan]), max_size=40), st.integers(0, 40))
def test_counts_of_parts_add_up(values, cut):
    column = Column.of("x", np.r_[np.arange(30.0) / 4, np.nan])
    x = np.array(values)
    assert (column.count(x[:cut]) + column.count(x[cut:])).tolist() == column.count(x).tolist()
    assert column.empty.sum() == 0 and column.test(column.count(x))[1] <= 1
    again = Column.from_dict(json.loads(json.dumps(column.as_dict(), allow_nan=False)))
    assert again.test(again.count(x)) == column.test(column.count(x))


def test_what_a_column_sees():
    rng = RNG(2)
    column = Column.of("pressure", rng.normal(5, 1, 1000))
    for changed, said in (
        (lambda x: 1000 * x, "more above"),
        (lambda x: np.where(rng.random(300) < 0.2, -1, x), "more below"),
    ):
        effect, p, where = column.test(column.count(changed(rng.normal(5, 1, 300))))
        assert p < 1e-9 and effect > 0.1 and where.startswith(said)
    gone = rng.normal(5, 1, 300)
    gone[:60] = np.nan
    assert column.test(column.count(gone))[::2] == (pytest.approx(0.2, abs=1e-9), "more missing")
    constant = Column.of("x", np.full(100, 2.0))
    assert constant.test(constant.count(np.full(50, 2.0)))[1] == 1
    assert constant.test(constant.count(np.full(50, 2.5)))[1] < 1e-20
    classes = Column.of("c", np.repeat([0.0, 1.0], 50), 3)
    effect, p, where = classes.test(classes.count(np.repeat([0.0, 2.0], 20)))
    assert where == "more of 2" and effect == 0.5
    with pytest.raises(BadData, match="19 values"):
        Column.of("x", np.r_[np.arange(19.0), np.nan])


def test_false_alarms_over_all_windows_keep_the_level():
    # ten windows are the promise here, so that 150 promises can be looked at
    alarms = 0
    for seed in range(150):
        rng = RNG(seed)
        monitor = Monitor(rng.normal(size=(300, 4)), window=60, horizon=10, gate=0.0, level=0.2)
        alarms += any(report.alarm for report in monitor.update(rng.normal(size=(600, 4))))
    assert 0 < alarms <= at_most(0.2, 150)


def test_windows_fill_whatever_the_pieces_and_memory_stays():
    rng = RNG(0)
    reference, rows = rng.normal(size=(1000, 3)), rng.normal(size=(1150, 3))
    rows[600:, 2] += 1.5
    whole = Monitor(reference, names=["a", "b", "c"], window=200)
    found = whole.update(rows)
    pieces, size = Monitor(reference, names=["a", "b", "c"], window=200), whole.bytes
    others = [report for start in range(0, 1150, 37) for report in pieces.update(rows[start : start + 37])]
    assert [r.moved for r in found] == [r.moved for r in others] == [[], [], [], ["c"], ["c"]]
    assert [r.rows for r in found] == [(200 * k, 200 * k + 200) for k in range(5)]
    assert others[4].tests[2].p == found[4].tests[2].p and found[4].tests[2].incoming == pytest.approx(
        rows[800:1000, 2].mean()
    )
    for _ in range(3):
        whole.update(rows)
    assert whole.bytes == size < 100_000
    assert "c: more above" in str(found[4]) and "Window 4, rows 800 to 999: moved." in str(found[4])
    json.dumps(found[4].as_dict(), allow_nan=False)
    assert "no steady drift is seen" in found[3].recommendation and "not measured" in found[2].recommendation
    small = Monitor(reference, window=200, gate=0.9).update(rows)
    assert not any(r.alarm for r in small) and small[4].tests[2].adjusted < 0.05


def test_a_steady_drift_is_measured_and_none_is_not():
    rng = RNG(3)
    monitor = Monitor(rng.normal(size=(2000, 2)), names=["a", "b"], window=200, rows=10)
    still = monitor.update(rng.normal(size=(4000, 2)))
    assert all(r.drift is None for r in still) and "not measured before 6" in still[0].recommendation
    assert "No drift beyond the noise over 20 windows" in still[-1].recommendation
    rows = rng.normal(size=(4000, 2))
    rows[:, 1] += 5e-4 * np.arange(4000)
    last = monitor.update(rows)[-1]
    assert last.drift.name == "mean of b" and last.drift.per_row == pytest.approx(5e-4, abs=3 * last.drift.error)
    assert last.drift.noise == pytest.approx(1, abs=0.05) and last.drift.rows == 10
    best = best_tracking(10 * last.drift.per_row, last.drift.noise / math.sqrt(10))
    assert last.drift.best.rate == pytest.approx(best.rate)
    assert "mean of b moves by 0.000" in last.recommendation and "constant rate" in last.recommendation


def test_drift_of_means_is_a_line_and_its_error_is_honest():
    rng, truth, inside = RNG(4), 0.02, 0
    for _ in range(200):
        windows = [(100, truth * 50 * k + rng.normal() / 10, 1.0) for k in range(6)]
        found = drift_of("x", windows, 50, 1, 1, 1.0)
        inside += abs(found[1].per_row - truth) < 1.96 * found[1].error
    assert inside >= 180
    assert drift_of("x", [(100, 0.1 * k, 1.0) for k in range(5)], 50, 1, 1, 1.0) is None
    assert drift_of("x", [(0, 0.0, 0.0)] * 30, 50, 1, 1, 1.0) is None
    _, turned = drift_of("x", [(10**6, -4.0 * k, 1.0) for k in range(12)], 50, 1, 1, 0.05, curvature=2.0)
    assert turned.per_row == pytest.approx(4 / 50 / 2) and turned.curvature == 2


@pytest.fixture(scope="module")
def watched():
    """Linear regression, one input, at the weight 2; its minimum is where the rows put it."""
    x = torch.randn(600, 1, generator=torch.Generator().manual_seed(0))
    task = tw.Task(
        model=lambda: nn.Linear(1, 1, bias=False),
        train=(x, 2 * x),
        loss=lambda o, y: F.mse_loss(o, y) / 2,
        steps=1,
        batch_size=20,
    )
    model = task.build(0)
    with torch.no_grad():
        model.weight.fill_(2.0)
    return task, model


def stream_of(rows, seed, drift=0.0):
    rng = RNG(seed)
    x = rng.normal(size=(rows, 1))
    return x, (2 + drift * np.arange(rows))[:, None] * x + 0.5 * rng.normal(size=(rows, 1))


def test_with_targets_the_minimum_is_seen_to_drift_and_a_rate_follows(watched):
    task, model = watched
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    monitor = Monitor(stream_of(1000, 1), model=model, task=task, window=250)
    x, y = stream_of(5000, 2, drift=1e-4)
    last = monitor.update(x, y)[-1]
    assert torch.equal(before["weight"], model.weight) and torch.equal(state, torch.get_rng_state()) and model.training
    drift = last.drift
    # the eigenvector's sign is free; the noise of x² adds to the position's where it is not at θ*
    assert drift.name == "minimum along eigenvector 1" and abs(drift.per_row) == pytest.approx(
        1e-4, abs=4 * drift.error
    )
    assert drift.curvature == pytest.approx(1, abs=0.3) and drift.rows == 20 and drift.error < 1.5e-5
    assert drift.best.rate == pytest.approx(
        best_tracking(abs(drift.per_row) * 20, drift.noise / math.sqrt(20), drift.curvature).rate
    )
    assert "constant rate: on batches of 20, gradient descent follows best with lr" in last.recommendation
    assert last.moved == ["loss"] and last.loss_interval[0] < last.loss < last.loss_interval[1]
    residual = (2e-4 * 0.5 * np.arange(5000)[:, None] * x + (y - (2 + 1e-4 * np.arange(5000)[:, None]) * x))[4750:]
    assert last.loss == pytest.approx((residual**2).mean() / 2, rel=1e-4)
    monitor.update(x)
    assert monitor.update(x[:250])[-1].loss is None


def test_a_monitor_goes_on_from_its_file(tmp_path, watched):
    task, model = watched
    first = Monitor(stream_of(500, 1), model=model, task=task, window=100)
    x, y = stream_of(1000, 2, drift=1e-3)
    first.update(x[:730], y[:730])
    path = first.save(tmp_path / "stream.json")
    again = Monitor.load(path, model=model, task=task)
    assert again.as_dict() == first.as_dict() == json.loads(path.read_text()) and again.bytes == first.bytes
    assert [str(r) for r in again.update(x[730:], y[730:])] == [str(r) for r in first.update(x[730:], y[730:])]
    assert again.sample.rows == 256 and [p.name for p in tmp_path.iterdir()] == ["stream.json"]
    with pytest.raises(BadOption, match="has a model"):
        Monitor.load(path)
    path.write_text(json.dumps(first.as_dict() | {"version": 99}))
    with pytest.raises(BadData, match="version 99"):
        Monitor.load(path, model=model, task=task)
    path.write_text("[]")
    with pytest.raises(BadData, match="no saved monitor"):
        Monitor.load(path)
    with pytest.raises(BadData):
        Monitor.load(tmp_path / "none.json")


def test_predicted_labels_are_counted():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=g)
    task = tw.Task(model=lambda: nn.Linear(2, 3), train=(x, x[:, 0].gt(0).long()), steps=1)
    model = task.build(0)
    monitor = Monitor((x, None), model=model, task=task, window=100)
    calm, moved = monitor.update(
        torch.cat([torch.randn(100, 2, generator=g), torch.tensor([[9.0, -9.0]]).repeat(100, 1)])
    )
    label = int(model(torch.tensor([[9.0, -9.0]])).argmax())
    assert not calm.alarm and sum(calm.predicted) == pytest.approx(1) and calm.loss is None
    assert moved.predicted[label] == 1 and set(moved.moved) == {"x0", "x1", "prediction"}
    missing = monitor.update(np.full((100, 2), np.nan))[0]
    assert missing.predicted is None and {t.where for t in missing.tests if t.alarm} == {"more missing"}


class Paired:
    """A sample whose model takes two inputs by name."""

    def __init__(self, rows, seed):
        g = torch.Generator().manual_seed(seed)
        self.inputs = {"a": torch.randn(rows, 2, generator=g), "b": torch.randint(5, (rows,), generator=g)}
        self.targets = self.inputs["a"].sum(1, keepdim=True)

    def flat(self):
        values = torch.cat([self.inputs["a"], self.inputs["b"][:, None]], 1)
        return SimpleNamespace(values=values.double().numpy(), names=["a 0", "a 1", "b"])

    def feed(self):
        return Tensors(self.inputs, self.targets, shuffle=False)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.table = nn.Linear(2, 1), nn.Embedding(5, 1)

    def forward(self, a, b):
        return self.line(a) + self.table(b)


def test_samples_of_named_inputs_are_watched_and_saved(tmp_path):
    first = Paired(200, 0)
    task = tw.Task(model=TwoInputs, train=(first.inputs, first.targets), steps=1)
    model = task.build(0)
    monitor = Monitor(first, model=model, task=task, window=100)
    assert [column.name for column in monitor.sketch] == ["a 0", "a 1", "b", "loss"] and monitor.rows == 64
    again = Monitor.load(monitor.save(tmp_path / "m.json"), model=model, task=task)
    assert (
        torch.equal(again.sample.inputs["b"], monitor.sample.inputs["b"])
        and again.sample.inputs["b"].dtype is torch.int64
    )
    [one], [other] = monitor.update(Paired(150, 1)), again.update(Paired(150, 1))
    assert one == other and one.loss > 0 and not one.alarm
    assert (
        str(again)
        == f"4 columns against 200 reference rows, in windows of 100: 1 seen. {again.bytes / 1024:.0f} KiB are kept."
    )


def test_what_is_refused():
    good = RNG(0).normal(size=(100, 2))
    for wrong in ({"window": 0}, {"level": 1.5}, {"horizon": 0}, {"gate": -1}, {"rows": 0}, {"model": nn.Linear(2, 2)}):
        with pytest.raises(BadOption):
            Monitor(good, **wrong)
    with pytest.raises(BadData, match="3 names"):
        Monitor(good, names=["a", "b", "c"])
    with pytest.raises(BadData, match="rows of 3 features"):
        Monitor(good).update(np.zeros((5, 3)))
    assert Monitor(good[:, 0]).update(good[:, 0]) == []
