"""What is looked at after the verdict, and remedies that are tried from a folder."""

import json
import shutil
import subprocess
import sys
import time

import pytest
import torch
from contract import wrong
from studies import interrupted

import thalweg as tw
from thalweg.cli import main
from thalweg.deadline import LATE, TimeOver
from thalweg.diagnosis import Diagnosis
from thalweg.errors import BadOption, BadStudy
from thalweg.store import Store
from thalweg.web import closing
from thalweg.web.beside import Beside
from thalweg.web.closing import Cost, look
from thalweg.web.documents import findings


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What is made does not depend on how busy the machine is."""
    monkeypatch.setattr(closing, "LEAST", 600.0)


@pytest.fixture
def bare(study, tmp_path):
    """A copy of the study with nothing looked at."""
    folder = tmp_path / "bare"
    shutil.copytree(study.folder, folder, ignore=shutil.ignore_patterns("la*.*", "findings.json", "shift.json"))
    return folder


def test_a_look_makes_what_is_missing_and_leaves_the_rest(bare):
    assert look(bare, quiet=True).made == ("layers", "landscape", "findings")
    stamps = {name: (bare / name).stat().st_mtime_ns for name in closing.FILES.values()}
    assert look(bare, quiet=True).made == ()
    assert stamps == {name: (bare / name).stat().st_mtime_ns for name in closing.FILES.values()}
    (bare / "layers.json").unlink()
    assert look(bare, quiet=True).made == ("layers",)


def test_ctrl_c_keeps_what_is_done(bare, monkeypatch):
    def stopped(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("thalweg.diagnosis.keeping.diagnose", stopped)
    found = look(bare, quiet=True)
    assert found.made == ("layers", "landscape") and (bare / "landscape.json").exists() and found.interrupted
    assert not (bare / "findings.json").exists()


def test_ctrl_c_ends_the_looks_at_all_studies(bare, tmp_path, monkeypatch):
    other, begun = tmp_path / "other", []
    shutil.copytree(bare, other)

    def stopped(what, **_options):
        begun.append(what.folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("thalweg.layering.layers", stopped)
    Beside(tmp_path).look([tw.Study.load(bare), tw.Study.load(other)], quiet=True)
    assert begun == [bare]


def test_ctrl_c_in_a_look_at_layers_keeps_its_part(bare, monkeypatch):
    from thalweg import layering

    whole, calls = layering.look, []

    def interrupting(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(layering, "look", interrupting)
    assert look(bare, quiet=True).made == ()
    own = json.loads((bare / "layers.json").read_text())
    assert len(own["steps"]) == 3 and not own["complete"] and "interrupted" in own["notes"][0]
    assert own["status"] == "stopped"
    monkeypatch.setattr(layering, "look", whole)
    assert "layers" in look(bare, quiet=True).made  # a part of it does not count as done
    own = json.loads((bare / "layers.json").read_text())
    assert own["complete"] and own["status"] == "finished"


def test_a_best_run_that_diverges_when_it_is_looked_at_ends_nothing(bare, monkeypatch):
    from thalweg import layering

    whole = layering.follow
    wild = tw.Recipe("sgd", lr=1e30, schedule="constant")
    monkeypatch.setattr(layering, "follow", lambda task, recipe, *rest: whole(task, wild, *rest))
    assert look(bare, quiet=True).made == ("layers", "landscape", "findings")
    own = json.loads((bare / "layers.json").read_text())
    assert own["status"] == "diverged" and not own["complete"] and "ended at step" in own["notes"][0]
    assert look(bare, quiet=True).made == ()


def test_a_document_that_cannot_be_read_is_made_anew(bare):
    (bare / "layers.json").write_text("{")
    assert "layers" in look(bare, quiet=True).made


def test_a_study_without_a_best_recipe_has_no_look(tmp_path, toy):
    study = tw.compare(toy, field=["sgd"], budget="2 runs", folder=tmp_path / "s", quiet=True)
    assert study.best is None
    found = look(study.folder, toy, quiet=True)
    assert found.made == () and {part for part, _ in found.left} == {"layers", "landscape", "findings"}
    assert look(interrupted(tmp_path / "i"), quiet=True).left[0][0] == "study"


def test_an_error_of_the_users_model_ends_no_comparison(bare, monkeypatch, capsys):
    def broken(*_args, **_options):
        raise KeyError("a buffer of mine")

    monkeypatch.setattr("thalweg.layering.layers", broken)
    found = look(bare)
    assert found.made == ("landscape", "findings") and found.left == (("layers", "KeyError: 'a buffer of mine'"),)
    assert f"Layers left out: KeyError: 'a buffer of mine'; thalweg layers {bare}" in capsys.readouterr().err
    monkeypatch.setattr(closing.Study, "load", broken)
    assert look(bare, quiet=True).left == (("study", "KeyError: 'a buffer of mine'"),)


def test_a_look_is_bounded():
    slow, fast = Cost(run=60.0, step=0.05, rows=64), Cost(run=0.1, step=0.0003, rows=64)
    assert fast.looks(4.0) == closing.LOOKS and fast.surface(7.5)[0] >= 17 and fast.evaluations(4.0) == 200
    assert slow.looks(4.0) < closing.FEWEST_LOOKS and slow.surface(7.5) is None and slow.evaluations(2.0) == 40
    last = 0.0
    for seconds in (10.0, 30.0, 100.0, 300.0, 1000.0):
        size = slow.surface(seconds)
        points = 0.0 if size is None else size[0] ** 2 * size[1] * size[2]
        assert points >= last
        last = points
    assert last > 0


def test_what_a_part_took_too_long_the_others_do_not_get(bare, monkeypatch):
    clock, given = [0.0], {}
    monkeypatch.setattr(closing, "LEAST", 15.0)
    monkeypatch.setattr(closing.time, "monotonic", lambda: clock[0])

    def measure(part, study, task, cost, portion):
        given[part] = portion.seconds
        assert portion.deadline == min(15.0, clock[0] + closing.SLACK * portion.seconds)
        clock[0] += takes[part]

    monkeypatch.setattr(closing, "_measure", measure)
    takes = {"layers": 11.0, "landscape": 6.0, "findings": 1.0}
    assert look(bare, quiet=True).seconds == 18.0
    assert given == pytest.approx({"layers": 3.75, "landscape": 8 / 3, "findings": 0.0})
    late = closing.Portion(given["findings"], 15.0)
    assert closing._findings(None, None, Cost(1.0, 0.01, 64), late).startswith("it would take more than")


def test_a_look_that_takes_longer_than_was_thought_ends_at_its_deadline(bare, monkeypatch, capsys):
    clock, whole = [0.0], torch.nn.Linear.forward

    def slow(self, x):
        clock[0] += 0.02
        return whole(self, x)

    monkeypatch.setattr(closing, "LEAST", 15.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(torch.nn.Linear, "forward", slow)
    monkeypatch.setattr(closing, "_cost", lambda study: Cost(1e-6, 1e-8, 64))  # what is seen is a million times as slow
    found = look(bare)
    last = 2 * 0.02 * 64  # the last thing that is begun: no more than the held batches
    assert closing.LEAST - last <= found.seconds <= closing.LEAST + last and not found.interrupted
    assert found.made == ("layers", "findings") and [part for part, _ in found.left] == ["landscape"]
    assert "Landscape left out: it took more than the 8.2s" in capsys.readouterr().err
    assert not json.loads((bare / "landscape.json").read_text())["complete"]
    own = json.loads((bare / "findings.json").read_text())
    assert LATE in {one["why"] for one in own["not_measured"]}
    monkeypatch.undo()
    monkeypatch.setattr(closing, "LEAST", 600.0)
    assert look(bare, quiet=True).made == ("landscape",)


def test_at_its_deadline_a_part_keeps_what_it_has(bare, study):
    over = time.monotonic() - 1
    found = tw.layers(bare, deadline=over, quiet=True)
    assert found.steps == (0,) and not found.complete and found.status == "stopped" and LATE in found.notes[0]
    with pytest.raises(BadStudy, match="before a surface was begun"):
        tw.landscape(bare, deadline=over, quiet=True)
    found = tw.diagnose(study.best.task, study.best.recipe, deadline=over)
    assert {one["why"] for one in found.not_measured if one["what"].startswith("lr-")} == {LATE}
    assert not found.cost["gradient_evaluations"]


def test_a_time_that_ends_before_the_first_surface_is_no_ctrl_c(bare, monkeypatch, capsys):
    def late(*_args, **_options):
        raise TimeOver

    monkeypatch.setattr("thalweg.landscapes.viewing.Views", late)
    monkeypatch.setattr("thalweg.layering.layers", late)
    found = look(bare)
    assert found.made == ("findings",) and not found.interrupted
    said = capsys.readouterr().err
    assert (
        "Layers left out: it would take more than" in said
        and "Landscape left out: landscape: the time was over" in said
    )


def test_the_help_says_what_a_look_may_take(capsys, monkeypatch):
    monkeypatch.undo()
    assert main(["compare", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{closing.SHARE:.0%}".replace("%", " %") in said and f"{closing.LEAST:.0f} s" in said


def test_what_would_take_too_long_is_named_with_its_command(bare, monkeypatch, capsys):
    monkeypatch.setattr(closing, "_cost", lambda study: Cost(1e4, 10.0, 64))
    found = look(bare, quiet=False)
    assert found.made == () and len(found.left) == 3
    said = capsys.readouterr().err
    assert f"thalweg layers {bare}" in said and f"thalweg diagnose {bare}" in said and "would take more" in said


@pytest.fixture(scope="module")
def wild(shelf, tmp_path_factory):
    """A study's folder whose best recipe has a rate that is too large, so that there is something to try."""
    folder = tmp_path_factory.mktemp("wild") / "run"
    tw.train(f"{shelf / 'toy.py'}:task", tw.Recipe("adamw", lr=3.0), folder=folder, quiet=True)
    assert main(["diagnose", str(folder)]) == 1
    return folder


