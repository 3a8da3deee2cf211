import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import SCALE, World, entrants, play

import thalweg as tw
from thalweg.recipe import Recipe
from thalweg.study import Study
from thalweg.study.borders import Border, borders
from thalweg.study.horizons import Trend, ranking_change, slope, trend, trend_of
from thalweg.study.jobs import Finalist, Result
from thalweg.study.plan import Entrant
from thalweg.study.table import footnotes
from thalweg.study.words import warnings


def curve(best, rates=(0.001, 0.01, 0.1, 1.0), diverges=math.inf, bend=1.0):
    """Scores 90 − bend·(decades from the best rate)²."""
    gone = Result("diverged", math.nan, math.nan)
    return {
        lr: [gone if lr >= diverges else Result("finished", 90 - bend * math.log10(lr / best) ** 2, math.nan)]
        for lr in rates
    }


@given(st.floats(-2, 1), st.floats(-3, 0), st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True))
def test_the_slope_of_a_power_law_is_its_exponent(power, height, steps):
    assert slope([(n, 10**height * n**power) for n in steps]) == pytest.approx(power, abs=1e-6)


def test_the_slope_is_that_of_least_squares():
    points = [(10, 0.3), (100, 0.3), (1000, 0.02), (5000, 0.01)]
    assert slope(points) == pytest.approx(np.polyfit(*np.log10(points).T, 1)[0])
    assert slope([]) is None and slope([(10, 0.1), (10, 0.2)]) is None


def test_a_best_rate_that_falls_by_a_decade_in_a_decade_is_found_with_what_it_costs():
    found = trend({1000: curve(0.01), 100: curve(0.1)})
    assert [steps for steps, _ in found.best] == [100, 1000]
    assert [lr for _, lr in found.best] == pytest.approx([0.1, 0.01])
    assert found.slope == pytest.approx(-1) and found.shift == pytest.approx(-1) and found.lost == pytest.approx(1)
    assert found.misleads(0.9) and not found.misleads(1.1)
    assert (
        found.sentence("sgd") == "The best rate of sgd falls from 0.1 in 100 steps to 0.01 in 1000: short runs mislead."
    )


def test_less_than_half_a_decade_misleads_nobody():
    found = trend({100: curve(0.02, bend=100), 1000: curve(0.01, bend=100)})
    assert 0 < -found.shift < 0.5 and not found.misleads(0.0)


def test_a_short_rate_that_diverges_in_long_runs_loses_everything_and_one_not_tried_nothing_known():
    assert trend({100: curve(0.1), 1000: curve(0.01, diverges=0.05)}).lost == math.inf
    beside = trend({100: curve(0.01), 1000: curve(0.001, diverges=0.1)})
    assert beside.lost == pytest.approx(1)  # its neighbour diverges, it does not
    assert trend({100: curve(1.0), 1000: curve(0.01, rates=(0.001, 0.01, 0.1))}).lost is None


def test_horizons_at_which_everything_diverges_have_no_best_rate():
    assert trend({100: curve(0.1), 1000: curve(0.1, diverges=0)}).best == ((100, pytest.approx(0.1)),)
    empty = trend({100: curve(0.1, diverges=0), 200: {}})
    assert empty == Trend((), None, None) and not empty.misleads(0.0)


@pytest.mark.parametrize("lost", [None, 0.25, math.inf])
def test_a_trend_survives_json(lost):
    one = Trend(((100, 0.3), (1000, 0.1)), -0.477, lost)
    entry = one.as_dict() | {"lost": str(lost) if lost == math.inf else lost}
    assert Trend.of_dict(json.loads(json.dumps(entry))) == one


class Falls(World):
    """The best rate of full runs lies a decade below that of probes."""

    def __call__(self, job):
        lr = job.recipe.lr * (10 if job.phase != "probe" else 1)
        return super().__call__(dataclasses.replace(job, recipe=job.recipe.but(lr=lr)))


def test_through_the_whole_protocol_a_falling_rate_is_seen():
    world = Falls(np.random.default_rng(0), sigma=0.01, edge=math.inf)
    [finalist] = play(world, [Entrant("sgd", Recipe("sgd"), (1e-3, 1e0))], seeds=[1, 2]).finalists
    found = trend_of(finalist, SCALE)
    assert [steps for steps, _ in found.best] == [SCALE.probe, SCALE.steps]
    assert found.slope == pytest.approx(-1, abs=0.15) and found.misleads(0.2)
    assert trend_of(Finalist(finalist.entrant, finalist.recipe), SCALE) is None


@given(st.permutations("abcdef"))
def test_kendalls_tau_of_rankings_is_scipys(order):
    from scipy.stats import kendalltau

    change = ranking_change("abcdef", order)
    places = [order.index(name) for name in "abcdef"]
    assert change["tau"] == pytest.approx(kendalltau(range(6), places).statistic, abs=1e-3)
    assert (change["leader"] is None) == (order[0] == "a")
    assert change["leader"] in (None, ["a", order[0]])


def test_rankings_of_few_or_different_names():
    assert ranking_change(["a"], ["a"]) == {"leader": None, "swapped": [], "tau": None}
    assert ranking_change([], ["a"]) == {"leader": None, "swapped": [], "tau": None}
    assert ranking_change(["gone", "a", "b"], ["b", "a"])["leader"] == ["a", "b"]


def far(best):
    """A world whose best rate lies far from where the search starts."""
    world = World(np.random.default_rng(0), edge=math.inf)
    one = World.__call__

    def call(job):
        return one(world, dataclasses.replace(job, recipe=job.recipe.but(lr=job.recipe.lr * 0.1 / best)))

    call.jobs = world.jobs
    return call


