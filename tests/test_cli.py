import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thalweg.arguments import recipe_of
from thalweg.cli import main
from thalweg.recipe import Recipe

TASK = """
import torch
from torch import nn
import thalweg as tw
g = torch.Generator().manual_seed(0)
x = torch.randn(240, 4, generator=g)
y = (x[:, 0] > 0).long()
net = lambda out=2: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, out))
task = tw.Task(model=net, train=(x, y), batch_size=16, epochs=2, name="small")
labels = tw.Task(model=net, train=(x, y + 1))
shape = tw.Task(model=lambda: nn.Linear(4, 3), train=(x, torch.randn(240, 2)))
nan = tw.Task(model=net, train=(torch.where(x > 2, torch.nan, x), y))
empty = tw.Task(model=net, train=(x[:0], y[:0]))
large = tw.Task(model=net, train=(x, y), batch_size=1000)
csv = tw.Task(model=lambda: nn.Linear(1, 1), train="table.csv:price")
idx = tw.Task(model=net, train="broken-images-idx3-ubyte.gz")
other = tw.Task(model=net, train=(x, 1 - y), batch_size=16, epochs=2, name="other")
"""


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    Path("tasks.py").write_text(TASK)
    Path("raises.py").write_text("x = 1\nraise RuntimeError('not today')\n")
    Path("table.csv").write_text("size,cost\n1,2\n3,4\n")
    images = struct.pack(">HBBIII", 0, 8, 3, 10, 28, 28) + bytes(1000)
    Path("broken-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    Path("broken-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 10) + bytes(10)))


def run(capsys, *words):
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


SMALL = ("--field", "sgd", "--budget", "16 runs", "--executor", "sequential")


def test_compare_prints_a_verdict_of_at_most_fourteen_lines(capsys):
    code, out, err = run(capsys, "compare", "tasks.py:task", *SMALL)
    assert code == 0 and len(out.splitlines()) <= 14
    assert "small" in out.splitlines()[0] and "thalweg-studies/small-001" in out and "recipe.toml" in out
    assert "Metric: accuracy" in err and Path("thalweg-studies/small-001/model.safetensors").exists()


def test_compare_as_json_gives_one_document_and_nothing_else_on_stdout(capsys):
    code, out, _ = run(
        capsys, "compare", "tasks.py:task", *SMALL, "--json", "--baseline", "adamw,lr=0.01", "--plot", "figure.png"
    )
    document = json.loads(out)
    assert code == 0 and document["verdict"]["metric"] == "accuracy" and document["task"] == "small"
    assert document["finalists"][0]["difference"].keys() >= {"mean", "interval", "p_better", "decision"}
    assert Path("figure.png").read_bytes()[:4] == b"\x89PNG"


def test_a_dry_run_shows_the_plan_and_writes_nothing(capsys):
    before = set(Path().iterdir())
    code, out, _ = run(
        capsys, "compare", "tasks.py:task", "--field", "sgd", "--budget", "20 runs", "--dry-run", "--json"
    )
    assert code == 0 and 0 < json.loads(out)["plan"]["total"]["runs"] <= 20
    asked = ("compare", "tasks.py:task", "tasks.py:other", "--field", "sgd", "--budget", "40 runs", "--dry-run")
    code, out, _ = run(capsys, *asked)
    assert code == 0 and out.count("budget: 20 runs") == 2 and all(len(line) <= 100 for line in out.splitlines())
    assert {path for path in Path().iterdir() if path.name != "__pycache__"} == before


def test_quiet_is_quiet(capsys):
    code, out, err = run(capsys, "compare", "tasks.py:task", *SMALL, "--quiet")
    assert code == 0 and out and err == ""


def test_train_keeps_the_run_and_prints_what_came_of_it(capsys):
    code, out, _ = run(capsys, "train", "tasks.py:task", "--recipe", "momentum,lr=0.1")
    assert code == 0 and "finished at step" in out and "thalweg-runs/small-001" in out
    folder = Path("thalweg-runs/small-001")
    assert Recipe.load(folder / "recipe.toml") == Recipe("momentum", lr=0.1)
    assert {p.name for p in folder.iterdir()} >= {"trace.jsonl", "model.safetensors", "run.json", "study.json"}
    code, out, _ = run(capsys, "train", "tasks.py:task", "--recipe", str(folder / "recipe.toml"), "--json")
    document = json.loads(out)
    assert document["run"] == "thalweg-runs/small-002" and document["outcome"]["status"] == "finished"
    assert document["final"]["accuracy"] > 0.5 and document["seconds"] > 0


def test_train_finds_a_rate_that_is_not_given(capsys):
    code, out, err = run(capsys, "train", "tasks.py:task")
    assert code == 0 and "Learning rate found" in err and "adamw, lr" in out


def test_a_diverged_run_is_a_result(capsys):
    code, out, _ = run(capsys, "train", "tasks.py:task", "--recipe", "sgd,lr=1e12,schedule=constant", "--json")
    outcome = json.loads(out)["outcome"]
    assert code == 0 and outcome["status"] == "diverged" and outcome["step"] > 1 and outcome["where"]


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_explain(capsys, name):
    code, out, _ = run(capsys, "explain", name)
    assert code == 0 and "bytes per parameter" in out and "source" in out
    page, kernel = out.split('\n"""', 1)  # the kernel is code
    assert max(map(len, page.splitlines())) <= 80 and "in-place multiplication" in page
    assert "def update(p, g" in kernel
    code, out, _ = run(capsys, "explain", name, "--json")
    assert json.loads(out).keys() >= {
        "name",
        "equation",
        "state",
        "bytes_per_parameter",
        "defaults",
        "source",
        "kernels",
    }


