"""Cohorts: every member computes what it computes alone, whatever the others do."""

import math
import threading
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg import loop
from thalweg.cohort import Solo
from thalweg.stacked import Entry, Looped, Stacked, Unbatchable, make

STEPS = 50
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(320, 1, 8, 8, generator=GENERATOR)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).long() + 2 * (IMAGES[:, 0, 0, 0] > 0).long()
TOKENS = torch.randint(11, (320, 12), generator=GENERATOR)
EIGHT = ("sgd", "nesterov", "adagrad", "rmsprop", "adamw", "lion", "nadam", "schedulefreeadamw")


class Attention(nn.Module):
    """One block of attention over tokens; the output layer has the embedding's weights."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 16), nn.Parameter(torch.randn(12, 16) * 0.02)
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.mix = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.out = nn.Linear(16, 11, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("mask", torch.triu(torch.full((12, 12), -math.inf), 1))

    def forward(self, x):
        h = self.embed(x) + self.place
        n = self.norm(h)
        h = h + self.attention(n, n, n, attn_mask=self.mask, need_weights=False)[0]
        return self.out(h + self.mix(h))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x):
        return self.out(self.cell(x[:, 0])[0][:, -1])


class Locked(nn.Module):
    """It holds what cannot be copied."""

    def __init__(self):
        super().__init__()
        self.net, self.lock = mlp(), threading.Lock()

    def forward(self, x):
        return self.net(x)


def mlp(*between):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), *between, nn.Linear(16, 4))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 4)
    )


def task_of(model, x=IMAGES, y=LABELS, **options):
    options = {"batch_size": 32, "steps": STEPS, "name": "toy"} | options
    return tw.Task(model=model, train=(x[:256], y[:256]), valid=(x[256:], y[256:]), **options)


MODELS = {
    "an MLP": lambda: task_of(mlp),
    "dropout 0": lambda: task_of(lambda: mlp(nn.Dropout(0.0))),
    "a CNN with batch norm": lambda: task_of(cnn),
    "attention and tied weights": lambda: task_of(Attention, TOKENS[:, :12], TOKENS.roll(-1, 1)),
    "accumulation": lambda: task_of(mlp, accumulate=3),
    "bfloat16": lambda: task_of(mlp, precision="bf16"),
    "rows as they come": lambda: task_of(mlp, shuffle=False),
}
RECIPES = [
    tw.Recipe("adamw", lr=3e-3, weight_decay=0.1),
    tw.Recipe("momentum", lr=0.02, clip_norm=0.5),
    tw.Recipe("adamw", lr=1e-3, schedule="constant", warmup=0),
    tw.Recipe("lion", lr=3e-4, average=0.9),
]


def alone(task, entry):
    return loop.run(task, entry.recipe, entry.seed, steps=entry.steps, evaluations=2)


def together(task, entries):
    runs, cohort = loop.run_cohort(task, entries, [2] * len(entries))
    return runs, cohort


def assert_same(run, other, rel=1e-4):
    assert run.outcome.status == other.outcome.status
    assert run.trace.step == other.trace.step and run.trace.samples == other.trace.samples
    assert run.trace.loss == pytest.approx(other.trace.loss, rel=rel, abs=1e-6)
    assert run.trace.lr == pytest.approx(other.trace.lr, rel=1e-12)
    assert run.trace.grad_norm == pytest.approx(other.trace.grad_norm, rel=30 * rel, abs=1e-5)
    assert len(run.trace.evaluations) == len(other.trace.evaluations)
    for mine, its in zip(run.trace.evaluations, other.trace.evaluations, strict=True):
        assert {k: mine[k] for k in ("step", "samples", "split")} == {k: its[k] for k in ("step", "samples", "split")}
        assert mine["loss"] == pytest.approx(its["loss"], rel=30 * rel)


@pytest.mark.parametrize("seeds", [(0, 0, 0, 0), (0, 1, 0, 2)], ids=["one order", "own orders"])
@pytest.mark.parametrize("name", MODELS)
def test_a_member_does_what_it_does_alone(name, seeds):
    task = MODELS[name]()
    entries = [Entry(recipe, seed, STEPS) for recipe, seed in zip(RECIPES, seeds, strict=True)]
    runs, cohort = together(task, entries)
    assert isinstance(cohort, Stacked)
    for m, (entry, run) in enumerate(zip(entries, runs, strict=True)):
        single, solo = alone(task, entry)
        assert_same(run, single, rel=1e-2 if task.precision == "bf16" else 1e-4)
        for key, value in (
            solo.weights().items() if (entry.recipe.optimizer, task.precision) == ("momentum", "float32") else ()
        ):
            # Adam and Lion make steps of their own from the rounding noise of gradients that are zero
            torch.testing.assert_close(cohort.solo(m).weights()[key], value, rtol=1e-3, atol=1e-5)


def test_eight_optimizers_in_one_cohort():
    task = task_of(mlp)
    entries = [Entry(tw.Recipe(name, lr=2e-3), 0, STEPS) for name in EIGHT]
    runs, cohort = together(task, entries)
    assert isinstance(cohort, Stacked)
    assert len(cohort._joint._parts) == len(EIGHT)  # one launch a rule
    for entry, run in zip(entries, runs, strict=True):
        assert_same(run, alone(task, entry)[0])


def test_many_rates_of_a_rule_are_one_launch():
    entries = [Entry(tw.Recipe("adam", lr=1e-3 * 2**i), i % 3, STEPS) for i in range(9)]
    runs, cohort = together(task_of(mlp), entries)
    assert len(cohort._joint._parts) == 1
    assert len({run.trace.loss[-1] for run in runs}) == 9


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_member_that_diverges_does_so_alone(place):
    task = task_of(mlp)
    entries = [Entry(recipe, 0, STEPS) for recipe in RECIPES]
    wild = Entry(tw.Recipe("sgd", lr=1e6), 0, STEPS)
    runs, _ = together(task, [*entries[:place], wild, *entries[place:]])
    diverged = runs.pop(place)
    single = alone(task, wild)[0]
    assert diverged.outcome.status == "diverged"
    assert diverged.outcome.as_dict() == single.outcome.as_dict()
    assert diverged.trace.step == single.trace.step
    for entry, run in zip(entries, runs, strict=True):
        assert run.outcome.status == "finished"
        assert_same(run, alone(task, entry)[0])


def test_adding_a_member_changes_no_others_losses():
    task = task_of(cnn)
    entries = [Entry(recipe, seed, STEPS) for seed, recipe in enumerate(RECIPES)]
    few, _ = together(task, entries[:3])
    more, _ = together(task, [*entries, Entry(tw.Recipe("sgd", lr=1e6), 9, STEPS)])
    for one, other in zip(few, more[:3], strict=True):
        assert one.trace.loss == pytest.approx(other.trace.loss, rel=1e-4)


@pytest.mark.parametrize("model", [mlp, cnn])
def test_members_end_when_their_own_schedule_does(model):
    task = task_of(model)
    entries = [Entry(tw.Recipe("momentum", lr=0.02), 0, steps) for steps in (10, 50, 30)]
    runs, _ = together(task, entries)
    for entry, run in zip(entries, runs, strict=True):
        single, solo = alone(task, entry)
        assert run.outcome.step == len(run.trace) == entry.steps
        assert_same(run, single)
        for key, value in solo.weights().items():
            torch.testing.assert_close(run.model.state_dict()[key], value, rtol=1e-3, atol=1e-5)
        assert task.evaluate(run.model, task.prepare().select)["loss"] == pytest.approx(run.final["loss"], rel=1e-5)


def test_what_a_run_keeps_is_its_own():
    runs, _ = together(task_of(mlp), [Entry(RECIPES[0], 0, 3)] * 5)
    for run in runs:
        for tensor in run.model.state_dict().values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_dropout_draws_for_each_member_anew():
    task = task_of(lambda: mlp(nn.Dropout(0.2)))
    entries = [Entry(tw.Recipe("adamw", lr=3e-3), 0, STEPS)] * 12
    runs, cohort = together(task, entries)
    assert isinstance(cohort, Stacked)
    assert len({tuple(run.trace.loss) for run in runs}) == 12
    solos = [alone(task, Entry(tw.Recipe("adamw", lr=3e-3), seed, STEPS))[0] for seed in range(12)]
    ends = [[np.mean(run.trace.loss[-10:]) for run in part] for part in (runs, solos)]
    assert np.mean(ends[0]) == pytest.approx(np.mean(ends[1]), abs=5 * np.std(ends[1]) / math.sqrt(12))


def test_groups_and_frozen_parameters():
    task = task_of(cnn)
    recipe = tw.Recipe("adamw", lr=3e-3, groups={"5.*": {"lr_scale": 3}}, freeze=["0.*"], weight_decay=0.1)
    entries = [Entry(recipe, 0, STEPS), Entry(tw.Recipe("adamw", lr=1e-3), 1, STEPS)]
    runs, cohort = together(task, entries)
    assert isinstance(cohort, Stacked)
    for entry, run in zip(entries, runs, strict=True):
        assert_same(run, alone(task, entry)[0])
    assert torch.equal(cohort.solo(0).weights()["0.weight"], task.build(0).state_dict()["0.weight"])


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def mean_loss(model, batch):
    x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
    return F.mse_loss(model(x).sum(1), y.float())


SHAPES = {
    "dicts": (lambda x, y: {"x": x, "y": y}, Stacked),
    "named tuples": (Pair, Stacked),
    "texts beside": (lambda x, y: {"x": x, "y": y, "name": str(float(x.sum()))}, Looped),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_of_any_form(shape):
    form, kind = SHAPES[shape]
    data = [form(x, y) for x, y in zip(IMAGES[:96], LABELS[:96], strict=True)]
    task = tw.Task(
        model=mlp, train=data[:64], valid=data[64:], batch_loss=mean_loss, metric="loss", batch_size=16, steps=9
    )
    entries = [Entry(tw.Recipe("sgd", lr=1e-3), seed, 9) for seed in (0, 1)]
    runs, cohort = together(task, entries)
    assert isinstance(cohort, kind)
    for entry, run in zip(entries, runs, strict=True):
        assert_same(run, alone(task, entry)[0])


def test_the_whole_training_set_as_one_batch():
    task = task_of(cnn, steps=5)
    entries = [Entry(tw.Recipe("gd", lr=lr, batch_size="full", average=0.5), 0, 5) for lr in (0.1, 0.01)]
    runs, cohort = together(task, entries)
    assert isinstance(cohort, Stacked)
    for entry, run in zip(entries, runs, strict=True):
        assert_same(run, alone(task, entry)[0])


def test_recipes_of_different_batch_sizes_are_refused():
    entries = [Entry(tw.Recipe("sgd", lr=0.1, batch_size=size), 0, 5) for size in (8, 32)]
    with pytest.raises(ValueError, match="one batch size"):
        together(task_of(mlp), entries)


def contrast(outputs, targets):
    return F.cross_entropy(outputs @ outputs.t(), torch.arange(len(outputs)))


def test_an_evaluation_does_not_depend_on_how_many_are_evaluated():
    task = tw.Task(
        model=mlp, train=(IMAGES[:64], LABELS[:64]), valid=(IMAGES[64:], LABELS[64:]), loss=contrast, metric="loss",
        batch_size=16, steps=4,
    )  # fmt: skip
    entries = [Entry(tw.Recipe("sgd", lr=1e-3), 0, 4)] * 80
    runs, _ = together(task, entries)
    single = alone(task, entries[0])[0]
    assert [e["loss"] for e in runs[70].trace.evaluations] == pytest.approx(
        [e["loss"] for e in single.trace.evaluations], rel=1e-4
    )


def refusing(outputs, targets):
    if not outputs.isfinite().all():
        raise ValueError("input contains NaN")
    return float(outputs.mean())


def refusing_loss(outputs, targets):
    if not outputs.isfinite().all():
        raise ValueError("the outputs are not finite")
    return F.cross_entropy(outputs, targets)


@pytest.mark.parametrize(
    "options", [{"metric": refusing, "goal": "max"}, {"loss": refusing_loss}], ids=["a metric", "a loss"]
)
def test_an_error_behind_one_member_leaves_the_others(options):
    task = task_of(mlp, steps=4, **options)
    entries = [Entry(tw.Recipe("sgd", lr=lr), 0, 4) for lr in (0.1, 1e30, 0.01)]
    runs, _ = together(task, entries)
    for entry, run in zip(entries, runs, strict=True):
        single = alone(task, entry)[0]
        assert run.outcome.as_dict() == single.outcome.as_dict()
        assert run.trace.loss == pytest.approx(single.trace.loss, rel=1e-4, nan_ok=True)
    assert [run.outcome.status for run in runs] == ["finished", "diverged", "finished"]


def test_losses_that_are_read_late(monkeypatch):
    task = task_of(mlp)
    entries = [Entry(recipe, 0, STEPS) for recipe in (RECIPES[0], tw.Recipe("sgd", lr=1e6))]
    exact = [alone(task, entry)[0] for entry in entries]
    monkeypatch.setattr(loop, "READ_EVERY", {"cpu": 16})
    late = [alone(task, entry)[0] for entry in entries]
    runs, _ = together(task, entries)
    for run, single, one in zip(runs, exact, late, strict=True):
        assert run.outcome.as_dict() == single.outcome.as_dict() == one.outcome.as_dict()
        assert run.trace.step == single.trace.step == one.trace.step


@pytest.mark.parametrize("every", [1, 16])
def test_the_end_of_the_time_keeps_what_there_is(every, monkeypatch):
    monkeypatch.setattr(loop, "READ_EVERY", {"cpu": every})
    now = iter(range(10**6))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(now))
    entries = [Entry(recipe, 0, STEPS) for recipe in (RECIPES[0], tw.Recipe("sgd", lr=1e6))]
    runs, _ = loop.run_cohort(task_of(mlp), entries, [2, 2], deadline=40)
    assert [run.outcome.status for run in runs] == ["stopped", "diverged"]
    assert runs[0].outcome.reason == "budget"
    assert runs[0].outcome.step > 20 and len(runs[0].trace) > 20 - every


def test_augmentation_gives_each_seed_its_own_batches():
    task = task_of(mlp, transform=lambda x: x + 0.1 * torch.randn_like(x))
    entries = [Entry(RECIPES[0], seed, STEPS) for seed in (0, 1, 0)]
    runs, _ = together(task, entries)
    assert runs[0].trace.loss == runs[2].trace.loss
    for entry, run in zip(entries, runs, strict=True):
        assert_same(run, alone(task, entry)[0])


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (Recurrent, {}, "lstm"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4, momentum=None)), {}, "vmap"),
        (mlp, {"precision": "fp16"}, "fp16"),
        (Locked, {}, "pickle"),
    ],
    ids=["an LSTM", "batch norm without momentum", "fp16", "a module that cannot be copied"],
)
def test_what_cannot_be_batched_runs_one_by_one(model, options, reason):
    task = task_of(model, **options)
    entries = [Entry(RECIPES[0], 0, 12), Entry(RECIPES[1], 1, 12), Entry(tw.Recipe("sgd", lr=1e9), 0, 12)]
    cohort, why = make(task, entries)
    assert isinstance(cohort, Looped) and reason in why.lower()
    runs, _ = together(task, entries)
    for entry, run in zip(entries, runs, strict=True):
        single = alone(task, entry)[0]
        assert run.trace.loss == single.trace.loss
        assert run.outcome == single.outcome
        assert any("one by one" in note for note in run.notes)


def test_a_model_that_decides_by_its_data_runs_one_by_one():
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            y = self.net(x)
            return y if y.sum() > 0 else -y

    with pytest.raises(Unbatchable, match="data-dependent"):
        Stacked(task_of(Deciding), [Entry(RECIPES[0], 0, 5)] * 2)


def test_a_cohort_of_one_is_the_model_as_it_is():
    cohort, why = make(task_of(mlp), [Entry(RECIPES[0], 0, 5)])
    assert isinstance(cohort, Solo) and why is None


def test_numbers_that_differ_in_a_cohort_are_noticed():
    class Odd(nn.Module):
        """Its constant is no buffer, and drawn per seed."""

        def __init__(self):
            super().__init__()
            self.net, self.scale = mlp(), torch.rand(1)

        def forward(self, x):
            return self.net(x * self.scale)

    with pytest.raises(Unbatchable, match="alone"):
        Stacked(task_of(Odd), [Entry(RECIPES[0], seed, 5) for seed in (0, 1, 0)])


def test_what_cannot_be_batched_only_later_begins_anew_one_by_one():
    class Late(nn.Module):
        """It writes to a buffer from the fourth forward pass on."""

        def __init__(self):
            super().__init__()
            self.net, self.passes = mlp(), 0
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            y = self.net(x)
            self.passes += 1
            if self.training and self.passes > 20:
                self.seen += y.detach().mean()
            return y

    task = task_of(Late, steps=30)
    entries = [Entry(RECIPES[0], seed, 30) for seed in (0, 1)]
    runs, cohort = together(task, entries)
    assert isinstance(cohort, Looped)
    for entry, run in zip(entries, runs, strict=True):
        assert run.trace.loss == alone(task, entry)[0].trace.loss
