import math

import numpy as np
import pytest
from simulated import SCALE, World, entrants, headlines, play

from thalweg import rules
from thalweg.errors import BadOption
from thalweg.recipe import Recipe
from thalweg.study.jobs import Finalist, Findings, Result, Scale, score_table, winner
from thalweg.study.ladder import FINAL_SEED, protocol
from thalweg.study.plan import FIELD, UNTUNED, Budget, Entrant, Purse
from thalweg.study.plan import entrants as field_of
from thalweg.study.standing import Question
from thalweg.study.verdict import judge


def world(seed=0, **options):
    return World(np.random.default_rng(seed), **options)


@pytest.mark.no_cover  # tracing triples its time, and the other tests cover the same lines
@pytest.mark.parametrize("count", [2, 3, 7, 12])
def test_equal_entrants_are_rarely_crowned(count):
    """A/A through the whole protocol: at most 5 % + 3 standard errors of 4 000."""
    trials = 4000
    assert headlines(count, trials, seed=count) <= trials * 0.05 + 3 * math.sqrt(trials * 0.05 * 0.95)


def test_a_better_entrant_is_found_and_its_rate_is_near_the_best():
    found, rates = 0, []
    for seed in range(40):
        findings = play(world(seed, gains={"e1": 1.0}), entrants(7))
        at = winner(findings.finalists, findings.level)
        found += at is not None and findings.finalists[at].entrant.name == "e1"
        rates += [math.log10(f.recipe.lr / 0.1) for f in findings.finalists if f.choice]
    assert found >= 38
    assert abs(np.mean(rates)) < 0.15 and np.std(rates) < 0.25


def test_rates_that_follow_a_border_leave_the_seconds_of_the_finals():
    class Rising(World):
        def __call__(self, job):
            result = super().__call__(job)
            return Result("finished", 50 + 10 * math.log10(job.recipe.lr), result.judge)

    findings = play(Rising(np.random.default_rng(0), edge=1e30), entrants(12), "330s", step_seconds=1e-3)
    assert not findings.not_tried and len(findings.finalists) == 12
    assert {len(f.results) for f in findings.finalists} == {10}


def test_as_many_as_the_seconds_allow_are_prepared_side_by_side():
    w = world()
    findings = play(w, entrants(12), "60s", step_seconds=1e-3)
    order = [(job.phase, job.entrant) for job in w.jobs]
    names = list(dict.fromkeys(name for phase, name in order if phase == "probe"))
    first_rate = order.index(("rate", names[0]))
    assert 2 <= len(names) < 11 and all(order.index(("probe", name)) < first_rate for name in names[:2])
    assert set(findings.not_tried) == {e.name for e in entrants(12)} - {"baseline", *names}
    assert all(len(f.results) >= 2 for f in findings.finalists)


def test_finals_use_fresh_seeds_shared_by_all_and_nothing_else_is_judged():
    w = world(gains={"e0": 5.0})
    findings = play(w, entrants(3))
    selection = {job.seed for job in w.jobs if job.phase != "final"}
    finals = {
        job.entrant: sorted(j.seed for j in w.jobs if j.phase == "final" and j.entrant == job.entrant)
        for job in w.jobs
        if job.phase == "final"
    }
    assert len({tuple(seeds) for seeds in finals.values()}) == 1
    assert not selection & set(finals["e0"]) and min(finals["e0"]) == FINAL_SEED
    assert score_table(findings.finalists).shape == (3, len(finals["e0"]))


def test_at_least_three_rates_reach_the_full_horizon_and_the_border_is_checked_there():
    class FarAway(World):
        """The best rate of full runs lies a factor 30 above that of short ones."""

        def __call__(self, job):
            shifted = job.recipe.lr / (30 if job.phase != "probe" else 1)
            return super().__call__(type(job)(job.phase, job.entrant, job.recipe.but(lr=shifted), job.seed, job.steps))

    w = FarAway(np.random.default_rng(0))
    findings = play(w, [Entrant("sgd", Recipe("sgd"), (1e-3, 1e0))], seeds=[1, 2, 3])
    [finalist] = findings.finalists
    assert len(finalist.tried) >= 3
    assert finalist.recipe.lr == pytest.approx(3.0, rel=0.8)
    assert finalist.choice.at_border is None


def test_the_grid_follows_a_best_rate_outside_the_range():
    w = world()
    findings = play(w, [Entrant("sgd", Recipe("sgd"), (1e-6, 1e-4))], seeds=[1, 2])
    assert findings.finalists[0].recipe.lr == pytest.approx(0.1, rel=0.8)


