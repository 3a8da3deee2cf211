import numpy as np
import pytest
import torch

from thalweg import optim
from thalweg.engine import native

LOW = [torch.bfloat16, torch.float16]
low = pytest.mark.parametrize("dtype", LOW, ids=str)


def stored(values, dtype, rounding="nearest", seed=0):
    """What a step leaves of float32 values in a parameter of a low dtype: p = 0 − 1·(−values)."""
    p = torch.nn.Parameter(torch.zeros(len(values), dtype=dtype))
    opt = optim.SGD([p], lr=1.0, momentum=0.5, rounding=rounding, engine="numba")
    # With a float32 state v the new p is 0 − v exactly, and v = −values.
    opt.state[p]["momentum_buffer"] = -2.0 * values
    if rounding == "stochastic":
        opt.state[p]["step"] = torch.tensor(float(seed))
    p.grad = torch.zeros_like(p)
    opt.step()
    return p.detach()


def patterns(dtype):
    """All 65,536 numbers of a low dtype, as float32."""
    bits = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    return bits.view(dtype).float()


def neighbours():
    """float32 numbers around every bfloat16 and float16 and around the middles between two."""
    found = []
    for dtype in LOW:
        exact = patterns(dtype)
        exact = exact[torch.isfinite(exact)].unique()
        middle = ((exact[1:].double() + exact[:-1].double()) / 2).float()
        for x in (exact, middle):
            for step in (-2, -1, 0, 1, 2):
                moved = x
                for _ in range(abs(step)):
                    moved = torch.nextafter(moved, torch.full_like(moved, np.inf * step))
                found.append(moved)
    extreme = [
        np.inf,
        -np.inf,
        np.nan,
        3.4e38,
        -3.4e38,
        65504,
        65519.99,
        65520,
        65536,
        1e-45,
        -1e-45,
        1e-40,
        6e-8,
        2.9e-8,
    ]
    return torch.cat([*found, torch.tensor(extreme)])


def same(x, y):
    return torch.equal(torch.nan_to_num(x.float(), 1.25, 2.5, -2.5), torch.nan_to_num(y.float(), 1.25, 2.5, -2.5))


@low
def test_nearest_is_torchs_rounding(dtype):
    values = neighbours()
    # v = momentum·(−2·value) is exact unless doubling overflows.
    values = values[~(values.abs() > 1.7e38) | ~torch.isfinite(values)]
    got = stored(values, dtype)
    assert same(got, values.to(dtype)) and torch.equal(got.isnan(), values.isnan())
    zeros = values.to(dtype) == 0
    assert torch.equal(
        got[~got.isnan() & ~zeros].view(torch.int16), values.to(dtype)[~got.isnan() & ~zeros].view(torch.int16)
    )


@low
def test_every_pattern_survives_a_step_that_moves_nothing(dtype):
    bits = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)
    for rounding in ("nearest", "stochastic"):
        for step in range(3):
            p = torch.nn.Parameter(bits.clone())
            opt = optim.SGD([p], lr=1.0, rounding=rounding, engine="numba")
            if rounding == "stochastic":
                opt.state[p]["step"] = torch.tensor(float(step))
            p.grad = torch.zeros_like(p)
            opt.step()
            assert same(p.detach(), bits), rounding


def around(values, dtype):
    """The largest number of the dtype that is no larger, and the smallest that is no smaller."""
    near = values.to(dtype)
    down = torch.where(near.float() > values, torch.nextafter(near, torch.tensor(-np.inf, dtype=dtype)), near)
    up = torch.where(near.float() < values, torch.nextafter(near, torch.tensor(np.inf, dtype=dtype)), near)
    return down.float(), up.float()


@low
def test_random_rounding_chooses_a_neighbour_with_the_mean_right(dtype):
    generator = torch.Generator().manual_seed(0)
    exponents = torch.arange(-26, 15) if dtype is torch.float16 else torch.arange(-130, 120, 7)
    values = (1 + torch.rand(len(exponents), generator=generator)) * 2.0**exponents
    values = torch.cat([values, -values, torch.tensor([2.0**-14 - 2.0**-27, 1 - 2.0**-13, 3e-8, 1e-7])])
    values = values[values.abs() >= 2.0**-126]
    repeats, counted = 4000, torch.zeros(len(values))
    down, up = around(values, dtype)
    for seed in range(3):
        got = stored(values.repeat(repeats), dtype, "stochastic", seed).float().reshape(repeats, -1)
        assert ((got == down) | (got == up)).all()
        counted += (got == up).sum(0) * (up != down)
    n = 3 * repeats
    share = torch.where(up != down, (values.double() - down) / (up.double() - down), torch.zeros(()).double())
    deviation = (counted - n * share).abs() / (n * share * (1 - share)).sqrt().clamp(min=1)
    assert deviation.max() < 4.5 and (deviation > 3).double().mean() < 0.05


