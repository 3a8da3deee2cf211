"""Each document of the page on real studies: keys and types are the contract's, numbers those of the verdict."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contract import declared, wrong
from studies import ends_of, follower, interrupted, rounded, whole

from thalweg.errors import BadStudy
from thalweg.web.documents import catalogue, curves, findings, landscape, layers, rates, reading, shift, verdict

DOCUMENTS = {
    "Verdict": verdict.document,
    "Rates": rates.document,
    "Layers": layers.document,
    "Landscape": landscape.document,
    "Findings": findings.document,
    "ShiftView": shift.document,
    "Head": catalogue.head,
    "Entry": catalogue.entry,
}


def test_the_contract_was_read():
    assert {"Home", "Head", "Verdict", "Curves", "Rates", "Layers", "Landscape", "Findings", "ShiftView"} <= set(
        declared()
    )
    assert wrong({"before": "x"}, "Outcome") and wrong({"mean": 1.0, "interval": [0, math.nan]}, "Interval")
    assert not wrong({"mean": None, "interval": [0, 1.5]}, "Interval")
    assert wrong({"mean": None, "interval": [0, 1.5], "more": 1}, "Interval")


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_document_is_what_the_page_expects(study, kind):
    document = DOCUMENTS[kind](study.folder)
    assert not wrong(document, kind)
    json.dumps(document, allow_nan=False)


def test_the_home_lists_studies_and_runs_by_ids_that_tell_no_path(study, alone, shelf):
    home = catalogue.home([shelf])
    assert not wrong(home, "Home")
    ids = {entry["name"]: entry["id"] for entry in home["studies"]}
    assert {"a study", "alone"} <= set(ids)
    assert catalogue.found([shelf])[ids["a study"]] == study.folder.resolve()
    assert all("/" not in id and str(shelf) not in id for id in ids.values())
    (shelf / "elsewhere").symlink_to(Path.home(), target_is_directory=True)
    assert catalogue.found([shelf]).keys() == catalogue.found([shelf / "a study", *shelf.iterdir()]).keys()
    (shelf / "elsewhere").unlink()


def test_the_head_counts_what_the_trace_holds(study):
    head, ends = catalogue.head(study.folder), ends_of(study.folder)
    assert head["status"] == "complete" and head["progress"]["running"] == 0
    assert head["progress"]["runs"] == len({end["run"] for end in ends}) == head["runs"]
    assert head["progress"]["diverged"] == sum(end["outcome"]["status"] == "diverged" for end in ends) > 0
    assert head["progress"]["samples"] == sum({end["run"]: end["samples"] for end in ends}.values())
    asked = json.loads((study.folder / "study.json").read_text())["asked"]
    assert head["entrants"] == [name for name, _ in asked["field"]]
    assert head["has"] == dict.fromkeys(head["has"], True)


def test_the_verdict_is_that_of_the_file(study):
    document, own = verdict.document(study.folder), whole(study)
    for key in ("winner", "best", "metric", "direction", "methods"):
        assert document[key] == own["verdict"][key]
    for shown, kept in zip(document["finalists"], own["finalists"], strict=True):
        known = [float(s) for s in kept["scores"]]
        assert shown["scores"] == [rounded(s) if math.isfinite(s) else None for s in known]
        finite = [s for s in known if math.isfinite(s)]
        assert shown["mean"] == (rounded(np.mean(finite)) if finite else None)
        assert (shown["interval"][0] is None) == (not math.isfinite(float(kept["interval"][0])))
    assert any(f["diverged"] for f in document["finalists"])
    assert [c["label"] for c in document["code"]] == ["thalweg", "PyTorch", "Hugging Face Trainer", "Lightning"]
    assert document["code"][1]["text"] == (study.folder / "plain.py").read_text()


def test_the_code_to_paste_runs(study):
    from torch import nn

    import thalweg

    script = verdict.document(study.folder)["code"][0]["text"]
    names = {"model": nn.Linear(2, 2), "thalweg": thalweg}
    exec(script, names)
    assert names["recipe"] == study.best.recipe


def test_best_so_far_never_gets_worse_and_ends_with_the_series(study):
    found, own = verdict.document(study.folder)["best_so_far"], whole(study)
    came = found["came"]
    assert came["value"] == sorted(came["value"]) == [rounded(gain["value"]) for gain in own["best_so_far"]]
    assert came["runs"] == [gain["full_runs"] for gain in own["best_so_far"]]
    assert found["runs"] == list(range(1, len(own["best_so_far_band"]) + 1))
    # Every gain stands where it came: after the samples of all runs until then, of probes too.
    spent, until = 0, {}
    for end in {e["run"]: e for e in ends_of(study.folder)}.values():
        spent += end["samples"]
        until[spent] = end["phase"]
    assert [until[round(samples)] in ("baseline", "rate") for samples in came["samples"]] == [True] * len(came["runs"])
    assert "seconds" not in found


def test_what_is_missing_names_the_command_that_makes_it(shelf, tmp_path):
    bare = interrupted(tmp_path / "bare")
    commands = {"layers": "thalweg layers", "landscape": "thalweg landscape", "findings": "thalweg diagnose",
                "shift": "--incoming", "verdict": "thalweg compare toy.py:task --budget 5m --folder"}  # fmt: skip
    for name, words in commands.items():
        with pytest.raises(BadStudy) as caught:
            DOCUMENTS[{"shift": "ShiftView"}.get(name, name.capitalize())](bare)
        assert words in caught.value.hint and "--show" not in caught.value.hint


def test_a_single_run_has_head_curves_and_rates(alone):
    head = catalogue.head(alone)
    assert not wrong(head, "Head") and head["status"] == "complete" and head["entrants"] == ["sgd"]
    document = curves.document(follower(alone))
    assert not wrong(document, "Curves")
    [group] = document["groups"]
    assert group["name"] == "sgd" and group["runs"][0]["x"][-1] == 40 and group["band"] is None
    assert not wrong(rates.document(alone), "Rates")
    with pytest.raises(BadStudy, match="verdict"):
        verdict.document(alone)


def test_numbers_have_six_digits_and_no_infinities():
    assert reading.number("nan") is None and reading.number(math.inf) is None and reading.number(2**40) == 2**40
    assert reading.numbers([1 / 3, "-inf", None]) == [0.333333, None, None]


def test_planted_markup_stays_text(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = interrupted(tmp_path / evil.replace("/", "-"))
    head = json.loads((folder / "study.json").read_text())
    head["asked"]["task"] = evil
    (folder / "study.json").write_text(json.dumps(head))
    found = catalogue.head(folder)
    assert found["task"] == evil and "<" not in found["id"]


def test_drawing_needs_no_torch(study):
    code = (
        "import sys; from pathlib import Path; f = Path(sys.argv[1])\n"
        "from thalweg.web.documents import catalogue, curves, findings, landscape, layers, rates, shift, verdict\n"
        "from thalweg.web.following import Follower\n"
        "[m.document(f) for m in (verdict, rates, layers, landscape, findings, shift)]; catalogue.home([f])\n"
        "one = Follower(f); one.refresh(); curves.document(one)\n"
        "print(sorted({'torch', 'numba', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(study.folder)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