def test_findings_of_a_folder_are_kept_and_a_remedy_is_tried_from_there(wild, capsys):
    assert main(["diagnose", str(wild)]) == 1
    assert "lr-" in capsys.readouterr().out
    document = findings.document(wild)
    assert not wrong(document, "Findings")
    k = next(k for k, f in enumerate(document["findings"]) if f["can_try"])
    first = document["findings"][k]
    assert first["outcome"] is None and first["remedy"]["diff"]
    run = subprocess.run(
        [sys.executable, "-m", "thalweg.web.trying", str(wild), str(k)], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and lines[1].startswith(first["code"])
    tried = findings.document(wild)["findings"][k]["outcome"]
    assert not wrong(tried, "Outcome") and tried["helps"] == (tried["interval"][1] < 0) and tried["seeds"] == 5
    assert lines[1] == f"{first['code']}: {tried['sentence']}"


def test_the_outcome_is_that_of_verify(wild):
    from thalweg.diagnosis.keeping import keep, of_study, try_again

    found, run = of_study(wild)
    keep(found, wild, run)
    k = next(k for k in range(len(found.findings)) if found.changed(k) is not None)
    again = try_again(wild, k, seeds=3)
    expected = found.verify(k, seeds=3).outcome
    assert again.outcome == expected
    keep(found, wild, run)
    assert findings.document(wild)["findings"][k]["outcome"]["sentence"] == str(expected)


@pytest.mark.parametrize("words", [[], ["one"], ["folder", "x"], ["folder", "-1"], ["nothing", "0"]])
def test_what_cannot_be_tried_says_why(words, tmp_path):
    run = subprocess.run([sys.executable, "-m", "thalweg.web.trying", *words], capture_output=True, text=True)
    assert run.returncode == 2 and "hint:" in run.stderr and "Traceback" not in run.stderr


def test_trying_refuses_what_is_not_there(wild, monkeypatch):
    from thalweg.diagnosis import keeping

    with pytest.raises(BadOption, match="no finding 99"):
        keeping.try_again(wild, 99)
    nothing = Diagnosis("x", [], (), (), {"gradient_evaluations": 0, "seconds": 0.0})
    kept = json.loads((wild / "findings.json").read_text())
    for of in (None, kept["of"] | {"recipe": "sgd"}, kept["of"] | {"fingerprint": "0"}, kept["of"] | {"seed": 99}):
        (wild / "findings.json").write_text(json.dumps(kept | {"of": of}))
        with pytest.raises(BadOption, match="not of this folder"):
            keeping.try_again(wild, 0)
    (wild / "findings.json").write_text(json.dumps(kept))
    monkeypatch.setattr(keeping, "diagnose", lambda *a, **k: nothing)
    with pytest.raises(BadOption, match="diagnosed again"):
        keeping.try_again(wild, 0)
    (wild / "findings.json").unlink()
    with pytest.raises(BadStudy, match="no findings"):
        keeping.try_again(wild, 0)
    (wild / "findings.json").write_text(json.dumps(kept))


def test_an_outcome_finds_its_finding_again_among_those_that_are_there(wild):
    from thalweg.diagnosis import keeping

    found, run = keeping.of_study(wild)
    keeping.keep(found, wild, run)
    place = Store(wild)
    document = place.read("findings.json")
    k = next(k for k, f in enumerate(document["findings"]) if f["can_try"])
    mine, other = document["findings"][k], document["findings"][k] | {"code": "another"}
    gone = document | {"findings": [other]}
    moved = document | {"findings": [other, mine]}

    def meanwhile(now):
        class Slow(Diagnosis):
            def verify(self, which, *, seeds=3):
                place.write("findings.json", now)
                return found.verify(which, seeds=2)

        def diagnosed(*args, **options):
            return Slow(found.title, found.findings, found.measured, found.not_measured, found.cost, found.subject)

        return diagnosed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeping, "diagnose", meanwhile(moved))
        tried = keeping.try_again(wild, k)
        after = place.read("findings.json")["findings"]
        assert after[0]["outcome"] is None and after[1]["outcome"]["sentence"] == str(tried.outcome)
        place.write("findings.json", document)
        patch.setattr(keeping, "diagnose", meanwhile(gone))
        with pytest.raises(BadOption, match="made anew meanwhile"):
            keeping.try_again(wild, k)


