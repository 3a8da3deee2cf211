"""The files of examples/broken train badly, each for one reason; mended they train well, and the reason is found."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import thalweg as tw
from thalweg.cli import main

FOLDER = Path(__file__).parents[2] / "examples" / "broken"
GOOD = 0.9  # accuracy, mended
GAP = 0.3  # broken, it is lower by so much at least


class Fault(NamedTuple):
    """Codes that are right, what stands in the file, and what would mend it."""

    codes: set[str]
    wrong: str
    right: str


FAULTS = {
    "train_mlp": Fault(
        {"gradients-accumulate"}, "        loss.backward()", "        optimizer.zero_grad()\n        loss.backward()"
    ),
    "class_probabilities": Fault({"double-softmax"}, "torch.softmax(self.out(x), dim=1)", "self.out(x)"),
    "new_head": Fault(
        {"parameters-not-in-optimizer"},
        "optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)\nmodel.head = nn.Linear(512, 5)",
        "model.head = nn.Linear(512, 5)\noptimizer = torch.optim.Adam(model.parameters(), lr=3e-3)",
    ),
    "deep_with_validation": Fault(
        {"training-in-eval-mode"}, "    for x, y in loader:", "    model.train()\n    for x, y in loader:"
    ),
    "decaying_rate": Fault({"schedule-collapsed"}, "        scheduler.step()", "    scheduler.step()"),
    "scanned_bytes": Fault({"input-scale"}, "scanned(images).float()", "scanned(images).float() / 127.5 - 1"),
    "twenty_layers": Fault(
        {"saturated-units", "exploding-gradient"},
        "nn.init.normal_(layer.weight, mean=0.0, std=1.0)",
        "nn.init.xavier_normal_(layer.weight)",
    ),
    "join_labels": Fault({"labels-shuffled"}, "sorted(label_table)", "sorted(label_table, key=int)"),
    "repeatable_epochs": Fault({"not-shuffled"}, "shuffle=False", "shuffle=True"),
    "quick_training": Fault({"lr-unstable", "lr-too-high"}, "lr=5.0", "lr=0.05"),
}
FILES = sorted(FOLDER.glob("*.py"))


def accuracy(text: str, path: Path) -> float:
    """Of a file's text: what its loop prints last, or what its task and recipe train to."""
    names, printed = {"__name__": "__main__" if "import thalweg" not in text else path.stem}, io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(printed):
        exec(compile(text, str(path), "exec"), names)
    if "task" in names:
        return tw.train(names["task"], names["recipe"], quiet=True).final.get("accuracy", 0.0)  # none: it diverged
    return float(re.findall(r"accuracy ([\d.]+)", printed.getvalue())[-1])


def test_the_table_lists_the_files_and_they_say_nothing_of_the_fault():
    assert [path.stem for path in FILES] == sorted(FAULTS) and len(FAULTS) == 10
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
    assert sum("thalweg" not in text for text in texts.values()) == 5
    for name, text in texts.items():
        words = set(re.findall(r"[a-z]+", text.lower()))
        assert not words & {"bug", "fault", "broken", "wrong", "missing", "forgotten", "mistake"}, name
        assert re.match(r'"""[A-Z].*\."""\n', text) and text.count(FAULTS[name].wrong) == 1, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_trains_badly_and_mended_well(path):
    text = path.read_text(encoding="utf-8")
    fault = FAULTS[path.stem]
    good = accuracy(text.replace(fault.wrong, fault.right), path)
    assert good > GOOD and accuracy(text, path) < good - GAP


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_finding_is_right(path, capsys):
    assert main(["diagnose", str(path), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert findings[0]["code"] in FAULTS[path.stem].codes and len(findings) <= 5
