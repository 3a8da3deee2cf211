"""Makes the pictures of the README: ``python docs/pictures/make.py`` (a few minutes on two cores).

The comparison is the one of ``thalweg compare digits --seeds 10``: no budget in seconds, so that another machine runs
the same runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import thalweg as tw

HERE = Path(__file__).resolve().parent
COMMAND = "thalweg compare digits --seeds 10"
WIDTH = 112  # columns of the terminal that is drawn


def draw_terminal(command: str, printed: str, path: Path) -> None:
    """What a command printed, as a picture of a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text("$ ", style="green") + Text(command, style="bold"))
    console.print(Text(printed, overflow="fold"))
    path.write_text(console.export_svg(title="thalweg"), encoding="utf-8")


def main() -> None:
    """One study in a temporary folder, its figure and its text."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        study = tw.compare("digits", seeds=10, quiet="QUIET" in os.environ)
        study.plot(HERE / "digits.png")
        draw_terminal(COMMAND, str(study), HERE / "verdict.svg")
    print(study)


if __name__ == "__main__":
    main()
