"""What torch's own optimizers do around the arithmetic, ours do as well: one row, one behaviour."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from thalweg import errors, optim

NAMES = ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adadelta", "Rprop", "ASGD"]
OPTIONS = {
    "SGD": [{"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {}],
    "RMSprop": [{"centered": True, "momentum": 0.9}, {}],
    "Adam": [{"amsgrad": True}, {}],
    "AdamW": [{"amsgrad": True}, {}],
    "NAdam": [{"decoupled_weight_decay": True, "weight_decay": 0.1}, {"weight_decay": 0.1}],
    "RAdam": [{"decoupled_weight_decay": True, "weight_decay": 0.1}, {}],
}
CASES = [(name, options) for name in NAMES for options in OPTIONS.get(name, [{}])]
both = pytest.mark.parametrize("library", [optim, torch.optim], ids=["ours", "torch"])


def parameter(*shape, seed=0, dtype=torch.float32):
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype))


def run(params, opt, steps, seed=0):
    for step in range(steps):
        for i, p in enumerate(params):
            generator = torch.Generator().manual_seed(1000 * seed + 10 * step + i)
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        opt.step()


def make(library, name, options, **more):
    params = [parameter(5, 3), parameter(7, seed=1)]
    return params, getattr(library, name)(params, lr=0.02, **options, **more)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_training_moves_between_the_libraries(name, options):
    """ours → torch's → ours, through files, is a run of torch's alone, and its parts are bit-equal to ours."""
    alone, theirs = make(torch.optim, name, options, foreach=False)
    ours, opt = make(optim, name, options)
    twins, twin = make(optim, name, options)
    for stage, library in enumerate((optim, torch.optim, optim)):
        file = io.BytesIO()
        torch.save(opt.state_dict(), file)
        file.seek(0)
        opt = getattr(library, name)(ours, lr=0.5)
        opt.load_state_dict(torch.load(file, weights_only=True))
        run(ours, opt, 4, stage), run(alone, theirs, 4, stage), run(twins, twin, 4, stage)
        for p, q, r in zip(ours, alone, twins, strict=True):
            torch.testing.assert_close(p, q, rtol=2e-5, atol=2e-6)
            assert stage or torch.equal(p, r)
    assert opt.param_groups[0]["lr"] == 0.02
    for p, q in zip(ours, alone, strict=True):
        assert opt.state[p].keys() == theirs.state[q].keys()
        for key, value in opt.state[p].items():
            assert value.shape == theirs.state[q][key].shape
            torch.testing.assert_close(value, theirs.state[q][key], rtol=1e-4, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_our_own_states_reload_to_the_same_bits(name, options):
    params, opt = make(optim, name, options)
    run(params, opt, 3)
    others, other = make(optim, name, options)
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p.data)
    saved = opt.state_dict()
    kept = copy.deepcopy(saved)
    other.load_state_dict(saved)
    run(params, opt, 3, 1), run(others, other, 3, 1)
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))
    other.load_state_dict(kept)
    for i, state in kept["state"].items():
        for key, value in state.items():
            held = other.state[others[i]][key]
            assert torch.equal(held, value) and held.dtype is value.dtype
            assert held.data_ptr() != value.data_ptr()


def test_states_of_an_older_torch_load():
    """Before 2.0 the step was a number, and groups lacked what came later."""
    params, opt = make(optim, "Adam", {})
    run(params, opt, 2)
    saved = opt.state_dict()
    for state in saved["state"].values():
        state["step"] = int(state["step"])
    for group in saved["param_groups"]:
        del group["maximize"], group["amsgrad"]
    other = optim.Adam(params)
    other.load_state_dict(saved)
    run(params, other, 1)
    assert [other.state[p]["step"].item() for p in params] == [3, 3]


@both
def test_hooks_in_torchs_order(library):
    calls = []

    def note(text):
        return lambda *args: calls.append(text)

    handles = [
        register_optimizer_step_pre_hook(note("global pre")),
        register_optimizer_step_post_hook(note("global post")),
    ]
    try:
        p = parameter(2)
        opt = library.SGD([p])
        opt.register_step_pre_hook(note("pre"))
        last = opt.register_step_post_hook(note("post"))
        run([p], opt, 1)
        assert calls == ["global pre", "pre", "post", "global post"]
        last.remove()
        run([p], opt, 1)
        assert calls[4:] == ["global pre", "pre", "global post"]
    finally:
        for handle in handles:
            handle.remove()


@both
def test_a_pre_hook_replaces_the_arguments(library):
    p = parameter(2)
    opt, seen = library.SGD([p]), []
    opt.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: seen.append("mine") or torch.ones(())), {}))
    p.grad = torch.ones(2)
    assert opt.step(lambda: seen.append("theirs")) == 1 and seen == ["mine"]
    other = library.SGD([p])
    other.register_step_pre_hook(lambda *args: "wrong")
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        other.step()


@both
def test_a_hook_sees_the_optimizer_and_may_change_gradients(library):
    p = nn.Parameter(torch.zeros(2))
    opt = library.SGD([p], lr=1.0)

    def double(optimizer, args, kwargs):
        for group in optimizer.param_groups:
            for q in group["params"]:
                q.grad = 2 * q.grad

    opt.register_step_pre_hook(double)
    p.grad = torch.ones(2)
    opt.step()
    assert p.tolist() == [-2, -2]


@both
def test_a_closure_runs_with_gradients_on(library):
    p = nn.Parameter(torch.ones(2))
    opt = library.SGD([p], lr=0.5)

    def closure():
        opt.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert opt.step(closure).item() == 2
    assert opt.step(closure=closure).item() == 0 and p.tolist() == [0, 0]
    p.grad = None
    assert opt.step() is None


@both
@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad(library, to_none):
    p = parameter(2)
    opt = library.AdamW([p])
    run([p], opt, 1)
    opt.zero_grad(set_to_none=to_none)
    assert p.grad is None if to_none else p.grad.tolist() == [0, 0]
    before = p.detach().clone()
    opt.step()
    assert torch.equal(p, before) == to_none


@both
def test_wrong_groups(library):
    p = parameter(2)
    opt = library.SGD([p], lr=0.1)
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.add_param_group({"params": [p]})
    with pytest.raises(TypeError, match="must be a dict"):
        opt.add_param_group([parameter(3)])
    with pytest.raises(ValueError, match="non-leaf"):
        opt.add_param_group({"params": [parameter(2) * 2]})
    with pytest.raises(TypeError, match="can only optimize Tensors"):
        opt.add_param_group({"params": [1.0]})
    with pytest.raises(TypeError, match="ordered collections"):
        opt.add_param_group({"params": {parameter(2)}})


@both
def test_steps_are_counted_per_parameter(library):
    p, q = parameter(2), parameter(2)
    opt = library.AdamW([p, q])
    for grads in ((1, 1), (1, 0), (1, 0), (0, 1)):
        for x, g in zip((p, q), grads, strict=True):
            x.grad = torch.ones(2) if g else None
        opt.step()
    assert [opt.state[x]["step"].item() for x in (p, q)] == [3, 2]
    assert all(opt.state[x]["step"].dtype is torch.float32 and opt.state[x]["step"].shape == () for x in (p, q))


@both
def test_maximize(library):
    p = nn.Parameter(torch.zeros(2))
    opt = library.SGD([p], lr=1.0, maximize=True)
    p.grad = torch.ones(2)
    opt.step()
    assert p.tolist() == [1, 1]


@both
def test_the_profiler_shows_the_step(library):
    p = parameter(2)
    opt = library.AdamW([p])
    run([p], opt, 1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        opt.step()
    assert "Optimizer.step#AdamW.step" in {event.key for event in profile.key_averages()}


@both
def test_copies_are_apart(library):
    params, opt = make(library, "AdamW", {})
    run(params, opt, 2)
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        mine = [p for group in twin.param_groups for p in group["params"]]
        assert not any(p is q for p, q in zip(mine, params, strict=True))
        run(mine, twin, 2, 1)
        fresh = copy.deepcopy(opt)
        theirs = [p for group in fresh.param_groups for p in group["params"]]
        run(theirs, fresh, 2, 1)
        assert all(torch.equal(p, q) for p, q in zip(mine, theirs, strict=True))


@both
def test_a_subclass_that_steps_before_its_parent(library):
    class Mine(library.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.neg_()
            return super().step(closure)

    p = nn.Parameter(torch.zeros(2))
    opt = Mine([p], lr=1.0)
    p.grad = torch.ones(2)
    opt.step()
    assert p.tolist() == [1, 1] and pickle.loads(pickle.dumps(opt.state_dict()))["param_groups"]


SCHEDULERS = {
    "step": lambda opt: torch.optim.lr_scheduler.StepLR(opt, 2, 0.5),
    "cosine": lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 5),
    "warm restarts": lambda opt: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 3),
    "one cycle": lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=8),
    "cyclic": lambda opt: torch.optim.lr_scheduler.CyclicLR(opt, 0.01, 0.1, 2, cycle_momentum=False),
    "chain": lambda opt: torch.optim.lr_scheduler.SequentialLR(
        opt,
        [torch.optim.lr_scheduler.LinearLR(opt, 0.1, 1, 3), torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)],
        [3],
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULERS)
@pytest.mark.parametrize("tensor", [False, True], ids=["number", "tensor"])
def test_torchs_schedules(schedule, tensor):
    ends = []
    for library, more in ((optim, {}), (torch.optim, {"foreach": False})):
        p = parameter(4)
        opt = library.AdamW([p], lr=torch.tensor(0.02, dtype=torch.float64) if tensor else 0.02, **more)
        scheduler = SCHEDULERS[schedule](opt)
        for step in range(7):
            run([p], opt, 1, step)
            scheduler.step()
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


def test_a_plateau_schedule():
    p = parameter(4)
    opt = optim.SGD([p], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=0, factor=0.5)
    for loss in (1.0, 2.0, 3.0):
        run([p], opt, 1)
        scheduler.step(loss)
    assert opt.param_groups[0]["lr"] == 0.25


def scaled(p, scaler, opt, factor, unscale=False):
    opt.zero_grad()
    scaler.scale((p * factor).sum()).backward()
    if unscale:
        scaler.unscale_(opt)
        torch.testing.assert_close(p.grad, torch.full_like(p, factor), equal_nan=True)
    scaler.step(opt)
    scaler.update()


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("unscale", [False, True])
def test_a_gradient_scaler(engine, unscale):
    p = nn.Parameter(torch.zeros(4))
    opt = optim.SGD([p], lr=1.0, clip_norm=2.0, engine=engine)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    scaled(p, scaler, opt, 0.5, unscale)
    assert p.tolist() == [-0.5] * 4 and opt.grad_norm.item() == 1
    scaled(p, scaler, opt, 4.0, unscale)  # norm 8, clipped to 2
    assert p.tolist() == [-1.5] * 4 and opt.grad_norm.item() == 8 and scaler.get_scale() == 2048
    assert not hasattr(opt, "grad_scale") and not hasattr(opt, "found_inf")
    for bad in (float("inf"), float("nan")):
        before = scaler.get_scale()
        scaled(p, scaler, opt, bad, unscale)
        assert p.tolist() == [-1.5] * 4 and scaler.get_scale() == before / 2
    assert opt.skipped == 2
    scaled(p, scaler, opt, 0.5, not unscale)
    assert p.tolist() == [-2.0] * 4
    opt.zero_grad()
    p.grad = torch.full_like(p, 0.5)
    opt.step()  # without the scaler nothing is unscaled
    assert p.tolist() == [-2.5] * 4


def test_a_scaler_counts_no_step_that_was_skipped():
    params, opt = make(optim, "AdamW", {})
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor in (1.0, float("inf"), 1.0):
        opt.zero_grad()
        scaler.scale(sum((p * factor).sum() for p in params)).backward()
        scaler.step(opt)
        scaler.update()
    assert [opt.state[p]["step"].item() for p in params] == [2, 2] and opt.skipped == 1


def test_a_disabled_scaler_and_one_without_gradients():
    p = nn.Parameter(torch.zeros(2))
    opt = optim.SGD([p], lr=1.0)
    off = torch.amp.GradScaler("cpu", enabled=False)
    scaled(p, off, opt, 1.0)
    assert p.tolist() == [-1, -1]
    q = nn.Parameter(torch.zeros(2))
    both_of_them = optim.SGD([{"params": [p]}, {"params": [q]}], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaled(p, scaler, both_of_them, 1.0)
    assert p.tolist() == [-2, -2] and q.tolist() == [0, 0]


def test_skip_nonfinite_makes_no_step_and_no_state():
    params, opt = make(optim, "AdamW", {}, skip_nonfinite=True)
    for p in params:
        p.grad = torch.ones_like(p)
    params[1].grad[3] = float("nan")
    before = [p.detach().clone() for p in params]
    opt.step()
    assert opt.skipped == 1 and all(torch.equal(p, q) for p, q in zip(params, before, strict=True))
    params[1].grad[3] = 1
    opt.step()
    assert [opt.state[p]["step"].item() for p in params] == [1, 1] and opt.skipped == 1


def test_a_step_in_the_hook_of_the_gradient():
    """As DDP and optimizers in the backward do it: each parameter steps when its gradient is there."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    twin = copy.deepcopy(net)
    opts = {p: optim.AdamW([p], lr=0.1) for p in net.parameters()}
    whole = optim.AdamW(twin.parameters(), lr=0.1)

    def step(p):
        opts[p].step()
        opts[p].zero_grad()

    for p in net.parameters():
        p.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        x = torch.ones(2, 3)
        net(x).square().sum().backward()
        whole.zero_grad()
        twin(x).square().sum().backward()
        whole.step()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))
    assert all(p.grad is None for p in net.parameters())