def test_findings_of_a_task_that_has_changed_say_so_and_are_not_tried(wild):
    from dataclasses import replace

    from thalweg.diagnosis import keeping
    from thalweg.study.opening import CHANGED

    found, run = keeping.of_study(wild)
    keeping.keep(found, wild, replace(run, notes=(CHANGED,)))
    document = findings.document(wild)
    assert document["notes"] == [CHANGED] and not any(f["can_try"] for f in document["findings"])
    other = replace(run.task, name="another")
    with pytest.raises(BadOption, match="not the one that was trained"):
        keeping.try_again(wild, 0, other)
    keeping.keep(found, wild, run)


def test_findings_can_be_saved_elsewhere(tmp_path, shelf, capsys):
    assert main(["diagnose", f"{shelf / 'toy.py'}:task", "--recipe", "adamw,lr=3", "--save", str(tmp_path / "f")]) == 1
    capsys.readouterr()
    document = findings.document(tmp_path / "f")
    assert not wrong(document, "Findings") and any(f["remedy"]["diff"] for f in document["findings"] if f["remedy"])
    assert not any(f["can_try"] for f in document["findings"])  # nothing there tells of which task and recipe
    assert main(["diagnose", "digits", "fashion-mlp", "--save", str(tmp_path / "g")]) == 2
    assert "--save" in capsys.readouterr().err and not (tmp_path / "g").exists()
