"""Several tasks: a study of each, one after the other, and how often each recipe is nearly the best."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, cast, overload

from ..console import Progress
from ..errors import BadOption, BadStudy
from ..store import FORMAT, HOME, SEVERAL, Store, plain
from .plan import Budget
from .profile import Profile, profile
from .profile_table import html, text
from .study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")


class Studies:
    """The answers to one comparison on several tasks; printing it shows each verdict's advice and the profile.

    Attributes:
        folder: holds a folder for each study.
        tasks: their names, made different where they are not.
        studies: one a task; after Ctrl-C those that were begun.
        profile: how often each recipe is nearly the best.

    Example:
        >>> import thalweg
        >>> ask = {"field": ["sgd"], "budget": "24 runs", "quiet": True, "folder": tmp / "both"}
        >>> both = thalweg.compare(["digits", "digits"], **ask)
        >>> both.tasks, both.profile.share("sgd", gap=1)
        (('digits', 'digits-2'), 1.0)
    """

    def __init__(self, folder: Path, tasks: Sequence[str], studies: Sequence[Study]) -> None:
        self.folder, self.tasks, self.studies = folder, tuple(tasks), tuple(studies)
        self.profile: Profile = profile(self.studies, self.tasks[: len(self.studies)])

    @classmethod
    def load(cls, folder: str | Path) -> Studies:
        """Read the studies that have their verdict.

        Args:
            folder: what ``thalweg compare`` printed.

        Raises:
            BadStudy: no studies there, or none with a verdict.
        """
        head = _head(Path(folder))
        if head is None:
            raise BadStudy(f"{folder} holds no studies of several tasks", "for one task's study use Study.load")
        tasks = [name for name, _ in head["asked"]["tasks"]]
        done = [name for name in tasks if (Path(folder) / name / "verdict.json").exists()]
        if not done:
            raise BadStudy(f"{folder} has no verdict yet", "start the same comparison again to resume it")
        return cls(Path(folder), done, [Study.load(Path(folder) / name) for name in done])

    def to_dict(self) -> dict[str, Any]:
        """The document that ``thalweg compare A B --json`` prints: ``studies``, as for one task, and ``profile``."""
        documents = [study.document for study in self.studies]
        return {"folder": str(self.folder), "studies": documents, "profile": self.profile.as_dict()}

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Two panels: the share of tasks within a factor of the fewest samples, and within a distance of the best score.

        Args:
            path: where to save the figure (``.png``, ``.svg``, ``.pdf``); None: nowhere.

        Raises:
            Missing: matplotlib is not installed.
        """
        from .profile_figure import draw

        figure = draw(self.profile)
        if path is not None:
            figure.savefig(path, dpi=150, bbox_inches="tight")
        return figure


class Comparing(Protocol[P]):
    """``compare`` of one task or of a list of them."""

    @overload
    def __call__(self, what: list[Any] | tuple[Any, ...], /, *args: P.args, **options: P.kwargs) -> Studies: ...
    @overload
    def __call__(self, what: Any, /, *args: P.args, **options: P.kwargs) -> Study: ...


