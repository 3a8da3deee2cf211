"""A simulated world for the protocol: scores that depend on rate and seed, without any training."""

import functools
import math
import time

import numpy as np

from thalweg.recipe import Recipe
from thalweg.study.jobs import Result, Scale, winner
from thalweg.study.ladder import protocol
from thalweg.study.plan import Budget, Entrant, Purse

SCALE = Scale(steps=1000, probe=100, rows=64)


class Remembering(Recipe):
    """A recipe that makes each of its variants once: thousands of simulated studies ask for the same few."""

    def but(self, **changes):
        made = self.__dict__.setdefault("made", {})
        key = tuple(changes.items())
        if key not in made:
            made[key] = super().but(**changes)
        return made[key]


@functools.cache
def entrants(count, baseline=True):
    """``count`` identical competitors, the first a baseline at the best rate."""
    tuned = [Entrant(f"e{i}", Remembering("sgd", weight_decay=i * 1e-9), (1e-3, 1e0)) for i in range(count - baseline)]
    first = [Entrant("baseline", Recipe("sgd", lr=0.1, weight_decay=1e-3), None, baseline=True)] if baseline else []
    return first + tuned


class World:
    """Scores 90 − bend·(log10 lr − log10 .1)² + gain(entrant) + seed effect + noise; beyond ``edge`` a run diverges."""

    def __init__(self, rng, gains=None, sigma=0.25, edge=0.8, bend=4.0):
        self.rng, self.gains, self.sigma, self.edge, self.bend = rng, gains or {}, sigma, edge, bend
        self.seeds = {}
        self.jobs = []

    def __call__(self, job):
        self.jobs.append(job)
        lr = job.recipe.lr
        if lr > self.edge:
            return Result(
                "diverged", math.nan, math.nan, {"outcome": {"status": "diverged", "step": 1, "reason": "simulated"}}
            )
        seed = self.seeds.setdefault(job.seed, self.rng.normal(0, 0.5))
        value = 90 - self.bend * math.log10(lr / 0.1) ** 2 + self.gains.get(job.entrant, 0.0) + seed
        select, judge = value + self.rng.normal(0, self.sigma, 2)
        return Result("finished", select, judge if job.phase == "final" else math.nan)


def play(world, field, budget=None, seeds=None, step_seconds=None):
    """Drive the protocol through a world; returns its findings. Time is the steps' where ``step_seconds`` are given."""
    now = [0.0 if step_seconds else time.monotonic()]
    purse = Purse(Budget.of(budget), now[0], clock=(lambda: now[0]) if step_seconds else time.monotonic)
    purse.expect(step_seconds or 0.0)
    steps = protocol(field, SCALE, purse, seeds)
    answer = None
    while True:
        try:
            jobs = next(steps) if answer is None else steps.send(answer)
        except StopIteration as end:
            return end.value
        answer = {job: world(job) for job in jobs}
        steps_done = sum(j.steps for j in jobs)
        now[0] += steps_done * (step_seconds or 0.0)
        purse.pay(len(jobs), 64 * steps_done, steps_done, steps_done * (step_seconds or 0.0))


def headlines(count, trials, seed):
    """How often the whole protocol crowns one of ``count`` entrants that are equal at every rate."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(trials):
        findings = play(World(rng, bend=0.0), entrants(count))
        found += winner(findings.finalists, findings.level) is not None
    return found