def test_doctor(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0 and "torch" in out and "THALWEG_DATA" in out
    code, out, _ = run(capsys, "doctor", "--json")
    assert "digits" in json.loads(out)["tasks"]


def test_the_program_and_the_module_are_the_same_and_help_names_the_commands(tmp_path):
    for command in ([str(Path(sys.executable).with_name("thalweg"))], [sys.executable, "-m", "thalweg"]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
        assert all(word in done.stdout for word in ("compare", "train", "demo", "doctor", "explain"))
    done = subprocess.run(
        [sys.executable, "-m", "thalweg", "explain", "adamv"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "hint: did you mean" in done.stderr and "Traceback" not in done.stderr


WRONG = [
    (("compare", "tasks.py:task", "--proxy", "steps"), "cannot read 'steps'"),
    (("compare", "tasks.py:task", "--proxy", "steps=2"), "a share in (0, 1]"),
    (("compare", "fashion-mlp"), "THALWEG_DATA is not set"),
    (("compare", "tasks.py:idx"), "broken-images-idx3-ubyte.gz"),
    (("compare", "tasks.py:csv"), "'price'"),
    (("compare", "tasks.py:labels"), "label 2"),
    (("compare", "tasks.py:shape"), "(8, 3)"),
    (("compare", "tasks.py:nan"), "NaN"),
    (("compare", "tasks.py:empty"), "empty"),
    (("compare", "tasks.py:large"), "1000"),
    (("compare", "raises.py:task"), "not today"),
    (("compare", "nowhere.py:task"), "nowhere.py"),
    (("compare", "tasks.py:tusk"), "did you mean 'task'"),
    (("compare", "tasks.py:task", "--field", "adamv"), "did you mean 'adam"),
    (("compare", "tasks.py:task", "--baseline", "adam,lr=-1"), "got -1"),
    (("compare", "tasks.py:task", "--baseline", "adam,lr=nan"), "got nan"),
    (("compare", "tasks.py:task", "--baseline", "adam,lr=0.1,betas=1:0.9"), "(1, 0.9)"),
    (("compare", "tasks.py:task", "--baseline", "adam,lr"), "cannot read 'lr'"),
    (("compare", "tasks.py:task", "--folder", "/proc/study"), "/proc/study"),
    (("compare", "tasks.py:task", "--budget", "soon"), "budget must be"),
    (("compare", "tasks.py:task", "--seeds", "one"), "seeds"),
    (("compare", "tasks.py:task", "--speed", "11"), "--speed"),
    (("train", "tasks.py:task", "--recipe", "adamv,lr=1"), "did you mean 'adam"),
    (("train", "tasks.py:task", "--folder", "/proc/run", "--recipe", "sgd,lr=0.1"), "/proc/run"),
    (("train", "tasks.py:labels", "--recipe", "sgd,lr=0.1"), "label 2"),
    (("explain", "adamv"), "did you mean 'adam"),
    (("frobnicate",), "frobnicate"),
    (("compare",), "task"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong_use_exits_with_2_a_hint_and_writes_nothing(capsys, words, said):
    before = {p.name for p in Path().iterdir()}
    code, out, err = run(capsys, *words)
    assert code == 2 and out == ""
    assert said in err and "hint: " in err and "Traceback" not in err
    assert {p.name for p in Path().iterdir()} - before <= {"__pycache__"}
    code, out, err = run(capsys, *words, "--json")
    error = json.loads(out)["error"]
    assert code == 2 and said in error["message"] + error["hint"] and error["code"] and error["hint"]


def test_a_folder_that_holds_the_study_of_another_task_is_refused(capsys):
    assert run(capsys, "compare", "tasks.py:task", *SMALL, "--folder", "s")[0] == 0
    before = Path("s/verdict.json").read_bytes()
    code, _, err = run(capsys, "compare", "tasks.py:other", *SMALL, "--folder", "s")
    assert code == 2 and "study of another task" in err and Path("s/verdict.json").read_bytes() == before


def test_recipes_on_the_command_line():
    assert recipe_of("adam,lr=1e-3,betas=0.9:0.95,amsgrad=true") == Recipe(
        "adam", lr=1e-3, betas=(0.9, 0.95), amsgrad=True
    )
    assert recipe_of("sgd,lr=1,schedule=cosine,batch_size=full") == Recipe(
        "sgd", lr=1, schedule="cosine", batch_size="full"
    )
    assert recipe_of(None) is None


def test_progress_on_a_pipe_is_plain_lines(capsys):
    from thalweg.console import Progress, duration

    with Progress(every=0.0) as progress:
        progress.say("a note")
        progress.at("working")
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "a note" and err.splitlines()[1].startswith("working · ") and "\x1b" not in err
    assert duration(3700) == "1h01m"


def test_progress_on_a_terminal_is_live_and_leaves_its_notes():
    import pty

    code = "from thalweg.console import Progress\nimport time\nwith Progress() as p:\n"
    code += " p.say('a note')\n p.at('working')\n time.sleep(.3)"
    shown = b""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=slave, env=os.environ | {"TERM": "xterm"})
    os.close(slave)
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:
        pass
    assert process.wait() == 0 and b"a note" in shown and b"working" in shown


def test_numbers_in_json_are_finite_or_words(capsys):
    _, out, _ = run(capsys, "compare", "tasks.py:task", *SMALL, "--json")

    def walk(value):
        if isinstance(value, dict):
            return all(map(walk, value.values()))
        if isinstance(value, list):
            return all(map(walk, value))
        return not isinstance(value, float) or np.isfinite(value)

    assert walk(json.loads(out, parse_constant=lambda c: pytest.fail(c)))