def test_when_everything_in_range_diverges_the_search_goes_down():
    findings = play(world(edge=1e-4), [Entrant("sgd", Recipe("sgd"), (1e-2, 1e0))], seeds=[1, 2])
    assert findings.finalists[0].recipe.lr <= 1e-4


def test_an_optimizer_that_never_trains_is_reported_and_not_a_finalist():
    findings = play(world(edge=0.0), entrants(2), seeds=[1, 2])
    assert [f.entrant.name for f in findings.finalists] == ["baseline"]
    assert findings.not_tried and "e0" in findings.not_tried[0]


class FallsInFinals(World):
    """Entrant e0 diverges at its rate in the finals, not before."""

    def __call__(self, job):
        if job.phase == "final" and job.entrant == "e0" and job.seed % 4 == 0 and job.recipe.lr > 0.05:
            self.jobs.append(job)
            return type(super().__call__(job))(
                "diverged", math.nan, math.nan, {"outcome": {"status": "diverged", "step": 9, "reason": "late"}}
            )
        return super().__call__(job)


def test_a_finalist_that_diverges_steps_down_and_runs_on_new_seeds():
    w = FallsInFinals(np.random.default_rng(0))
    findings = play(w, entrants(3))
    fallen = next(f for f in findings.finalists if f.entrant.name == "e0")
    first = [j for j in w.jobs if j.phase == "final" and j.entrant == "e0"]
    assert fallen.recipe.lr == pytest.approx(first[0].recipe.lr / math.sqrt(10), rel=0.01)
    assert fallen.abandoned and not set(fallen.results) & {job.seed for job, _ in fallen.abandoned}
    old = {job.seed for job, _ in fallen.abandoned}
    assert all(f.results and not set(f.results) & old for f in findings.finalists)


def test_the_same_results_lead_to_the_same_jobs():
    a, b = world(3), world(3)
    play(a, entrants(4), budget="80 runs")
    play(b, entrants(4), budget="80 runs")
    assert a.jobs == b.jobs


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233])
def test_a_budget_in_runs_is_a_hard_limit_and_is_used(runs):
    w = world()
    findings = play(w, entrants(8), budget=f"{runs} runs")
    assert len(w.jobs) <= runs
    if runs >= 21:
        assert len(findings.finalists) >= 2 and all(len(f.results) >= 3 for f in findings.finalists)
    assert len(w.jobs) >= min(runs, 60) * 0.5


class FallsLate(World):
    """Entrant e1 diverges in the finals from the second block of seeds on."""

    def __call__(self, job):
        if job.phase == "final" and job.entrant == "e1" and job.seed >= 1010:
            self.jobs.append(job)
            lost = {"outcome": {"status": "diverged", "step": 9, "reason": "late"}}
            return Result("diverged", math.nan, math.nan, lost)
        return super().__call__(job)


@pytest.mark.parametrize("runs", range(150, 340, 10))
def test_a_late_divergence_after_others_left_the_race_keeps_the_limit(runs):
    w = FallsLate(np.random.default_rng(1), {"e0": 0.0, "e1": 0.01, **dict.fromkeys(["e2", "e3", "baseline"], -5.0)})
    findings = play(w, entrants(5), budget=f"{runs} runs")
    assert len(w.jobs) <= runs and all(f.results for f in findings.finalists)


def test_who_left_the_race_does_not_lead_by_easier_seeds():
    def finalist(name, scores):
        results = {s: Result("finished", v, v) for s, v in scores.items()}
        return Finalist(Entrant(name, Recipe("sgd", lr=0.1), None), Recipe("sgd", lr=0.1), results)

    easy = {s: 5.0 + 0.01 * (s % 3) for s in range(5)}
    hard = {s: 1.0 + 0.01 * (s % 5) for s in range(5, 15)}
    a = finalist("a", {s: v + 0.30 + 0.01 * (s % 2) for s, v in (easy | hard).items()})
    b = finalist("b", {s: v + 0.29 + 0.01 * (s % 4) for s, v in (easy | hard).items()})
    c = finalist("c", easy)
    asked = Question("net", "loss", 1, 0.1, 0.0, "quick", False, False)
    verdict, standings = judge(Findings([a, b, c], 0.02, 3, 3, [], []), asked, {}, {})
    assert [s.name for s in standings][-1] == "c" and verdict.best != "c" and standings[-1].mean > standings[0].mean


