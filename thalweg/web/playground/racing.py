"""Races: many rules side by side on one surface, with the steps of the project's own rules.

A step of all racers evaluates the surface once, for all of them; each rule is then called on plain numbers, one
coordinate after the other, as the reference engine calls it on tensors. That gives the path of `thalweg.minimize`, and
eight rules make three hundred steps while a slider moves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from thalweg import errors, rules
from thalweg.engine.reference import Namespace
from thalweg.engine.stepper import numbers
from thalweg.optim import optimizer_class
from thalweg.rules import Rule
from thalweg.rules.links import Links, compose

from .surfaces import Floats, Goal, Surface, rounded, within

Status = Literal["reached", "finished", "diverged"]
MOST_RACERS, MOST_STEPS = 16, 5000


def _is_point(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and all(type(x) in (int, float) and errors.is_number(x) for x in value)


def _are_racers(value: Any) -> bool:
    few = isinstance(value, list | tuple) and 1 <= len(value) <= MOST_RACERS
    return few and all(isinstance(one, Mapping) and isinstance(one.get("rule"), str) for one in value)


def _whole(low: int, high: int, words: str) -> errors.Allowed:
    return errors.Allowed(words, lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high)


FIELDS: dict[str, tuple[Any, errors.Allowed]] = {
    "surface": (None, errors.Allowed("the name of a surface", lambda v: isinstance(v, str))),
    "start": (None, errors.Allowed("two finite numbers", _is_point)),
    "steps": (300, _whole(1, MOST_STEPS, f"a whole number from 1 to {MOST_STEPS}")),
    "noise": (0.0, errors.NOT_NEGATIVE),
    "clip": (None, errors.optional(errors.POSITIVE)),
    "seed": (0, _whole(0, 2**32 - 1, "a whole number from 0 to 2³² − 1")),
    "goal": (None, errors.optional(errors.NOT_NEGATIVE)),
    "racers": (None, errors.Allowed(f"a list of 1 to {MOST_RACERS} racers, each with a rule", _are_racers)),
}
FALL = errors.Allowed("a number from 0 to 2", lambda v: errors.NOT_NEGATIVE.test(v) and v <= 2)
COMMON = {"fall": FALL, "counted": errors.NOT_NEGATIVE}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be raced.

    Attributes:
        surface: its name.
        start: where; None: the surface's own.
        steps: the most updates.
        noise: the standard deviation of the noise on each number of the gradient; all racers get the same.
        clip: the largest norm of the gradient, or None.
        seed: of the noise.
        goal: racers stop nearer than this to a lowest minimum; None: the surface's own goal; 0: nowhere.
        racers: a rule each, with its options. Besides those of the rule: ``fall``, k of the rate lr·t^−k; ``counted``,
            how many steps are taken as made before (a large number: no correction of the start).
    """

    surface: str
    start: tuple[float, float] | None
    steps: int
    noise: float
    clip: float | None
    seed: int
    goal: float | None
    racers: tuple[tuple[Rule, dict[str, Any]], ...]

    @classmethod
    def read(cls, given: Any) -> Request:
        """The request in a document.

        Raises:
            BadOption: it is none, or a field is unknown, missing or outside what is allowed.

        Example:
            >>> Request.read({"surface": "beale", "racers": [{"rule": "adam", "options": {"beta1": 0.5}}]}).racers[0][1]
            {'betas': (0.5, 0.999)}
        """
        if not isinstance(given, Mapping):
            raise errors.BadOption(f"race: the request must be an object, got {type(given).__name__}", _HINT)
        for name in given:
            if name not in FIELDS:
                raise errors.unknown("race", "field", str(name), FIELDS)
        found = {name: given.get(name, default) for name, (default, _) in FIELDS.items()}
        for name, (_, allowed) in FIELDS.items():
            if found[name] is not None or name != "start":
                errors.check("race", name, found[name], allowed)
        racers = []
        for one in found.pop("racers"):
            for name in one:
                if name not in ("rule", "options"):
                    raise errors.unknown("race", "field of a racer", str(name), ("rule", "options"))
            rule = rules.get(one["rule"])
            racers.append((rule, settings(rule, one.get("options") or {})))
        return cls(**found, racers=tuple(racers))


