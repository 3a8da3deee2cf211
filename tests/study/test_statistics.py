"""Closed forms, SciPy and least squares against `thalweg.study.statistics` and `planning`; the known numbers by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from scipy import stats

from thalweg.errors import BadOption
from thalweg.study import planning
from thalweg.study import statistics as st

EIGHTHS = some.integers(-50, 50).map(lambda k: k / 8)
SCORES = arrays(np.float64, some.tuples(some.integers(2, 6), some.integers(2, 7)), elements=EIGHTHS)
ARMS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "lognormal": lambda rng, size: rng.lognormal(size=size),
}


def example(recipes: int = 5, seeds: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(recipes, seeds))


def test_layout_is_the_least_squares_fit() -> None:
    x = example()
    R, N = x.shape
    design = np.hstack([np.kron(np.eye(R), np.ones((N, 1))), np.kron(np.ones((R, 1)), np.eye(N))])
    coefficients, _, rank, _ = np.linalg.lstsq(design, x.ravel(), rcond=None)
    residual = x.ravel() - design @ coefficients
    fit = st.fit_layout(x)
    assert fit.df == R * N - rank
    assert fit.variance == pytest.approx(residual @ residual / fit.df)
    d = st.difference(fit, 0, 1)
    assert d.pooled and d.df == fit.df
    assert d.se == pytest.approx(math.sqrt(2 * fit.variance / N))
    assert d.interval == pytest.approx(stats.t.interval(0.95, d.df, d.mean, d.se))
    assert d.p_better == pytest.approx(stats.t.cdf(d.mean / d.se, d.df))


@pytest.mark.parametrize("simultaneous", [False, True])
def test_two_recipes_are_the_paired_t(simultaneous: bool) -> None:
    x = example(2)
    truth = stats.ttest_rel(x[0], x[1])
    d = st.difference(st.fit_layout(x), 0, 1, simultaneous=simultaneous)
    assert d.interval == pytest.approx(tuple(truth.confidence_interval(0.95)))
    assert d.p_better == pytest.approx(truth.pvalue / 2 if d.mean < 0 else 1 - truth.pvalue / 2)
    assert not d.pooled


def test_tukey_is_scipys_where_the_designs_coincide() -> None:
    # Without seed effects both fits have the same residuals and differ in the degrees of freedom alone.
    x = example(4, 8)
    x = x - x.mean(0) + np.array([[0.0], [0.5], [1.0], [2.0]])
    R, N = x.shape
    ours_df, theirs_df = (R - 1) * (N - 1), R * (N - 1)
    ratio = stats.studentized_range.ppf(0.95, R, ours_df) / stats.studentized_range.ppf(0.95, R, theirs_df)
    ratio *= math.sqrt(theirs_df / ours_df)
    truth = stats.tukey_hsd(*x).confidence_interval(0.95)
    fit = st.fit_layout(x)
    for i, j in [(0, 1), (2, 0), (3, 1)]:
        d = st.difference(fit, i, j, simultaneous=True)
        assert d.pooled
        half = (truth.high[i, j] - truth.low[i, j]) / 2 * ratio
        assert d.interval == pytest.approx((d.mean - half, d.mean + half))


def test_a_noisy_recipe_is_compared_by_the_paired_t_and_leaves_the_pool() -> None:
    x = example(7, 10)
    alone = st.difference(st.fit_layout(x[1:]), 0, 1)
    x[0] *= 10
    fit = st.fit_layout(x)
    assert fit.pool == (1, 2, 3, 4, 5, 6)
    noisy, quiet = st.difference(fit, 0, 1), st.difference(fit, 1, 2)
    truth = stats.ttest_rel(x[0], x[1]).confidence_interval()
    assert not noisy.pooled and noisy.interval == pytest.approx((truth.low, truth.high))
    assert quiet == alone


def test_two_surely_quiet_recipes_are_compared_by_the_paired_t() -> None:
    x = example(7, 10)
    x[:2] /= 100
    assert not st.difference(st.fit_layout(x), 0, 1).pooled


def test_failures_leave_the_pool_and_cannot_be_the_headline() -> None:
    x = example(4, 6)
    x[0] += 100
    assert st.headline(st.fit_layout(x)) == 0
    x[0, 2] = math.nan
    fit = st.fit_layout(x)
    assert fit.pool == (1, 2, 3)
    assert st.difference(fit, 0, 1).n == 5
    assert st.headline(fit) is None
    x[1] += 50
    x[0] = -math.inf
    assert st.headline(st.fit_layout(x)) == 1
    assert st.difference(st.fit_layout(x), 0, 1).interval == (-math.inf, math.inf)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 1), (2, 1), (3, 0)])
def test_too_little_says_nothing(shape: tuple[int, int]) -> None:
    fit = st.fit_layout(np.ones(shape))
    assert st.headline(fit) is None
    assert planning.more_seeds_for_headline(fit) is None
    if shape[0] > 1:
        d = st.difference(fit, 0, 1)
        assert (d.interval, d.p_better) == ((-math.inf, math.inf), 0.5)
        assert planning.more_seeds(fit, 0, 1) is None
        assert st.decide(d.interval, 1.0) == "undecided"


def test_all_failed() -> None:
    fit = st.fit_layout(np.full((3, 4), math.nan))
    assert st.headline(fit) is None and math.isnan(st.difference(fit, 0, 1).mean)


@pytest.mark.parametrize("recipes", [2, 3, 5])
@pytest.mark.parametrize("value", [0.0, 0.9, 1e6])
def test_identical_and_deterministic_recipes(recipes: int, value: float) -> None:
    same = st.fit_layout(np.full((recipes, 4), value))
    d = st.difference(same, 0, 1, simultaneous=True)
    assert d.mean == 0 and d.p_better == 0.5 and st.decide(d.interval, 1e-3) == "equivalent"
    assert st.headline(same) is None
    seeds = np.arange(4) / 7
    steps = st.fit_layout(value + seeds + np.arange(recipes)[:, None] / 10)
    assert st.headline(steps) == recipes - 1
    assert st.difference(steps, 1, 0).interval == pytest.approx((0.1, 0.1), abs=1e-11 * (1 + value))
    assert st.difference(steps, 1, 0).p_better == pytest.approx(1)


def test_coarse_scores_are_no_certainty() -> None:
    x = np.array([[0.93, 0.91, 0.94], [0.92, 0.90, 0.93]])
    assert st.headline(st.fit_layout(x)) == 0
    assert st.headline(st.fit_layout(x, resolution=0.01)) is None


@settings(max_examples=60)
@given(SCORES, some.randoms(use_true_random=False))
def test_order_and_seed_effects_change_nothing(x: np.ndarray, random: object) -> None:
    R, N = x.shape
    rows, columns = random.sample(range(R), R), random.sample(range(N), N)  # type: ignore[attr-defined]
    shift = np.array([random.randint(-9, 9) / 4 for _ in range(N)])  # type: ignore[attr-defined]
    fit, other = st.fit_layout(x), st.fit_layout((x + shift)[rows][:, columns])
    assert sorted(rows[r] for r in other.pool) == list(fit.pool) or fit.variance == pytest.approx(other.variance)
    i, j = 0, R - 1
    a, b = st.difference(fit, i, j), st.difference(other, rows.index(i), rows.index(j))
    back = st.difference(fit, j, i)
    assert (a.mean, a.se) == pytest.approx((b.mean, b.se), abs=1e-9)
    assert (a.df, a.n, a.pooled) == (b.df, b.n, b.pooled)
    assert a.interval == pytest.approx(b.interval, abs=1e-8)
    assert a.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert a.p_better + back.p_better == pytest.approx(1)


def test_decisions() -> None:
    cases = {(0.1, 0.9): "better", (-0.9, -0.1): "worse", (-0.1, 0.9): "undecided", (-0.2, 0.2): "equivalent"}
    assert {interval: st.decide(interval, 0.2) for interval in cases} == cases
    assert st.decide((0.05, 0.15), 0.2) == "equivalent" and st.decide((0.05, 0.15)) == "better"
    assert st.decide((0.0, 0.0)) == "equivalent" and st.decide((0.0, 1.0)) == "undecided"


def test_wrong_levels_are_refused() -> None:
    fit = st.fit_layout(example())
    for call in (st.headline, planning.more_seeds_for_headline):
        with pytest.raises(BadOption, match="hint:"):
            call(fit, 0.95)
    with pytest.raises(BadOption, match="hint:"):
        st.difference(fit, 0, 1, 0.05)
    with pytest.raises(BadOption, match="hint:"):
        st.fit_layout([1.0, 2.0])


def test_pocock() -> None:
    published = [0.05, 0.0294, 0.0221, 0.0182, 0.0158]
    assert [round(planning.nominal_level(k), 4) for k in range(1, 6)] == published
    walk = np.random.default_rng(0).normal(size=(200_000, 5)).cumsum(1) / np.sqrt(np.arange(1, 6))
    for count in range(1, 6):
        c = stats.norm.isf(planning.nominal_level(count, 0.1) / 2)
        assert (np.abs(walk[:, :count]) > c).any(1).mean() == pytest.approx(0.1, abs=0.0025)


def test_mean_interval() -> None:
    x = example()[0]
    assert st.mean_interval(x) == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval(0.95))
    assert st.mean_interval([1.0]) == st.mean_interval([]) == (-math.inf, math.inf)
    assert st.mean_interval([1.0, math.nan, 1.0]) == (1.0, 1.0)


def test_seeds_needed() -> None:
    sd = 0.25 * math.sqrt(2)
    assert [planning.seeds_needed(d, sd) for d in (0.5, 0.2, 0.1)] == [7, 27, 101]
    assert planning.seeds_needed(-0.5, sd) == 7
    assert [planning.seeds_needed(*never) for never in [(0.001, 1.0), (0.0, 1.0), (0.0, 0.0)]] == [None] * 3
    assert planning.seeds_needed(0.1, 0.0) == planning.seeds_needed(1e9, 1.0) == 2


def test_more_seeds() -> None:
    pair = example(2, 5)
    d = st.difference(st.fit_layout(pair), 0, 1)
    wanted = planning.seeds_needed(d.mean, d.se * math.sqrt(5))
    assert st.decide(d.interval) == "undecided" and planning.more_seeds(st.fit_layout(pair), 0, 1) == wanted - 5
    assert planning.more_seeds_for_headline(st.fit_layout(pair)) == wanted - 5
    # Six rivals that are .5 worse: found with 8 seeds, so 3 more than 5 (compare.md).
    x = example(7, 5)
    x -= x.mean(1, keepdims=True)
    x *= 0.25 / math.sqrt(st.fit_layout(x).variance)
    x[0] += 0.24
    fit = st.fit_layout(x)
    assert st.headline(fit) is None
    assert 15 < planning.more_seeds_for_headline(fit) < 30
    # Equal means: only a delta decides, and a wide one at once.
    x[0] -= 0.24
    fit = st.fit_layout(x)
    assert planning.more_seeds(fit, 0, 1) is None
    counts = [planning.more_seeds(fit, 0, 1, delta) for delta in (0.1, 0.2, 0.4, 10.0)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 100 and counts[-1] == 0


def test_kaplan_meier_median() -> None:
    # Freireich's 6-MP arm: the textbook median is 23 weeks; the placebo arm's, without censoring, 8.
    times = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    assert st.kaplan_meier_median(times, [k >= 9 for k in range(21)]) == 23
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    assert st.kaplan_meier_median(placebo, [False] * 21) == 8
    assert st.kaplan_meier_median([5, 5], [True, True]) is None and st.kaplan_meier_median([], []) is None


def test_smallest_difference() -> None:
    assert [st.smallest_difference(m, 100) for m in ("accuracy", "f1", "auc", "ece")] == [0.01] * 4
    assert st.smallest_difference("accuracy", 10_000) == 0.002
    assert [st.smallest_difference(m) for m in ("nll", "loss", "r2")] == [0.01] * 3
    regression = [st.smallest_difference(m, target_sd=3.0) for m in ("mse", "loss", "mae", "rmse")]
    assert regression == pytest.approx([0.09, 0.09, 0.03, 0.03])
    assert st.smallest_difference("perplexity", reference=20.0) == pytest.approx(0.2)
    for metric in ("perplexity", "mse", "accuracy", "acuracy"):
        with pytest.raises(BadOption):
            st.smallest_difference(metric)


# The known numbers of the protocol, by simulation.


def headlines(means: list[float], seeds: int, count: int, sd: float = 0.25) -> float:
    x = np.array(means)[:, None] + sd * np.random.default_rng(7).normal(size=(count, len(means), seeds))
    return float(np.mean([st.headline(st.fit_layout(x_RN)) == 0 for x_RN in x]))


@pytest.mark.parametrize(
    ("means", "seeds"),
    [
        ([0.5, 0.0], 7),
        ([0.5, 0.0, -3.0, -3.0, -3.0, -3.0, -3.0], 5),
        ([0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 8),
        ([0.2, 0.0], 27),
        ([0.1, 0.0], 101),
    ],
)
def test_power(means: list[float], seeds: int) -> None:
    found = headlines(means, seeds, 2500)
    print(f"power {found:.3f} for {means}, {seeds} seeds")
    assert found >= 0.8


@pytest.mark.parametrize("arms", ARMS)
@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
@pytest.mark.parametrize(("recipes", "count"), [(2, 3000), (7, 1000)])
def test_coverage(arms: str, seeds: int, recipes: int, count: int) -> None:
    rng = np.random.default_rng(11)
    pairs = [(r, r + 1) for r in range(0, recipes - 1, 2)]
    fits = [st.fit_layout(ARMS[arms](rng, (recipes, seeds))) for _ in range(count)]
    intervals = [st.difference(fit, i, j).interval for fit in fits for i, j in pairs]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    print(f"coverage {covered:.4f}: {arms}, {recipes} recipes, {seeds} seeds")
    assert 0.93 <= covered <= 0.98


@pytest.mark.parametrize("recipes", [2, 3, 7, 12])
def test_identical_entrants_have_no_headline(recipes: int) -> None:
    levels = [planning.nominal_level(planned) for planned in range(1, 5)]
    found = np.zeros((4000, 4, 4), dtype=bool)  # comparison, look, planned looks - 1
    for n, x in enumerate(np.random.default_rng(3).normal(size=(4000, recipes, 20))):
        for look in range(4):
            fit = st.fit_layout(x[:, : 5 * (look + 1)])
            if st.headline(fit) is not None:  # else at no stricter level either
                found[n, look] = [st.headline(fit, level) is not None for level in levels]
    for planned in range(1, 5):
        share = found[:, :planned, planned - 1].any(1).mean()
        print(f"headlines {share:.4f}: {recipes} identical entrants, {planned} looks")
        assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def test_identical_entrants_of_coarse_scores_have_no_headline() -> None:
    rng = np.random.default_rng(4)
    correct = rng.binomial(360, 0.97, size=(4000, 2, 3)) / 360
    share = np.mean([st.headline(st.fit_layout(x, resolution=1 / 360)) is not None for x in correct])
    print(f"headlines {share:.4f}: 2 identical entrants, accuracy on 360 examples")
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def test_headlines_replicate() -> None:
    # Recipes' true means spread twice as far as seeds; the winner must be first again on as many new seeds.
    rng = np.random.default_rng(5)
    kept: list[bool] = []
    while len(kept) < 300:
        means = rng.normal(scale=0.5, size=(5, 1))
        found = st.headline(st.fit_layout(means + 0.25 * rng.normal(size=(5, 5))))
        if found is not None:
            fresh = means + 0.25 * rng.normal(size=(5, 5))
            kept.append(int(fresh.mean(1).argmax()) == found)
    shares = [float(np.mean(kept[:60])), float(np.mean(kept))]
    print(f"headlines that replicate: {shares[0]:.3f} of 60, {shares[1]:.3f} of 300")
    assert min(shares) >= 0.95