@low
def test_random_rounding_never_leaves_the_finite_numbers_for_no_reason(dtype):
    largest = torch.finfo(dtype).max
    got = stored(torch.tensor([largest, -largest, largest / 2]).repeat(1000) * 0.5, dtype, "stochastic")
    assert torch.isfinite(got).all()
    odd = torch.tensor([np.inf, -np.inf, np.nan]).repeat(50)
    assert same(stored(odd, dtype, "stochastic"), odd.to(dtype))


@low
def test_a_run_that_is_resumed_rounds_as_the_one_that_went_on(dtype):
    def make():
        p = torch.nn.Parameter(torch.linspace(0.5, 3, 5000, dtype=torch.float32).to(dtype))
        return p, optim.AdamW([p], lr=1e-3, rounding="stochastic")

    def steps(p, opt, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(3):
            p.grad = torch.randn(5000, generator=generator).to(dtype)
            opt.step()

    p, opt = make()
    steps(p, opt, 1)
    q, resumed = make()
    q.data.copy_(p.data)
    resumed.load_state_dict(opt.state_dict())
    steps(p, opt, 2), steps(q, resumed, 2)
    assert torch.equal(p, q)
    again, other = make()
    steps(again, other, 1), steps(again, other, 2)
    assert torch.equal(p, again)


@low
def test_columns_steps_tensors_and_elements_have_noise_of_their_own(dtype):
    """Halfway between two numbers every rounding is a coin; coins of different places do not go together."""
    eps, n, coins = torch.finfo(dtype).eps, 20000, {}
    ps = [torch.nn.Parameter(torch.ones(n, dtype=dtype)) for _ in range(3)]
    opt = optim.AdEMAMix(ps, lr=0.0, weight_decay=0.0, betas=(0.5, 0.5, 0.5), rounding="stochastic")
    for step in range(2):
        for p in ps:
            p.grad = torch.full_like(p, 1 + eps)  # both averages of 1 and 1 + eps lie half-way
            for name in ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq"):
                opt.state[p][name] = torch.ones(n, dtype=dtype)
        opt.step()
        for i, p in enumerate(ps):
            for name in ("exp_avg_fast", "exp_avg_slow"):
                coins[step, i, name] = (opt.state[p][name] > 1).float()
    table = torch.stack(list(coins.values()))
    means = table.mean(1)
    assert ((means > 0.2) & (means < 0.8)).all(), means
    correlation = torch.corrcoef(table) - torch.eye(len(table))
    assert correlation.abs().max() < 4.5 / n**0.5
    for shift in (1, 2, 16, 256):
        for row in table:
            assert torch.corrcoef(torch.stack([row[shift:], row[:-shift]]))[0, 1].abs() < 4.5 / n**0.5


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("size", [1, 7, 8, 15, 16, 17, 64, 1000])
def test_sgd_in_bfloat16_moves_every_element(size, rounding):
    p = torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16))
    opt = optim.SGD([p], lr=0.5, rounding=rounding)
    p.grad = torch.ones_like(p)
    opt.step()
    assert p.tolist() == [0.5] * size


def test_small_steps_add_up_only_with_random_rounding():
    ends = {}
    for rounding in ("nearest", "stochastic"):
        p = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        opt = optim.SGD([p], lr=1e-4, rounding=rounding)
        for _ in range(200):
            p.grad = torch.ones_like(p)
            opt.step()
        ends[rounding] = p.detach().float().mean().item()
    assert ends["nearest"] == 1 and abs(ends["stochastic"] - 0.98) < 1e-3


def test_a_kernel_is_made_anew_for_other_versions_and_primitives(monkeypatch):
    made_for = native.host.__wrapped__
    before = made_for()
    assert before == native.host()
    monkeypatch.setattr(native, "version", lambda package: "0")
    other = made_for()
    assert other != before
    monkeypatch.setattr(native.Path, "read_text", lambda *args, **kwargs: "other")
    assert made_for() not in (before, other)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("where", ["p", "g", "exp_avg", "exp_avg_sq"])
def test_every_nan_of_bfloat16_stays_one_and_nothing_else_becomes_one(rounding, where):
    found = []
    for kind in ({"rounding": rounding}, {"engine": "reference"}):
        p = torch.nn.Parameter(torch.ones(65536, dtype=torch.bfloat16))
        p.grad = torch.full_like(p, 0.5)
        opt = optim.AdamW([p], lr=0.1, **kind)
        opt.step()
        {"p": p.data, "g": p.grad, **opt.state[p]}[where].copy_(patterns(torch.bfloat16))
        opt.step()
        found.append([x.isnan() for x in (p, opt.state[p]["exp_avg"], opt.state[p]["exp_avg_sq"])])
    assert sum(nan.sum() for nan in found[0]) >= 254
    assert all(torch.equal(ours, truth) for ours, truth in zip(*found, strict=True))


def test_a_loss_scale_that_is_any_nan_gives_nan():
    p = torch.nn.Parameter(torch.ones(200, dtype=torch.bfloat16))
    p.grad = torch.ones_like(p)
    opt = optim.SGD([p], lr=0.1)
    opt.grad_scale = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    opt.step()
    assert p.isnan().all()
