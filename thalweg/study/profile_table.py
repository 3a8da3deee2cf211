"""Several studies as text of 80 columns and as HTML for a notebook."""

from __future__ import annotations

import math
import textwrap
from html import escape
from typing import TYPE_CHECKING

from .profile import GAPS, RATIOS, Profile

if TYPE_CHECKING:
    from .several import Studies

NAME, CELL, ROWS = 16, 6, 12  # columns of a name and of a share, rows of the table
SAMPLES, SCORE = "samples to target", "score behind the best"


def heads() -> list[list[str]]:
    """The two lines of the table's head: what tau is, and its values."""
    ratios = ["ever" if math.isinf(tau) else f"{tau:g}×" for tau in RATIOS]
    return [["", SAMPLES, SCORE], ["", *ratios, *(f"{tau:g}δ" for tau in GAPS)]]


def rows(profile: Profile) -> list[list[str]]:
    """A row a recipe: on how many tasks it is within each tau."""
    count = len(profile.tasks)

    def cell(share: float) -> str:
        return f"{round(share * count)}/{count}"

    return [
        [
            name,
            *(cell(profile.share(name, ratio=tau)) for tau in RATIOS),
            *(cell(profile.share(name, gap=tau)) for tau in GAPS),
        ]
        for name in profile.recipes[:ROWS]
    ]


def text(several: Studies) -> str:
    """A line of advice a task, the profile, and where the studies lie."""
    p = several.profile
    width = min(max(map(len, p.tasks), default=0), 20)
    lines = [f"{len(p.tasks)} tasks."]
    for task, study in zip(p.tasks, several.studies, strict=True):
        advice = f"{task[:width]:{width}}  {study.verdict.sentences[1]}"
        lines += textwrap.wrap(advice, 80, subsequent_indent=" " * (width + 2))
    if p.recipes:
        (_, first, second), taus = heads()
        lines.append(f"{'On how many':{NAME}}{first:>{CELL * len(RATIOS)}}  {second:>{CELL * len(GAPS)}}")
        for name, *cells in [["within", *taus[1:]], *rows(p)]:
            shown = "".join(f"{c:>{CELL}}" for c in cells[: len(RATIOS)])
            lines.append(f"{name[:NAME]:{NAME}}{shown}  {''.join(f'{c:>{CELL}}' for c in cells[len(RATIOS) :])}")
    if len(p.recipes) > ROWS:
        lines.append(f"and {len(p.recipes) - ROWS} more")
    if p.left_out:
        lines.append(f"Not a finalist on every task: {', '.join(p.left_out)}.")
    lines.append(f"studies  {several.folder}")
    return "\n".join(lines)


def html(several: Studies) -> str:
    """The same for a notebook."""
    p = several.profile
    advice = "".join(
        f"<li><b>{escape(task)}</b>: {escape(study.verdict.sentences[1])}</li>"
        for task, study in zip(p.tasks, several.studies, strict=True)
    )
    (_, first, second), taus = heads()
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows(p))
    return (
        f"<div><ul>{advice}</ul><table><thead><tr><th></th><th colspan='{len(RATIOS)}'>{first}</th>"
        f"<th colspan='{len(GAPS)}'>{second}</th></tr><tr>{''.join(f'<th>{c}</th>' for c in taus)}</tr></thead>"
        f"<tbody>{body}</tbody></table><p><small>{escape(str(several.folder))}</small></p></div>"
    )
