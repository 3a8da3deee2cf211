"""What is seen from outside: names, what an import loads, docstrings, the shape of the repository."""

import inspect
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import thalweg as tw

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "thalweg").rglob("*.py"))
PUBLIC = [name for name in tw.__all__ if callable(getattr(tw, name))]
HEAVY = ("numba", "scipy", "starlette", "triton", "rich", "cyclopts", "matplotlib", "pandas", "torch._dynamo")


def loaded(code):
    """The names of the modules that a fresh interpreter has loaded after some code."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_an_import_loads_next_to_nothing():
    modules = loaded("import thalweg")
    assert not modules & {*HEAVY, "torch", "numpy"}
    assert {name for name in modules if name.startswith("thalweg")} == {"thalweg", "thalweg.version"}


def test_a_run_loads_neither_pages_nor_torchs_compiler():
    """torch's own optimizers import torch._dynamo when they are made, which takes seconds in every process."""
    code = "import thalweg as tw\ntw.train('digits', tw.Recipe('adamw', lr=1e-2, clip_norm=1.0, freeze=['0.*']), quiet=True)"
    loaded(code)  # compiles the kernel if nobody has, for which Numba loads scipy
    modules = loaded(code)
    assert "thalweg.loop" in modules
    assert not modules & ({*HEAVY} - {"rich", "numba"})


def test_the_front_door_lists_what_can_be_had():
    assert sorted(set(tw.__all__)) == sorted(tw.__all__) == dir(tw)
    for name in tw.__all__:
        assert getattr(tw, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        tw.no_such_name  # noqa: B018
    star = {}
    exec("from thalweg import *", star)
    assert {*tw.__all__} <= {*star}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_says_what_it_is_and_shows_it(name):
    text = inspect.getdoc(getattr(tw, name))
    assert text and "Example:" in text and ">>> " in text, f"tw.{name} has no example in its docstring"


def test_the_package_says_that_it_is_typed():
    assert files("thalweg").joinpath("py.typed").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_a_room(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_the_top_of_the_repository_is_short():
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    shown = [p.name for p in ROOT.iterdir() if not p.name.startswith(".") and p.name not in ignored]
    assert 5 < len([name for name in shown if not name.endswith(".egg-info")]) <= 14


def test_tables_of_this_file_are_not_empty():
    assert len(SOURCES) > 40 and {"compare", "train", "minimize", "Task", "Recipe", "Study"} <= {*PUBLIC}
