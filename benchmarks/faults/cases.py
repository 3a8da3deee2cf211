"""The cases: every fault in each of its tasks, and every control; and the frozen halves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .controls import CONTROLS
from .injections import FAULTS
from .setting import Control, Fault, Setting
from .tasks import BASES

HALVES = ("first", "second")


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
        """Thresholds are chosen on the first half of the cases; what is reported is measured on the second."""
        return HALVES[hashlib.blake2b(self.name.encode(), digest_size=1).digest()[0] % 2]

    def setting(self, seed: int) -> Setting:
        """What is diagnosed."""
        change = self.what.inject if isinstance(self.what, Fault) else self.what.make
        return change(BASES[self.base](seed), seed)


CASES = [Case(what, base) for what in (*FAULTS, *CONTROLS) for base in what.bases]
