import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.errors import BadOption, BadStudy, BadTask
from thalweg.store import Store, load_weights
from thalweg.study import Study

TIMES = ("seconds", "at", "study", "executor", "cost")


def bits(document):
    """A document without what tells the time."""
    if isinstance(document, dict):
        return {k: bits(v) for k, v in document.items() if k not in TIMES}
    return [bits(v) for v in document] if isinstance(document, list) else document


@pytest.fixture
def study(toy, tmp_path):
    return tw.compare(
        toy, field=["adamw", "sgd"], budget="60 runs", folder=tmp_path / "s", executor="sequential", quiet=True
    )


def test_a_study_answers_and_hands_over(study, toy):
    verdict = study.verdict
    assert verdict.metric == "accuracy" and verdict.direction == "max" and verdict.sentence.endswith(".")
    assert {s.name for s in study.finalists} == {"adamw at 1e-3", "adamw", "sgd"}
    assert study.cost["runs"] <= 60 and study.cost["samples"] > 0
    best = study.best
    assert best.recipe == tw.Recipe.load(best.recipe_file)
    accuracy = toy.evaluate(best.model, toy.prepare().judge)["accuracy"]
    first = next(s for s in study.finalists if s.recipe == best.recipe)
    assert accuracy == first.scores[0]
    base = next(s for s in study.finalists if s.baseline)
    assert base.recipe.lr == 1e-3 and base.difference.decision == "equivalent" and base.difference.mean == 0
    for s in study.finalists:
        assert len(s.scores) == len(s.seeds) >= 3
        assert s.mean == pytest.approx(sum(s.scores) / len(s.scores))
        assert s.interval[0] <= s.mean <= s.interval[1]
        assert s.calibration.keys() == {"nll", "ece"} and s.bytes_per_parameter in (12, 28)
        assert s.gradient_evaluations == 40 and s.seconds > 0


def test_the_terminal_shows_at_most_fourteen_lines_with_everything_to_take_home(study):
    lines = str(study).splitlines()
    assert len(lines) <= 14
    assert str(study.folder) in str(study) and "recipe.toml" in lines[-1] and "[" in lines[4]
    html = study._repr_html_()
    assert html.count("<tr>") == 4 and "adamw at 1e-3" in html


def test_the_document_has_the_keys_that_programs_read(study):
    d = json.loads((study.folder / "verdict.json").read_text())
    assert {"study", "task", "verdict", "finalists", "best", "not_tried", "cost", "executor"} <= d.keys()
    keys = {
        "sentence",
        "winner",
        "equivalent",
        "materially",
        "metric",
        "direction",
        "smallest_difference",
        "seeds_needed",
        "effort",
    }
    assert keys <= d["verdict"].keys()
    for f in d["finalists"]:
        keys = {
            "name",
            "optimizer",
            "recipe",
            "seeds",
            "scores",
            "mean",
            "interval",
            "difference",
            "samples_to_target",
            "lr_robustness_decades",
        }
        assert keys | {"lr_edge", "diverged", "seconds"} <= f.keys()
        assert {"mean", "interval", "p_better", "decision"} <= f["difference"].keys()
    assert {"recipe", "recipe_file", "model_file", "test"} <= d["best"].keys()
    assert {"runs", "samples", "seconds"} <= d["cost"].keys()
    assert all(sorted(order) == ["adamw", "sgd"] for order in d["rankings"].values()) and len(d["rankings"]) == 3


def test_a_study_read_from_its_folder_is_the_same(study, toy):
    again = Study.load(study.folder)
    assert again.finalists == study.finalists and again.verdict == study.verdict and str(again) == str(study)
    with pytest.raises(BadStudy, match="without its task"):
        _ = again.best.model
    assert isinstance(Study.load(study.folder, toy).best.model, nn.Module)


