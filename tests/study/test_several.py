import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.cli import main
from thalweg.errors import BadData, BadOption, BadStudy, BadTask
from thalweg.store import Store
from thalweg.study import conductor, several
from thalweg.study.plan import Budget
from thalweg.study.profile import profile

ASK = {"field": ["sgd", "adam"], "executor": "sequential", "quiet": True}


def small(name, seed, noise=0.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(200, 4, generator=g)
    y = (x[:, 0] + noise * torch.randn(200, generator=g) > 0).long()
    return tw.Task(model=lambda: nn.Linear(4, 2), train=(x, y), batch_size=16, epochs=3, name=name)


def falling(recipe, seed, report):
    report(1, loss=(math.log10(recipe.lr) + 1) ** 2 + 1e-3 * (seed % 7))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Two tasks and a loop, of which two have the same name."""
    folder = tmp_path_factory.mktemp("three") / "s"
    return tw.compare([small("a", 0), small("a", 1, 0.5), falling], budget="180 runs", folder=folder, **ASK)


def test_each_task_has_its_study_in_a_folder_of_its_own(three):
    assert isinstance(three, tw.Studies) and three.tasks == ("a", "a-2", "falling")
    assert [s.folder for s in three.studies] == [three.folder / name for name in three.tasks]
    assert all(isinstance(s, tw.Study) and s.verdict.sentence for s in three.studies)
    assert tw.Study.load(three.folder / "a-2").finalists == three.studies[1].finalists


def test_the_budget_is_shared_and_what_one_leaves_goes_to_the_rest(three):
    asked = [Store(s.folder).head()["asked"]["budget"] for s in three.studies]
    left = 180
    for k, (budget, study) in enumerate(zip(asked, three.studies, strict=True)):
        assert budget == f"{left // (3 - k)} runs"
        left -= study.cost["runs"]
    assert left >= 0


def test_the_profile_is_that_of_the_finalists(three):
    p = three.profile
    assert p.tasks == three.tasks and set(p.recipes) == {"adamw at 1e-3", "sgd", "adam"} and not p.left_out
    for k, study in enumerate(three.studies):
        sign = 1 if study.verdict.direction == "max" else -1
        times = {s.name: s.samples_to_target or math.inf for s in study.finalists}
        best = max(sign * s.mean for s in study.finalists)
        for s in study.finalists:
            behind = (best - sign * s.mean) / study.verdict.smallest_difference
            assert p.gaps[s.name][k] == pytest.approx(behind)
            fewest = min(times.values())
            expected = 1.0 if times[s.name] == fewest < math.inf else times[s.name] / fewest if fewest else math.inf
            assert p.ratios[s.name][k] == (pytest.approx(expected) if math.isfinite(times[s.name]) else math.inf)


def test_a_recipe_that_diverged_or_is_missing_on_a_task(three):
    one, other = three.studies[:2]

    class Shown:
        def __init__(self, study, finalists):
            self.finalists, self.verdict = finalists, study.verdict

    first = one.finalists[0]
    fallen = replace(first, scores=(*first.scores[1:], math.nan), samples_to_target=None)
    p = profile([Shown(one, [fallen, *one.finalists[1:]]), other], ["x", "y"])
    assert p.gaps[first.name][0] == math.inf == p.ratios[first.name][0] and first.name in p.recipes
    p = profile([Shown(one, one.finalists[1:]), other], ["x", "y"])
    assert p.left_out == {first.name: ("x",)} and first.name not in p.recipes
    p = profile([Shown(one, []), other], ["x", "y"])
    assert p.recipes == () and len(p.left_out) == 3 and p.as_dict()["score"]["shares"] == {}


def test_text_html_json_and_figure(three, tmp_path):
    lines = str(three).splitlines()
    assert lines[0] == "3 tasks." and lines[-1] == f"studies  {three.folder}"
    table = [line for line in lines if line.startswith(("sgd ", "adam ", "adamw at 1e-3", "within", "On how many"))]
    assert len(table) == 5 and max(map(len, table)) <= 80
    sgd = next(line for line in table if line.startswith("sgd")).split()[1:]
    shares = [three.profile.share("sgd", ratio=tau) for tau in (1, 1.5, 2, 4, math.inf)]
    shares += [three.profile.share("sgd", gap=tau) for tau in (0, 1, 2, 5)]
    assert sgd == [f"{round(3 * share)}/3" for share in shares]
    assert three._repr_html_().count("<tr>") == 5
    document = json.loads(json.dumps(three.to_dict(), default=str))
    assert [d["task"] for d in document["studies"]] == ["a", "a", "falling"]
    assert document["profile"]["samples_to_target"]["shares"]["sgd"] == pytest.approx(shares[:5])
    assert document["profile"]["score"]["shares"]["sgd"] == pytest.approx(shares[5:])
    speed, score = three.plot(tmp_path / "p.svg").axes
    assert len(speed.lines) == len(score.lines) == 3 and (tmp_path / "p.svg").stat().st_size > 5000


def test_asked_again_nothing_is_run_and_read_from_the_folder_it_is_the_same(three):
    again = tw.compare([small("a", 0), small("a", 1, 0.5), falling], budget="180 runs", folder=three.folder, **ASK)
    loaded = tw.Studies.load(three.folder)
    for other in (again, loaded):
        assert other.profile == three.profile and str(other) == str(three)
        assert [s.document for s in other.studies] == [s.document for s in three.studies]


def test_interrupted_in_the_second_task_it_goes_on_there_to_the_same_result(tmp_path, monkeypatch):
    tasks = [small("a", 0), small("b", 1, 0.5)]
    whole = tw.compare(tasks, budget="60 runs", folder=tmp_path / "whole", **ASK)
    calls, do = [], conductor.Conductor.do

    def stopped(self, jobs):
        calls.append(self.case.name)
        if calls.count("b") == 3:
            self.interrupted = self.purse.closed = True
        return do(self, jobs)

    monkeypatch.setattr(conductor.Conductor, "do", stopped)
    part = tw.compare([*tasks, falling], budget="90 runs", folder=tmp_path / "part3", **ASK)
    assert part.tasks == ("a", "b") and len(part.studies) == 2
    calls.clear()
    tw.compare(tasks, budget="60 runs", folder=tmp_path / "part", **ASK)
    monkeypatch.setattr(conductor.Conductor, "do", do)
    rest = tw.compare(tasks, budget="60 runs", folder=tmp_path / "part", **ASK)
    assert rest.profile == whole.profile
    assert [s.verdict for s in rest.studies] == [s.verdict for s in whole.studies]


def test_without_a_folder_an_unfinished_comparison_is_continued_and_a_finished_one_is_not(monkeypatch):
    tasks = [small("a", 0), small("b", 1)]
    first = tw.compare(tasks, budget="30 runs", **ASK)
    second = tw.compare(tasks, budget="30 runs", **ASK)
    assert [s.folder for s in (first, second)] == [Path(f"thalweg-studies/a+b-00{k}") for k in (1, 2)]
    head = Store(second.folder).read("studies.json")
    Store(second.folder).write("studies.json", head | {"complete": False})
    assert tw.compare(tasks, budget="30 runs", **ASK).folder == second.folder
    assert tw.compare(tasks, budget="31 runs", **ASK).folder.name == "a+b-003"


@pytest.mark.parametrize(
    ("kind", "amount", "spent", "waiting", "share"),
    [
        ("runs", 100, 0, 3, Budget("runs", 33)),
        ("runs", 100, 20, 2, Budget("runs", 40)),
        ("runs", 2, 2, 1, Budget("runs", 1)),
        ("seconds", 300, 100.5, 2, Budget("seconds", 99.75)),
        ("samples", 1e6, 0, 4, Budget("samples", 250_000)),
        ("none", math.inf, 0, 4, Budget("none", math.inf)),
    ],
)
def test_shares(kind, amount, spent, waiting, share, tmp_path):
    assert several._share(Budget(kind, amount), spent, waiting, Store(tmp_path / "none")) == share


def test_a_study_that_was_begun_keeps_its_share(tmp_path):
    store = Store(tmp_path / "s")
    store.create({"asked": {"budget": str(Budget("seconds", 33.3333))}})
    assert several._share(Budget("seconds", 99), 70.0, 2, store) == Budget("seconds", 33.3333)


def test_a_budget_in_seconds_is_kept_over_all(tmp_path):
    both = tw.compare([small("a", 0), small("b", 1)], budget="12s", folder=tmp_path / "s", **ASK)
    assert sum(s.cost["seconds"] for s in both.studies) < 12 and len(both.studies) == 2


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ([], {}, "at least one"),
        (["digits"], {"train": 1}, "bring their own data"),
        (["digits", "digitz"], {}, "did you mean 'digits'"),
        (["digits", 3], {}, "cannot compare a int"),
        (["digits", "fashion-mlp"], {}, "THALWEG_DATA"),
        (["digits", "digits"], {"budget": "soon"}, "budget must be"),
    ],
)
def test_wrong_use_of_any_task_ends_before_anything_is_written(what, options, said, tmp_path, monkeypatch):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    with pytest.raises((BadOption, BadTask, BadData)) as error:
        tw.compare(what, folder=tmp_path / "s", quiet=True, **options)
    assert said in str(error.value) and "\nhint: " in str(error.value)
    assert not (tmp_path / "s").exists()


def test_folders_of_other_comparisons_are_refused(three, tmp_path):
    tasks = [small("a", 0), small("a", 1, 0.5), falling]
    with pytest.raises(BadStudy, match="asked differently: budget"):
        tw.compare(tasks, budget="181 runs", folder=three.folder, **ASK)
    with pytest.raises(BadStudy, match="asked differently: tasks"):
        tw.compare(tasks[:2], budget="180 runs", folder=three.folder, **ASK)
    with pytest.raises(BadStudy, match="asked differently: options"):
        tw.compare(tasks, budget="180 runs", folder=three.folder, **(ASK | {"field": ["sgd"]}))
    with pytest.raises(BadStudy, match="holds studies already"):
        tw.compare(tasks, budget="180 runs", folder=three.folder, resume=False, **ASK)
    with pytest.raises(BadStudy, match="not empty"):
        tw.compare(tasks, budget="180 runs", folder=three.studies[0].folder, **ASK)
    with pytest.raises(BadStudy, match=r"use Study\.load"):
        tw.Studies.load(three.studies[0].folder)


def test_the_command_line_takes_several_tasks(capsys):
    Path("tasks.py").write_text(
        "import torch\nfrom torch import nn\nimport thalweg as tw\n"
        "x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))\n"
        "make = lambda k: tw.Task(model=lambda: nn.Linear(4, 2), train=(x, (x[:, k] > 0).long()), epochs=2,\n"
        "                         batch_size=16, name=f'task{k}')\n"
        "a, b = make(0), make(1)\n"
    )
    words = ["compare", "tasks.py:a", "tasks.py:b", "--field", "sgd", "--budget", "30 runs", "--executor", "sequential"]
    assert main([*words, "--json", "--quiet", "--plot", "p.png"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [d["task"] for d in document["studies"]] == ["task0", "task1"]
    assert document["profile"]["tasks"] == ["task0", "task1"] and Path("p.png").read_bytes()[:4] == b"\x89PNG"
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 tasks.") and "Task 2 of 2: task1" in err
    assert main(["compare", "--budget", "30 runs"]) == 2
    assert "name a task" in capsys.readouterr().err
