import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import thalweg as tw
from thalweg import arguments, cli, variants
from thalweg.errors import BadOption, BadTask
from thalweg.store import Store
from thalweg.study import Study, axes, plan, work


def network(width=16, *, bias=True):
    return nn.Sequential(nn.Linear(4, width, bias=bias), nn.ReLU(), nn.Linear(width, 3))


@pytest.fixture
def task(toy):
    return tw.Task(model=network, train=toy.train, valid=toy.valid, batch_size=16, epochs=4, name="toy")


def field(names, effort="quick"):
    return plan.entrants(names, None, "classification", False, effort)[0]


def vary(names, chosen, task=None, effort="quick"):
    return axes.vary(field(names, effort), axes.read(chosen), task)


def test_each_cell_is_an_entrant_with_a_rate_of_its_own(task):
    found, notes = vary(["adamw", "sgd"], {"model.width": [8, 32], "schedule": ["linear", "cosine"]}, task)
    assert [e.name for e in found] == ["adamw at 1e-3"] + [
        f"{name} width={width} schedule={schedule}"
        for name in ("adamw", "sgd") for width in (8, 32) for schedule in ("linear", "cosine")
    ]  # fmt: skip
    assert found[0].arguments == () and found[0].recipe.lr == 1e-3 and not notes
    assert {(e.arguments, e.recipe.schedule) for e in found[1:5]} == {
        ((("width", w),), s) for w in (8, 32) for s in ("linear", "cosine")
    }
    assert all(e.recipe.lr is None and e.rates for e in found[1:])


def test_options_elements_and_fields_of_the_recipe():
    found, _ = vary(["adamw"], {"beta2": [0.95, 0.99]})
    assert [e.recipe.options["betas"] for e in found[1:]] == [(0.9, 0.95), (0.9, 0.99)]
    found, _ = vary(["adamw"], {"clip_norm": [None, 1.0], "betas": [(0.9, 0.95), (0.9, 0.999)]})
    assert found[1].name == "adamw clip_norm=None betas=0.9:0.95" and found[1].recipe.clip_norm is None
    found, _ = vary(["sgd"], {"lr": [0.1, 0.01]})
    assert [(e.recipe.lr, e.rates) for e in found[1:]] == [(0.1, None), (0.01, None)]
    found, _ = vary(["sgd"], {"weight_decay": (1e-5, 1e-1)})
    assert [e.recipe.weight_decay for e in found[1:]] == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    found, _ = vary(["sgd"], {"batch_size": (16, 256)})
    assert [e.recipe.batch_size for e in found[1:]] == [16, 32, 64, 128, 256]


def test_an_optimizer_without_the_option_enters_once_and_that_is_said():
    found, notes = vary(["adamw", "sgd"], {"beta2": [0.9, 0.99]})
    assert [e.name for e in found[1:]] == ["adamw beta2=0.9", "adamw beta2=0.99", "sgd"]
    assert notes == ["sgd has no beta2: it does not vary."]


def test_what_an_axis_fixes_is_not_searched():
    found, _ = vary(["adamw"], {"beta2": [0.9, 0.99], "weight_decay": [0.0, 0.1]}, effort="fair")
    assert {*found[1].space} == {"beta1", "eps", "warmup"}
    found, _ = vary(["adamw"], {"betas": [(0.9, 0.9), (0.8, 0.9)]}, effort="fair")
    assert {*found[1].space} == {"eps", "lr·weight_decay", "warmup"}


VALUES = st.lists(st.integers(1, 99), min_size=2, max_size=5, unique=True)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_cells_are_the_grid_of_two_axes_and_a_spread_of_more(values):
    cells = axes.cells([axes.Axis(f"model.a{i}", tuple(v)) for i, v in enumerate(values)])
    assert len({tuple(cell.items()) for cell in cells}) == len(cells)
    product = math.prod(map(len, values))
    assert len(cells) == product if len(values) <= 2 or product <= 16 else 2 < len(cells) <= 16
    for i, v in enumerate(values):
        assert {cell[f"model.a{i}"] for cell in cells} == set(v)  # no value is left out