def also_several(one: Callable[Concatenate[Any, P], Study]) -> Comparing[P]:
    """``compare`` for a list of tasks too: a study of each, the budget shared."""

    @functools.wraps(one)
    def either(what: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(what, list | tuple):
            return one(what, *args, **options)
        if not what or args or options.get("train") is not None or options.get("valid") is not None:
            raise BadOption(
                "compare: a list holds tasks, at least one, that bring their own data", "write compare([task, task])"
            )
        return _each(one, what, **options)

    return cast("Comparing[P]", either)


def _each(
    one: Callable[..., Study],
    whats: Sequence[Any],
    *,
    budget: str | float | None = None,
    folder: str | Path | None = None,
    resume: bool = True,
    quiet: bool = False,
    **options: Any,
) -> Studies:
    """A study of each task in its own folder; what one leaves of its share of the budget goes to the rest."""
    from .comparison import read_case

    if options.get("proxy") is not None:
        raise BadOption("compare: proxy goes with one task", "compare each large task by itself")
    started, limit = time.monotonic(), Budget.of(budget)
    cases = [read_case(what) for what in whats]  # all of them first: wrong use of the last should not cost an hour
    names: list[str] = []
    for case in cases:
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in case.name)
        others = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        names.append(next(other for other in others if other not in names))
    told = {k: repr(v) for k, v in sorted(options.items()) if k != "executor"}
    tasks = [[name, case.fingerprint] for name, case in zip(names, cases, strict=True)]
    root = _root(folder, {"tasks": tasks, "budget": str(limit), "options": told}, resume)
    spent, done = time.monotonic() - started if limit.kind == "seconds" else 0.0, list[Study]()
    for k, (case, name) in enumerate(zip(cases, names, strict=True)):
        began, store = time.monotonic(), Store(root / name)
        share = _share(limit, spent, len(cases) - k, store)
        with Progress(quiet) as progress:
            progress.say(f"Task {k + 1} of {len(cases)}: {name}" + (f", {share}" if budget is not None else ""))
        given = share.amount if share.kind == "seconds" else None if share.kind == "none" else str(share)
        done.append(one(case, budget=given, folder=store.folder, resume=resume, quiet=quiet, **options))
        cost = float(done[-1].cost.get(limit.kind, 0.0))
        spent += max(cost, time.monotonic() - began) if limit.kind == "seconds" else cost
        if not store.head().get("complete"):  # Ctrl-C
            break
    else:
        store = Store(root)
        store.write(SEVERAL, {**(_head(root) or {}), "complete": True})
    return Studies(root, names[: len(done)], done)


def _share(limit: Budget, spent: float, waiting: int, store: Store) -> Budget:
    """What the next of the waiting tasks may spend; one that was begun keeps what it was given."""
    if store.exists():
        amount, _, kind = str(store.head()["asked"]["budget"]).partition(" ")
        return limit if limit.kind == "none" else Budget(kind, float(amount))
    share = (limit.amount - spent) / waiting
    if limit.kind == "runs":
        share = share // 1
    least = {"none": 1.0, "runs": 1.0, "samples": 1.0, "seconds": 0.1}[limit.kind]  # a study of nothing is one, too
    return Budget(limit.kind, float(f"{max(share, least):.6g}"))


def _head(root: Path) -> dict[str, Any] | None:
    head = Store(root).read(SEVERAL)
    if head is not None and head.get("format") != FORMAT:
        raise BadStudy(f"{root} has format {head.get('format')!r}, this thalweg reads {FORMAT}", "use what wrote it")
    return head


def _root(folder: str | Path | None, asked: dict[str, Any], resume: bool) -> Path:
    """The folder of the studies: the given one, else the newest unfinished one of the same comparison, else a new one."""
    asked = plain(asked)
    if folder is not None:
        root = Path(folder)
        head = _head(root)
        if head is not None:
            changed = [k for k in asked if head["asked"][k] != asked[k]]
            if changed or not resume:
                fact = f"was asked differently: {', '.join(changed)}" if changed else "holds studies already"
                raise BadStudy(f"{root} {fact}", "give a new folder, or ask the same to resume")
            return root
        if root.exists() and not (root.is_dir() and not any(root.iterdir())):
            raise BadStudy(f"{root} is not empty and holds no studies of several tasks", "give a new folder")
    else:
        name, number = "+".join(name for name, _ in asked["tasks"])[:100], 1
        while (root := HOME / f"{name}-{number:03d}").exists():
            head = _head(root)
            if resume and head is not None and head["asked"] == asked and not head.get("complete"):
                return root
            number += 1
    try:
        root.mkdir(parents=True, exist_ok=True)
        Store(root).write(SEVERAL, {"format": FORMAT, "asked": asked, "complete": False})
    except OSError as error:
        raise BadStudy(
            f"cannot write studies to {root}: {error.strerror}", "give a folder that you may write to"
        ) from None
    return root
