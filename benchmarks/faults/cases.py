"""The cases: every fault in each of its tasks, and every control; the frozen halves, and the set that is held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .controls import CONTROLS
from .held_out import controls, inside, outside
from .held_out import tasks as others
from .injections import FAULTS
from .setting import Control, Fault, Setting
from .tasks import BASES, CHANCE

HALVES, HELD_OUT = ("first", "second"), "held-out"


@dataclass(frozen=True)
class Case:
    """A fault or a control in a task."""

    what: Fault | Control
    base: str

    @property
    def name(self) -> str:
        """For people, for the key of a result and for the split."""
        return f"{self.what.name} / {self.base}"

    @property
    def family(self) -> str:
        """Of the fault; ``healthy`` for a control."""
        return self.what.family if isinstance(self.what, Fault) else "healthy"

    @property
    def codes(self) -> frozenset[str]:
        """The right answers; none for a control."""
        return self.what.codes if isinstance(self.what, Fault) else frozenset()

    @property
    def half(self) -> str:
        """Thresholds are chosen on the first half; those of the third set's tasks are in none."""
        if self.base in others.BASES:
            return HELD_OUT
        return HALVES[hashlib.blake2b(self.name.encode(), digest_size=1).digest()[0] % 2]

    @property
    def chance(self) -> float:
        """The error of an answer that knows nothing."""
        return (CHANCE | others.CHANCE)[self.base]

    def start(self, seed: int) -> Setting:
        """The task before anything is done to it."""
        return (BASES | others.BASES)[self.base](seed)

    def setting(self, seed: int) -> Setting:
        """What is diagnosed."""
        change = self.what.inject if isinstance(self.what, Fault) else self.what.make
        return change(self.start(seed), seed)


CASES = [Case(what, base) for what in (*FAULTS, *CONTROLS) for base in what.bases]
THIRD = [Case(what, base) for what in (*outside.FAULTS, *inside.FAULTS, *controls.CONTROLS) for base in what.bases]


def named(name: str) -> Case:
    """The case of a name."""
    return next(case for case in (*CASES, *THIRD) if case.name == name)
