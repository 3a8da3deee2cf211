"""``python -m thalweg.study.again FOLDER``: go on with a study that was interrupted, from what it says of itself."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadStudy, ThalwegError
from ..recipe import Recipe
from ..store import Store
from .comparison import asked_by, compare
from .study import Study

MOST = 256  # ways to read what was asked that are tried


def again(folder: str | Path, quiet: bool = False) -> Study:
    """Ask what a study was asked once more, so that it goes on to its verdict.

    Args:
        folder: of the study.
        quiet: no progress.

    Raises:
        BadStudy: it does not say where its task is, or its task is no longer the same, or it was asked from Python in
            words that cannot be told from its folder.

    Example:
        >>> study = compare("digits", field=["sgd"], budget="6 runs", quiet=True, folder=tmp / "study")
        >>> again(tmp / "study", quiet=True).verdict.sentence == study.verdict.sentence
        True
    """
    head = Store(folder).head()
    source, asked = head.get("source"), head.get("asked")
    hand = str(head.get("environment", {}).get("command", "")) or "thalweg compare"
    if asked is None or source is None:
        raise BadStudy(f"{folder} does not say where its task is", f"start it again as it was started: {hand}")
    for options in itertools.islice(readings(asked), MOST):
        try:
            same = asked_by(source, **options) == asked
        except ThalwegError:
            same = False
        if same:
            study: Study = compare(source, **options, folder=folder, quiet=quiet)
            return study
    raise BadStudy(
        f"{folder} was asked in words that it does not tell, or its task has changed",
        f"start it again as it was started: {hand}",
    )


def readings(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What may have been asked, where ``study.json`` leaves it open: a range or two values, a name or a recipe.

    Example:
        >>> one = {"field": [["adamw at 1e-3", {}], ["sgd", {"optimizer": "sgd"}]], "axes": {}, "budget": "6 runs"}
        >>> [reading["field"] for reading in readings(one)]
        [['sgd'], [Recipe('sgd')]]
    """
    entrants = [(name, recipe) for name, recipe in asked["field"][1:]]
    names = list(dict.fromkeys(name.partition(" ")[0] for name, _ in entrants))
    own = [[name, *([Recipe(**recipe)] if not asked["axes"] else [])] for name, recipe in _firsts(names, entrants)]
    axes = [
        [values, *([tuple(values)] if len(values) == 2 and all(isinstance(v, float | int) for v in values) else [])]
        for values in asked["axes"].values()
    ]
    limit = asked["budget"]
    for chosen in itertools.product(*axes):
        for field in dict.fromkeys((_named(own), _given(own), *itertools.islice(itertools.product(*own), MOST))):
            yield {
                "baseline": Recipe(**asked["baseline"]) if asked.get("baseline") else None,
                "field": list(field),
                "axes": dict(zip(asked["axes"], chosen, strict=True)) or None,
                "budget": None if limit == "no limit" else limit,
                "effort": asked.get("effort", "quick"),
                "seeds": asked.get("seeds"),
                "delta": asked.get("delta"),
            }


def _firsts(names: Sequence[str], entrants: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, next(recipe for own, recipe in entrants if own.partition(" ")[0] == name)) for name in names]


def _named(own: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(options[0] for options in own)


def _given(own: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(options[-1] for options in own)


def main(words: Sequence[str]) -> int:
    """Go on with a study.

    Args:
        words: its folder.

    Returns:
        The exit code.
    """
    try:
        print(again(words[0]).verdict.sentence)
    except ThalwegError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