def test_gradients_that_are_views_of_one_bucket():
    params, opt = make(optim, "AdamW", {})
    others, other = make(optim, "AdamW", {})
    bucket = torch.zeros(sum(p.numel() for p in params) + 3)
    for step in range(3):
        at = 3
        for i, (p, q) in enumerate(zip(params, others, strict=True)):
            q.grad = torch.randn(q.shape, generator=torch.Generator().manual_seed(10 * step + i))
            p.grad = bucket[at : at + p.numel()].view(p.shape)
            p.grad.copy_(q.grad)
            at += p.numel()
        opt.step(), other.step()
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_accumulation_over_micro_batches():
    torch.manual_seed(0)
    net = nn.Linear(6, 2)
    twin = copy.deepcopy(net)
    x = torch.randn(8, 6)
    opts = optim.AdamW(net.parameters(), lr=0.1), optim.AdamW(twin.parameters(), lr=0.1)
    for _ in range(3):
        for opt in opts:
            opt.zero_grad()
        net(x).square().mean().backward()
        for part in x.split(2):
            (twin(part).square().mean() / 4).backward()
        for opt in opts:
            opt.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    twin = copy.deepcopy(net)
    compiled = torch.compile(net, backend="aot_eager")
    opts = optim.AdamW(compiled.parameters(), lr=0.1), optim.AdamW(twin.parameters(), lr=0.1)
    for _ in range(3):
        for model, opt in zip((compiled, twin), opts, strict=True):
            opt.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            opt.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


