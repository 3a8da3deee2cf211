"""The index of the subject: what a row names is there, be it a command, a name of the package, or a view of the page."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import thalweg as tw
from thalweg import cli
from thalweg.arguments import axes_of
from thalweg.web.playground.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
INDEX = (ROOT / "docs/guides/subject.md").read_text(encoding="utf-8").partition("\n## ")[0]
LINES = [line for line in INDEX.splitlines() if line.startswith("| ")][1:]
VIEWS = set(re.findall(r'title: "([\w ]+)", load', (ROOT / "ui/src/app.tsx").read_text(encoding="utf-8")))
CODE = re.compile(r"`([^`]+)`(?!\])")  # what is the text of a link is checked as a link
VIEW = re.compile(r"\[([\w ]+)\]\(page\.md#views\)(?: \(([D\d, ]+)\))?")
LINK = re.compile(r"\]\([^)]+\)")
SOME = {"norm=": "batch", "init=": "he_normal"}
OPTION = re.compile(r"(\w+)=")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the words of the table stand for."""
    task, folder = tw.Task.load("digits"), tmp_path_factory.mktemp("subject")
    study = tw.compare(task, field=["sgd"], budget="16 runs", folder=folder / "s", quiet=True)
    return {
        "tw": tw,
        "thalweg": tw,
        "task": task,
        "study": study,
        "run": tw.train(task, tw.Recipe("sgd", lr=0.1), quiet=True),
    }


def helped(command, capsys):
    assert cli.main([command, "--help"]) == 0
    return capsys.readouterr().out


def checked(code, names, capsys):
    """Whether what a row names is there; None where it is a word of no command or package."""
    first = re.split(r"[ .]", code)[0]
    if code.startswith("thalweg "):
        _, command, *options = code.split()
        return command in cli.app and all(option in helped(command, capsys) for option in options)
    if code.startswith("--axis "):
        axis = code.split()[1]
        return "--axis" in helped("compare", capsys) and axes_of([axis + SOME[axis]]) is not None
    if first not in names:
        return None
    place, _, call = code.partition("(")
    if first == "thalweg":
        importlib.import_module(".".join(place.split(".")[:2]))
    found = eval(place, dict(names))
    if place == "tw.Recipe":
        return eval(code, dict(names)) is not None
    allowed = inspect.signature(found).parameters.values() if call else ()
    return any(p.kind is p.VAR_KEYWORD for p in allowed) or set(OPTION.findall(call)) <= {p.name for p in allowed}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_what_a_row_names_is_there(line, names, capsys):
    _, _, command, shown, _ = line.split("|")
    said = {code: checked(code, names, capsys) for code in CODE.findall(command) + CODE.findall(shown)}
    assert False not in said.values(), said
    assert any(said.get(code) for code in CODE.findall(command)) and LINK.search(shown)


def test_views_and_cards_that_rows_name_are_on_the_page():
    cards = {preset.id.partition("-")[0].upper() for preset in PRESETS}
    named = [match for line in LINES for match in VIEW.findall(line)]
    assert {view for view, _ in named} == VIEWS - {"Studies"}  # every view shows something of the subject
    shown = {card for view, some in named for card in some.split(", ") if card}
    assert shown == cards and all(some for view, some in named if view == "Playground")