def test_three_ranges_are_sampled_evenly():
    chosen = axes.read({"weight_decay": (1e-5, 1e-1), "clip_norm": (0.1, 10.0), "model.width": (8, 128)})
    cells = axes.cells(chosen)
    assert len(cells) == 16 and cells == axes.cells(chosen)
    places = sorted(math.log(cell["clip_norm"] / 0.1, 100) for cell in cells)
    assert all(i / 16 - 0.01 <= place <= (i + 1) / 16 + 0.01 for i, place in enumerate(places))
    assert all(isinstance(cell["model.width"], int) and 8 <= cell["model.width"] <= 128 for cell in cells)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"shedule": ["linear", "cosine"]}, "did you mean 'schedule'"),
        ({"beta9": [0.1, 0.2]}, "unknown axis"),
        ({"schedule": ["linear", "cosinus"]}, "did you mean 'cosine'"),
        ({"clip_norm": [1.0, -1.0]}, "clip_norm must be a finite number > 0"),
        ({"init": ["torch", "he"]}, "unknown init"),
        ({"schedule": ["linear"]}, "two or more values"),
        ({"schedule": "linear"}, "two or more values"),
        ({"clip_norm": [1.0, 1]}, "a value twice"),
        ({"clip_norm": (1.0, 0.1)}, "0 < low < high"),
        ({"clip_norm": (0, 1)}, "0 < low < high"),
        ({"schedule": ("linear", "cosine")}, "write the values as a list"),
        ({"optimizer": ["sgd", "adam"]}, "field="),
        (["schedule"], "a table from names to values"),
        ({"model.widht": [8, 16]}, "did you mean 'width'"),
        ({"model.width": [nn.ReLU, nn.Tanh]}, "let the factory look them up"),
        ({"model.width": [8, "many"]}, "factory failed"),
    ],
)
def test_axes_that_make_no_sense_end_before_anything_is_written(task, chosen, said, tmp_path):
    with pytest.raises((BadOption, BadTask)) as error:
        tw.compare(task, field=["adamw"], axes=chosen, folder=tmp_path / "s", quiet=True)
    assert said in str(error.value) and "\nhint: " in str(error.value)
    assert not (tmp_path / "s").exists()


def fit(recipe, seed, report):
    report(1, loss=(math.log10(recipe.lr) + 1) ** 2 + (0.1 if recipe.schedule == "cosine" else 0) + seed * 1e-9)


def test_a_loop_of_the_users_has_no_model_to_vary(tmp_path):
    with pytest.raises(BadOption, match="fit builds its own model"):
        tw.compare(fit, field=["sgd"], axes={"model.width": [8, 16]}, folder=tmp_path / "s", quiet=True)
    study = tw.compare(
        fit, field=["sgd"], axes={"schedule": ["linear", "cosine"]}, budget="40 runs", folder=tmp_path / "s", quiet=True
    )
    assert study.best.recipe.schedule == "linear"


ASK = {"field": ["adamw"], "axes": {"model.width": [2, 32]}, "budget": "50 runs", "quiet": True}


@pytest.fixture
def study(task, tmp_path):
    return tw.compare(task, folder=tmp_path / "s", executor="sequential", **ASK)


def test_a_model_axis_reaches_runs_standings_model_and_hand_over(study, task):
    assert {s.name: s.arguments for s in study.finalists} == {
        "adamw at 1e-3": {}, "adamw width=2": {"width": 2}, "adamw width=32": {"width": 32}
    }  # fmt: skip
    best, name = study.best, study.verdict.best
    assert name == "adamw width=32" and best.arguments == {"width": 32} and best.model[0].out_features == 32
    top = next(s for s in study.finalists if s.name == name)
    assert task.evaluate(best.model, task.prepare().judge)["accuracy"] == top.scores[0]
    assert Study.load(study.folder, task).finalists == study.finalists and "model.width 32" in str(study)
    document = json.loads((study.folder / "verdict.json").read_text())
    assert document["best"]["arguments"] == {"width": 32}
    assert Store(study.folder).head()["asked"]["axes"] == {"model.width": [2, 32]}
    ends = [r for r in Store(study.folder).records() if r["kind"] == "end"]
    assert {json.dumps(r.get("arguments")) for r in ends if r["entrant"] != "adamw at 1e-3"} == {
        '{"width": 2}', '{"width": 32}'
    }  # fmt: skip
    namespace = {"task": task}
    exec((study.folder / "plain.py").read_text(), namespace)
    recorded = []
    for record in Store(study.folder).records():
        if record["kind"] == "steps" and record["run"].startswith("final-") and record["run"].endswith("-1000"):
            key = work.Job("final", name, best.recipe, 1000, 40, (("width", 32),)).key
            recorded += record["loss"] if record["run"] == key else []
    assert namespace["losses"][:20] == pytest.approx(recorded[:20], rel=1e-5)
    weights = [p.stem for p in Store(study.folder).models.glob("*.safetensors")]
    assert len(weights) == len(top.seeds) + 2


