"""Every file of examples/ is executed, as a user would, and what it prints is looked at."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
FILES = sorted(FOLDER.glob("*.py"))
SHORT = 'budget="18 runs"'  # in the place of minutes; runs, so that a busy machine gives the same answer
SENTENCE = r"is best on|is equivalent|are equivalent|No single winner on|No verdict on"
TABLE = r"\n +lr +.*\[95 %\].*(\n.+){2}"  # the head of the columns, and at least two finalists


def first_contact(said, progress):
    assert re.search(SENTENCE, said.splitlines()[0]) and "ResNet" in said.splitlines()[0]
    assert re.search(TABLE, said) and "accuracy %" in said and "paste   optimizer" in said
    assert "read anew each epoch" in progress and "augmentation" in progress
    assert "seeds vary the order only" in progress and "fine-tuning" not in progress


def gan(said, progress):
    assert re.search(TABLE, said) and "energy_distance" in said and "adam (yours)" in said
    assert re.search(SENTENCE, said.splitlines()[0]) and " on fit" in said.splitlines()[0]


def fine_tune(said, progress):
    assert float(re.search(r"accuracy ([\d.]+)", said)[1]) > 0.8
    assert "stem: unchanged" in said and "body: moved" in said and "head: moved" in said


def saddle(said, progress):
    steps = dict(re.findall(r"(\w+) +(\d+) steps", said))
    expected = {"sgd": 272, "momentum": 75, "nesterov": 68, "adagrad": 18, "adam": 11, "rmsprop": 4}
    assert {rule: int(count) for rule, count in steps.items()} == expected


def any_loop(said, progress):
    losses = [float(loss) for loss in re.findall(r"loss (\S+),", said)]
    assert len(losses) == 3 and losses[-1] < 1e-6


def my_task(said, progress):
    assert float(re.search(r"mse ([\d.]+)", said)[1]) < 0.15 and "finished" in said


def their_code(said, progress):
    assert re.search(r"\d+ parameters, images \(64, 1, 8, 8\)", said)


def deep_tanh(out, err):
    assert "theory" in out and len(out.splitlines()) == 53


def shift(said, progress):
    assert "Broken pipeline" in said and "x1 is ×1000" in said and "kind: pipeline · columns: x1" in said
    assert "recommended: undo the change" in said and max(map(len, said.splitlines())) <= 100


CHECKS = {
    f.__name__: f for f in (first_contact, gan, fine_tune, saddle, any_loop, my_task, their_code, deep_tanh, shift)
}


def test_every_example_has_a_check_and_a_docstring():
    assert FILES and {path.stem for path in FILES} == {*CHECKS}
    for path in FILES:
        assert re.match(r'"""[A-Z]', path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_example_runs(path, tmp_path):
    code, count = re.subn(r'budget="\d+[sm]"', SHORT, path.read_text(encoding="utf-8"))
    assert count == ("compare(" in code and "thalweg compare" not in code)
    script = tmp_path / path.name
    script.write_text(code, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(FOLDER), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    # Warnings are errors from the first line on; torch's own about itself are not the reader's.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning:torch", str(script)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=600)
    assert run.returncode == 0, run.stderr
    CHECKS[path.stem](run.stdout, run.stderr)


def test_first_contact_is_six_lines():
    lines = (FOLDER / "first_contact.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith(('"""', "#"))]) <= 6


def test_the_augmentation_of_their_code_is_not_frozen(monkeypatch):
    """Their data set draws anew at each reading, so it is no fixed tensor; their clean one may be."""
    monkeypatch.syspath_prepend(FOLDER)
    import their_code

    import thalweg as tw
    from thalweg.data import Tensors

    data = tw.Task(model=their_code.net, train=their_code.train_loader, valid=their_code.valid_loader).prepare()
    assert not isinstance(data.train, Tensors) and isinstance(data.select, Tensors)

    def epoch(number, seed=0):
        return next(iter(data.train.batches(64, seed=seed, epoch=number))).inputs

    assert (epoch(0) == epoch(0)).all() and not (epoch(0) == epoch(1)).all()
    first = their_code.train_loader.dataset[0][0]
    assert not (first == their_code.train_loader.dataset[0][0]).all()


@pytest.mark.parametrize("drawn_by_itself", [False, True])
def test_the_note_on_kept_weights_comes_only_with_their_initialization(monkeypatch, drawn_by_itself):
    monkeypatch.syspath_prepend(FOLDER)
    import torch
    from their_code import ResNet, train_loader, valid_loader

    import thalweg as tw
    from thalweg.study.case import case_of

    model = ResNet()
    if drawn_by_itself:  # as torch's layers draw their weights
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.reset_parameters()
    notes = " ".join(tw.Task(model=model, train=train_loader, valid=valid_loader).prepare().notes)
    assert ("seeds vary the order only" in notes) == (not drawn_by_itself)
    assert ("redrawn for each seed" in notes) == drawn_by_itself
    factory = case_of(tw.Task(model=ResNet, train=train_loader, valid=valid_loader))
    assert not factory.fixed_weights and "order only" not in " ".join(factory.notes)
