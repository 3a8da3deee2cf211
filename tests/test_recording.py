"""Recordings: a cohort that plays one trains to the same bits, and what may change from step to step is never recorded."""

import functools
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from test_cohort import IMAGES, STEPS, cnn, mlp, task_of, together
from torch import nn

import thalweg as tw
from thalweg import recording
from thalweg.stacked import Entry, Stacked


def mlp_of_one():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


FROZEN = tw.Recipe("adamw", lr=3e-3, freeze=["1.weight"], clip_norm=0.5)
TASKS = {
    "an MLP": lambda: task_of(mlp),
    "dropout": lambda: task_of(lambda: mlp(nn.Dropout(0.2))),
    "a CNN with batch norm": lambda: task_of(cnn),
    "a loss of torch": lambda: task_of(mlp, loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "a last batch of fewer rows": lambda: task_of(mlp, batch_size=48),
    "a model that writes into its batch": lambda: task_of(
        lambda: nn.Sequential(nn.LeakyReLU(0.3, inplace=True), nn.Flatten(), nn.Linear(64, 4))
    ),
    "targets of another shape": lambda: task_of(mlp_of_one, y=IMAGES.mean((1, 2, 3)), loss=nn.MSELoss()),
    "numbers": lambda: task_of(mlp_of_one, y=IMAGES.mean((1, 2, 3))),
}


@pytest.fixture
def often(monkeypatch):
    """Says from when on steps are recorded, with nothing recorded before."""
    monkeypatch.setattr(recording, "_counts", {})
    monkeypatch.setattr(recording, "_recordings", {})
    return functools.partial(monkeypatch.setattr, recording, "OFTEN")


def entries(seeds, recipe=None):
    recipes = [tw.Recipe("adamw", lr=3e-3), recipe or tw.Recipe("momentum", lr=0.02), tw.Recipe("lion", lr=1e6)]
    return [Entry(recipe, seed, STEPS) for recipe, seed in zip(recipes, seeds, strict=True)]


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2)], ids=["one order", "own orders"])
@pytest.mark.parametrize("name", TASKS)
def test_the_bits_are_the_same(name, seeds, often):
    """With members that diverge, last batches of fewer rows, and weights that do not learn."""
    task, members = TASKS[name](), entries(seeds, FROZEN if name == "an MLP" else None)
    found = []
    for steps in (STEPS * 10, 3):
        often(steps)
        torch.manual_seed(0)
        runs, cohort = together(task, members)
        assert isinstance(cohort, Stacked)
        found.append((runs, [cohort.solo(m).weights() for m in range(3)]))
        assert bool(recording._recordings) == (steps == 3)
    assert all(play is not None for play in recording._recordings.values())
    (runs, weights), (again, weights_again) = found
    for run, other in zip(runs, again, strict=True):
        assert run.outcome.status == other.outcome.status
        torch.testing.assert_close(run.trace.loss, other.trace.loss, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(run.trace.grad_norm, other.trace.grad_norm, rtol=0, atol=0, equal_nan=True)
        assert [e["loss"] for e in run.trace.evaluations] == [e["loss"] for e in other.trace.evaluations]
    for own, other in zip(weights[:2], weights_again[:2], strict=True):
        assert all(torch.equal(own[key], other[key]) for key in own)


class Counting(nn.Module):
    """It computes something else from its tenth step on."""

    def __init__(self):
        super().__init__()
        self.net, self.steps = mlp(), 0

    def forward(self, x):
        self.steps += self.training
        return self.net(x if self.steps < 10 else -x)


def hooked():
    model = mlp()
    model[1].register_forward_hook(lambda module, given, out: out * 2)
    return model


def written_over():
    model = mlp()
    model[2].forward = lambda x: x
    return model


class Double(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized():
    model = mlp()
    nn.utils.parametrize.register_parametrization(model[1], "weight", Double())
    return model


@functools.wraps(F.cross_entropy)
def wrapped(output, target):
    return F.cross_entropy(output, target, label_smoothing=0.9)


@pytest.mark.parametrize(
    "task",
    [
        lambda: task_of(Counting),
        lambda: task_of(hooked),
        lambda: task_of(written_over),
        lambda: task_of(parametrized),
        lambda: task_of(mlp, loss=wrapped),
        lambda: task_of(mlp, loss=nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0, 4.0]))),
        lambda: task_of(mlp, precision="bf16"),
        lambda: task_of(mlp, loss=lambda output, target: F.cross_entropy(output, target)),
        lambda: task_of(mlp, accumulate=3),
        lambda: task_of(mlp, batch_loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])),
    ],
    ids=[
        "a model of one's own", "a hook", "another forward", "a parametrization", "a wrapper", "a loss with tensors", "bf16",
        "a loss of one's own", "accumulation", "batch_loss",
    ],
)  # fmt: skip
def test_what_may_change_is_not_recorded(task, often):
    often(2)
    _, cohort = together(task(), entries((0, 0, 0)))
    assert isinstance(cohort, Stacked) and not recording._recordings