@pytest.mark.parametrize(
    ("best", "budget", "border"),
    [
        (0.03, None, None),
        (1e9, None, Border("high", "limit")),
        (1e-12, None, Border("low", "limit")),
        (1e9, "30 runs", Border("high", "budget")),
    ],
)
def test_a_search_that_ends_at_the_end_of_its_rates_is_warned_of_with_the_reason(best, budget, border):
    findings = play(far(best), [Entrant("sgd", Recipe("sgd"), (1e-3, 1e0))], budget=budget, seeds=[1, 2])
    assert borders(findings.finalists).get("sgd") == border


def test_a_finalist_that_stepped_down_from_the_highest_rate_has_a_higher_one_beside_it():
    [f] = play(far(1e9), [Entrant("sgd", Recipe("sgd"), (1e-3, 1e0))], seeds=[1, 2]).finalists
    assert "sgd" in borders([f])
    f.recipe = f.recipe.but(lr=f.recipe.lr / 10)
    assert not borders([f])


def fixed(lr, score, **options):
    recipe = Recipe("sgd", lr=lr, **options)
    return Finalist(Entrant(f"sgd {lr}", recipe, None), recipe, {1: Result("finished", score, score)})


@pytest.mark.parametrize(
    ("scores", "border"),
    [
        ({0.1: 1, 0.2: 2, 0.3: 3}, {"sgd 0.3": Border("high", "given")}),
        ({0.1: 3, 0.2: 2, 0.3: 1}, {"sgd 0.1": Border("low", "given")}),
        ({0.1: 1, 0.2: 3, 0.3: 2}, {}),
        ({0.1: 1, 0.2: 2, 0.3: math.nan}, {}),
        ({0.1: math.nan, 0.2: math.nan}, {}),
        ({0.1: 1}, {}),
    ],
)
def test_rates_that_the_user_gave_are_a_grid(scores, border):
    assert borders([fixed(lr, score) for lr, score in scores.items()]) == border
    other = [fixed(lr, score, weight_decay=lr) for lr, score in scores.items()]
    assert borders(other) == {}  # they differ in more than the rate


def test_a_search_answers_for_the_fixed_rate_beside_it():
    found = play(World(np.random.default_rng(0)), entrants(2), seeds=[1, 2]).finalists
    twin = fixed(1e-3, 1)
    searched = dataclasses.replace(found[1], recipe=twin.recipe.but(lr=found[1].recipe.lr))
    assert not borders([searched, twin, fixed(1e-2, 2)])


@pytest.fixture(scope="module")
def climbing(tmp_path_factory):
    """A study of a loop of the user's whose score rises with the rate for ever."""

    def fit(recipe, seed, report):
        report(1, reward=math.log10(recipe.lr) + 1e-3 * (seed % 7))

    folder = tmp_path_factory.mktemp("climbing") / "s"
    return tw.compare(fit, field=["sgd"], seeds=3, folder=folder, executor="sequential", quiet=True)


def test_the_border_is_in_table_notes_json_and_what_is_read_back(climbing):
    sgd = next(s for s in climbing.finalists if s.name == "sgd")
    assert sgd.border == Border("high", "limit")
    assert f"{sgd.recipe.lr:.3g}↑" in str(climbing)
    assert "↑ last rate tried; beyond it may be better (the search has a limit)" in str(climbing).splitlines()
    assert any(note.startswith("sgd: its rate") for note in climbing.notes)
    assert climbing.document["finalists"][0]["border"] == {"side": "high", "why": "limit"}
    assert Study.load(climbing.folder).finalists == climbing.finalists
    assert "last rate tried" in climbing._repr_html_()


def test_footnotes_take_rows_and_not_lines(climbing):
    sgd = climbing.finalists[0]
    changes = [{"steps": [42, 420], "leader": ["adam", "sgd"], "lost": 0.5, "swapped": [], "tau": 0.0}]
    many = [
        dataclasses.replace(sgd, name=f"sgd{i}", trend=Trend(((42, 0.316), (420, 0.1)), -0.5, 9.0)) for i in range(9)
    ]
    many.append(next(s for s in climbing.finalists if s.baseline))
    document = climbing.document | {"ranking_changes": changes}
    study = Study(climbing.folder, document, climbing.verdict, many, climbing.best)
    notes = footnotes(study)
    assert notes[1] == ("Short runs mislead: sgd0's lr 0.316 in 42 steps, 0.1 in 420 (+9 such)")
    lines = str(study).splitlines()
    assert all(len(note) <= 80 for note in notes)
    assert len(lines) == 14 and lines[-4:-2] == notes and "and 5 more: sgd4" in lines[-5]
    said = warnings(many, changes, 0.1)
    assert len(said) == 19 and said[-1] == "The ranking changes with the length: adam leads in 42 steps, sgd in 420."
    assert len(warnings(many, changes, 10.0)) == 9


def test_a_study_without_doubts_has_no_footnotes(toy, tmp_path):
    study = tw.compare(toy, field=["sgd"], seeds=2, executor="sequential", folder=tmp_path / "s", quiet=True)
    document = json.loads((study.folder / "verdict.json").read_text())
    sgd = next(f for f in document["finalists"] if f["name"] == "sgd")
    assert [e["steps"] for e in sgd["trend"]["best"]] == [20, 40]
    assert document["ranking_changes"] == [{"steps": [20, 40], "lost": 0.0, "leader": None, "swapped": [], "tau": None}]
    base = next(f for f in document["finalists"] if f["name"] != "sgd")
    assert base["trend"] is None and base["border"] is None
