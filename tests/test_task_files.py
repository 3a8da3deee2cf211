"""Files of tasks: the task, the recipe beside it, and files that are programs instead."""

import json

import pytest

import thalweg as tw
from thalweg.cli import main
from thalweg.errors import BadTask
from thalweg.task_files import is_script, load_with_recipe

TASK = """import torch
import thalweg as tw
x = torch.randn(400, 2)
task = tw.Task(model=lambda: torch.nn.Linear(2, 2), train=(x, (x[:, 0] > 0).long()), epochs=3)
"""


def file(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_recipe_beside_a_task_comes_with_it(tmp_path):
    task, recipe = load_with_recipe(file(tmp_path, TASK + "recipe = tw.Recipe('sgd', lr=0.5)\n"))
    assert task.prepare().train.rows == 320 and recipe == tw.Recipe("sgd", lr=0.5)
    assert load_with_recipe(file(tmp_path, TASK + "recipe = 'soup'\n", "other.py"))[1] is None


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (TASK, False),
        ("def task():\n    pass\n", False),
        ("from mine import task\n", False),
        ("from mine import other as task\n", False),
        ("if True:\n    task = 1\n", False),
        ("print('training')\n", True),
        ("def train():\n    task = 1\n", True),
    ],
)
def test_a_program_has_no_task_at_its_top(tmp_path, text, script):
    path = file(tmp_path, text)
    assert is_script(path) == script and not is_script(f"{path}:task") and not is_script("digits")


def test_what_is_no_python_is_said(tmp_path):
    with pytest.raises(BadTask, match="failed at line 2"):
        is_script(file(tmp_path, "x = 1\nx = = 2\n"))
    with pytest.raises(BadTask, match="no file"):
        is_script(str(tmp_path / "none.py"))


def test_of_several_one_that_fails_does_not_take_the_others_with_it(tmp_path, capsys):
    good, bad = file(tmp_path, TASK), file(tmp_path, "1 / 0\ntask = None\n", "bad.py")
    assert main(["diagnose", bad, good, "--json"]) == 2
    first, second = json.loads(capsys.readouterr().out)["diagnoses"]
    assert first["error"]["code"] == "bad-task" and "ZeroDivisionError" in first["error"]["message"]
    assert "findings" in second
