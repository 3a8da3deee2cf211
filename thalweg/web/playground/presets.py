"""Demonstrations whose right behaviour is known, as races: what to see, and what not to conclude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Racers = tuple[tuple[str, dict[str, float]], ...]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A race with the two sentences that belong to it.

    Attributes:
        id: its name in addresses.
        title: what it is about.
        see: what to look at, with the numbers that come out.
        not_: what must not be concluded.
        surface: its name.
        start: of all racers.
        racers: a rule and its options each.
        steps: the most updates.
        noise: see `racing.Request`.
        clip: likewise.
        seed: likewise.
        goal: likewise.
    """

    id: str
    title: str
    see: str
    not_: str
    surface: str
    start: tuple[float, float]
    racers: Racers
    steps: int
    noise: float = 0.0
    clip: float | None = None
    seed: int = 0
    goal: float | None = None

    @property
    def request(self) -> dict[str, Any]:
        """The race as a request."""
        return {
            "surface": self.surface,
            "start": list(self.start),
            "steps": self.steps,
            "noise": self.noise,
            "clip": self.clip,
            "seed": self.seed,
            "goal": self.goal,
            "racers": [{"rule": rule, "options": dict(options)} for rule, options in self.racers],
        }

    def view(self, result: dict[str, Any] | None = None) -> dict[str, Any]:
        """The document that the page reads.

        Args:
            result: of the race, where there will be no server to run it.
        """
        return {"id": self.id, "title": self.title, "see": self.see, "not": self.not_, **self.request, "result": result}


def _with(lr: float, *names: str) -> Racers:
    """Rules at one rate; RMSProp with the α of the demonstrations."""
    return tuple((name, {"lr": lr} | ({"alpha": 0.9} if name == "rmsprop" else {})) for name in names)


def _ravine(kappa: float) -> Racers:
    """Gradient descent and momentum, each tuned and at the rate 1/κ."""
    root = math.sqrt(kappa)
    return (
        ("sgd", {"lr": 2 / (kappa + 1)}),
        ("sgd", {"lr": 1 / kappa}),
        ("momentum", {"lr": 4 / (root + 1) ** 2, "momentum": ((root - 1) / (root + 1)) ** 2}),
        ("momentum", {"lr": 1 / kappa, "momentum": 0.9}),
    )


