"""Known curves against `thalweg.study.rates`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from thalweg.errors import BadOption
from thalweg.study import rates as rt


def parabola(rates: list[float], peak: float, height: float = 0.9, steep: float = 0.05) -> dict[float, list[float]]:
    return {rate: [height - steep * math.log10(rate / peak) ** 2] for rate in rates}


def test_grid() -> None:
    assert rt.grid(1e-3, 1e-1, 2) == [1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1]
    assert rt.grid(1e-6, 1e-4, 1) == [1e-6, 1e-5, 1e-4]
    assert rt.grid(1e-1, 1.0, 3) == [0.1, 0.215, 0.464, 1.0]
    assert rt.grid(2e-4, 2e-2, 1) == [2e-4, 2e-3, 2e-2]
    assert rt.grid(3.16e-3, 0.5, 2) == [3.16e-3, 1e-2, 3.16e-2, 0.1, 0.316]
    assert rt.grid(0.01, 0.01, 5) == [0.01] and rt.grid(0.1, 0.01, 2) == []
    with pytest.raises(BadOption):
        rt.grid(0.0, 1.0, 2)


def test_edge() -> None:
    rates = [0.01, 0.1, 1.0, 10.0]
    ok = {rate: [False, False] for rate in rates}
    assert rt.edge(rates, ok) is None and rt.edge(rates, {}) is None
    assert rt.edge(rates, ok | {1.0: [False, True]}) == pytest.approx(math.sqrt(0.1))
    assert rt.edge(rates[::-1], ok | {1.0: [True], 10.0: [True]}) == pytest.approx(math.sqrt(0.1))
    assert rt.edge(rates, ok | {0.01: [True]}) == 0.01


@given(some.floats(-2.4, -0.6), some.integers(2, 4), some.randoms(use_true_random=False))
def test_a_parabola_gives_its_peak(peak: float, per_decade: int, random: object) -> None:
    rates = rt.grid(1e-3, 1.0, per_decade)
    random.shuffle(rates)  # type: ignore[attr-defined]
    choice = rt.choose(rates, parabola(rates, 10**peak), {})
    assert choice.fitted and choice.at_border is None and choice.noise == 0
    assert choice.lr == pytest.approx(10**peak) and choice.predicted == pytest.approx(0.9)


def test_a_cliff_brackets_and_does_not_bend_the_fit() -> None:
    rates = rt.grid(1e-3, 1.0, 2)
    scores = parabola(rates, 0.02)
    scores[0.316], scores[1.0] = [0.1], [0.1]
    assert rt.choose(rates, scores, {}).lr == pytest.approx(0.02)
    # The parabola rises up to the cliff: the vertex beyond the best rate is not believed.
    scores = parabola(rates, 0.2)
    scores[0.316], scores[1.0] = [0.1], [0.1]
    choice = rt.choose(rates, scores, {})
    assert choice.lr <= 0.1 and choice.at_border is None


def test_three_rates_with_a_cliff_take_the_tested_one() -> None:
    scores = {0.001: [0.90], 0.01: [0.91], 0.1: [0.10]}
    choice = rt.choose(list(scores), scores, {})
    assert (choice.lr, choice.fitted, choice.predicted, choice.at_border) == (0.01, False, 0.91, None)


def test_borders() -> None:
    rates = [0.001, 0.01, 0.1]
    low, high = parabola(rates, 1e-5), parabola(rates, 10.0)
    assert (rt.choose(rates, low, {}).at_border, rt.choose(rates, low, {}).lr) == ("low", 0.001)
    assert (rt.choose(rates, high, {}).at_border, rt.choose(rates, high, {}).lr) == ("high", 0.1)
    closed = rt.choose([*rates, 1.0], high | {1.0: [math.nan]}, {1.0: [True]})
    assert closed.at_border is None and closed.lr == pytest.approx(0.1) and closed.edge == pytest.approx(math.sqrt(0.1))
    assert rt.choose([0.1], {0.1: [1.0]}, {0.1: [False]}).at_border == "low"


def test_a_rate_that_diverged_once_is_not_chosen() -> None:
    scores = {0.001: [0.5, 0.5], 0.01: [0.7, 0.7], 0.1: [0.9, math.nan]}
    choice = rt.choose(list(scores), scores, {0.1: [False, True]})
    assert choice.lr <= 0.01 and choice.at_border is None
    with pytest.raises(BadOption, match="lower rates"):
        rt.choose([0.1], {0.1: [math.nan]}, {0.1: [True]})


def test_within_noise_the_rate_farther_from_the_edge() -> None:
    rates = [0.001, 0.00316, 0.01, 0.0316, 0.1, 0.316]
    scores = parabola(rates[:-1], 0.023)
    diverged = {0.316: [True]}
    exact = rt.choose(rates, scores, diverged, noise=0.0)
    assert exact.lr == pytest.approx(0.023) and exact.fitted
    near = rt.choose(rates, scores, diverged, noise=0.01)
    assert (near.lr, near.predicted, near.fitted, near.noise) == (0.01, scores[0.01][0], False, 0.01)
    assert rt.choose(rates, scores, diverged, noise=0.01, edge=10.0).lr == pytest.approx(0.023)
    # The walk down ends where the edge is over a decade away.
    rising = {rate: [0.9 + 1e-4 * k] for k, rate in enumerate(rt.grid(1e-4, 1.0, 2))}
    assert rt.choose(list(rising), rising, {}, noise=0.01, edge=2.0).lr == 0.1


def test_noise_is_the_pooled_standard_error() -> None:
    rng = np.random.default_rng(0)
    scores = {rate: list(rng.normal(size=4)) for rate in (0.01, 0.1, 1.0)}
    pooled = np.mean([np.var(values, ddof=1) for values in scores.values()])
    assert rt.choose(list(scores), scores, {}).noise == pytest.approx(math.sqrt(pooled / 4))


def test_the_fit_beats_the_best_tested_rate_under_noise() -> None:
    rng = np.random.default_rng(1)
    rates = rt.grid(1e-3, 1.0, 2)
    errors = []
    for _ in range(500):
        peak = 10 ** rng.uniform(-2.2, -0.8)
        scores = {rate: list(values + 0.004 * rng.normal(size=2)) for rate, (values,) in parabola(rates, peak).items()}
        best = max(rates, key=lambda rate, scores=scores: np.mean(scores[rate]))
        errors.append([abs(math.log10(lr / peak)) for lr in (rt.choose(rates, scores, {}).lr, best)])
    fitted, tested = np.mean(errors, axis=0)
    print(f"mean error in decades: fit {fitted:.3f}, best tested {tested:.3f}")
    assert fitted < 0.8 * tested


def test_robustness() -> None:
    rates = [0.001, 0.01, 0.1, 1.0]
    assert rt.robustness(rates, [0.7, 0.9, 0.8, 0.0], 0.1) == pytest.approx(1.5)
    assert rt.robustness(rates[::-1], [0.0, 0.8, 0.9, 0.7], 0.15) == pytest.approx(0.75 + 1 + 0.05 / 0.8)
    assert rt.robustness(rates, [0.9, 0.9, 0.9, 0.9], 0.0) == pytest.approx(3)
    assert rt.robustness(rates, [0.9, 0.9, math.nan, math.nan], 0.1) == pytest.approx(1)
    assert rt.robustness(rates, [0.9, 0.1, 0.9, 0.1], 0.1) == pytest.approx(0.125)
    assert rt.robustness(rates, [math.nan] * 4, 0.1) == 0 and rt.robustness([0.1], [0.9], 0.1) == 0


def test_expected_over_decade() -> None:
    rates, scores = rt.grid(1e-4, 1.0, 2), [0.1, 0.3, 0.5, 0.6, 0.9, 0.85, 0.7, 0.2, 0.1]
    for lr in (1e-4, 3e-3, 0.0123, 1.0):
        at = math.log10(lr)
        fine = np.linspace(max(at - 1, -4), min(at + 1, 0), 200_001)
        truth = np.interp(fine, np.log10(rates), scores).mean()
        assert rt.expected_over_decade(rates, scores, lr) == pytest.approx(truth, abs=1e-5)
    assert rt.expected_over_decade(rates, scores, 2.0) is None and rt.expected_over_decade([0.1], [0.9], 0.1) is None
    ends = [0.001, 0.01, 0.1]
    assert rt.expected_over_decade(ends, [0.8, 0.8, math.nan], 0.01) == -math.inf
    assert rt.expected_over_decade(ends, [0.8, 0.8, math.nan], 0.01, diverged_score=0.0) == pytest.approx(0.6)
    assert rt.expected_over_decade(ends, [0.8, 0.8, math.inf], 0.001) == pytest.approx(0.8)


def test_a_rate_at_the_brink_of_collapse_is_left_for_one_as_good_below():
    scores = {0.1: [0.968], 0.316: [0.976], 1.0: [0.98], 3.16: [0.08]}
    assert rt.choose(list(scores), scores, {}, noise=0.009).lr == 0.316
    assert rt.choose(list(scores), scores, {}, noise=0.001).lr == 1.0
    flat = {0.1: [0.968], 0.316: [0.976], 1.0: [0.98], 3.16: [0.975]}
    assert rt.choose(list(flat), flat, {}, noise=0.001).lr > 0.5
