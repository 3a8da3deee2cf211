import time

import numpy as np
import pytest
from simulated import SCALE, World, entrants, play

from thalweg.study.plan import Budget, Purse
from thalweg.study.preview import preview


def planned(count, budget=None, seconds=0.001, seeds=None):
    purse = Purse(Budget.of(budget), time.monotonic())
    purse.expect(seconds)
    found = preview("net", entrants(count), SCALE, purse, seeds, {})
    assert purse.runs == 0, "nothing is taken from the purse"
    return found


@pytest.mark.parametrize("budget", [None, "200 runs", "2e7 samples"])
def test_what_is_planned_is_what_a_comparison_without_a_winner_runs(budget):
    world = World(np.random.default_rng(0), sigma=1e-9, edge=10.0)
    play(world, entrants(3), budget)
    found, phases = planned(3, budget), [job.phase for job in world.jobs]
    assert found.total["runs"] == len(phases)
    assert {name: phase["runs"] for name, phase in found.phases.items()} == {p: phases.count(p) for p in found.phases}
    assert found.total["steps"] == sum(job.steps for job in world.jobs)
    assert found.total["samples"] == 64 * found.total["steps"]


def test_seconds_are_those_of_the_steps_and_a_limit_is_kept():
    free = planned(4)
    assert free.total["seconds"] == pytest.approx(0.001 * free.total["steps"]) and not free.not_tried
    short = planned(4, "30s")
    assert 15 < short.total["seconds"] <= 30 and "budget: 30 seconds" in short.sentence
    tiny = planned(8, "12s")
    assert tiny.not_tried and tiny.not_tried[-1] in str(tiny) and tiny.total["seconds"] <= 12


def test_programs_that_are_not_full_are_expected_to_take_longer():
    purse = Purse(Budget.of("200 runs"), time.monotonic())
    purse.expect(0.001)
    measured = {
        "name": "sequential",
        "workers": 1,
        "size": 256,
        "tried": {"sequential × 1": 8.0, "sequential × 256": 1.0},
    }
    fast, real = (preview("net", entrants(3), SCALE, purse, None, how) for how in ({}, measured))
    assert real.total["runs"] == fast.total["runs"]
    alone = real.phases["baseline"]["seconds"] / fast.phases["baseline"]["seconds"]
    assert alone == pytest.approx(8) and 1 < real.phases["final"]["seconds"] / fast.phases["final"]["seconds"] < 8


def test_the_table_fits_a_terminal():
    text = str(planned(8, "60s"))
    assert all(len(line) <= 110 for line in text.splitlines()) and "short probes" in text and "in all" in text


def test_small_programs_do_not_make_the_rest_look_dear():
    measured = {
        "name": "sequential",
        "workers": 1,
        "size": 64,
        "tried": {"sequential × 1": 20.0, "sequential × 64": 1.0},
    }
    purse = Purse(Budget.of("25s"), time.monotonic())
    purse.expect(2e-5)  # 400 steps in .008 s of a full program
    planned = preview("net", entrants(10), SCALE, purse, None, measured)
    assert not planned.not_tried and planned.total["runs"] > 200, planned.sentence