_SIX = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
_BEALE: Racers = (
    *_with(0.01, "sgd", "momentum", "nesterov"),
    ("rmsprop", {"lr": 0.01, "alpha": 0.9}),
    ("adam", {"lr": 0.1}),
    ("adagrad", {"lr": 0.5}),
)
PRESETS = (
    Preset(
        id="d1",
        title="Leaving a saddle",
        see="From a millionth beside the ridge gradient descent needs 272 steps, momentum 75, Adam 11 and RMSProp 4.",
        not_="Rules that divide by the gradient's size leave first here, and come last on the flat inflection of D4.",
        surface="saddle",
        start=(1.0, 1e-6),
        racers=_with(0.05, *_SIX),
        steps=300,
    ),
    Preset(
        id="d1-ridge",
        title="Exactly on the ridge",
        see="All stay on the ridge for ever; give the gradient a noise of 0.001 and all leave.",
        not_="Training never sits on such a ridge exactly: batches are noise, and they free it.",
        surface="saddle",
        start=(1.0, 0.0),
        racers=_with(0.05, *_SIX),
        steps=2000,
    ),
    Preset(
        id="d1-open",
        title="A saddle without an end",
        see="RMSProp leaves after 72 steps, Adam 77, Nesterov 132, momentum 140, gradient descent 698, AdaGrad 1263.",
        not_="AdaGrad is not slow at saddles as such: the large slope across the ridge has used up its rate.",
        surface="open-saddle",
        start=(1.0, 1e-6),
        racers=_with(0.01, *_SIX),
        steps=1500,
    ),
    Preset(
        id="d2",
        title="A ravine, condition number 100",
        see="Tuned, gradient descent takes 709 steps and momentum 95; at the rate 1/100 they take 1375 and 264.",
        not_="The best rates need the curvatures, which are not known of a network.",
        surface="ravine",
        start=(1.0, 1.0),
        racers=_ravine(100),
        steps=1500,
        goal=1e-6,
    ),
    Preset(
        id="d2-gentle",
        title="A gentle ravine, condition number 10",
        see="At the rate 1/10 momentum 0.9 is slower than none, 249 steps to 132: it swings past and comes back.",
        not_="More momentum is not faster: how much is right grows with the condition number.",
        surface="gentle-ravine",
        start=(1.0, 1.0),
        racers=_ravine(10),
        steps=300,
        goal=1e-6,
    ),
    Preset(
        id="d3",
        title="Over the wall of a double well",
        see="With momentum up to 0.8 the path ends in the near well at 0.914; with 0.9 it rolls through to −1.068.",
        not_="Rolling on is not understanding: with another start or rate it rolls past the better well.",
        surface="double-well",
        start=(2.0, 1.0),
        racers=tuple(("momentum", {"lr": 0.02, "momentum": rho}) for rho in (0.5, 0.8, 0.9, 0.95)),
        steps=1500,
        goal=0.0,
    ),
    Preset(
        id="d4",
        title="A flat inflection",
        see="Momentum crosses in 36 steps, Nesterov in 47; the others are still before it after 2000.",
        not_="It is the opposite ranking of D1: no rule is the one for flat places.",
        surface="inflection",
        start=(-1.0, 1.0),
        racers=_with(0.02, *_SIX),
        steps=2000,
    ),
    Preset(
        id="d5",
        title="A constant slope",
        see="Adam steps by its rate in both directions, however steep; without the correction of its start by 3.16 "
        "rates at first and 6.57 in step 12.",
        not_="The larger steps of the uncorrected Adam are no progress: they are what makes the start of training fragile.",
        surface="slope",
        start=(0.0, 0.0),
        racers=(
            ("sgd", {"lr": 0.01}),
            ("adam", {"lr": 0.01}),
            ("adam", {"lr": 0.01, "counted": 1_000_000}),
            ("lion", {"lr": 0.01}),
        ),
        steps=200,
    ),
    Preset(
        id="d6",
        title="Beale's function",
        see="From (1, 1), each at a good rate: momentum 110 steps, Nesterov 147, Adam 167, AdaGrad 246, RMSProp 295, "
        "gradient descent 1196.",
        not_="Six rates were chosen to suit; from other starts the order is another.",
        surface="beale",
        start=(1.0, 1.0),
        racers=_BEALE,
        steps=1500,
    ),
    Preset(
        id="d6-far",
        title="Beale's function from the cliff",
        see="From (4, 4) gradient descent, momentum and Nesterov are thrown out within a few steps.",
        not_="The rate is not too high everywhere: from (1, 1) the same rates arrive.",
        surface="beale",
        start=(4.0, 4.0),
        racers=_BEALE,
        steps=2000,
    ),
    Preset(
        id="d6-clipped",
        title="The cliff with clipping",
        see="With the gradient's norm held to 1, gradient descent arrives in 1811 steps and momentum in 144.",
        not_="Clipping does not make a rate right: it only keeps a cliff from ending the run.",
        surface="beale",
        start=(4.0, 4.0),
        racers=_with(0.01, "sgd", "momentum"),
        steps=2000,
        clip=1.0,
    ),
    Preset(
        id="d7",
        title="The edge of stability",
        see="Curvature 100: gradient descent converges at 0.0199 and diverges at 0.0201 (2/100); momentum at 0.03781 and "
        "0.03819 (3.8/100).",
        not_="Past this edge a network need not diverge: its curvature falls where the steps are long.",
        surface="ravine",
        start=(1.0, 1.0),
        racers=(
            *(("sgd", {"lr": lr}) for lr in (0.0199, 0.0201)),
            *(("momentum", {"lr": lr}) for lr in (0.03781, 0.03819)),
        ),
        steps=700,
        goal=0.001,
    ),
    Preset(
        id="d8",
        title="The ravine along the axes",
        see="AdaGrad arrives in 17 steps and Adam in 130: each coordinate has its own slope and gets its own rate.",
        not_="The lead is a matter of the axes: turn the ravine by 45° in the next card.",
        surface="ravine",
        start=(1.0, 1.0),
        racers=(("adagrad", {"lr": 0.5}), ("adam", {"lr": 0.05}), *_with(0.01, "sgd", "momentum")),
        steps=1500,
        goal=1e-4,
    ),
    Preset(
        id="d8-turned",
        title="The same ravine turned by 45°",
        see="AdaGrad now needs 1365 steps and Adam 1093; gradient descent and momentum do not notice the turn.",
        not_="Adaptive rules are not bad at ravines: they are bound to the axes, and a network's may suit them.",
        surface="turned-ravine",
        start=(0.0, math.sqrt(2)),
        racers=(("adagrad", {"lr": 0.5}), ("adam", {"lr": 0.05}), *_with(0.01, "sgd", "momentum")),
        steps=1500,
        goal=1e-4,
    ),
    Preset(
        id="d9",
        title="A target that moves",
        see="Constant rates follow 0.1 behind; AdaGrad 0.44, a rate falling as 1/√t 0.53, and one falling as 1/t is lost "
        "by 15.",
        not_="Falling rates are right where the target stands still: there they end nearest.",
        surface="drifting-bowl",
        start=(0.0, 0.0),
        racers=(
            ("sgd", {"lr": 0.1}),
            ("rmsprop", {"lr": 0.05, "alpha": 0.9}),
            ("adagrad", {"lr": 0.5}),
            ("sgd", {"lr": 1.0, "fall": 0.5}),
            ("sgd", {"lr": 1.0, "fall": 1.0}),
        ),
        steps=4000,
        noise=0.3,
    ),
)