_HINT = 'for example {"surface": "beale", "racers": [{"rule": "adam", "options": {"lr": 0.1}}]}'


def parts(rule: Rule) -> dict[str, tuple[str, int]]:
    """Where the numbers of options that are tuples belong: ``beta1`` is the first of ``betas``."""
    several = [(name, value) for name, value in rule.defaults.items() if isinstance(value, tuple)]
    return {f"{name.removesuffix('s')}{i + 1}": (name, i) for name, value in several for i in range(len(value))}


def settings(rule: Rule, given: Any) -> dict[str, Any]:
    """The options of a racer as its optimizer takes them, with those that every racer has.

    Args:
        rule: of the racer.
        given: numbers by their names.

    Raises:
        BadOption: an unknown option, or a value outside what is allowed.
    """
    if not isinstance(given, Mapping):
        raise errors.BadOption(f"{rule.title}: options must be an object, got {type(given).__name__}", _HINT)
    found: dict[str, Any] = {}
    places = parts(rule)
    for name, value in given.items():
        if name in COMMON:
            errors.check(rule.title, name, value, COMMON[name])
            found[name] = value
        elif name in places:
            option, i = places[name]
            whole = list(found.get(option, rule.defaults[option]))
            whole[i] = value
            found[option] = tuple(whole)
        elif name in rule.defaults:
            found[name] = value
        else:
            raise errors.unknown(rule.title, "option", str(name), [*rule.defaults, *places, *COMMON])
    rule.check({name: value for name, value in found.items() if name not in COMMON})
    return found


class Racer:
    """One rule on its way: its point, what it remembers, and its path.

    Args:
        rule: whose steps.
        options: as `settings` gives them.
        start: the first point.
        clip: the largest norm of the gradient, or None.
    """

    def __init__(self, rule: Rule, options: Mapping[str, Any], start: tuple[float, float], clip: float | None) -> None:
        own = {name: value for name, value in options.items() if name not in COMMON}
        p = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        optimizer = optimizer_class(rule)([p], clip_norm=clip, **own)
        given = numbers(rule.defaults, optimizer.param_groups[0])
        (kind,) = optimizer.kinds([given])
        self.rule, self.path, self.message = rule, [start], ""
        self.status: Status = "finished"
        program = compose(rule, kind.links)
        bare = kind.links == Links() and set(program.inputs) == set(rule.inputs)  # then composing only costs time
        self._update, self._measures, self._clip = rule.update if bare else program.update, program.measures, clip
        self._lr, self._fall, self._counted = given["lr"], options.get("fall", 0.0), options.get("counted", 0)
        known = {**given, "n": 2, "clip": 1.0}
        self._known: dict[str, Any] = {name: known.get(name) for name in program.inputs}
        self._scalar = [state is not None and state.scalar for state in kind.active]
        self._states = [
            tuple(None if s is None else x if s.initial == "p" else s.first(given) for s in kind.active) for x in start
        ]

    def step(self, slope: tuple[float, float]) -> None:
        """One update with this gradient."""
        known, t = self._known, len(self.path)
        if "t" in known:
            known["t"] = float(t + self._counted)
        if "first" in known:
            known["first"] = t == 1
        if self._fall and "lr" in known:
            known["lr"] = self._lr * t**-self._fall
        if self._clip is not None:
            norm = math.sqrt(slope[0] * slope[0] + slope[1] * slope[1])
            known["clip"] = self._clip / norm if norm > self._clip else 1.0
        try:
            self._go(self.path[-1], slope)
        except (ZeroDivisionError, OverflowError):  # where Python raises, IEEE arithmetic has NaN and infinities
            with np.errstate(all="ignore"):
                point, wide = self.path[-1], np.float64
                self._states = [tuple(None if s is None else wide(s) for s in one) for one in self._states]
                self._go((wide(point[0]), wide(point[1])), (wide(slope[0]), wide(slope[1])))

    def _go(self, point: tuple[float, float], slope: tuple[float, float]) -> None:
        known, update = self._known, self._update
        elements = [(p, g, *state) for p, g, state in zip(point, slope, self._states, strict=True)]
        for measure in self._measures:
            known[measure.name] = sum(measure.of(Namespace, *one, **known) for one in elements)
        (x, *first), (y, *second) = (update(Namespace, *one, **known) for one in elements)
        shared = [a if scalar else b for a, b, scalar in zip(first, second, self._scalar, strict=True)]
        self._states = [tuple(first), tuple(shared)]
        self.path.append((float(x), float(y)))


