"""Each document of the page on real studies: keys and types are the contract's, numbers those of verdict and trace."""

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contract import declared, wrong
from studies import columns_of, interrupted

import thalweg as tw
from thalweg.errors import BadOption, BadStudy
from thalweg.store import Store
from thalweg.web.documents import catalogue, curves, findings, landscape, layers, rates, reading, shift, verdict
from thalweg.web.following import Follower

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


def follower(folder):
    found = Follower(folder)
    found.refresh()
    return found


def rounded(x):
    return float(f"{x:.6g}")


def ends_of(folder):
    return [record for record in Store(folder).records() if record["kind"] == "end"]


def whole(study):
    return json.loads((study.folder / "verdict.json").read_text())


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
    for name, command in commands.items():
        with pytest.raises(BadStudy) as caught:
            DOCUMENTS[{"shift": "ShiftView"}.get(name, name.capitalize())](bare)
        assert command in caught.value.hint and "--show" not in caught.value.hint


def test_an_interrupted_study_says_so_and_one_that_is_written_too(tmp_path):
    folder = interrupted(tmp_path / "some")
    assert catalogue.head(folder)["status"] == "interrupted" and catalogue.head(folder)["progress"]["running"] == 0
    release = Store(folder).hold()
    assert catalogue.head(folder)["status"] == "running" and catalogue.head(folder)["progress"]["running"] == 1
    with pytest.raises(BadStudy, match="another process"):
        Store(folder).hold()
    release()
    assert catalogue.head(folder)["status"] == "interrupted"
    assert not wrong(catalogue.head(folder), "Head") and not wrong(rates.document(folder), "Rates")


