"""How much the losses rose, where rows have none or no finite one."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.shifts.causes.subgroups import find_subgroup
from thalweg.shifts.remedies.changes import change
from thalweg.shifts.rises import comparable, rise
from thalweg.shifts.targets import asked


def test_losses_without_any_spread_differ_surely_where_there_are_enough_of_them():
    sure, few = (rise(np.zeros(n), np.ones(n)) for n in (50, 2))
    assert sure.error == 0 and sure.p < 1e-20
    assert few.p == pytest.approx(2 / math.comb(4, 2))  # of the orders of two and two rows
    assert rise(np.zeros(50), np.zeros(40)).p == 1


def test_a_loss_that_is_not_finite_never_looks_better():
    random = np.random.default_rng(0)
    before, after = random.exponential(size=400), random.exponential(size=400)
    worst = max(before.max(), after.max())
    broken = after.copy()
    broken[np.argsort(after)[-40:]] = np.inf  # without these rows the mean would fall by a third
    found = rise(before, broken)
    assert found.after > after.mean() > np.mean(broken[np.isfinite(broken)]) and found.p < 1e-3
    assert comparable(before, broken)[1].max() > worst
    all_of_them = rise(np.full(30, 2.0), np.full(30, np.inf))
    assert all_of_them.after > 2 and all_of_them.p < 1e-10


def test_rows_without_a_loss_are_left_out_of_means_and_of_regions():
    random = np.random.default_rng(1)
    before, after = random.exponential(size=300), random.exponential(size=200)
    gaps = after.copy()
    gaps[::3] = np.nan
    found, wanted = rise(before, gaps), rise(before, np.delete(after, np.arange(0, 200, 3)))
    assert found == wanted and found.rows == (300, 133)
    assert math.isnan(rise(before, np.full(9, np.nan)).difference) and rise(before, np.full(9, np.nan)).p == 1
    x, y = random.normal(size=(2, 800, 3))
    losses = random.exponential(size=800) + 3 * (y[:, 1] > 1)
    losses[::2] = np.nan
    region = find_subgroup(x, random.exponential(size=800), y, losses, "abc")
    assert region.features == ("b",) and region.rows < 0.25 * 400
    assert find_subgroup(x, losses, y, np.full(800, np.nan), "abc") is None


def test_which_targets_count():
    words = torch.tensor([[1, 2], [-100, 2], [-100, -100], [1, -1], [1, 99]])
    task = tw.Task(model=lambda: nn.Linear(2, 3), train=(torch.randn(99, 2), torch.arange(99) % 3), name="three")
    assert asked(task, words, 3).tolist() == [True, True, False, False, False]
    own = tw.Task(
        model=lambda: nn.Linear(2, 3), train=(torch.randn(99, 2), torch.arange(99) % 3), name="three",
        loss=nn.CrossEntropyLoss(ignore_index=0),
    )  # fmt: skip
    assert asked(own, torch.tensor([0, 1, -100]), 3).tolist() == [False, True, False]
    assert asked(own, torch.tensor([0.5, -3.0]), 3).all()


def test_a_remedy_that_mends_infinite_losses_is_better_and_one_that_makes_them_is_not():
    before = np.array([1.0, np.inf, 2.0, 1.5])
    mended = change(np.array([[1.0, 1.2, 2.0, 1.5]]), before)
    assert -np.inf < mended.mean < 0
    assert change(np.array([[1.0, np.inf, np.inf, 1.5]]), before).mean == math.inf
    same = change(np.array([[0.5, np.inf, 1.0, 1.0]]), before)
    assert same.mean == pytest.approx(-2.0 / 4)