def test_the_frame_has_a_row_a_run(study):
    frame = study.to_frame()
    assert len(frame) == study.cost["runs"]
    finals = frame[(frame.phase == "final") & (frame.entrant == study.finalists[0].name)]
    assert sorted(finals["judge accuracy"]) == pytest.approx(sorted(study.finalists[0].scores))


def test_the_figure_shows_finals_curves_rates_and_the_best_so_far(study, tmp_path):
    figure = study.plot(tmp_path / "f.svg")
    finals, curves, rates, best = figure.axes
    came = next(line for line in best.lines if line.get_label() == "as it came")
    gains = study.document["best_so_far"]
    assert came.get_ydata()[:-1] == pytest.approx([100 * e["value"] for e in gains])
    assert came.get_xdata()[-1] == len(study.document["best_so_far_band"]) >= gains[-1]["full_runs"]
    assert [t.get_text() for t in finals.get_yticklabels()] == [s.name for s in reversed(study.finalists)]
    assert rates.get_xscale() == "log" and len(curves.lines) == 3
    assert (tmp_path / "f.svg").stat().st_size > 5000


def test_one_final_of_each_and_all_of_the_best_keep_their_weights(study):
    names = [p.stem for p in Store(study.folder).models.glob("*.safetensors")]
    own = [n for n in names if study.best.recipe.id in n]
    best = next(s for s in study.finalists if s.recipe == study.best.recipe)
    assert len(own) == len(best.seeds) and len(names) == len(own) + 2


def test_asked_again_a_finished_study_is_read_and_a_new_folder_is_taken_by_default(toy, tmp_path):
    ask = {"field": ["sgd"], "budget": "20 runs", "executor": "sequential", "quiet": True}
    first = tw.compare(toy, folder=tmp_path / "s", **ask)
    began = time.monotonic()
    assert tw.compare(toy, folder=tmp_path / "s", **ask).verdict == first.verdict
    assert time.monotonic() - began < 5
    a, b = tw.compare(toy, **ask), tw.compare(toy, **ask)
    assert (a.folder, b.folder) == (Path("thalweg-studies/toy-001"), Path("thalweg-studies/toy-002"))
    assert bits(a.document) == bits(b.document) == bits(first.document)


def test_folders_of_other_studies_are_refused(toy, tmp_path):
    ask = {"field": ["sgd"], "budget": "16 runs", "executor": "sequential", "quiet": True, "folder": tmp_path / "s"}
    tw.compare(toy, **ask)
    other = tw.Task(
        model=lambda: nn.Linear(4, 3), train=toy.train, valid=toy.valid, batch_size=16, epochs=4, name="other"
    )
    with pytest.raises(BadStudy, match=r"is a study of another task \(toy\)"):
        tw.compare(other, **ask)
    with pytest.raises(BadStudy, match="asked differently: budget"):
        tw.compare(toy, **(ask | {"budget": "17 runs"}))
    with pytest.raises(BadStudy, match="holds a study already"):
        tw.compare(toy, **ask, resume=False)


@pytest.mark.skipif(sys.platform != "linux", reason="forked workers are used on Linux only")
def test_one_process_a_core_gives_the_same_study(toy, tmp_path):
    ask = {"field": ["sgd", "adam"], "budget": "50 runs", "quiet": True}
    one = tw.compare(toy, executor="sequential", folder=tmp_path / "1", **ask)
    many = tw.compare(toy, executor="processes", folder=tmp_path / "2", **ask)
    assert bits(one.document) == bits(many.document)
    measured = tw.compare(toy, folder=tmp_path / "3", **ask)
    assert measured.executor["name"] in ("sequential", "processes")
    tried = measured.executor["tried"]
    assert {"sequential × 1", "processes × 1"} <= tried.keys()
    assert measured.executor["seconds_per_step"] == min(tried.values())