def test_a_small_budget_answers_the_first_questions_first():
    w = world()
    findings = play(w, entrants(8), budget="30 runs")
    assert [f.entrant.name for f in findings.finalists][:2] == ["baseline", "e0"]
    assert "e6" in findings.not_tried


def test_seeds_are_added_while_it_is_undecided_and_not_after():
    undecided = play(world(1, bend=0.0), entrants(3))
    assert undecided.looks == undecided.looks_planned == 3
    assert score_table(undecided.finalists).shape[1] == 30
    decided = play(world(1, gains={"e0": 9.0}), entrants(3))
    assert decided.looks == 1 and score_table(decided.finalists).shape[1] == 10
    assert decided.level < 0.05


def test_who_is_beaten_runs_on_no_further_seeds_and_stays_in_the_table():
    gains = {"e0": 0.0, "e1": 0.02, "e2": -5.0, "baseline": -6.0}
    findings = play(World(np.random.default_rng(3), gains), entrants(4))
    seeds = {f.entrant.name: len(f.results) for f in findings.finalists}
    assert findings.looks == findings.looks_planned == 3
    assert seeds == {"baseline": 30, "e0": 30, "e1": 30, "e2": 10}
    assert np.isnan(findings.scores_RN()).sum() == 20


def test_who_is_equal_stays_in_the_race():
    dropped = []
    for seed in range(40):
        findings = play(World(np.random.default_rng(seed), bend=0.0), entrants(4))
        most = max(len(f.results) for f in findings.finalists)
        dropped += [f for f in findings.finalists if len(f.results) < most]
    assert len(dropped) <= 16  # of 120; about 3 × .022 × 2 expected of each, were the leader known beforehand


def test_seeds_given_are_the_seeds_used():
    findings = play(world(), entrants(3), seeds=[5, 7, 11])
    assert all(sorted(f.results) == [5, 7, 11] for f in findings.finalists)
    assert findings.level == pytest.approx(0.05)


def test_without_short_runs_the_bracket_is_made_of_full_ones():
    purse = Purse(Budget.of(None), 0.0)
    steps = protocol([Entrant("sgd", Recipe("sgd"), (1e-2, 1e0))], Scale(40, 40, 1), purse, [1, 2])
    assert {job.phase for job in next(steps)} == {"rate"}
    assert SCALE.probe < SCALE.steps


def test_the_default_field_and_its_presets():
    field, notes = field_of(None, None, "classification", False)
    assert [e.name for e in field] == ["adamw at 1e-3", *FIELD] and not notes
    assert field[0].recipe == UNTUNED and field[0].baseline
    field, notes = field_of(["adamw", "sgd-constant"], Recipe("sgd", lr=0.5), "language-model", False)
    assert [e.name for e in field] == ["sgd (yours)", "adamw", "sgd-constant"]
    assert field[1].recipe.options["betas"] == (0.9, 0.95) and field[1].recipe.clip_norm == 1.0
    assert field[2].recipe.schedule == "constant" and notes
    field, notes = field_of([Recipe("adam", lr=None), Recipe("adam", lr=0.1)], None, "regression", True)
    assert [e.name for e in field] == ["adamw at 1e-3", "adam", "adam#2"]
    assert field[1].rates == (1e-6, 1e-4) and field[2].rates is None and "fine-tuning" in notes[0]


def test_all_is_every_optimizer_for_batches():
    field, _ = field_of("all", None, "other", False)
    assert [e.name for e in field[1:]] == [name for name in rules.TABLE if name != "rprop"] and len(field) > 20


@pytest.mark.parametrize("field", [[], "adamw", ["adamv"], ["adam", "adam"], [3], ["adam-fast"], 5])
def test_fields_that_make_no_sense(field):
    with pytest.raises(BadOption, match=r"compare|unknown"):
        field_of(field, None, "other", False)


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("5m", "seconds", 300),
        (90, "seconds", 90),
        ("90s", "seconds", 90),
        ("1.5h", "seconds", 5400),
        ("60 runs", "runs", 60),
        ("1 run", "runs", 1),
        ("2e6 samples", "samples", 2e6),
        (None, "none", math.inf),
    ],
)
def test_budgets(text, kind, amount):
    assert Budget.of(text) == Budget(kind, amount)
    assert text is None or Budget.of(str(Budget.of(text))) == Budget(kind, amount)  # studies are resumed by its words


@pytest.mark.parametrize("text", ["", "5 parsecs", "-3m", 0, -1, float("nan"), "m", True, [], "1e999s"])
def test_what_is_no_budget(text):
    with pytest.raises(BadOption, match="budget must be"):
        Budget.of(text)