def test_the_same_comparison_is_found_again_and_another_axis_is_not_it(study, task):
    again = tw.compare(task, folder=study.folder, executor="sequential", **ASK)
    assert again.verdict == study.verdict
    with pytest.raises(tw.errors.BadStudy, match="asked differently: field, axes"):
        tw.compare(task, folder=study.folder, **(ASK | {"axes": {"model.width": [2, 64]}}))


@pytest.mark.skipif(sys.platform != "linux", reason="forked workers are used on Linux only")
def test_workers_build_the_variants_too(study, task, tmp_path):
    other = tw.compare(task, folder=tmp_path / "p", executor="processes", **ASK)
    assert [(s.name, s.scores) for s in other.finalists] == [(s.name, s.scores) for s in study.finalists]


def test_variants_share_no_program_and_equal_recipes_of_two_variants_are_two_runs():
    one, two = (work.Job("rate", "e", tw.Recipe(lr=0.1), 0, 40, (("width", w),)) for w in (2, 32))
    plain = work.Job("rate", "e", tw.Recipe(lr=0.1), 0, 40)
    assert len({work.alike(job) for job in (one, two, plain)}) == len({job.key for job in (one, two, plain)}) == 3


def test_finalists_with_one_recipe_on_two_variants_stay_two(task, tmp_path):
    options = ASK | {"field": [tw.Recipe("adamw", lr=0.01)]}
    both = tw.compare(task, folder=tmp_path / "s", executor="sequential", **options)
    scores = {s.name: s.scores for s in both.finalists}
    assert len(scores) == 3 and scores["adamw width=2"] != scores["adamw width=32"]
    assert both.best.model[0].out_features == variants.of(task, both.best.arguments).build(0)[0].out_features


def test_batch_sizes_are_judged_by_samples_steps_and_seconds(task, tmp_path):
    study = tw.compare(
        task, field=["adamw"], axes={"batch_size": [8, 32]}, budget="50 runs", folder=tmp_path / "s",
        executor="sequential", quiet=True,
    )  # fmt: skip
    head = str(study).splitlines()[3]
    assert head.split()[-5:] == ["samples", "steps", "s", "to", "target"]
    assert all(len(line) <= 80 for line in str(study).splitlines()[3:7])
    steps = {s.recipe.batch_size: s.gradient_evaluations for s in study.finalists if not s.baseline}
    assert steps == {8: 80, 32: 20}
    for s in study.finalists:
        known = s.steps_to_target is not None
        assert (s.seconds_to_target is not None) == known == (s.samples_to_target is not None)
        assert not known or 0 < s.seconds_to_target <= s.seconds


def test_fair_effort_says_what_was_tuned(tmp_path):
    study = tw.compare("digits", field=["adamw"], effort="fair", budget="40 runs", folder=tmp_path / "s", quiet=True)
    base, tuned = sorted(study.finalists, key=lambda s: not s.baseline)
    assert (base.settings, tuned.settings) == (0, 16) and study.cost["runs"] <= 40
    assert "16 settings" in study.verdict.sentences[2] and "effort fair" in study.verdict.sentences[2]
    assert "scrambled Sobol" in study.verdict.methods and "short runs and chosen" not in study.verdict.methods
    assert study.finalists == Study.load(study.folder).finalists
    ends = [r for r in Store(study.folder).records() if r["kind"] == "end" and r["phase"] == "rung"]
    assert [sum(r["steps"] == steps for r in ends) for steps in (46, 140)] == [16, 5]
    assert sum(r["recipe"] == {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01} for r in ends) >= 1


def test_a_quick_study_says_that_only_rates_were_tuned(study):
    assert study.verdict.sentences[2].startswith("Only the learning rates were tuned (effort quick)")
    assert {s.settings for s in study.finalists} == {0} and "bracketed by short runs" in study.verdict.methods


@pytest.mark.parametrize(
    ("texts", "said"), [(["schedule"], "cannot read"), (["=1,2"], "cannot read"), (["a=1,2", "a=3,4"], "given twice")]
)
def test_axes_on_the_command_line_that_cannot_be_read(texts, said):
    with pytest.raises(BadOption, match=said):
        arguments.axes_of(texts)


def test_the_command_takes_several_axes(capsys):
    words = ["compare", "digits", "--axis", "model.width=8,16", "--axis", "weight_decay=1e-3..1e-2", "--quiet"]
    code = cli.main([*words, "--field", "adamw", "--budget", "30 runs", "--folder", "s", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0 and document["task"] == "digits"
    assert any(
        "width=8 weight_decay=0.001" in name
        for name in [*document["not_tried"], *(f["name"] for f in document["finalists"])]
    )
    assert cli.main(["compare", "digits", "--axis", "model.depth=1,2"]) == 2
    assert "argument of the model's factory 'depth'" in capsys.readouterr().err
