"""The task of a study or run that lies in a folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadOption, BadStudy, BadTask
from ..store import Store
from ..task import Task

CHANGED = "The task is not the one that was trained: its data, model or settings have changed since."


def task_of(folder: str | Path, task: Task | None = None) -> tuple[Task, tuple[str, ...]]:
    """The task that a folder says it is of, and what is to be noted about it.

    Args:
        folder: of a study, or of a run.
        task: where the folder does not say, or another is meant.

    Raises:
        BadStudy: there is no study, it does not say where its task is, or the task cannot be loaded.

    Example:
        >>> import thalweg
        >>> run = thalweg.train("digits", thalweg.Recipe("sgd", lr=0.1), folder=tmp / "run", quiet=True)
        >>> task_of(tmp / "run")[0].name, task_of(tmp / "run")[1]
        ('digits', ())
    """
    head = Store(folder).head()
    if task is None:
        source = head.get("source")
        if source is None:
            raise BadStudy(f"{folder} does not say where its task is", "name it: --task, or task= in Python")
        try:
            task = Task.load(source)
        except (BadTask, BadOption) as error:
            raise BadStudy(
                f"the task of {folder} cannot be loaded: {error.message}", "name it: --task, or task= in Python"
            ) from error
    known = head["asked"]["fingerprint"] if "asked" in head else head.get("fingerprint")
    return task, () if known == task.fingerprint() else (CHANGED,)
