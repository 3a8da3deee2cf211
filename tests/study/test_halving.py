import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import SCALE, World, play

from thalweg import rules
from thalweg.recipe import Recipe
from thalweg.study import halving
from thalweg.study.jobs import Depth, Result, Scale
from thalweg.study.plan import Budget, Entrant, Purse, entrants

COUNTS = st.integers(1, 64)


def fair(count, rule="adamw"):
    """A baseline and ``count`` entrants whose whole space is searched."""
    names = [rule, "momentum", "rmsprop", "adam", "lion", "sgd", "nadam"][:count]
    return entrants(names, None, "classification", False, "fair")[0]


def world(seed=0, **options):
    return World(np.random.default_rng(seed), **({"edge": 3.0} | options))


def begun(jobs, entrant):
    """The settings that an entrant started with."""
    return {j.recipe for j in jobs if j.entrant == entrant and j.phase == "rung" and j.steps == 1000 // 9}


@given(st.integers(1, 9), COUNTS, COUNTS)
def test_the_first_points_of_many_are_the_few(dimensions, few, many):
    few, many = sorted((few, many))
    assert (halving.points(dimensions, few) == halving.points(dimensions, many)[:few]).all()


@pytest.mark.parametrize("count", [8, 16, 32])
def test_points_are_well_spread_at_every_length(count):
    """Of a power of two of them, every slice of width 1/count of every side of the cube holds exactly one."""
    for column in halving.points(6, 64)[:count].T:
        assert sorted((column * count).astype(int)) == list(range(count))


@given(st.sampled_from(sorted(set(rules.TABLE) - {"rprop"})), st.integers(2, 64))
def test_the_default_setting_comes_first_and_all_differ(name, count):
    _, entrant = entrants([name], None, "classification", False, "fair")[0]
    made = halving.settings(entrant, count)
    assert len(set(made)) == count and made[0] == entrant.recipe.but(lr=made[0].lr)
    assert made == halving.settings(entrant, 64)[:count]


def test_presets_are_where_a_search_begins_and_what_a_recipe_says_stays():
    field = entrants(["adamw", Recipe("adam", betas=(0.9, 0.9))], Recipe("sgd"), "language-model", False, "fair")[0]
    baseline, preset, own = field
    assert baseline.space is None and baseline.rates
    made = halving.settings(preset, 8)
    assert made[0].options["betas"] == (0.9, 0.95) and made[0].weight_decay == 0.01
    assert len({r.options["betas"] for r in made}) == 8 and {r.clip_norm for r in made} == {1.0}
    assert {r.options["betas"] for r in halving.settings(own, 8)} == {(0.9, 0.9)}


@given(st.integers(1, 200), st.integers(1, 3))
def test_about_a_third_goes_on_and_at_least_three_reach_the_full_horizon(count, rungs):
    sizes = halving.sizes(count, rungs)
    assert sizes[0] == count and sizes[-1] >= min(3, count)
    for below, above in itertools.pairwise(sizes):
        assert above == below or above == 3 or abs(above - below / 3) <= 0.5


@given(st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), max_size=12), st.integers(0, 12))
def test_the_best_of_a_rung_depend_on_its_results_alone(scores, count):
    recipes = [Recipe("sgd", lr=0.1 * (i + 1)) for i in range(len(scores))]
    results = {r: Result("finished", s, math.nan) for r, s in zip(recipes, scores, strict=True)}
    kept = halving.best(results, count)
    finite = sorted((s for s in scores if s == s), reverse=True)
    assert [results[r].select for r in kept] == finite[:count]
    assert kept == halving.best(results, count)