def test_an_optimizer_that_looks_after_its_average_does_not_matter(often):
    often(2)
    model = mlp()
    kept = tw.optim.ScheduleFreeAdamW(model.parameters(), lr=0.1)
    together(task_of(mlp), entries((0, 0, 0)))
    assert recording._recordings and kept.param_groups


def test_a_step_of_several_chunks_is_not_recorded(often):
    often(2)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1500, 64, generator=generator), torch.randint(4, (1500,), generator=generator)
    task = tw.Task(model=mlp, train=(x, y), valid=(x[:99], y[:99]), steps=6, name="toy")
    recipe = tw.Recipe("momentum", lr=0.02, batch_size="full")
    _, cohort = together(task, [Entry(recipe, seed, 6) for seed in (0, 0)])
    assert isinstance(cohort, Stacked) and not recording._recordings


def test_a_cohort_is_gone_when_it_is_let_go(often):
    often(2)
    members = entries((0, 0, 0))
    runs, cohort = together(task_of(mlp), members)
    assert recording._recordings
    gone = weakref.ref(cohort)
    gc.disable()
    try:
        del runs, cohort
        assert gone() is None
    finally:
        gc.enable()


def test_a_hook_on_all_modules(often):
    often(2)
    hook = nn.modules.module.register_module_forward_hook(lambda module, given, out: None)
    try:
        together(task_of(mlp), entries((0, 0, 0)))
    finally:
        hook.remove()
    assert not recording._recordings


def wide(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *layers, nn.Linear(8, 4))


def again():
    layer = nn.Linear(8, 8)
    return wide(layer, nn.ReLU(), layer)


def twice():
    one, other = nn.Linear(8, 8), nn.Linear(8, 8)
    other.weight = one.weight
    return wide(one, nn.ReLU(), other)


ALIKE = {
    "a layer again": lambda: wide(nn.Linear(8, 8), nn.ReLU()),
    "and its twin": again,
    "bias below": lambda: wide(nn.Linear(8, 8), nn.Linear(8, 8, bias=False)),
    "bias above": lambda: wide(nn.Linear(8, 8, bias=False), nn.Linear(8, 8)),
    "another non-linearity": lambda: wide(nn.Linear(8, 8), nn.Tanh()),
    "the rectifier first": lambda: wide(nn.ReLU(), nn.Linear(8, 8)),
    "one weight in two places": twice,
    "two biases": lambda: wide(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)),
}


def test_models_that_look_alike_have_recordings_of_their_own(often):
    tasks = [task_of(model) for model in ALIKE.values()]
    kinds = [recording.structure(task, task.build(0)) for task in tasks]
    assert None not in kinds and len(set(kinds)) == len(kinds)
    found = []
    for steps in (STEPS * 10, 2):
        often(steps)
        found.append([[run.trace.loss for run in together(task, entries((0, 0, 0)))[0][:2]] for task in tasks])
    assert found[0] == found[1] and len(recording._recordings) == len(tasks)


