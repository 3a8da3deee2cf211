import os
import threading

import pytest
import torch

from thalweg import errors, optim
from thalweg.engine import cpu

SIZES = (0, 1, 7, 8, 15, 16, 17, 1023, 16383, 16384, 16385)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}
LAYOUTS = {
    "plain": lambda x: x.clone(),
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every second": lambda x: torch.empty(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)[..., ::2].copy_(x),
    "rows apart": lambda x: torch.empty(x.shape[0], *x.shape[1:-1], x.shape[-1] + 3, dtype=x.dtype)[..., 3:].copy_(x),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
}


def draw(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def pair(values, cls=optim.AdamW, **options):
    """The same parameters under a compiled kernel and under the reference."""
    made = []
    for engine in ("auto", "reference"):
        params = [torch.nn.Parameter(x.clone()) for x in values]
        made.append((params, cls(params, lr=0.01, engine=engine, **options)))
    return made


def close(ps, qs):
    for p, q in zip(ps, qs, strict=True):
        tolerance = TOLERANCE.get(p.dtype, 2e-6)
        torch.testing.assert_close(p.detach(), q.detach(), rtol=tolerance, atol=tolerance)


def reasons(opt):
    return [one.reason for one in opt._stepper.loners]


def step_both(made, seed, skip=()):
    for params, opt in made:
        for i, p in enumerate(params):
            p.grad = None if i in skip else torch.empty_like(p).copy_(draw(*p.shape, seed=100 * seed + i))
        opt.step()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_sizes_at_once(dtype):
    values = [draw(n, dtype=dtype, seed=n) for n in SIZES] + [draw(dtype=dtype), draw(3, 0, 2, dtype=dtype)]
    made = pair(values, clip_norm=1.0)
    for seed in range(3):
        step_both(made, seed)
    close(made[0][0], made[1][0])
    assert not reasons(made[0][1]) and reasons(made[1][1])
    norms = [opt.grad_norm.item() for _, opt in made]
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)


def test_a_large_size():
    made = pair([draw(1_000_003), draw(5)])
    for seed in range(2):
        step_both(made, seed)
    close(made[0][0], made[1][0])


@pytest.mark.parametrize("cls", [optim.AdamW, optim.SGD, optim.Lion, optim.LAMB, optim.ScheduleFreeAdamW])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_that_the_update_finds_on_its_way(dtype, cls):
    """Σg² in float64, whatever the dtype; the update is the same to the bit with it and without."""
    values = [draw(*shape, dtype=dtype, seed=k) for k, shape in enumerate([(3, 5), (16385,), (1023, 17), (), (0,)])]
    grads = [100 * draw(*x.shape, dtype=dtype, seed=9 + k) for k, x in enumerate(values)]
    expected = sum(float(g.double().square().sum()) for g in grads) ** 0.5
    found = []
    for tracks in (True, False):
        params = [torch.nn.Parameter(x.clone()) for x in values]
        opt = cls(params, lr=1e-3)
        opt.track_norm = tracks
        for _ in range(2):
            for p, g in zip(params, grads, strict=True):
                p.grad = g.clone()
            opt.step()
        found.append(params)
        assert opt.grad_norm is None or opt.grad_norm.item() == pytest.approx(expected, rel=1e-13)
        assert (opt.grad_norm is not None) == tracks
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
