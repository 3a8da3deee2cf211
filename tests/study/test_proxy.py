import dataclasses

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import lengths
from thalweg.errors import BadOption
from thalweg.study import proxy


def test_a_scaled_task_has_a_share_of_the_steps_and_rows_and_everything_else_as_it_was():
    task = tw.Task.load("digits")
    small = proxy.scaled(task, {"steps": 0.1, "data": 0.25})
    whole, part = task.prepare(), small.prepare()
    assert part.steps == 42 and part.train.rows == round(0.25 * whole.train.rows) and part.steps_per_epoch == 6
    assert part.select is whole.select and part.judge is whole.judge and part.metric == whole.metric
    rows = {tuple(row) for row in whole.train.inputs.flatten(1).tolist()}
    assert all(tuple(row) in rows for row in part.train.inputs.flatten(1).tolist())
    assert torch.equal(small.build(3)[0].weight, task.build(3)[0].weight)
    assert small.fingerprint() != task.fingerprint() and task.prepare().steps == 420
    twice = proxy.scaled(task, {"steps": 0.1, "data": 0.25}).prepare()
    assert torch.equal(twice.train.inputs, part.train.inputs)
    tiny = proxy.scaled(task, {"steps": 1e-6, "data": 1e-6}).prepare()
    assert tiny.steps == 20 and tiny.train.rows == 128


def test_batch_sizes_on_a_proxy_see_as_many_samples_where_the_task_is_in_epochs():
    small = proxy.scaled(tw.Task.load("digits"), {"steps": 0.5, "data": 0.5})
    found = [lengths.horizon(small, tw.Recipe("sgd", lr=0.1, batch_size=rows)) for rows in (16, 64, 128)]
    assert found[1] == small.prepare().steps == 210 and found == [783, 210, 115]
    steps = dataclasses.replace(tw.Task.load("digits"), steps=100, epochs=None)
    assert (
        lengths.horizon(proxy.scaled(steps, {"steps": 0.5, "data": 1.0}), tw.Recipe("sgd", lr=0.1, batch_size=16)) == 50
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (0.1, "must be shares"),
        ({}, "must be shares"),
        ({"stepz": 0.1}, "did you mean 'steps'"),
        ({"steps": 0}, "a share in"),
        ({"data": 1.5}, "a share in"),
        ({"data": True}, "a share in"),
    ],
)
def test_wrong_shares(asked, said):
    with pytest.raises(BadOption, match=said) as error:
        tw.compare("digits", proxy=asked)
    assert error.value.hint


def test_a_loop_of_the_users_has_no_proxy():
    with pytest.raises(BadOption, match="has no proxy"):
        tw.compare(lambda recipe, seed, report: None, proxy={"steps": 0.1})


class Fake:
    """A study of which only the finalists count."""

    def __init__(self, steps, **scores):
        def standing(name, values):
            row = type("Standing", (), {})()
            row.name, row.scores, row.seeds = name, values, tuple(range(len(values)))
            row.recipe, row.rates = tw.Recipe("sgd", lr=1.0 / steps), ((0.1, 1.0),)
            return row

        self.document = {"steps": steps}
        self.verdict = type("Verdict", (), {"direction": "max"})()
        ordered = sorted(scores.items(), key=lambda item: -sum(item[1]))
        self.finalists = [standing(name, values) for name, values in ordered]


SHARES = ({"steps": 0.05, "data": 0.5}, {"steps": 0.1, "data": 1.0})
HIGH, LOW, NEAR = (0.9, 0.91, 0.92), (0.7, 0.71, 0.72), (0.9, 0.92, 0.91)


def test_a_ranking_is_stable_unless_a_sure_order_turns():
    same = proxy.stability(Fake(10, a=HIGH, b=LOW), Fake(100, a=HIGH, b=LOW), SHARES)
    assert same.stable and same.leaders == ("a", "a") and same.tau == 1 and "is stable" in same.sentence
    assert same.slopes == {"a": pytest.approx(-1.0), "b": pytest.approx(-1.0)}
    turned = proxy.stability(Fake(10, a=HIGH, b=LOW), Fake(100, a=LOW, b=HIGH), SHARES)
    assert not turned.stable and turned.reversed == (("a", "b"),) and turned.tau == -1
    assert "not stable (a before b on the smaller" in turned.sentence
    unsure = proxy.stability(Fake(10, a=HIGH, b=NEAR), Fake(100, a=NEAR, b=HIGH), SHARES)
    assert unsure.stable and not unsure.reversed
    fallen = proxy.stability(Fake(10, a=HIGH, b=NEAR), Fake(100, a=LOW, b=HIGH), SHARES)
    assert not fallen.stable and not fallen.reversed, "the smaller one's leader is surely worse at the larger scale"
    assert "too little" in proxy.stability(Fake(10), Fake(100, a=HIGH), SHARES).sentence


def test_a_comparison_on_proxies(tmp_path):
    ask = {"field": ["sgd", "adam"], "budget": "60 runs", "seeds": 3, "folder": tmp_path / "s", "quiet": True}
    study = tw.compare("digits", proxy={"steps": 0.2, "data": 0.5}, executor="cohorts", **ask)
    found = study.document["proxy"]
    assert study.document["steps"] == 84 and [s["steps"] for s in found["shares"]] == [0.1, 0.2]
    assert found["sentence"] in study.document["notes"] and found["sentence"] in str(study)
    assert len(str(study).splitlines()) <= 14
    smaller = tw.study.Study.load(tmp_path / "s" / "smaller")
    assert smaller.document["steps"] == 42 and smaller.cost["runs"] + study.cost["runs"] <= 60
    again = tw.compare("digits", proxy={"steps": 0.2, "data": 0.5}, executor="cohorts", **ask)
    assert again.document["proxy"] == found


def test_the_large_model_is_never_trained(tmp_path, monkeypatch):
    seen = []
    x = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    task = tw.Task(model=lambda: nn.Linear(4, 2), train=(x, (x[:, 0] > 0).long()), batch_size=16, steps=2000, name="l")
    original = tw.loop.run_cohort
    monkeypatch.setattr(tw.loop, "run_cohort", lambda t, e, *a, **k: seen.extend(e) or original(t, e, *a, **k))
    tw.compare(
        task, proxy={"steps": 0.02, "data": 0.1}, field=["sgd"], budget="40 runs", seeds=2, executor="sequential",
        folder=tmp_path / "s", quiet=True,
    )  # fmt: skip
    assert seen and max(entry.steps for entry in seen) <= 40
