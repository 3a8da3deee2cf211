import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg import loop


def losses(task, recipe, seed=0, **options):
    run, _ = loop.run(task, recipe, seed, **options)
    return run.trace.loss


def test_same_seed_same_losses_and_another_seed_others(toy):
    recipe = tw.Recipe("adamw", lr=1e-2)
    assert losses(toy, recipe) == losses(toy, recipe)
    assert losses(toy, recipe) != losses(toy, recipe, seed=1)


def test_a_run_leaves_the_callers_random_state_alone(toy):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    loop.run(toy, tw.Recipe("sgd", lr=0.1), 0)
    assert torch.equal(torch.rand(2), expected)


def test_evaluation_changes_no_loss_even_with_dropout(toy):
    task = tw.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3)),
        train=toy.train, valid=toy.valid, batch_size=16, epochs=3, name="dropout",
    )  # fmt: skip
    recipe = tw.Recipe("sgd", lr=0.1)
    assert losses(task, recipe, evaluations=1) == losses(task, recipe, evaluations=20)


def test_the_loop_is_the_ordinary_loop(toy):
    """Losses, rates and weights equal those of a loop written out with torch alone."""
    recipe = tw.Recipe("momentum", lr=0.05, clip_norm=1.0, weight_decay=1e-3)
    run, cohort = loop.run(toy, recipe, 5)
    model = toy.build(5).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    steps, warmup = 40, 4
    norms, expected = [], []
    k = 0
    for epoch in range(4):
        for batch in toy.prepare().train.batches(16, seed=5, epoch=epoch):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * ((k + 1) / warmup if k < warmup else (steps - k) / (steps - warmup))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch.inputs), batch.targets)
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
            optimizer.step()
            expected.append(loss.item())
            k += 1
    assert len(run.trace) == steps
    assert run.trace.loss == pytest.approx(expected, rel=1e-5)
    assert run.trace.grad_norm == pytest.approx(norms, rel=1e-4)
    assert run.trace.samples == list(range(16, 641, 16))
    for mine, other in zip(cohort.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_full_batch_descent_by_accumulation_equals_one_batch():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2500, 6, generator=generator)
    y = x @ torch.randn(6, 1, generator=generator) + 0.1
    task = tw.Task(
        model=lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)),
        train=(x, y),
        valid=(x[:50], y[:50]),
        steps=20,
        loss=F.mse_loss,
    )
    recipe = tw.Recipe("sgd", lr=0.1, batch_size="full", schedule="constant")
    run, cohort = loop.run(task, recipe, 0)
    model = task.build(0)
    rows = task.prepare().train
    for loss in run.trace.loss:
        whole = F.mse_loss(model(rows.inputs), rows.targets)
        assert loss == pytest.approx(whole.item(), rel=1e-6)
        gradients = torch.autograd.grad(whole, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= 0.1 * g
    for mine, other in zip(cohort.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)
    assert run.trace.samples[0] == 2500


def test_accumulated_batches_are_one_large_batch(toy):
    fields = {"model": toy.model, "train": toy.train, "valid": toy.valid, "name": "toy"}
    small = tw.Task(batch_size=16, accumulate=4, steps=8, **fields)
    large = tw.Task(batch_size=64, steps=8, **fields)
    recipe = tw.Recipe("sgd", lr=0.1)
    # 160 rows: an epoch is 2 full updates and one of half the size in both.
    assert losses(small, recipe) == pytest.approx(losses(large, recipe), rel=1e-5)
    assert small.prepare().steps_per_epoch == large.prepare().steps_per_epoch == 3


def test_divergence_is_an_outcome_with_its_step_and_place(toy):
    run, _ = loop.run(toy, tw.Recipe("sgd", lr=1e12, schedule="constant"), 0)
    assert run.outcome.status == "diverged"
    assert 1 < run.outcome.step < 40 and len(run.trace) == run.outcome.step - 1
    assert run.outcome.where in dict(toy.build(0).named_parameters()) or run.outcome.where in dict(
        toy.build(0).named_modules()
    )
    assert all(map(math.isfinite, run.trace.loss))


class Explodes(nn.Module):
    """Finite parameters; from the tenth forward pass in training on, the middle layer gives infinities."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.calls = nn.Linear(4, 4), nn.Linear(4, 3), 0
        self.middle = nn.Identity()
        self.middle.register_forward_hook(self.break_it)

    def break_it(self, module, args, output):
        self.calls += self.training
        return output * math.inf if self.calls >= 10 else output

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


def test_the_first_non_finite_module_is_named(toy):
    task = tw.Task(
        model=Explodes, train=toy.train, valid=toy.valid, batch_size=16, epochs=2, name="explodes", loss=F.cross_entropy
    )
    run, _ = loop.run(task, tw.Recipe("sgd", lr=0.1), 0, evaluations=1)
    assert (run.outcome.status, run.outcome.where) == ("diverged", "middle")
    assert run.outcome.step == 10


def test_losses_read_late_give_the_same_outcome(toy, monkeypatch):
    """As on a device, where losses are read every 16 steps."""
    recipe = tw.Recipe("sgd", lr=1e12, schedule="constant")
    early, _ = loop.run(toy, recipe, 0)
    monkeypatch.setattr(loop, "READ_EVERY", {})
    late, _ = loop.run(toy, recipe, 0)
    assert late.outcome == early.outcome and late.trace.loss == early.trace.loss
    good = tw.Recipe("sgd", lr=0.1)
    late, _ = loop.run(toy, good, 0)
    monkeypatch.undo()
    early, _ = loop.run(toy, good, 0)
    assert late.trace.loss == early.trace.loss and late.trace.step == early.trace.step


def test_a_deadline_stops_a_run_and_says_so(toy):
    run, _ = loop.run(toy, tw.Recipe("sgd", lr=0.1), 0, deadline=0.0)
    assert (run.outcome.status, run.outcome.step, run.outcome.reason) == ("stopped", 0, "budget")


def test_ctrl_c_stops_a_run_and_keeps_what_there_is(toy):
    def interrupt(step, traces):
        raise KeyboardInterrupt

    run, _ = loop.run(toy, tw.Recipe("sgd", lr=0.1), 0, observe=interrupt)
    assert (run.outcome.status, run.outcome.reason) == ("stopped", "interrupted")
    assert 0 < len(run.trace) == run.outcome.step < 40


def test_evaluations_come_once_an_epoch_on_every_split(toy):
    run, _ = loop.run(toy, tw.Recipe("sgd", lr=0.1), 0, splits=("select", "judge"))
    assert [(e["step"], e["split"]) for e in run.trace.evaluations] == [
        (s, p) for s in (10, 20, 30, 40) for p in ("select", "judge")
    ]
    assert run.final.keys() >= {"accuracy", "loss", "nll", "ece"}
    assert run.trace.last("judge")["samples"] == 640


def test_a_recipes_batch_size_keeps_the_number_of_epochs(toy):
    run, _ = loop.run(toy, tw.Recipe("sgd", lr=0.1, batch_size=40), 0)
    assert run.trace.samples[-1] == 640 and len(run.trace) == 16


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_like_float32(toy, precision):
    task = tw.Task(
        model=toy.model, train=toy.train, valid=toy.valid, batch_size=16, epochs=4, precision=precision, name="toy"
    )
    recipe = tw.Recipe("momentum", lr=0.05)
    low, cohort = loop.run(task, recipe, 0)
    assert low.outcome.status == "finished"
    assert np.mean(low.trace.loss[-10:]) == pytest.approx(np.mean(losses(toy, recipe)[-10:]), rel=0.05)
    assert next(cohort.model.parameters()).dtype == torch.float32


def test_an_overflow_in_fp16_skips_the_step_and_lowers_the_scale(toy):
    task = tw.Task(
        model=toy.model, train=toy.train, valid=toy.valid, batch_size=16, epochs=4, precision="fp16", name="toy"
    )
    cohort = loop.Solo(task, tw.Recipe("sgd", lr=0.1), 0, 40)
    before = {k: v.clone() for k, v in cohort.weights().items()}
    batch = next(iter(task.prepare().train.batches(16, seed=0)))
    cohort.backward(cohort.forward(batch), 1.0)
    next(cohort.model.parameters()).grad.fill_(math.inf)
    scale = cohort.scaler.get_scale()
    assert cohort.step().item() == math.inf
    assert cohort.scaler.get_scale() < scale
    assert all(torch.equal(v, before[k]) for k, v in cohort.weights().items())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiled_task_gives_the_same_losses(toy):
    task = tw.Task(model=toy.model, train=toy.train, valid=toy.valid, batch_size=16, steps=5, compile=True, name="toy")
    plain = tw.Task(model=toy.model, train=toy.train, valid=toy.valid, batch_size=16, steps=5, name="toy")
    recipe = tw.Recipe("sgd", lr=0.1, groups={"0.*": {"lr_scale": 2}})
    other = tw.optim.ScheduleFreeSGD([torch.nn.Parameter(torch.ones(1))])  # it looks after all modules
    assert losses(task, recipe) == pytest.approx(losses(plain, recipe), rel=1e-4)
    assert other.averages
