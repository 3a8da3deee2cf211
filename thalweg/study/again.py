"""Going on with a study that was interrupted, from what it says of itself.

`command` is what a person types for it; ``python -m thalweg.study.again FOLDER [TASK]`` does it where there is nobody to type.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadStudy, ThalwegError
from ..store import SEVERAL, Store

if TYPE_CHECKING:
    from .study import Study

MOST = 256  # ways to read what was asked that are tried
DROPPED = {"--show": 0, "--json": 0, "--dry-run": 0, "--folder": 1, "--plot": 1}  # options, and the words after them
PROXIES = "smaller", "larger"  # the studies in the folder of a proxy


def command(folder: Path, head: dict[str, Any]) -> str:
    """The command that goes on with a study; "" where that is none of thalweg's, which a page must not offer.

    Args:
        folder: of the study.
        head: its ``study.json``.

    Example:
        >>> head = {"asked": {}, "environment": {"command": "/usr/bin/thalweg compare digits --show --folder old"}}
        >>> command(Path("a study"), head)
        "thalweg compare digits --folder 'a study'"
    """
    try:
        words = shlex.split(str(head.get("environment", {}).get("command", "")))
    except ValueError:
        return ""
    place = next((i for i, word in enumerate(words[:3]) if word == "compare"), None)
    if "asked" not in head or not place or Path(words[place - 1]).stem not in ("thalweg", "__main__"):
        return ""
    kept, skip = ["compare"], 0
    for word in words[place + 1 :]:
        option, _, value = word.partition("=")
        if skip:
            skip -= 1
        elif option in DROPPED:
            skip = 0 if value else DROPPED[option]
        else:
            kept.append(word)
    return shlex.join(["thalweg", *kept, "--folder", str(_asked_for(folder, kept))])


def _asked_for(folder: Path, words: Sequence[str]) -> Path:
    """The folder that a command is to name: of several tasks, or of a proxy, that which holds this study and others."""
    small = any(word.partition("=")[0] == "--proxy" for word in words) and folder.name in PROXIES
    return folder.parent if small or (folder.parent / SEVERAL).is_file() else folder


def again(folder: str | Path, task: str | None = None, quiet: bool = False) -> Study:
    """Ask what a study was asked once more, so that it goes on to its verdict.

    Args:
        folder: of the study.
        task: where its task is, where the folder is not to be asked.
        quiet: no progress.

    Raises:
        BadStudy: it does not say where its task is, or its task is no longer the same, or it was asked from Python in
            words that cannot be told from its folder.

    Example:
        >>> import thalweg
        >>> study = thalweg.compare("digits", field=["sgd"], budget="6 runs", quiet=True, folder=tmp / "study")
        >>> again(tmp / "study", quiet=True).verdict.sentence == study.verdict.sentence
        True
    """
    from .comparison import asked_by, compare

    head = Store(folder).head()
    source, asked = task or head.get("source"), head.get("asked")
    hand = f"start it again as it was started{': ' if (own := command(Path(folder), head)) else ''}{own}"
    if asked is None or source is None:
        raise BadStudy(f"{folder} does not say where its task is", hand)
    for options in itertools.islice(readings(asked), MOST):
        try:
            same = asked_by(source, **options) == asked
        except ThalwegError:
            same = False
        if same:
            study: Study = compare(source, **options, folder=folder, quiet=quiet)
            return study
    raise BadStudy(f"{folder} was asked in words that it does not tell, or its task has changed", hand)


def readings(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What may have been asked, where ``study.json`` leaves it open: a range or two values, a name or a recipe.

    Example:
        >>> one = {"field": [["adamw at 1e-3", {}], ["sgd", {"optimizer": "sgd"}]], "axes": {}, "budget": "6 runs"}
        >>> [reading["field"] for reading in readings(one)]
        [['sgd'], [Recipe('sgd')]]
    """
    from ..recipe import Recipe

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
        words: its folder, and the task, where the folder is not to be asked.

    Returns:
        The exit code.
    """
    try:
        print(again(words[0], words[1] if len(words) > 1 else None).verdict.sentence)
    except ThalwegError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