@both
def test_a_model_that_changes_its_dtype(library):
    net = nn.Linear(3, 2)
    opt = library.SGD(net.parameters(), lr=0.5)
    net(torch.ones(1, 3)).sum().backward()
    opt.step()
    net.double()
    opt.zero_grad()
    net(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    before = net.weight.detach().clone()
    opt.step()
    torch.testing.assert_close(net.weight.detach(), before - 0.5)


@pytest.mark.parametrize("name", ["foreach", "fused", "capturable"])
def test_torchs_own_switches_are_refused_with_words(name):
    with pytest.raises(errors.BadOption, match=f"{name} is torch's own"):
        optim.AdamW([parameter(2)], **{name: True})


def test_a_frozen_parameter_stays():
    p, q = parameter(3), parameter(3)
    q.requires_grad_(False)
    opt = optim.AdamW([p, q])
    p.sum().backward()
    opt.step()
    assert torch.equal(q, parameter(3)) and q not in opt.state
    q.requires_grad_(True)
    (p + q).sum().backward()
    opt.step()
    assert not torch.equal(q, parameter(3))


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_autograd_sees_the_steps_if_it_is_asked_to(name):
    def walk(start, grad):
        p = start.clone()
        opt = optim.optimizer_class(name)([p], lr=0.01, differentiable=True)
        for factor in (1.0, 0.7):
            p.grad = factor * grad
            opt.step()
        return p

    generator = torch.Generator().manual_seed(1)
    start, grad = (torch.randn(5, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(walk, (start, grad), atol=1e-5)
