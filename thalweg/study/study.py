"""A study: the runs of one comparison and its verdict, read from its folder."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..building import build
from ..errors import BadStudy, Missing
from ..recipe import Recipe
from ..store import Store, load_weights
from .standing import Standing
from .table import html, text
from .verdict import Verdict

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from torch import nn

    from ..task import Task


@dataclass(frozen=True)
class Best:
    """The recommended recipe with what was trained by it.

    Attributes:
        recipe: the choice.
        recipe_file: where it lies as TOML.
        model_file: weights of its first final, or None.
        test: ``{"mean", "interval", "metric"}`` on the test set, or None where there is none.
        arguments: of the task's model factory, where they were compared.
    """

    recipe: Recipe
    recipe_file: Path
    model_file: Path | None
    test: dict[str, Any] | None
    task: Task | None = None
    seed: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> nn.Module:
        """The trained network of the first final, in evaluation mode.

        Raises:
            BadStudy: the study kept no weights, or its task is not at hand.
        """
        if self.model_file is None or self.task is None:
            what = "kept no weights" if self.model_file is None else "was opened without its task"
            raise BadStudy(
                f"this study {what}",
                "build the model yourself and load the .safetensors file, or pass task= to Study.load",
            )
        model = build(self.task, self.recipe, self.seed, **self.arguments)
        model.load_state_dict(load_weights(self.model_file))
        return model.eval()


class Study:
    """The answer to a comparison; printing it shows the verdict.

    Attributes:
        verdict: winner or none, equivalents, sentences.
        finalists: one `Standing` a finalist, from best to worst.
        best: the recommended recipe and its model; None without a verdict.
        folder: where the study lies.
        not_tried: what the budget or the field left out.
        cost: ``runs``, ``samples``, ``seconds``.
        executor: where the runs happened, and the measurement that decided it.
        notes: sentences on what was inferred.

    Example:
        >>> import thalweg
        >>> study = thalweg.compare("digits", field=["sgd"], budget="8 runs", quiet=True, folder=tmp / "study")
        >>> study.cost["runs"] <= 8, [s.name for s in Study.load(tmp / "study").finalists] == [s.name for s in study.finalists]
        (True, True)
    """

    def __init__(
        self, folder: Path, document: dict[str, Any], verdict: Verdict, finalists: list[Standing], best: Best | None
    ) -> None:
        self.folder = folder
        self.document = document
        self.verdict = verdict
        self.finalists = finalists
        self.best = best
        self.not_tried: list[str] = document["not_tried"]
        self.cost: dict[str, Any] = document["cost"]
        self.executor: dict[str, Any] = document["executor"]
        self.notes: list[str] = document["notes"]

    @classmethod
    def load(cls, folder: str | Path, task: Task | None = None) -> Study:
        """Read a study that has its verdict.

        Args:
            folder: what ``thalweg compare`` printed.
            task: needed only for ``best.model``.

        Raises:
            BadStudy: no study there, or one without a verdict yet.
        """
        from .documents import read_standing, read_verdict

        store = Store(folder)
        store.head()
        document = store.read("verdict.json")
        if document is None:
            raise BadStudy(f"{folder} has no verdict yet", "start the same comparison again to resume it")
        verdict = read_verdict(document["verdict"])
        finalists = [read_standing(entry) for entry in document["finalists"]]
        return cls(Path(folder), document, verdict, finalists, _best(Path(folder), document, finalists, task))

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)

    def to_frame(self) -> pandas.DataFrame:
        """One row a run: ``phase, entrant, lr, seed, steps, status, samples, seconds`` and the last value of each metric.

        Raises:
            Missing: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise Missing("to_frame needs pandas", "pip install 'thalweg[frame]'") from None
        rows = {}
        for record in Store(self.folder).records():
            if record["kind"] != "end":
                continue
            row = {k: record[k] for k in ("phase", "entrant", "seed", "steps", "samples", "seconds")}
            row |= {
                "lr": record["recipe"].get("lr"),
                "status": record["outcome"]["status"],
                "reason": record["outcome"]["reason"],
            }
            for evaluation in record["evaluations"]:
                split = evaluation["split"]
                names = set(evaluation) - {"step", "samples", "seconds", "split"}
                row |= {f"{split} {name}": float(evaluation[name]) for name in sorted(names)}
            rows[record["run"]] = row
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("run").reset_index()

    def plot(self, path: str | Path | None = None) -> Figure:
        """Four panels: finals with intervals, their curves, score against learning rate, best so far against budget.

        Args:
            path: where to save the figure (``.png``, ``.svg``, ``.pdf``); None: nowhere.

        Raises:
            Missing: matplotlib is not installed.
        """
        from ..drawing import saved
        from .figure import draw

        return saved(draw(self), path, dpi=150)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the page with all that the study holds as one file, which a browser opens from disk without a network.

        Args:
            path: of the file.

        Returns:
            The file.

        Raises:
            BadStudy: it cannot be written.
        """
        from ..report import report

        return report(self.folder, path)


def _best(folder: Path, document: dict[str, Any], finalists: list[Standing], task: Task | None) -> Best | None:
    entry = document["best"]
    if entry is None:
        return None
    recipe = Recipe(**entry["recipe"])
    name = document["verdict"]["best"]
    seed = next((s.seeds[0] for s in finalists if s.name == name and s.seeds), 0)
    file = folder / entry["model_file"] if entry["model_file"] else None
    return Best(recipe, folder / entry["recipe_file"], file, entry["test"], task, seed, entry.get("arguments", {}))


def finite(value: Any) -> float | None:
    """A stored number, or None for NaN."""
    return None if value is None or math.isnan(float(value)) else float(value)
