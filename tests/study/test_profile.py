import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thalweg.errors import BadOption
from thalweg.study.profile import Profile, performance_ratios, shares

COSTS = arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.sampled_from([1, 2, 3, 8, math.inf]))
TAUS = [1, 1.5, 2, 4, 8, math.inf]


def test_a_worked_example():
    """Three solvers on four tasks, worked by hand from the definition."""
    cost = [[10, 30, 100, math.inf], [20, 10, 400, math.inf], [10, 40, math.inf, math.inf]]
    ratio = performance_ratios(cost)
    inf = math.inf
    assert ratio.tolist() == [[1, 3, 1, inf], [2, 1, 4, inf], [1, 4, inf, inf]]
    assert shares(ratio, [1, 2, 3, 4, inf]).tolist() == [
        [0.5, 0.5, 0.75, 0.75, 0.75],
        [0.25, 0.5, 0.5, 0.75, 0.75],
        [0.25, 0.25, 0.25, 0.5, 0.5],
    ]


@given(COSTS)
def test_it_is_the_definition_of_dolan_and_more(cost):
    """ρ_s(τ) = #{p : t_ps / min over s of t_ps <= τ} / #p, a failure never within any τ."""
    got = shares(performance_ratios(cost), TAUS)
    for s, row in enumerate(cost):
        for k, tau in enumerate(TAUS):
            within = [p for p, t in enumerate(row) if math.isfinite(t) and t <= tau * min(cost[:, p])]
            assert got[s, k] == pytest.approx(len(within) / len(row))


@given(COSTS)
def test_it_rises_with_tau_and_somebody_is_best_wherever_anybody_gets_there(cost):
    got = shares(performance_ratios(cost), TAUS)
    assert (np.diff(got, axis=1) >= 0).all()
    assert got[:, 0].sum() >= np.isfinite(cost).any(0).mean() - 1e-9
    assert got[:, -1] == pytest.approx(np.isfinite(cost).mean(1))


@given(COSTS, arrays(float, 5, elements=st.sampled_from([0.5, 1, 4])))
def test_the_unit_of_a_task_does_not_matter(cost, units):
    assert performance_ratios(cost * units[: cost.shape[1]]).tolist() == performance_ratios(cost).tolist()


def test_who_is_there_at_once_is_the_best_and_nobody_comes_near():
    assert performance_ratios([[0], [5], [0]]).tolist() == [[1], [math.inf], [1]]


@pytest.mark.parametrize("cost", [[], [[]], [1, 2], [[-1.0]], [[math.nan]]])
def test_what_is_no_cost(cost):
    with pytest.raises(BadOption, match="recipes × tasks"):
        performance_ratios(cost)


def test_a_share_is_asked_for_by_one_tau_of_a_known_recipe():
    p = Profile(("a", "b"), ("sgd",), {"sgd": (1.0, math.inf)}, {"sgd": (0.0, 3.0)}, {})
    assert p.share("sgd", ratio=math.inf) == 0.5 and p.share("sgd", gap=0) == 0.5 and p.share("sgd", gap=3) == 1
    for wrong in ({}, {"ratio": 1, "gap": 1}):
        with pytest.raises(BadOption):
            p.share("sgd", **wrong)
    with pytest.raises(BadOption, match="known recipes are sgd"):
        p.share("adam", gap=1)