def run(request: Request, surface: Surface) -> list[Racer]:
    """Race, and keep every point to the last digit.

    Args:
        request: what is to be raced.
        surface: on what.

    Raises:
        BadOption: an option outside what is allowed, or a goal where the surface has no minimum.
    """
    start = request.start or surface.start
    goal = _goal(request, surface)
    racers = [
        Racer(rule, options, (float(start[0]), float(start[1])), request.clip) for rule, options in request.racers
    ]
    generator = torch.Generator().manual_seed(request.seed)
    going = racers
    for k in range(request.steps + 1):
        going = [racer for racer in going if not _ended(racer, k, goal)]
        if k == request.steps or not going:
            break
        slopes = surface.slopes([racer.path[-1] for racer in going], k)
        dx, dy = 0.0, 0.0
        if request.noise:  # the same for all: what differs is the rule
            dx, dy = (request.noise * torch.randn(2, generator=generator, dtype=torch.float64)).tolist()
        for racer, (gx, gy) in zip(going, slopes, strict=True):
            racer.step((gx + dx, gy + dy))
    for racer in going:
        racer.message = f"all {request.steps} updates were made"
    return racers


def _ended(racer: Racer, k: int, goal: Goal | None) -> bool:
    """Whether a racer stops at the point that it has reached with k updates."""
    x, y = racer.path[-1]
    if not (math.isfinite(x) and math.isfinite(y)):
        racer.status, racer.message = "diverged", f"diverged: the point is not finite after {k} updates"
    elif goal is not None and goal.test(x, y):
        racer.status, racer.message = "reached", f"{goal.words}, after {k} updates"
    return racer.status != "finished"


def _goal(request: Request, surface: Surface) -> Goal | None:
    if request.goal is None or request.goal == 0:
        return None if request.goal == 0 else surface.goal
    if not surface.minima or surface.drift != (0.0, 0.0):
        raise errors.BadOption(
            f"race: {surface.id} has no minimum that stands still, got goal={request.goal}", "leave goal out"
        )
    return within(surface.minima, request.goal)


def document(racers: list[Racer], surface: Surface, seconds: float, most: int | None = None) -> dict[str, Any]:
    """The result as the page reads it.

    Args:
        racers: after the race.
        surface: on which it was.
        seconds: that it took.
        most: about how many points of a path to keep; None: all.
    """
    longest = max(len(racer.path) for racer in racers)
    every = 1 if most is None or longest <= most else -(-longest // most) | 1  # odd: who swings to and fro is seen to
    found = []
    for racer in racers:
        path: Floats = np.array(racer.path)
        heights = surface.heights(path)
        if racer.status == "finished" and surface.drift == (0.0, 0.0) and not heights[-1] <= heights[0]:
            racer.message += "; it ends higher than it began"
        kept = sorted({*range(0, len(path), every), len(path) - 1}) if every > 1 else slice(None)
        found.append(
            {
                "rule": racer.rule.name,
                "x": rounded(path[kept, 0]),
                "y": rounded(path[kept, 1]),
                "loss": rounded(heights[kept]),
                "status": racer.status,
                "steps": len(path) - 1,
                "message": racer.message,
            }
        )
    return {"racers": found, "every": every, "seconds": round(seconds, 4)}


def raced(given: Any, surface_of: Any, most: int | None = None) -> dict[str, Any]:
    """A request's result: read, raced, and put into a document.

    Args:
        given: the request as it came.
        surface_of: gives the surface of a name.
        most: see `document`.
    """
    begun = time.perf_counter()
    request = Request.read(given)
    surface = surface_of(request.surface)
    racers = run(request, surface)
    return document(racers, surface, time.perf_counter() - begun, most)