def test_what_fails_while_it_is_recorded_leaves_buffers_and_random_numbers(often, monkeypatch):
    def failing(function):
        def run(*state):
            function(*state)
            raise RuntimeError("no")

        return run

    often(1)
    monkeypatch.setattr("torch.fx.experimental.proxy_tensor.make_fx", failing)
    weight, buffer = torch.ones(3, 4, requires_grad=True), torch.zeros(3)

    def counting(state, raw, orders):
        state[1].add_(torch.rand(3))
        return state[0].sum(1)

    before = torch.get_rng_state()
    assert recorded([weight], [buffer]).play(counting, torch.zeros(1), False) is None
    assert torch.equal(torch.get_rng_state(), before) and not buffer.any()


def recorded(weights, buffers=()):
    task, named = task_of(mlp), ({str(k): t for k, t in enumerate(tensors)} for tensors in (weights, buffers))
    return recording.Recorded(task, task.build(0), *named)


def test_a_program_that_gives_other_numbers_or_shares_a_gradient_is_run(often):
    often(1)
    weights = [torch.ones(3, 4, requires_grad=True), torch.ones(3, 4, requires_grad=True)]
    asked = []

    def changing(state, raw, orders):
        asked.append(1)
        return (state[0] * state[1]).sum(1) * len(asked)

    def sharing(state, raw, orders):
        return (state[0] + state[1]).square().sum(1)

    def constant(state, raw, orders):
        return (state[0] * state[1] * kept).sum(1)

    kept = torch.rand(4)
    for k, program in enumerate((changing, sharing, constant)):
        assert recorded(weights).play(program, torch.zeros(k + 1), False) is None
    assert list(recording._recordings.values()) == [None] * 3


def test_gradients_are_added_in_the_weights_layout(often):
    often(2)
    weight = torch.randn(3, 5, 4).mT.requires_grad_()
    program, raw, own = (
        lambda state, raw, orders: (state[0] * raw).square().sum((1, 2)),
        torch.randn(4, 5),
        recorded([weight]),
    )
    assert own.play(program, raw, False) is None and not own.leave()
    for _ in range(2):
        assert torch.equal(own.play(program, raw, False), (weight * raw).square().sum((1, 2)))
        assert own.leave() and weight.grad.stride() == weight.stride()
    torch.testing.assert_close(weight.grad, 4 * weight.detach() * raw**2)
    own.play(program, raw, False)
    assert own.play(program, torch.randn(4, 1), False) is None and not own.leave()  # another step's gradients are gone
    often(1)
    assert own.play(program, torch.randn(4, 10)[:, ::2], False) is None  # a copy of it lies otherwise


def test_a_layers_settings_and_the_loss_tell_programs_apart():
    def known(*between, **options):
        task = task_of(lambda: mlp(*between), **options)
        return recording.structure(task, task.build(0))

    kinds = [
        known(), known(nn.Dropout(0.1)), known(nn.Dropout(0.2)), known(nn.GELU()), known(nn.GELU("tanh")),
        known(loss=nn.CrossEntropyLoss()), known(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        known(loss=F.cross_entropy),
    ]  # fmt: skip
    assert None not in kinds and len(set(kinds)) == len(kinds)
    assert known(nn.Dropout(0.1)) == kinds[1]
    frozen = task_of(mlp).build(0)
    frozen.eval()
    assert recording.structure(task_of(mlp), frozen) != kinds[0]


def test_a_process_keeps_so_many(often, monkeypatch):
    often(1)
    monkeypatch.setattr(recording, "MOST", 2)
    own = recorded([torch.ones(3, 4, requires_grad=True)])
    for rows in range(1, 6):
        losses = own.play(lambda state, raw, orders: (state[0] * raw.sum()).sum(1), torch.ones(rows), False)
        assert torch.equal(losses, torch.full((3,), 4.0 * rows))
        assert len(recording._recordings) <= 2
