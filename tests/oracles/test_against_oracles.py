import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_rules import CASES, ORACLES

from thalweg import optim, rules

SIZES = (1, 7, 8, 15, 16, 17, 1023)
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
ULPS = {torch.float64: 32, torch.float32: 32, torch.bfloat16: 6, torch.float16: 6}
SIGNS = ("lion", "signum", "rprop")  # a moment that rounding moves over zero turns a step
LOW = (torch.bfloat16, torch.float16)
ids = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]


def gradients(steps, size, dtype, seed=0):
    """Normal numbers over four orders of magnitude, with zeros; smaller for float16, whose squares overflow at 256."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (torch.rand(size, generator=generator) * 4 - 2)
    grads = [torch.randn(size, generator=generator) * scale for _ in range(steps)]
    grads[-1][::5] = 0
    return [(g / 10 if dtype is torch.float16 else g).to(dtype) for g in grads]


def start(size, dtype):
    return torch.randn(size, generator=torch.Generator().manual_seed(99)).to(dtype)


def run(opt, p, grads):
    for g in grads:
        p.grad = g.clone()
        opt.step()


def rounding(dtype):
    return lambda x: torch.as_tensor(x).to(dtype).double().numpy()


def compare(name, options, size, dtype, steps=6, contiguous=True):
    grads, first = gradients(steps, size, dtype), start(size, dtype)
    p = first.clone()
    if not contiguous:
        p = torch.empty(2 * size, dtype=dtype)[::2].copy_(first)
        grads = [torch.empty(3 * size, dtype=dtype)[::3].copy_(g) for g in grads]
    p = torch.nn.Parameter(p)
    opt = optim.optimizer_class(name)([p], lr=0.02, **options)
    run(opt, p, grads)
    store = {"store": rounding(dtype)} if dtype in LOW else {}
    exact = [g.double().numpy() for g in grads]
    path = [ORACLES[name](first.double().numpy(), exact[:k], lr=0.02, **options, **store) for k in range(1, steps + 1)]
    want, states = path[-1]
    scale = np.max(np.abs([first.double().numpy(), *(p for p, _ in path)]), axis=0) + 0.02
    got = p.detach().double().numpy()
    wrong = np.abs(got - want) / scale > ULPS[dtype] * UNIT[dtype]
    flipped = wrong & (np.abs(got - want) >= 0.02) if name in SIGNS else np.zeros_like(wrong)
    assert not (wrong & ~flipped).any() and flipped.sum() <= 1 + size // 100
    saved = opt.state[p]
    assert set(saved) - {"step"} == set(states)
    single = {state.name for state in opt.rule.state if state.scalar}
    starts = {"ax", *(state.name for state in opt.rule.state if state.initial == "p")}
    for key, state in states.items():
        if key in single:  # one number a tensor, which is never rounded
            assert saved[key].dtype is torch.float64 and saved[key].item() == pytest.approx(float(state), rel=1e-12)
            continue
        assert saved[key].dtype is dtype
        scale = np.max(np.abs([states[key] for _, states in path]), axis=0) + 1e-3
        if key in starts:  # it has the size of the parameter
            scale = scale + np.abs(first.double().numpy())
        assert np.max(np.abs(saved[key].double().numpy() - state) / scale) <= ULPS[dtype] * UNIT[dtype], key


@pytest.mark.parametrize("dtype", UNIT, ids=str)
@pytest.mark.parametrize(("name", "options"), CASES, ids=ids)
def test_float64_oracle(name, options, dtype):
    for size in SIZES:
        compare(name, options, size, dtype)
    compare(name, options, 17, dtype, contiguous=False)


@pytest.mark.parametrize(("name", "options"), CASES, ids=ids)
def test_float64_oracle_at_a_large_size(name, options):
    # Among a million numbers some have g ≈ −λp, where float32 leaves of g + λp only its rounding.
    options = {key: value for key, value in options.items() if key != "weight_decay"}
    compare(name, options, 1_000_003, torch.float32, steps=2)


TORCH = {"momentum": "SGD", "nesterov": "SGD", "nadamw": "NAdam"}
PRESETS = {
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "nadamw": {"decoupled_weight_decay": True, "weight_decay": 0.01},
}
THEIRS = [(name, o) for name, o in CASES if hasattr(torch.optim, TORCH.get(name, optim.optimizer_class(name).__name__))]
theirs_ids = [f"{name}-{i}" for i, (name, _) in enumerate(THEIRS)]
SINGLE = ("nadam", "nadamw", "asgd")  # torch keeps their scalar states in float32


def pair(name, options, p):
    """Our optimizer of a copy of ``p`` and torch's of another."""
    ours, theirs = (torch.nn.Parameter(p.clone()) for _ in range(2))
    cls = optim.optimizer_class(name)
    torch_cls = getattr(torch.optim, TORCH.get(name, cls.__name__))
    their_options = {"lr": 0.02, "foreach": False, **PRESETS.get(name, {}), **options}
    return ours, cls([ours], lr=0.02, **options), theirs, torch_cls([theirs], **their_options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize(("name", "options"), THEIRS, ids=theirs_ids)
def test_torch_agrees(name, options, dtype):
    generator = torch.Generator().manual_seed(1)
    draw = lambda: torch.randn(5, 7, dtype=dtype, generator=generator)  # noqa: E731
    first, grads = draw(), [draw() for _ in range(8)]
    for maximize in (False, True):
        ours, opt, theirs, torch_opt = pair(name, {**options, "maximize": maximize}, first)
        run(opt, ours, grads)
        run(torch_opt, theirs, grads)
        tight = dtype in (torch.float64, torch.complex128) and name not in SINGLE
        torch.testing.assert_close(ours, theirs, rtol=1e-12 if tight else 2e-5, atol=1e-13 if tight else 1e-6)


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(("name", "options"), THEIRS, ids=theirs_ids)
def test_state_dicts_interchange_in_mid_training(name, options, ours_first, tmp_path):
    grads = gradients(10, 33, torch.float64)
    ours, opt, theirs, torch_opt = pair(name, options, start(33, torch.float64))
    p, a, q, b = (ours, opt, theirs, torch_opt) if ours_first else (theirs, torch_opt, ours, opt)
    run(a, p, grads[:4])
    torch.save(a.state_dict(), tmp_path / "state.pt")
    q.data.copy_(p.data)
    b.load_state_dict(torch.load(tmp_path / "state.pt"))
    run(a, p, grads[4:])
    run(b, q, grads[4:])
    torch.testing.assert_close(
        p, q, **({"rtol": 1e-6, "atol": 1e-7} if name in SINGLE else {"rtol": 1e-12, "atol": 1e-13})
    )
    one, other = a.state_dict()["state"], b.state_dict()["state"]
    assert one.keys() == other.keys()
    for i in one:
        assert one[i].keys() == other[i].keys()
        assert all(one[i][k].dtype is other[i][k].dtype for k in one[i] if one[i][k].dim() or k == "step")


@given(st.floats(-12, 12), st.integers(0, 9))
@settings(max_examples=20)
def test_adaptive_rules_ignore_the_scale_of_the_gradient(exponent, seed):
    grads = gradients(5, 9, torch.float64, seed)
    grads = [g + (g == 0) for g in grads]
    for name in ("adam", "adagrad", "rmsprop"):
        ends = []
        for scale in (1.0, 10**exponent):
            p = torch.nn.Parameter(torch.zeros(9, dtype=torch.float64))
            run(optim.optimizer_class(name)([p], eps=0.0), p, [scale * g for g in grads])
            ends.append(p.detach())
        torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-12)


@given(st.permutations(range(3)), st.lists(st.integers(0, 4), min_size=3, max_size=3), st.sampled_from(CASES))
@settings(max_examples=40)
def test_layout_does_not_matter(order, shape, case):
    name, options = case
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(shape, generator=generator).permute(order)
    grad = torch.randn(base.shape, generator=generator)
    plain, strided = torch.nn.Parameter(base.contiguous()), torch.nn.Parameter(base.clone())
    for p in (plain, strided):
        run(optim.optimizer_class(name)([p], **options), p, [grad, grad])
    if rules.get(name).measures:  # a sum in another order
        torch.testing.assert_close(plain, strided)
    else:
        assert torch.equal(plain, strided)
