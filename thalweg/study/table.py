"""The verdict as fourteen lines of text and as HTML for a notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .borders import MARKS, REASONS
from .words import SHARES, show, unit

if TYPE_CHECKING:
    from .borders import Border
    from .horizons import Trend
    from .standing import Standing
    from .study import Best, Study

ROWS = 8  # and footnotes, so that the text has 14 lines


def _interval(low: float, high: float, metric: str, signed: bool = False) -> str:
    if math.isinf(low) or math.isnan(low):
        return ""
    if metric in SHARES and not signed:
        low, high = max(0.0, low), min(1.0, high)
    return f"[{show(low, metric, signed)}, {show(high, metric, signed)}]"


def _cells(s: Standing, study: Study) -> list[str]:
    metric = study.verdict.metric
    score = "diverged" if math.isnan(s.mean) else f"{show(s.mean, metric)} {_interval(*s.interval, metric)}"
    d = s.difference
    if s.baseline:
        against, decision = "–", "reference"
    elif math.isnan(d.mean):
        against, decision = "–", d.decision
    else:
        against, decision = f"{show(d.mean, metric, True)} {_interval(*d.interval, metric, True)}", d.decision
    if s.diverged:
        decision += f", {s.diverged} diverged"
    mark = "*" if s.name == study.verdict.best else " "
    lr = f"{s.recipe.lr:.3g}{MARKS[s.border.side] if s.border else ''}"
    if _sizes_differ(study):
        reached = (s.samples_to_target, s.steps_to_target, s.seconds_to_target)
        return [f"{mark} {s.name}", score, decision, *map(_count, reached)]
    return [f"{mark} {s.name}", lr, score, against, decision]


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _sizes_differ(study: Study) -> bool:
    """Whether batch sizes were compared: these are judged by what it takes to reach the baseline's level."""
    return len({s.recipe.batch_size for s in study.finalists}) > 1


def header(study: Study) -> list[str]:
    """The table's head."""
    v = study.verdict
    if _sizes_differ(study):
        return ["", f"{v.metric}{unit(v.metric)} [95 %]", "", "samples", "steps", "s to target"]
    return ["", "lr", f"{v.metric}{unit(v.metric)} [95 %]", "difference [95 %]", ""]


def rows(study: Study, most: int = ROWS) -> list[list[str]]:
    """At most so many rows, the baseline always among them; what does not fit is named in the last one."""
    cells = [_cells(s, study) for s in study.finalists]
    if len(cells) <= most:
        return cells
    base = next((i for i, s in enumerate(study.finalists) if s.baseline), 0)
    shown = sorted({*range(most - 2), base})[: most - 1]
    rest = [s.name for i, s in enumerate(study.finalists) if i not in shown]
    return [cells[i] for i in shown] + [[f"  and {len(rest)} more: {', '.join(rest)}", *[""] * (len(cells[0]) - 1)]]


def footnotes(study: Study) -> list[str]:
    """Two lines at most below the table: on rates at the end of those tried, and on what short runs would have said."""
    finalists = [(s.name, s.border, s.trend) for s in study.finalists]
    return doubts(finalists, study.verdict.smallest_difference, study.document)


def doubts(
    finalists: Sequence[tuple[str, Border | None, Trend | None]], delta: float, document: Mapping[str, Any]
) -> list[str]:
    """What `footnotes` says.

    Args:
        finalists: name, border and trend of each.
        delta: the smallest interesting difference.
        document: the study's.
    """
    notes = []
    ended = [border for _, border, _ in finalists if border]
    if ended:
        marks = " ".join(sorted({MARKS[b.side] for b in ended}))
        why = f" ({REASONS[ended[0].why]})" if len({b.why for b in ended}) == 1 else ""
        notes.append(f"{marks} last rate tried; beyond it may be better{why}")
    parts = [
        f"{name}'s lr {trend.best[0][1]:.3g} in {trend.best[0][0]} steps, {trend.best[-1][1]:.3g} in {trend.best[-1][0]}"
        for name, _, trend in finalists
        if trend and trend.misleads(delta)
    ]
    for change in document.get("ranking_changes", ()):
        if change["leader"] and float(change["lost"]) > delta:
            (first, then), (short, long) = change["leader"], change["steps"]
            parts.append(f"{first} leads in {short} steps, {then} in {long}")
    if "proxy" in document:
        notes.append(document["proxy"]["sentence"])
    if parts:
        more = f" (+{len(parts) - 1} such)" if len(parts) > 1 else ""
        notes.append(f"Short runs mislead: {parts[0]}{more}")
    return notes


def text(study: Study) -> str:
    """The closing lines, 14 at most: three sentences, the finalists with footnotes, the recipe, the line to paste."""
    lines = list(study.verdict.sentences)
    if study.finalists:
        notes = footnotes(study)
        table = [header(study), *rows(study, ROWS - len(notes))]
        widths = [max(len(row[i]) for row in table if any(row[1:])) for i in range(len(table[0]))]
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
        lines += notes
    if study.best:
        steps = study.document["steps"]
        lines += [
            f"recipe  {study.best.recipe}{_arguments(study.best)}   (study: {study.folder})",
            f'paste   optimizer, schedule = thalweg.Recipe.load("{study.best.recipe_file}").build(model, steps={steps})',
        ]
    else:
        lines.append(f"study   {study.folder}")
    return "\n".join(lines)


def _arguments(best: Best) -> str:
    """The model's arguments that go with a recipe."""
    return "".join(f", model.{name} {value}" for name, value in best.arguments.items())


def html(study: Study) -> str:
    """The same for a notebook."""
    v = study.verdict
    head = "".join(f"<th style='text-align:left'>{escape(c)}</th>" for c in header(study))
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(c)}</td>" for c in row) + "</tr>" for row in rows(study)
    )
    notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in footnotes(study))
    recipe = f"<p><code>{escape(str(study.best.recipe) + _arguments(study.best))}</code></p>" if study.best else ""
    return (
        f"<div><p><b>{escape(v.sentences[0])}</b><br>{escape(v.sentences[1])}<br><small>{escape(v.sentences[2])}</small></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}{recipe}"
        f"<p><small>{escape(str(study.folder))}</small></p></div>"
    )
