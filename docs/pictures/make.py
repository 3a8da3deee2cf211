"""Makes the pictures of the README: ``python docs/pictures/make.py`` (two minutes on two idle cores).

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

import thalweg as tw

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


def main() -> None:
    """One study in a temporary folder, its figure and its text."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        study = tw.compare("digits", seeds=10)
        study.plot(HERE / "digits.png")
        draw_terminal(COMMAND, str(study), HERE / "verdict.svg")
        print(study)


if __name__ == "__main__":
    main()