def test_cohorts_give_the_same_study_up_to_rounding(toy, tmp_path):
    ask = {"field": ["sgd", "adam"], "budget": "50 runs", "quiet": True}
    one = tw.compare(toy, executor="sequential", folder=tmp_path / "1", **ask)
    many = tw.compare(toy, executor="cohorts", folder=tmp_path / "2", **ask)
    assert many.executor["size"] == 32 and many.cost["runs"] == one.cost["runs"]
    assert [s.name for s in many.finalists] == [s.name for s in one.finalists]
    for a, b in zip(one.finalists, many.finalists, strict=True):
        assert b.recipe.lr == pytest.approx(a.recipe.lr, rel=0.05) and b.mean == pytest.approx(a.mean, abs=0.01)
    assert toy.evaluate(many.best.model, toy.prepare().judge)["accuracy"] in {
        x for s in many.finalists for x in s.scores
    }


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from torch import nn
import thalweg as tw
g = torch.Generator().manual_seed(0)
x = torch.randn(600, 4, generator=g)
net = lambda: nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.1), nn.Linear(16, 2))
task = tw.Task(model=net, train=(x, (x[:, 0] > 0).long()), batch_size=8, epochs=3, name="t")
tw.compare(task, field=["adamw", "sgd"], budget="24 runs", folder="study", executor=sys.argv[1], quiet=True)
"""


@pytest.mark.parametrize(
    ("executor", "end", "when"),
    [
        ("sequential", signal.SIGKILL, 12),
        ("processes", signal.SIGKILL, 40),
        ("sequential", signal.SIGINT, 30),
        ("cohorts", signal.SIGKILL, 20),
    ],
)
def test_killed_and_started_again_it_ends_with_the_same_bits(tmp_path, executor, end, when):
    if executor == "processes" and sys.platform != "linux":
        pytest.skip("forked workers are used on Linux only")
    results = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "script.py").write_text(SCRIPT)
        command = [sys.executable, "script.py", executor]
        if name == "killed":
            process = subprocess.Popen(command, cwd=folder)
            trace = folder / "study" / "trace.jsonl"
            while process.poll() is None and not (trace.exists() and trace.read_bytes().count(b"\n") > when):
                time.sleep(0.01)
            assert process.poll() is None, "it ended before it could be killed"
            process.send_signal(end)
            process.wait(timeout=60)
            if end == signal.SIGINT:
                assert json.loads((folder / "study" / "verdict.json").read_text())["verdict"]["sentence"]
        subprocess.run(command, cwd=folder, check=True, timeout=300)
        document = json.loads((folder / "study" / "verdict.json").read_text())
        results.append((bits(document), load_weights(folder / "study" / "model.safetensors")))
    (a, weights), (b, others) = results
    assert a == b
    assert all(torch.equal(weights[k], others[k]) for k in weights)


def test_a_budget_in_seconds_ends_in_time_with_a_verdict(toy, tmp_path):
    compare = tw.compare  # what is imported for it is no part of the budget
    began = time.monotonic()
    study = compare(toy, budget="12s", executor="sequential", folder=tmp_path / "s", quiet=True)
    assert study.cost["seconds"] <= time.monotonic() - began < 12
    assert len(study.finalists) >= 2


def test_one_affordable_run_gives_no_verdict(toy, tmp_path):
    study = tw.compare(toy, budget="2 runs", folder=tmp_path / "s", executor="sequential", quiet=True)
    assert study.verdict.winner is None and "No verdict" in study.verdict.sentence and study.best is None
    assert study.cost["runs"] <= 2 and len(str(study).splitlines()) <= 14
    curved = study.document["curvature"]
    assert curved["edge"] == 2 / curved["largest"] and curved["sentence"] in study.verdict.sentences[1]


def test_the_users_recipe_is_the_reference_and_keep_yours_is_an_answer(toy, tmp_path):
    good, bad = tw.Recipe("momentum", lr=0.1), tw.Recipe("sgd", lr=1e-6)
    ask = {"seeds": 4, "executor": "sequential", "quiet": True}
    study = tw.compare(toy, baseline=good, field=[bad], folder=tmp_path / "b", **ask)
    assert next(s for s in study.finalists if s.baseline).name == "momentum (yours)"
    assert study.best.recipe == good and "Keep yours" in study.verdict.sentences[1]
    study = tw.compare(toy, baseline=bad, field=[good], folder=tmp_path / "c", **ask)
    assert study.best.recipe == good and study.verdict.winner == "momentum" and "better" in study.verdict.sentences[1]


def test_divergence_is_counted_and_located_never_dropped(toy, tmp_path):
    wild = tw.Recipe("sgd", lr=1e12, schedule="constant")
    study = tw.compare(
        toy, baseline=wild, field=["sgd"], seeds=3, executor="sequential", folder=tmp_path / "s", quiet=True
    )
    fallen = next(s for s in study.finalists if s.baseline)
    assert fallen.diverged == 3 and math.isnan(fallen.mean) and "non-finite first in" in fallen.diverged_where[0]
    assert study.best.recipe.optimizer == "sgd" and study.best.recipe.lr < 1e3
    assert next(s for s in study.finalists if not s.baseline).difference.decision == "better"
    assert fallen.versus_best.decision == "worse"
    assert any(d["entrant"] == fallen.name and d["where"] for d in study.document["diverged"])
    assert "diverged" in str(study)


def gaussian(recipe, seed, report):
    theta = nn.Parameter(torch.full((3,), 2.0))
    net = nn.ParameterList([theta])
    optimizer, schedule = recipe.build(net)
    for step in range(1, 61):
        optimizer.zero_grad()
        loss = ((theta - torch.randn(3) * 0.1) ** 2).sum()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            report(step, error=theta.detach().norm().item())


def test_a_loop_of_the_users_own(tmp_path):
    study = tw.compare(gaussian, field=["sgd", "adam"], budget="40 runs", folder=tmp_path / "s", quiet=True)
    assert study.verdict.metric == "error" and study.verdict.direction == "min"
    assert study.document["steps"] == 60
    assert study.best.recipe.optimizer in ("sgd", "adam") and study.best.model_file is None
    base = next(s for s in study.finalists if s.baseline)
    assert base.mean > study.finalists[0].mean
    assert study.finalists[0].difference.mean < 0 and study.finalists[0].difference.decision == "better"


def test_a_loop_that_says_what_is_better_and_one_that_fails(tmp_path):
    def rising(recipe, seed, report):
        report(1, closeness=-((recipe.lr - 0.1) ** 2))

    rising.goal = "max closeness"
    study = tw.compare(rising, field=["sgd"], budget="20 runs", folder=tmp_path / "a", quiet=True)
    assert study.verdict.direction == "max" and study.best.recipe.lr == pytest.approx(0.1, rel=0.5)

    def silent(recipe, seed, report):
        pass

    def broken(recipe, seed, report):
        raise RuntimeError("shapes differ")

    for fit, said in ((silent, "without a call of report"), (broken, "shapes differ")):
        with pytest.raises(BadTask, match=said):
            tw.compare(fit, field=["sgd"], budget="20 runs", folder=tmp_path / fit.__name__, quiet=True)


def test_a_loop_that_diverges_is_a_result(tmp_path):
    def fit(recipe, seed, report):
        report(1, loss=math.nan if recipe.lr > 0.5 else (recipe.lr - 0.1) ** 2 + seed * 1e-6)

    study = tw.compare(fit, field=["sgd"], budget="30 runs", folder=tmp_path / "s", quiet=True)
    assert study.document["diverged"] and study.best.recipe.lr < 0.5


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        (nn.Linear(2, 2), {}, "a model needs data"),
        (3, {}, "cannot compare a int"),
        (lambda a: None, {}, "fit takes"),
        ("digits", {"train": 1}, "train and valid go with a model"),
        ("digits", {"effort": "great"}, "'quick', 'fair'"),
        ("digits", {"budget": "soon"}, "budget must be"),
        ("digits", {"seeds": 1}, ">= 2"),
        ("digits", {"executor": "cloud"}, "executor must be"),
        ("digits", {"baseline": 3}, "baseline must be"),
        ("digits", {"field": ["adamv"]}, "did you mean"),
        ("digitz", {}, "did you mean 'digits'"),
    ],
)
def test_wrong_use_ends_before_anything_is_written(what, options, said, tmp_path):
    with pytest.raises((BadOption, BadTask)) as error:
        tw.compare(what, folder=tmp_path / "s", quiet=True, **options)
    assert said in str(error.value) and "\nhint: " in str(error.value)
    assert not (tmp_path / "s").exists()


def test_a_bare_model_and_data_are_enough_and_what_was_inferred_is_said(toy, tmp_path, capsys):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    study = tw.compare(
        net, toy.train, toy.valid, field=["sgd"], budget="16 runs", folder=tmp_path / "s", executor="sequential"
    )
    said = capsys.readouterr()
    assert "Loss: cross entropy" in said.err and "accuracy" in said.err and said.out == ""
    assert study.notes and study.best.model(torch.zeros(1, 4)).shape == (1, 3)


def test_the_plain_script_repeats_the_first_twenty_losses(study, toy):
    namespace = {"task": toy}
    exec((study.folder / "plain.py").read_text(), namespace)
    best = next(s for s in study.finalists if s.recipe == study.best.recipe)
    recorded = []
    for record in Store(study.folder).records():
        if record["kind"] == "steps" and record["run"].startswith(f"final-{best.recipe.id}-40-{best.seeds[0]}"):
            recorded += record["loss"]
    assert namespace["losses"][:20] == pytest.approx(recorded[:20], rel=1e-5)
    assert (study.folder / "lightning.py").exists()


def test_tuples_in_a_recipe_do_not_stop_a_resume(toy, tmp_path):
    own = tw.Recipe("adam", lr=1e-2, betas=(0.9, 0.95), freeze=["0.bias"])
    ask = {"baseline": own, "field": ["sgd"], "budget": "16 runs", "executor": "sequential", "quiet": True}
    first = tw.compare(toy, folder=tmp_path / "s", **ask)
    assert tw.compare(toy, folder=tmp_path / "s", **ask).verdict == first.verdict


def test_another_model_of_the_same_shape_is_another_task(toy, tmp_path):
    def task(layer):
        net = lambda: nn.Sequential(nn.Linear(4, 16), layer, nn.Linear(16, 3))  # noqa: E731
        return tw.Task(model=net, train=toy.train, valid=toy.valid, batch_size=16, epochs=2, name="same")

    ask = {"field": ["sgd"], "budget": "16 runs", "executor": "sequential", "quiet": True, "folder": tmp_path / "s"}
    tw.compare(task(nn.ReLU()), **ask)
    with pytest.raises(BadStudy, match="another task"):
        tw.compare(task(nn.Tanh()), **ask)


def test_recipes_of_different_batch_sizes_see_the_same_number_of_rows(toy, tmp_path):
    field = [tw.Recipe("sgd", lr=0.1, batch_size=b) for b in (8, 40, "full")]
    study = tw.compare(toy, field=field, seeds=2, executor="sequential", folder=tmp_path / "s", quiet=True)
    frame = study.to_frame()
    assert set(frame[frame.phase == "final"].samples) == {640}
    assert study.document["steps"] == {8: 80, 40: 16, "full": 4, None: 40}[study.best.recipe.batch_size]


def test_seeds_of_the_finals_are_never_those_of_the_selection(toy, tmp_path):
    study = tw.compare(toy, field=["sgd"], seeds=[0, 1], executor="sequential", folder=tmp_path / "s", quiet=True)
    frame = study.to_frame()
    assert not set(frame[frame.phase == "final"].seed) & set(frame[frame.phase != "final"].seed)


def test_the_same_recipe_twice_is_one_row(toy, tmp_path):
    twin = tw.Recipe("adamw", lr=1e-3, weight_decay=0.01)
    ask = {"field": [twin, tw.Recipe("sgd", lr=0.3)], "seeds": 3, "executor": "sequential", "quiet": True}
    study = tw.compare(toy, folder=tmp_path / "s", **ask)
    assert len(study.finalists) == 2 and any("one row stands for both" in note for note in study.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="forked workers are used on Linux only")
def test_runs_whose_worker_dies_are_marked_and_the_rest_goes_on(tmp_path):
    def fit(recipe, seed, report):
        if recipe.lr > 0.5:
            os._exit(9)
        report(1, loss=(recipe.lr - 0.1) ** 2 + seed * 1e-12)

    study = tw.compare(fit, field=["sgd"], budget="30 runs", folder=tmp_path / "s", executor="processes", quiet=True)
    assert study.best.recipe.lr < 0.5
    assert study.to_frame().reason.astype(str).str.contains("died twice").any()


def test_accuracy_reported_in_per_cent_is_judged_in_points(tmp_path):
    def fit(recipe, seed, report):
        noise = (hash((round(recipe.lr, 9), seed)) % 100) / 500
        report(1, loss=1.0)
        report(2, loss=0.5, accuracy=90 - 5 * abs(math.log10(recipe.lr / 0.1)) + noise)

    fit.goal = "max accuracy"
    study = tw.compare(fit, field=["sgd"], budget="40 runs", folder=tmp_path / "s", executor="sequential", quiet=True)
    assert study.verdict.smallest_difference == 0.002 and study.verdict.winner == "sgd" and study.verdict.materially
    assert 0.85 < study.finalists[0].mean < 0.92


def test_an_exception_behind_which_training_diverged_is_a_divergence(toy, tmp_path):
    def picky(output, target):
        if not output.isfinite().all():
            raise ValueError("outputs must be finite")
        return nn.functional.cross_entropy(output, target)

    task = tw.Task(model=toy.model, train=toy.train, valid=toy.valid, loss=picky, batch_size=16, epochs=4, name="picky")
    run = tw.train(task, tw.Recipe("sgd", lr=1e30, schedule="constant"), quiet=True)
    assert run.outcome.status == "diverged" and "outputs must be finite" in run.outcome.reason

    def broken(output, target):
        broken.calls += 1
        if broken.calls > 30:
            raise RuntimeError("out of order")
        return nn.functional.cross_entropy(output, target)

    broken.calls = 0
    task = tw.Task(
        model=toy.model, train=toy.train, valid=toy.valid, loss=broken, batch_size=16, epochs=9, name="broken"
    )
    with pytest.raises(BadTask, match=r"failed at step \d+: RuntimeError: out of order"):
        tw.train(task, tw.Recipe("sgd", lr=0.1), quiet=True)


class Rotten(torch.utils.data.Dataset):
    """Augmented rows, one of them with a NaN."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        x = torch.randn(4)
        return (x * torch.nan if index == 37 else x), index % 2


def test_nan_in_inputs_read_on_the_way_is_bad_data(toy, tmp_path):
    task = tw.Task(
        model=lambda: nn.Linear(4, 2), train=Rotten(), valid=(torch.randn(40, 4), torch.arange(40) % 2), name="rotten"
    )
    with pytest.raises(tw.errors.BadData, match="hold NaN or inf"):
        tw.train(task, tw.Recipe("sgd", lr=0.1), quiet=True)


def test_a_metric_without_a_value_is_said_before_anything_is_written(toy, tmp_path):
    x, y = toy.valid
    valid = (x, torch.zeros_like(y))
    task = tw.Task(model=toy.model, train=toy.train, valid=valid, metric="auc", batch_size=16, epochs=1, name="auc")
    with pytest.raises(BadTask, match="auc has no value"):
        tw.compare(task, folder=tmp_path / "s", quiet=True)
    assert not (tmp_path / "s").exists()