@given(st.integers(1, 5000))
def test_rungs_are_complete_runs_of_growing_length(steps):
    lengths = halving.rungs(Scale(steps, min(steps, max(20, steps // 10)), 1))
    assert lengths == sorted(set(lengths)) and lengths[-1] == steps
    assert all(length >= 20 for length in lengths[:-1])
    assert halving.rungs(Scale(steps, steps, 1)) == [steps]  # a loop of the user's has one length


def test_each_rung_is_one_list_of_jobs_and_the_best_third_goes_on():
    _, entrant = fair(1)
    purse, w = Purse(Budget.of(None), 0.0), world(sigma=0.0)
    steps = halving.halve(entrant, Depth(2, 1, 10), SCALE, purse, 0)
    jobs, asked = next(steps), []
    while jobs:
        asked.append((jobs, {job: w(job) for job in jobs}))
        try:
            jobs = steps.send(asked[-1][1])
        except StopIteration as end:
            found, jobs = end.value, None
    assert [(len(js), {j.steps for j in js}) for js, _ in asked[:3]] == [(16, {111}), (5, {333}), (3, {1000})]
    for (_, results), (after, _) in itertools.pairwise(asked[:3]):
        ranked = sorted((r.select for r in results.values()), reverse=True)
        kept = {j.recipe for j in after}
        assert sorted((r.select for j, r in results.items() if j.recipe in kept), reverse=True) == ranked[: len(after)]
    best = max(asked[2][1], key=lambda job: asked[2][1][job].select).recipe
    assert best.lr in found.tried and len(found.tried) >= 3 and found.settings == 16
    assert found.recipe.options.get("betas") == best.options.get("betas")
    everything = [job for js, _ in asked for job in js]
    assert len(everything) == len(set(everything))  # nothing is paid twice
    assert found.recipe.lr == pytest.approx(0.1, rel=0.8) and found.choice.at_border is None


@pytest.mark.parametrize("budget", [None, "60 runs", "200 runs", "1000 runs", "2e6 samples"])
def test_all_entrants_get_as_many_settings(budget):
    w = world()
    findings = play(w, fair(3), budget=budget)
    counts = {name: len(begun(w.jobs, name)) for name in ("adamw", "momentum", "rmsprop")}
    assert set(counts.values()) - {0} == {f.settings for f in findings.finalists if f.settings}
    assert len(set(counts.values()) - {0}) == 1 and max(counts.values()) in halving.SETTINGS
    assert budget is not None or set(counts.values()) == {halving.USUAL}


@pytest.mark.parametrize("runs", [1, 2, 5, 13, 34, 60, 89, 144, 400])
def test_a_budget_in_runs_is_a_hard_limit_under_fair_effort_too(runs):
    w = world()
    findings = play(w, fair(7), budget=f"{runs} runs")
    assert len(w.jobs) <= runs
    if runs >= 34:
        assert len(findings.finalists) >= 2 and all(len(f.results) >= 3 for f in findings.finalists)


def test_a_larger_budget_buys_more_settings():
    counts = []
    for budget in ("70 runs", "140 runs", "500 runs"):
        w = world()
        play(w, fair(2), budget=budget)
        counts.append(len(begun(w.jobs, "adamw")))
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_nothing_pruned_enters_the_statistics_and_the_same_results_lead_to_the_same_jobs():
    a, b = world(2), world(2)
    findings = play(a, fair(2), budget="150 runs")
    play(b, fair(2), budget="150 runs")
    assert a.jobs == b.jobs
    for f in findings.finalists:
        finals = [j for j in a.jobs if j.phase == "final" and j.entrant == f.entrant.name]
        assert {j.recipe for j in finals} == {f.recipe} and len(finals) == len(f.results)


def test_when_every_setting_diverges_the_search_goes_down_from_the_lowest_rate():
    [f] = play(world(edge=9e-5), [replace(fair(1)[1], rates=(1e-4, 1e-1))], seeds=[1, 2]).finalists
    assert f.recipe.lr <= 9e-5


def test_a_rate_beyond_the_range_is_followed_at_the_full_horizon():
    entrant = Entrant("sgd", Recipe("sgd"), (1e-6, 1e-4), space={})
    findings = play(world(), [entrant], seeds=[1, 2])
    assert findings.finalists[0].recipe.lr > 1e-3
