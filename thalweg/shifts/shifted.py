"""The answer to a question about a shift: as text, for programs, and for a notebook."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..console import WIDTH, columns, duration, unmeasured
from .causes.kinds import Kind
from .causes.looking import Look
from .causes.shares import Shares
from .distributions.drift import Drift
from .distributions.joint import JointTest
from .distributions.univariate import FeatureTest
from .remedies.measuring import Tried
from .surfaces.moved import SurfaceMoved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 5
TITLES = {
    None: "No shift",
    "covariate": "Covariate shift",
    "label": "Label shift",
    "concept": "Concept shift",
    "pipeline": "Broken pipeline",
    "new-class": "A new class",
    "subgroup": "A failing subgroup",
    "harmless": "A harmless shift",
    "not-enough-data": "Not enough data",
}


@dataclass(frozen=True)
class Inputs:
    """Whether the inputs moved.

    Attributes:
        features: one test a feature, those that moved first.
        joint: all of the model's representation together.
        where: what that representation is.
        shares: of the classes; None: there are none.
        order: whether the incoming rows drift over their own order; None: not looked at.
        level: of each family of tests.
        names: of the classes; (): there are none.
    """

    features: tuple[FeatureTest, ...]
    joint: JointTest
    where: str
    shares: Shares | None
    order: Drift | None
    level: float
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, look: Look) -> Inputs:
        """The tests of two sides."""
        rest = [f for f in look.features if not f.alarm]
        names = tuple(look.subject.class_name(k) for k in range(look.subject.classes or 0))
        return cls((*look.moved, *rest), look.joint, look.old.where, look.shares, look.order, look.part, names)

    @property
    def moved(self) -> tuple[FeatureTest, ...]:
        """The features that moved."""
        return tuple(f for f in self.features if f.alarm)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        shares, order = self.shares, self.order
        return {
            "features": [f.as_dict() for f in self.features],
            "joint": self.joint.as_dict() | {"where": self.where},
            "labels": None if shares is None else {
                "reference": shares.reference.tolist(), "incoming": shares.incoming.tolist(), "p": shares.p,
                "alarm": shares.alarm, "counted": shares.counted, "classes": list(self.names),
            },
            "order": None if order is None else {"auc": order.auc, "p": order.p, "alarm": order.alarm},
            "level": self.level,
        }  # fmt: skip


@dataclass(frozen=True)
class Shift:
    """What moved, what kind of shift that is, and what helps; printing it shows all of it.

    Attributes:
        title: the model.
        named: the kind with its sentence, evidence and confidence.
        inputs: the tests on the inputs; None: too few rows.
        surface: the loss surface on both sides; None: not looked at, ``notes`` say why.
        remedies: what was tried, doing nothing first.
        recommended: one of them; None: nothing was tried.
        rows: of the reference and of the incoming data.
        notes: what has to be said, and what was not tested and why.
        seconds: that it took.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> judge = task.prepare().judge
        >>> few = (judge.inputs[:9], judge.targets[:9])
        >>> found = thalweg.shift(task.build(0), task=task, incoming=few, quiet=True)
        >>> found.kind, found.matters, found.rows
        ('not-enough-data', False, (250, 9))
    """

    title: str
    named: Kind
    inputs: Inputs | None
    surface: SurfaceMoved | None
    remedies: tuple[Tried, ...]
    recommended: Tried | None
    rows: tuple[int, int]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kind(self) -> str | None:
        """The code of the kind, see `thalweg.shifts.causes.kinds.CODES`; None: nothing moved."""
        return self.named.code

    @property
    def matters(self) -> bool:
        """Whether something moved that asks for action."""
        return self.named.matters

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "kind": self.kind,
            "sentence": self.named.sentence,
            "features": list(self.named.features),
            "confidence": self.named.confidence,
            "evidence": dict(self.named.evidence),
            "rows": {"reference": self.rows[0], "incoming": self.rows[1]},
            "inputs": None if self.inputs is None else self.inputs.as_dict(),
            "surface": None if self.surface is None else self.surface.as_dict(),
            "remedies": [t.as_dict() for t in self.remedies],
            "recommended": None if self.recommended is None else self.recommended.name,
            "enough_data": self.kind != "not-enough-data",
            "notes": list(self.notes),
            "seconds": self.seconds,
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """Both surfaces in the same plane and along lines, and the remedies with their intervals.

        Args:
            path: where to save the figure (``.png``, ``.svg``, ``.pdf``); None: nowhere.

        Raises:
            Missing: matplotlib is not installed.
        """
        from ..drawing import saved
        from .figure import draw

        return saved(draw(self), path, dpi=300)

    def __str__(self) -> str:
        head = (
            f"{TITLES[self.kind]} · {self.rows[0]} reference rows, {self.rows[1]} incoming · {duration(self.seconds)}"
        )
        lines = [
            *textwrap.wrap(self.title, WIDTH),
            *textwrap.wrap(head, WIDTH),
            "",
            *textwrap.wrap(self.named.sentence, WIDTH),
        ]
        lines.append(f"How sure of the kind: {self.named.confidence:.2f}")
        if self.inputs is not None:
            lines += ["", *_inputs(self.inputs)]
        if self.surface is not None:
            lines += ["", *_paragraphs(str(self.surface))]
        if self.remedies:
            lines += ["", *_remedies(self)]
        if self.notes:
            lines += ["", *(line for note in self.notes for line in textwrap.wrap(note, WIDTH, subsequent_indent="  "))]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in _table(self)
        )
        notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in self.notes)
        lines = _inputs(self.inputs) if self.inputs is not None else []
        lines += [] if self.surface is None else ["", *_paragraphs(str(self.surface))]
        measured = f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else ""
        code = f"<pre>{escape(self.recommended.code)}</pre>" if self.recommended and self.recommended.code else ""
        table = f"<table>{rows}</table>" if self.remedies else ""
        return (
            f"<div><p><b>{escape(TITLES[self.kind])}</b> · {escape(self.title)} · {self.rows[0]} reference rows, "
            f"{self.rows[1]} incoming<br>{escape(self.named.sentence)}</p>{measured}{table}{code}{notes}</div>"
        )


def _paragraphs(text: str) -> list[str]:
    return [line for part in text.split("\n") for line in textwrap.wrap(part, WIDTH, subsequent_indent="  ")]


def _inputs(inputs: Inputs) -> list[str]:
    """What moved, by how much, in lines."""
    moved, joint = inputs.moved, inputs.joint
    lines = [f"Inputs: {len(moved)} of {len(inputs.features)} features moved (level {inputs.level:.2g})."]
    if moved:
        rows = [["", "reference", "incoming", "effect", "adjusted p"]]
        for f in moved[:SHOWN]:
            sides = [f"{s.mean:.4g} ± {s.sd:.3g}" for s in (f.reference, f.incoming)]
            if f.reference.missing or f.incoming.missing:
                sides = [
                    f"{text}, {100 * s.missing:.2g} % missing"
                    for text, s in zip(sides, (f.reference, f.incoming), strict=True)
                ]
            rows.append([_short(f.name), *sides, f"{f.effect:.2g} sd", _p(f.adjusted)])
        lines += columns(rows).split("\n")
        lines += [f"and {len(moved) - SHOWN} more: as_dict() lists all"] if len(moved) > SHOWN else []
    said = "is" if joint.alarm else "is not surely"
    lines += textwrap.wrap(
        f"Together ({inputs.where}): the incoming side {said} told from the reference, AUC {joint.statistic:.3f}, "
        f"p {_equals(joint.p)}, {joint.rows} rows judged.",
        WIDTH, subsequent_indent="  ",
    )  # fmt: skip
    if inputs.shares is not None:
        s = inputs.shares
        how = "counted" if s.counted else "estimated from the predictions"
        said = "moved" if s.alarm else "not surely moved"
        most = int(np.argmax(np.abs(s.incoming - s.reference)))
        name = inputs.names[most] if inputs.names else most
        lines += textwrap.wrap(
            f"Classes ({how}): {said}, {100 * s.moved:.2g} % of the rows, p {_equals(s.p)}; "
            f"most, class {name}: {100 * s.reference[most]:.3g} → {100 * s.incoming[most]:.3g} %.",
            WIDTH, subsequent_indent="  ",
        )  # fmt: skip
    if inputs.order is not None and inputs.order.alarm:
        lines.append(f"Order: the first half of the incoming rows differs from the second, AUC {inputs.order.auc:.2f}.")
    elif inputs.order is not None and inputs.order.blocks:
        lines.append("Order: the incoming rows come sorted; a drift over time cannot be seen in them.")
    return lines


def _p(value: float) -> str:
    return "< 1e-16" if value < 1e-16 else f"{value:.1g}"


def _equals(value: float) -> str:
    return _p(value) if value < 1e-16 else f"= {value:.2g}"


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _table(shift: Shift) -> list[list[str]]:
    rows = [["", "loss", "difference [95 %]", "old data", "cost"]]
    for tried in shift.remedies:
        mark = "* " if shift.recommended is tried else "  "
        if not tried.measured:
            continue
        low, high = tried.interval
        first = tried is shift.remedies[0]
        against = "–" if first else f"{tried.change.mean:+.2g} [{low:+.2g}, {high:+.2g}]"
        old = f"{tried.old_loss:.3g}" if first else f"{tried.old_change:+.2g}"
        rows.append([mark + _short(tried.name, 25), f"{tried.loss:.4g}", against, old, duration(tried.seconds)])
    return rows


def _remedies(shift: Shift) -> list[str]:
    """The table, what was not tried, and the code of the recommended one."""
    rows = _table(shift)
    lines = ["Remedies, learned on one half of the incoming rows and measured on the other:"] if rows[1:] else []
    lines += columns(rows).split("\n") if rows[1:] else []
    left = ((tried.name, tried.why) for tried in shift.remedies if not tried.measured and tried.why)
    lines += [line for paragraph in unmeasured(left) for line in paragraph]
    choice = shift.recommended
    if choice is not None:
        lines += ["", *textwrap.wrap(f"Recommended: {choice.name}. {choice.detail}", WIDTH)]
        lines += [f"    {line}" for line in choice.code.split("\n")] if choice.code else []
    return lines
