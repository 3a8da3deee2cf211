"""Makes the pictures of the README and the guides: ``python docs/pictures/make.py`` (two minutes on two idle cores).

The study is that of ``thalweg compare digits --seeds 10``: without a limit in seconds, so that it is the same anywhere.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text
from torch import nn

import thalweg as tw
from thalweg import experiments

HERE = Path(__file__).resolve().parent
COMMAND = "thalweg compare digits --seeds 10"
WIDTH = 118  # columns of the terminal that is drawn


def draw_terminal(command: str, printed: str, path: Path) -> None:
    """What a command printed, as a picture of a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text("$ ", style="green") + Text(command, style="bold"))
    console.print(Text(printed))
    svg = console.export_svg(title="thalweg", unique_id="verdict")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # a picture fetches nothing
    path.write_text(svg.replace("Fira Code, monospace", "monospace"), encoding="utf-8")


def experiment_pictures() -> None:
    """The curves of the guides on initialization and normalization."""
    digits = tw.Task.load("digits")

    def deep(depth: int, width: int) -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width if layers else 64, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 10))

    shared = {"train": digits.train, "valid": digits.valid, "batch_size": 64}
    eight = tw.Task(model=lambda: deep(8, 50), epochs=20, **shared)
    experiments.init_scale(eight, seeds=3).plot(HERE / "init_scale.png")
    experiments.batch_size(tw.Task(model=lambda: deep(2, 32), epochs=5, **shared), ("batch", "layer"), seeds=3).plot(
        HERE / "batch_size.png"
    )


def shift_picture() -> None:
    """The surfaces of the guide on shifts: digits on a grey ground."""
    task = tw.Task.load("digits")
    run = tw.train(task, tw.Recipe("momentum", lr=0.1), quiet=True)
    test = task.prepare().judge
    dimmed = 0.35 * test.inputs + 0.3
    tw.shift(run, task=task, incoming=(dimmed, test.targets), quiet=True).plot(HERE / "shift.png")


def main() -> None:
    """One study in a temporary folder, its figure and its text; then the experiments."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        study = tw.compare("digits", seeds=10)
        study.plot(HERE / "digits.png")
        draw_terminal(COMMAND, str(study), HERE / "verdict.svg")
        tw.landscape(study, planes=["pca", "random", "eigen"], slices=["line", "top"], connect=True).plot(
            HERE / "landscape.png"
        )
        print(study)
    shift_picture()
    experiment_pictures()


if __name__ == "__main__":
    main()
