"""Final losses over starts against runs made by hand, and the interval of a ratio of standard deviations."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import loop, variants
from thalweg.errors import BadOption
from thalweg.landscapes.spread import sd_ratio, spread

RECIPE = tw.Recipe("momentum", lr=0.05, schedule="constant")


def net(width=8):
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3))


@pytest.fixture
def task(toy):
    return tw.Task(model=net, train=toy.train, valid=toy.valid, batch_size=16, epochs=1, name="toy")


def test_the_losses_are_those_of_runs_made_one_by_one(task):
    said = []
    found = spread(task, values=(2, 6), starts=5, recipe=RECIPE, steps=7, seed=3, observe=said.append)
    for i, width in enumerate((2, 6)):
        variant = variants.of(task, {"width": width})
        for split in ("train", "select"):
            ending = found.endings[split][i]
            expected = []
            for k in range(5):
                run, _ = loop.run(variant, RECIPE, 3 + 5 * i + k, steps=7)
                expected.append(variant.evaluate(run.model, getattr(variant.prepare(), split))["loss"])
            assert ending.losses == pytest.approx(expected, rel=1e-5)
            assert (ending.value, ending.n, ending.lost) == (width, 5, 0)
            assert ending.mean == pytest.approx(np.mean(expected)) and ending.sd == pytest.approx(
                np.std(expected, ddof=1), rel=1e-3
            )
            assert ending.quantiles == pytest.approx(np.quantile(ending.losses, [0, 0.25, 0.5, 0.75, 1]))
    for split, [ratio] in found.ratios.items():
        a, b = found.endings[split]
        assert (ratio.value, ratio.reference) == (2, 6) and ratio.ratio == pytest.approx(a.sd / b.sd)
        assert ratio.interval == sd_ratio(a.losses, b.losses)[1]
    assert len(said) == 2 and found.steps == (7, 7)
    assert "width 2 over 6" in found.sentence and "select" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["endings"]["train"][1]["n"] == 5


def test_intervals_hold_jointly(task):
    found = spread(task, values=(2, 4, 8, 16), starts=6, recipe=RECIPE, steps=2)
    a, d = found.endings["train"][0], found.endings["train"][3]
    assert found.ratios["train"][0].interval == sd_ratio(a.losses, d.losses, 1 - 0.05 / 3)[1]
    assert len(found.ratios["train"]) == 3 and found.ratios["train"][0].interval[0] < sd_ratio(a.losses, d.losses)[1][0]


def test_runs_that_diverge_are_left_out_and_counted(task):
    found = spread(task, values=(2, 4), starts=5, recipe=tw.Recipe("gd", lr=1e38), steps=5)
    ending = found.endings["train"][0]
    assert ending.n == 0 and ending.lost == 5 and math.isnan(ending.mean)
    assert found.ratios["train"][0].interval == (0.0, math.inf)
    assert "5 of 5 runs of width 2 did not finish" in str(found) and "not shown to differ" in found.sentence


def test_another_argument_and_no_change_of_random_states(task):
    def make(act="tanh"):
        return nn.Sequential(nn.Linear(4, 4), {"tanh": nn.Tanh, "relu": nn.ReLU}[act](), nn.Linear(4, 3))

    before = torch.get_rng_state()
    other = tw.Task(model=make, train=task.train, valid=task.valid, batch_size=16, epochs=1)
    found = spread(other, axis="act", values=("tanh", "relu"), starts=2, recipe=RECIPE)
    assert [e.value for e in found.endings["select"]] == ["tanh", "relu"] and found.steps == (10, 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"axis": "depth"}, "depth"),
        ({"values": (4,)}, "at least two"),
        ({"starts": 1}, "at least two"),
        ({"steps": 0}, "steps"),
        ({"recipe": tw.Recipe("adam")}, "learning rate"),
    ],
)
def test_wrong_use(task, options, said):
    with pytest.raises(BadOption) as error:
        spread(task, **options)
    assert said in str(error.value)


def test_the_interval_against_a_jackknife_written_out():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=9), 3 * rng.gamma(2, size=14)

    def pseudo(z):
        n = len(z)
        return [n * math.log(z.std(ddof=1)) - (n - 1) * math.log(np.delete(z, i).std(ddof=1)) for i in range(n)]

    from scipy import stats

    test = stats.ttest_ind(pseudo(x), pseudo(y), equal_var=False).confidence_interval(0.9)
    ratio, interval = sd_ratio(x, y, 0.9)
    assert ratio == pytest.approx(x.std(ddof=1) / y.std(ddof=1))
    assert interval == pytest.approx((math.exp(test.low), math.exp(test.high)), rel=1e-9)


@pytest.mark.parametrize(("draw", "low", "high"), [("normal", 0.935, 0.97), ("exponential", 0.88, 0.96)])
def test_the_interval_covers(draw, low, high):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        _, (below, above) = sd_ratio(3 * getattr(rng, draw)(size=20), getattr(rng, draw)(size=20))
        covered += below <= 3 <= above
    assert low <= covered / 2000 <= high, covered


def test_an_interval_needs_losses_that_differ():
    assert sd_ratio([1, 2, 3, 4], range(9))[1] == (0.0, math.inf)
    assert sd_ratio([1.0] * 9, range(9)) == (0.0, (0.0, math.inf))
    ratio, interval = sd_ratio(range(9), [1.0] * 9)
    assert math.isnan(ratio) and interval == (0.0, math.inf)
    _, (below, above) = sd_ratio([1.0] * 8 + [2.0], range(9))
    assert 0 <= below < above and not math.isnan(above)