def test_a_killed_writer_no_longer_writes(tmp_path):
    folder = interrupted(tmp_path / "killed")
    code = (
        "import os, sys, time; from thalweg.store import Store; release = Store(sys.argv[1]).hold()\n"
        "child = os.fork()\n"
        "if not child: print(os.getpid(), flush=True)\n"
        "time.sleep(600)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    child = int(writer.stdout.readline())
    assert child > 1
    try:
        assert catalogue.status_of(folder) == "running"
        writer.kill()
        writer.wait()
        assert catalogue.status_of(folder) == "interrupted"  # although its forked child lives on
    finally:
        os.kill(child, signal.SIGKILL)
        writer.stdout.close()


def test_the_points_of_rates_are_those_of_the_trace(study):
    document = rates.document(study.folder)
    ends = {e["run"]: e for e in ends_of(study.folder) if e["recipe"].get("lr")}
    assert document["n"] == len(ends) == sum(len(g["points"]) for g in document["groups"])
    for group in document["groups"]:
        own = [e for e in ends.values() if e["entrant"] == group["name"]]
        expected = sorted((rounded(e["recipe"]["lr"]), e["steps"], e["seed"], e["outcome"]["status"]) for e in own)
        assert sorted((p["lr"], p["steps"], p["seed"], p["status"]) for p in group["points"]) == expected
        assert all((p["value"] is None) == (p["status"] != "finished") for p in group["points"])
    standings = {f["name"]: f for f in whole(study)["finalists"]}
    sgd = next(g for g in document["groups"] if g["name"] == "sgd")
    assert sgd["edge"] == (rounded(standings["sgd"]["lr_edge"]) if standings["sgd"]["lr_edge"] else None)
    assert sgd["width_decades"] == rounded(float(standings["sgd"]["lr_robustness_decades"]))
    assert math.log10(sgd["within"][1] / sgd["within"][0]) == pytest.approx(sgd["width_decades"], abs=1e-4)
    assert sgd["best"]["lr"] == rounded(standings["sgd"]["recipe"]["lr"])


@pytest.mark.parametrize("y", ["loss", "lr", "grad_norm"])
def test_curves_hold_the_steps_of_the_trace(study, y):
    document = curves.document(follower(study.folder), y=y, phases="all", columns=4000)
    assert not wrong(document, "Curves") and document["phase"] == "all"
    known = columns_of(study.folder)
    drawn = {curve["run"]: curve for group in document["groups"] for curve in group["runs"]}
    assert set(drawn) >= set(known) and document["n"] == len(drawn)
    for run, own in known.items():
        assert drawn[run]["x"] == own["step"].tolist()
        shown = np.array([math.nan if v is None else v for v in drawn[run]["y"]])
        np.testing.assert_allclose(shown, np.where(np.isfinite(own[y]), own[y], math.nan), rtol=6e-6)
    assert any(curve["status"] == "diverged" and curve["where"] for curve in drawn.values())


def test_curves_of_evaluations_and_their_band(study):
    document = curves.document(follower(study.folder), x="samples", y="select accuracy")
    assert document["phase"] == "finals" and document["direction"] == "max" and document["metric"] == "accuracy"
    group = next(g for g in document["groups"] if g["name"] == study.verdict.best)
    finals = [e for e in ends_of(study.folder) if e["phase"] == "final" and e["entrant"] == study.verdict.best]
    rows = {}
    for end in finals:
        for e in end["evaluations"]:
            if e["split"] == "select":
                rows.setdefault(e["samples"], []).append(e["accuracy"])
    assert group["band"]["n"] == len(finals) == 3
    assert group["band"]["x"] == sorted(rows)
    middle = [rounded(np.median(rows[s])) for s in sorted(rows)]
    low = [rounded(min(rows[s])) for s in sorted(rows)]  # of three, the band is from the least to the greatest
    assert group["band"]["mid"] == middle and group["band"]["low"] == low and group["band"]["levels"] == [0, 1]


def test_a_window_keeps_one_point_on_each_side(study):
    document = curves.document(follower(study.folder), low=10, high=20)
    curve = document["groups"][0]["runs"][0]
    assert curve["x"] == list(range(9, 22))
    band = document["groups"][0]["band"]
    assert band["x"][0] == 10 and band["x"][-1] == 20


def test_thinned_curves_keep_their_extremes(tmp_path):
    rng = np.random.default_rng(0)
    folder = interrupted(tmp_path / "long", runs=2, points=5000, rows=lambda k: rng.normal(size=5000).tolist())
    document = curves.document(follower(folder), columns=100)
    assert document["thinned"]
    for run, own in columns_of(folder).items():
        curve = next(c for g in document["groups"] for c in g["runs"] if c["run"] == run)
        assert len(curve["x"]) <= 400
        assert min(curve["y"]) == rounded(own["loss"].min()) and max(curve["y"]) == rounded(own["loss"].max())


@pytest.mark.parametrize("losses", [[], [1.0], [math.nan] * 5, [1.0, math.inf, math.nan]])
def test_curves_of_little_or_nothing(tmp_path, losses):
    folder = interrupted(tmp_path / "few", points=5, rows=lambda k: losses)
    document = curves.document(follower(folder))
    assert not wrong(document, "Curves")
    for curve in document["groups"][0]["runs"]:
        assert len(curve["x"]) == len(curve["y"]) <= len(losses)
        assert all(v is None or math.isfinite(v) for v in curve["y"])
    assert not wrong(rates.document(folder), "Rates") and not wrong(catalogue.head(folder), "Head")


def test_a_study_without_a_trace_has_empty_curves(tmp_path):
    folder = interrupted(tmp_path / "none")
    (folder / "trace.jsonl").unlink()
    document = curves.document(follower(folder))
    assert not wrong(document, "Curves") and document["groups"] == [] and document["n"] == 0
    assert not wrong(catalogue.head(folder), "Head")


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


@pytest.mark.parametrize(
    "asked",
    [{"x": "time"}, {"y": "select nothing"}, {"phases": "../finals"}, {"columns": 0}, {"columns": 10**9},
     {"low": 3.0, "high": 3.0}, {"low": math.nan}],
)  # fmt: skip
def test_what_curves_refuse(study, asked):
    with pytest.raises(BadOption):
        curves.document(follower(study.folder), **asked)


def test_the_landscape_is_that_of_the_arrays(study):
    document = landscape.document(study.folder)
    with np.load(study.folder / "landscape.npz") as arrays:
        for plane in document["planes"]:
            values = arrays[f"{plane['kind']}|losses"]
            assert len(plane["values"]) == len(plane["x"]) * len(plane["y"])
            j, i = 2, 5
            assert plane["values"][j * len(plane["x"]) + i] == rounded(values[j, i])
        line, random = document["slices"]
        assert line["values"] == [rounded(v) for v in arrays["line|losses"]]
        # a slice that is called as a plane has arrays of its own
        assert random["values"] == [rounded(v) for v in arrays["random slice|losses"]] and len(random["x"]) == 7
    assert {path["run"] for path in document["planes"][0]["paths"]} <= {f.name for f in study.finalists}
    assert [p["step"] for p in document["planes"][0]["paths"][0]["points"]] == sorted(
        p["step"] for p in document["planes"][0]["paths"][0]["points"]
    )


def test_a_landscape_says_what_lies_between_solutions_and_around_one(study, tmp_path):
    options = {"planes": ["random"], "slices": [], "resolution": 3, "rows": 30, "runs": 2, "folder": tmp_path}
    found = tw.landscape(study, connect=True, walls=True, convex=3, quiet=True, **options)
    document = landscape.document(tmp_path)
    assert not wrong(document, "Landscape")
    assert [one["kind"] for one in document["connections"]] == ["line", "matched line", "curve"]
    parts = (found.matched.sentence, found.walls.sentence, found.convexity.sentence, found.escapes.sentence)
    assert len(document["sentences"]) == 4
    assert all(part in said for part, said in zip(parts, document["sentences"], strict=True))
    whole = json.loads((tmp_path / "landscape.json").read_text())
    del whole["matched"]["sentence"]  # as it was written once
    (tmp_path / "landscape.json").write_text(json.dumps(whole))
    assert landscape.document(tmp_path)["sentences"] == document["sentences"][1:]


def test_arrays_that_are_no_numbers_are_refused(study, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study.folder, folder)
    (folder / "landscape.npz").write_bytes(b"not an archive")
    with pytest.raises(BadStudy, match="cannot read"):
        landscape.document(folder)
    np.savez(folder / "landscape.npz", **{"pca|losses": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(BadStudy, match="cannot read"):
        landscape.document(folder)


def test_links_out_of_a_study_are_refused(study, tmp_path):
    folder = interrupted(tmp_path / "linked")
    for name in ("verdict.json", "layers.json", "findings.json"):
        (folder / name).symlink_to(study.folder / name)
    for document in (verdict.document, layers.document, findings.document):
        with pytest.raises(BadStudy, match="out of the study"):
            document(folder)


def test_the_findings_have_pages_and_what_can_be_tried(study):
    document = findings.document(study.folder)
    kept = json.loads((study.folder / "findings.json").read_text())
    assert [f["code"] for f in document["findings"]] == [f["code"] for f in kept["findings"]]
    for finding in document["findings"]:
        assert finding["page"].startswith(finding["code"])
        for one in finding["remedy"]["diff"] if finding["remedy"] else []:
            assert one["before"] != one["after"]


def test_the_shift_shows_both_surfaces_over_one_plane(study):
    document = shift.document(study.folder)
    kept = json.loads((study.folder / "shift.json").read_text())
    old, new = document["planes"]["old"], document["planes"]["new"]
    assert (old["x"], old["y"]) == (new["x"], new["y"]) and old["values"] != new["values"]
    p, q = 4, 9
    assert new["values"][q * len(new["x"]) + p] == rounded(kept["surface"]["plane"]["incoming_pq"][p][q])
    assert document["rows"] == kept["rows"] and document["kind"] is not None


def test_initialization_against_normalization(crossed):
    document = layers.document(crossed.folder)
    assert not wrong(document, "Layers") and document["steps"] == [] and "thalweg layers" in document["notes"][0]
    table = document["experiments"]
    assert (table["row"], table["rows"]) == ("init", ["torch", "he_normal"])
    assert (table["column"], table["columns"]) == ("norm", ["keep", "layer"])
    scores = {}
    for end in ends_of(crossed.folder):
        if end["phase"] == "final":
            last = [e for e in end["evaluations"] if e["split"] == "judge"][-1]
            at = (end["recipe"].get("init", "torch"), end["recipe"].get("norm", "keep"), end["entrant"])
            scores.setdefault(at, []).append(last["accuracy"])
    best = {}
    for (init, norm, _), values in scores.items():
        best[init, norm] = max(best.get((init, norm), -1.0), float(np.mean(values)))
    for (init, norm), mean in best.items():
        i, j = table["rows"].index(init), table["columns"].index(norm)
        assert table["values"][i][j] == rounded(mean) and table["n"][i][j] == table["of"][i][j] == 2


def test_a_cell_tells_how_many_of_its_seeds_diverged(crossed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(crossed.folder, folder)
    before = layers.document(folder)["experiments"]
    records = list(Store(folder).records())
    (folder / "trace.jsonl").unlink()
    finals = [record for record in records if record["kind"] == "end" and record["phase"] == "final"]
    first = {record["entrant"]: record["run"] for record in reversed(finals)}
    for record in records:
        if record["kind"] == "end" and record["run"] in first.values():
            record["outcome"]["status"] = "diverged"
        Store(folder).append(record)
    after = layers.document(folder)["experiments"]
    assert not wrong(layers.document(folder), "Layers") and after["of"] == before["of"]
    assert before["n"] == [[2, 2], [2, 2]] and after["n"] == [[1, 1], [1, 1]]


def test_a_trace_is_read_on_and_not_again(tmp_path, monkeypatch):
    folder = interrupted(tmp_path / "s", runs=2)
    read = []
    inner = reading._record
    monkeypatch.setattr(reading, "_record", lambda line: read.append(line) or inner(line))
    first = reading.runs_of(folder)
    assert len(first.ends) == 2 and len(first.starts) == 3
    read.clear()
    assert reading.runs_of(folder) == first
    assert sum(b'"kind":"start"' in line or b'"kind":"end"' in line for line in read) == 0
    trace = folder / "trace.jsonl"
    last = [line for line in trace.read_bytes().splitlines() if b'"kind":"end"' in line][-1]
    with trace.open("ab") as file:
        file.write(last.replace(b"-1", b"-2")[:40])
    assert reading.runs_of(folder) == first  # half a line
    with trace.open("ab") as file:
        file.write(last.replace(b"-1", b"-2")[40:] + b"\n")
    assert len(reading.runs_of(folder).ends) == 3 and len(first.ends) == 2
    assert sum(b'"kind":"end"' in line for line in read) == 1
    whole = trace.read_bytes()
    trace.write_bytes(whole.replace(b"final-", b"probe-"))  # another trace in the same file
    assert all(run.startswith("probe-") for run in reading.runs_of(folder).starts)


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


def test_only_a_command_of_thalweg_is_offered_to_go_on(tmp_path):
    folder = interrupted(tmp_path / "r")
    head = json.loads((folder / "study.json").read_text())
    words = {
        "/usr/bin/thalweg compare a.py:t --plot x.png --show --seeds 3 --folder=old": ["compare", "a.py:t", "--seeds", "3"],
        "/x/thalweg/__main__.py compare digits --json": ["compare", "digits"],
        "rm -rf compare": None, "python compare": None, "/bin/thalweg train digits": None, "'": None,
    }  # fmt: skip
    for command, kept in words.items():
        head["environment"]["command"] = command
        found = catalogue.resume_words(folder, head)
        assert found == (None if kept is None else [*kept, "--folder", str(folder)])
        shown = shlex.split(catalogue.resume(folder, head))
        assert shown == ([] if kept is None else ["thalweg", *found])  # no command of another is shown


def test_a_study_that_is_one_of_several_goes_on_with_the_others(tmp_path):
    folder = interrupted(tmp_path / "both" / "digits")
    command = {"environment": {"command": "/bin/thalweg compare digits a.py:t --budget 5m"}}
    (tmp_path / "both" / "studies.json").write_text("{}")
    assert catalogue.resume_words(folder, command)[-2:] == ["--folder", str(tmp_path / "both")]
    small = interrupted(tmp_path / "proxy" / "smaller")
    for given in ("--proxy steps=0.1", "--proxy=steps=0.1"):
        command = {"environment": {"command": f"/bin/thalweg compare digits {given}"}}
        assert catalogue.resume_words(small, command)[-1] == str(tmp_path / "proxy")
    command = {"environment": {"command": "/bin/thalweg compare digits"}}
    assert catalogue.resume_words(small, command)[-1] == str(small)


def test_what_does_not_say_where_its_task_is_cannot_go_on_from_here(tmp_path, study):
    folder = interrupted(tmp_path / "s")
    own = catalogue.head(folder)
    assert own["goes_on"] is False and own["code"] is None
    assert catalogue.head(study.folder)["goes_on"] is True
    entry = {"code": "lr-too-high", "severity": "error", "where": None, "sentence": "", "confidence": 1, "outcome": None,
             "evidence": {}, "can_try": True, "remedy": None}  # fmt: skip
    kept = {"title": "", "recipe": "", "findings": [entry], "measured": [], "not_measured": [],
            "cost": {"gradient_evaluations": 0, "seconds": 0}}  # fmt: skip
    (folder / "findings.json").write_text(json.dumps(kept))
    assert not findings.document(folder)["findings"][0]["can_try"]
    head = json.loads((folder / "study.json").read_text()) | {"source": "digits"}
    (folder / "study.json").write_text(json.dumps(head))
    assert findings.document(folder)["findings"][0]["can_try"]
    assert catalogue.head(folder)["goes_on"] and catalogue.head(folder)["code"] is None


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
