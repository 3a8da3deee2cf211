"""The benchmark scripts: what they import is named, and the short one gives what programs read."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
NAMES = {"optimi": "torch-optimi"}  # of a distribution, where it is another than the module's


def imported(script):
    """Modules of other distributions."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in (name.partition(".")[0] for name in names):
            if (
                name not in sys.stdlib_module_names
                and name != "thalweg"
                and ROOT / "benchmarks" / f"{name}.py" not in SCRIPTS
            ):
                yield name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_benchmark_imports_is_installed_with_it(script):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["bench"]]
    given = {re.match(r"[\w.-]+", name)[0].replace("_", "-") for name in wanted}
    assert {NAMES.get(name, name).replace("_", "-") for name in imported(script)} <= given
    assert {"torch", "optuna"} <= {name for each in SCRIPTS for name in imported(each)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_benchmark_takes_from_thalweg_is_there(script):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "thalweg":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "choosing":
            assert hasattr(importlib.import_module("thalweg.study.choosing"), node.attr)


def in_short(name):
    """The document of a script's short form."""
    command = [sys.executable, f"benchmarks/{name}.py", "--quick", "--json"]
    document = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600).stdout)
    assert document["machine"]["cores"] >= 1
    keys = {"what", "ours", "peer", "peer_name", "ratio", "limit_share", "n", "bar", "holds"}
    assert all(keys <= row.keys() for row in document["rows"])
    return document


def test_headlines_of_real_runs_in_short():
    errors, headlines, *_ = in_short("verdict")["rows"]
    assert errors["n"] == 10 and errors["ours"] <= 2
    assert headlines["ours"] > 0


def test_readers_that_come_back_lose_nothing_in_short():
    rows = in_short("streams")["rows"]
    lost = next(row for row in rows if "lost" in row["what"])
    assert lost["ours"] == 0 and lost["holds"]


def test_the_published_grid_in_short():
    document = in_short("quadratic_deep")
    rows = {row["what"]: row for row in document["rows"]}
    edge = rows["lowest rate at which SGD diverges"]
    assert edge["ours"] == edge["peer"] == 0.0398 and edge["holds"]
    losses = {
        row["what"].split()[4]: row
        for row in document["rows"]
        if "transcribed" in str(row["peer_name"]) and "loss" in row["what"]
    }
    assert losses.keys() == {"sgd", "momentum", "adam"}
    for row in losses.values():
        assert row["ours"] == pytest.approx(row["peer"], abs=0.5)
