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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("of_g", LAYOUTS)
@pytest.mark.parametrize("of_p", LAYOUTS)
def test_layouts(of_p, of_g, dtype):
    ends = []
    for p_layout, g_layout in (("plain", "plain"), (of_p, of_g)):
        p = torch.nn.Parameter(LAYOUTS[p_layout](draw(3, 5, 4, 2, dtype=dtype)))
        opt = optim.AdamW([p], lr=0.01, engine="numba")
        stride = p.stride()
        for seed in range(2):
            p.grad = LAYOUTS[g_layout](draw(3, 5, 4, 2, dtype=dtype, seed=seed + 1))
            opt.step()
        assert p.stride() == stride and opt.state[p]["exp_avg"].shape == p.shape
        ends += [p.detach().contiguous(), opt.state[p]["exp_avg"].contiguous()]
    assert torch.equal(ends[0], ends[2]) and torch.equal(ends[1], ends[3])


def test_between_the_elements_of_a_strided_parameter_nothing_is_written():
    whole = torch.full((40,), 7.0)
    p = torch.nn.Parameter(whole[::2])
    opt = optim.SGD([p], lr=1.0)
    p.grad = torch.ones(20)
    opt.step()
    assert (whole[::2] == 6).all() and (whole[1::2] == 7).all()


def test_gradients_vanish_appear_and_move():
    values = [draw(20, seed=i) for i in range(3)] + [draw(4, 6).t()]
    made = pair(values)
    for seed, skip in enumerate([(), (1,), (0, 1, 2, 3), (3,), (), (0, 3), ()]):
        step_both(made, seed, skip=skip)
    close(made[0][0], made[1][0])
    steps = [[opt.state[p]["step"].item() for p in params] for params, opt in made]
    assert steps[0] == steps[1] == [5, 5, 6, 4]


def test_a_gradient_that_vanishes_from_a_parameter_with_holes():
    p, q = (torch.nn.Parameter(draw(20)[::2]) for _ in range(2))
    opt = optim.SGD([p, q], lr=1.0)
    for grads in ((1.0, 1.0), (None, 1.0), (1.0, None), (1.0, 1.0)):
        for x, g in zip((p, q), grads, strict=True):
            x.grad = None if g is None else torch.full((10,), g)
        opt.step()
    assert torch.allclose(p, draw(20)[::2] - 3) and torch.allclose(q, draw(20)[::2] - 3)


def test_gradients_change_their_layout():
    made = pair([draw(4, 6), draw(8, 3)])
    for seed in range(5):
        for params, opt in made:
            for p in params:
                g = draw(*p.shape, seed=seed)
                p.grad = g if seed % 2 else LAYOUTS["transposed"](g)
            opt.step()
    close(made[0][0], made[1][0])


def test_gradients_change_their_dtype():
    made = pair([draw(300), draw(4, 6)])
    step_both(made, 0)
    for params, _ in made:
        for p in params:
            p.data = p.data.bfloat16()
    for params, opt in made:
        for i, p in enumerate(params):
            p.grad.copy_(draw(*p.shape, seed=i))
        opt.step()  # the old float32 gradients
        for p in params:
            p.grad = None
        assert opt.state[params[0]]["exp_avg"].dtype is torch.float32
    for seed in (2, 3):
        step_both(made, seed)
    close(made[0][0], made[1][0])


def test_gradients_turn_sparse_and_back():
    made = pair([draw(6, 3), draw(4)])
    for seed in range(5):
        for params, opt in made:
            for i, p in enumerate(params):
                g = draw(*p.shape, seed=10 * seed + i)
                p.grad = g.to_sparse() if i == 0 and seed % 2 else g
            opt.step()
        if seed % 2:
            assert reasons(made[0][1]) == ["sparse_coo gradient"]
    close(made[0][0], made[1][0])


def test_complex_and_exotic_parameters_go_to_the_reference():
    class Own(torch.Tensor):
        pass

    params = [
        torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64)),
        torch.nn.Parameter(torch.zeros(3)),
        torch.zeros(3).as_subclass(Own).requires_grad_(),
    ]
    opt = optim.Adam(params, lr=0.1)
    for p in params:
        p.grad = torch.ones_like(p)
    opt.step()
    assert sorted(reasons(opt)) == ["dtype complex64", "tensors of type Own"]
    assert all(torch.allclose(p.detach().abs(), torch.tensor(0.1)) or p.is_complex() for p in params)
    with pytest.raises(errors.BadOption, match="engine='numba' cannot update a parameter with dtype complex64"):
        strict = optim.Adam(params[:1], engine="numba")
        strict.step()


def test_shared_memory_goes_to_the_reference():
    whole = draw(30)
    params = [torch.nn.Parameter(x) for x in (whole[:12], whole[8:20], whole[24:], draw(4), whole[20:24])]
    opt = optim.SGD(params, lr=1.0)
    for p in params:
        p.grad = torch.ones_like(p)
    opt.step()
    assert reasons(opt) == ["shares memory with another parameter"] * 2
    moved = torch.ones(30)
    moved[8:12] = 2
    assert torch.allclose(whole, draw(30) - moved)


def test_interleaved_memory():
    whole = draw(20)
    params = [torch.nn.Parameter(whole[::2]), torch.nn.Parameter(whole[1::2])]
    opt = optim.SGD(params, lr=1.0)
    for p in params:
        p.grad = torch.ones_like(p)
    opt.step()
    assert torch.allclose(whole, draw(20) - 1)


@pytest.mark.parametrize("new", ["moved", "shorter", "turned", "longer", "other dtype"])
def test_the_memory_of_a_parameter_is_exchanged(new):
    made = pair([draw(6, 6), draw(5)], cls=optim.SGD)
    step_both(made, 0)
    for params, _ in made:
        p = params[0]
        p.data = {
            "moved": lambda x: x.clone(),
            "shorter": lambda x: x[:2],  # at the same address
            "turned": lambda x: x.t(),  # at the same address
            "longer": lambda x: torch.cat([x, x]),
            "other dtype": lambda x: x.double(),
        }[new](p.data)
    for seed in (1, 2):
        step_both(made, seed)
    close(made[0][0], made[1][0])


def test_a_gradient_of_the_old_shape_is_refused():
    p = torch.nn.Parameter(draw(4))
    opt = optim.SGD([p])
    p.grad = torch.ones(4)
    opt.step()
    p.data = draw(4000)
    for _ in range(2):
        with pytest.raises(errors.BadData, match=r"a gradient of shape \(4,\) for a parameter of shape \(4000,\)"):
            opt.step()


def test_a_state_that_the_user_replaces_is_used():
    made = pair([draw(5, 3), draw(40)])
    step_both(made, 0)
    for params, opt in made:
        opt.state[params[0]]["exp_avg"] = torch.full((3, 5), 0.5).t()
        opt.state[params[1]]["exp_avg_sq"].fill_(2.0)
        opt.state[params[1]]["step"].fill_(7)
    step_both(made, 1)
    for params, opt in made:
        opt.state[params[1]]["step"] = 11
        opt.state[params[0]]["exp_avg_sq"] = opt.state[params[0]]["exp_avg_sq"].bfloat16()
    step_both(made, 2)
    for params, opt in made:
        opt.state[params[0]] = {}
    step_both(made, 3)
    for params, opt in made:
        opt.state.clear()
        assert opt.state[params[0]] == {}
    step_both(made, 4)
    close(made[0][0], made[1][0])
    for params, opt in made:
        assert [opt.state[p]["step"].item() for p in params] == [1, 1]


def test_a_scalar_state_that_the_user_replaces_or_writes_is_used():
    made = pair([draw(5), draw(6)], cls=optim.NAdam)
    step_both(made, 0)
    for params, opt in made:
        opt.state[params[1]]["mu_product"].fill_(0.5)
    step_both(made, 1)
    for params, opt in made:
        opt.state[params[0]]["mu_product"] = torch.tensor(0.25)
    step_both(made, 2)
    close(made[0][0], made[1][0])


def test_states_that_do_not_fit():
    p = torch.nn.Parameter(draw(4000))
    opt = optim.AdamW([p])
    p.grad = torch.ones(4000)
    opt.step()
    opt.state[p]["exp_avg"] = torch.zeros(4)
    with pytest.raises(errors.BadData, match=r"the state exp_avg has shape \(4,\), its parameter \(4000,\)"):
        opt.step()
    opt.state[p]["exp_avg"] = torch.zeros(4000, dtype=torch.int32)
    opt.step()
    assert reasons(opt) == ["state exp_avg of dtype torch.int32"]


def test_a_parameter_is_added():
    made = pair([draw(5)])
    step_both(made, 0)
    for params, opt in made:
        params.append(torch.nn.Parameter(draw(7)))
        opt.add_param_group({"params": [params[-1]], "lr": 0.5})
        params.append(torch.nn.Parameter(draw(3)))
        opt.param_groups[0]["params"].append(params[-1])
    for seed in (1, 2):
        step_both(made, seed)
    close(made[0][0], made[1][0])
    assert torch.allclose(made[0][0][1].detach(), draw(7), atol=1.1) and not torch.equal(made[0][0][2], draw(3))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.5},
        {"betas": (0.5, 0.5)},
        {"betas": [0.5, 0.5]},
        {"weight_decay": 0.0},
        {"weight_decay": 0.5},
        {"amsgrad": True},
        {"maximize": True},
        {"lr": torch.tensor(0.25)},
    ],
    ids=str,
)
def test_an_option_changes_between_steps(change):
    made = pair([draw(5), draw(6)])
    step_both(made, 0)
    for _, opt in made:
        opt.param_groups[0].update(change)
    for seed in (1, 2):
        step_both(made, seed)
    close(made[0][0], made[1][0])


def test_options_are_written_in_place():
    made = pair([draw(5)], betas=[0.9, torch.tensor(0.99)])
    step_both(made, 0)
    for _, opt in made:
        opt.param_groups[0]["betas"][0] = 0.1
        opt.param_groups[0]["betas"][1].fill_(0.5)
    step_both(made, 1)
    close(made[0][0], made[1][0])
    fixed = pair([draw(5)], betas=(0.9, 0.99))
    step_both(fixed, 0), step_both(fixed, 1)
    assert not torch.allclose(fixed[0][0][0], made[0][0][0])


@pytest.mark.parametrize(
    "change",
    [
        {"clip_norm": 0.1},
        {"clip_value": 0.1},
        {"ema": 0.5},
        {"cautious": True},
        {"decay": "fully"},
        {"engine": "reference"},
    ],
    ids=str,
)
def test_a_link_is_switched_on_between_steps(change):
    made = pair([draw(5), draw(6)])
    step_both(made, 0)
    for _, opt in made:
        for name, value in change.items():
            setattr(opt, name, value)
    for seed in (1, 2, 3):
        step_both(made, seed)
    close(made[0][0], made[1][0])
    plain = pair([draw(5), draw(6)])
    for seed in range(4):
        step_both(plain, seed)
    differs = not torch.equal(plain[0][0][0], made[0][0][0])
    assert differs == (not {"ema", "engine"} & change.keys())
    assert ("engine" in change) == bool(reasons(made[0][1]))


def trained(threads=None, split=False, seed=0, steps=3, cls=optim.AdamW, **options):
    """The parameters after some steps of several tensors, of more than `cpu.SMALL` numbers."""
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        params = [torch.nn.Parameter(draw(n, seed=n + seed)) for n in (100_003, 5, 40_000, 17)]
        groups = [{"params": [p]} for p in params] if split else [{"params": params}]
        opt = cls(groups, lr=0.01, clip_norm=0.5, **options)
        for step in range(steps):
            for i, p in enumerate(params):
                p.grad = draw(p.numel(), seed=seed + 10 * step + i)
            opt.step()
        return [p.detach() for p in params] + [opt.grad_norm]
    finally:
        torch.set_num_threads(before)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("cls", [optim.AdamW, optim.MARS, optim.StableAdamW], ids=lambda cls: cls.__name__)
def test_threads_groups_and_chunks_do_not_change_a_bit(cls, monkeypatch):
    alone = trained(1, cls=cls)
    assert equal(alone, trained(2, cls=cls)) and equal(alone, trained(3, split=True, cls=cls))
    monkeypatch.setattr(cpu, "_parallel", lambda: None)  # where torch has another OpenMP
    assert equal(alone, trained(2, cls=cls))


@pytest.mark.parametrize("length", [4096, 131_072])
def test_chunks_of_another_length(length, monkeypatch):
    plain = trained(1)
    monkeypatch.setattr(cpu, "CHUNKS", (length, length))
    other = trained(2)
    assert all(
        torch.allclose(x, y, rtol=1e-12, atol=0) if x.dim() == 0 else torch.equal(x, y)
        for x, y in zip(plain, other, strict=True)
    )


def test_many_numbers_have_longer_chunks():
    sizes = [cpu.chunk(n) for n in (0, 1, 1_000_003, 16_777_215, 16_777_216, 40_000_000, 124_000_000, 10**10)]
    assert sizes == [16_384] * 4 + [32_768, 65_536, 131_072, 131_072]


@pytest.mark.parametrize("n", [0, 1, 7, 63, 64, 255, 256, 257, 319, 511, 512, 1023, 16_383, 16_385, 1_000_003])
@pytest.mark.parametrize("chunks", [cpu.CHUNKS, (32_768, 32_768), (100_003, 100_003)])
def test_the_norm_of_every_size(n, chunks, monkeypatch):
    """Long chunks are read in parts side by side, where none may be left out or taken twice."""
    monkeypatch.setattr(cpu, "CHUNKS", chunks)
    p = torch.nn.Parameter(torch.zeros(n))
    p.grad = draw(n).exp()
    opt = optim.SGD([p], lr=0.0, clip_norm=1.0)
    opt.step()
    assert opt.grad_norm.item() == pytest.approx(float(p.grad.double().square().sum()) ** 0.5, rel=1e-13)


def test_two_optimizers_in_two_threads():
    alone = [trained(2, seed=seed, steps=8) for seed in (0, 1)]
    results, barrier = {}, threading.Barrier(2)

    def run(seed):
        barrier.wait()
        results[seed] = trained(seed=seed, steps=8)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        threads = [threading.Thread(target=run, args=(seed,)) for seed in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert all(equal(alone[seed], results[seed]) for seed in (0, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_steps_alone():
    here = trained(2)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            assert cpu._FORKED and equal(here, trained())
            p = torch.nn.Parameter(torch.ones(100_000))
            p.grad, opt = torch.ones(100_000), optim.SGD([p], lr=0.5)
            torch.set_num_threads(2)  # torch's own operations would hang now; a kernel keeps to one thread
            opt.step()
            torch.set_num_threads(1)
            os.write(writer, b"same" if (p == 0.5).all() else b"other")
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"same"
    os.waitpid(child, 0)
    assert equal(here, trained(2))


def test_the_number_of_threads_is_torchs(monkeypatch):
    asked = []
    monkeypatch.setattr(
        cpu, "_parallel", lambda: lambda kernel, address, threads, flags: asked.append(threads) or kernel(address)
    )
    for threads in (1, 2, 3):
        trained(threads, steps=1)
    assert set(asked) == {2, 3}


def test_gradients_with_a_graph():
    p = torch.nn.Parameter(draw(8))
    opt = optim.AdamW([p], lr=0.1)
    p.grad = torch.autograd.grad((p**3).sum(), p, create_graph=True)[0]
    assert p.grad.requires_grad
    opt.step()
    assert p.is_leaf and p.grad_fn is None and not opt.state[p]["exp_avg"].requires_grad
    q = torch.nn.Parameter(draw(8)[::2])
    opt = optim.AdamW([q], lr=0.1)
    q.grad = torch.autograd.grad((q**3).sum(), q, create_graph=True)[0]
    opt.step()
    assert q.is_leaf


def test_a_step_writes_neither_gradients_nor_what_is_near():
    buffer = torch.full((40,), 9.0)
    p = torch.nn.Parameter(buffer[10:27])
    opt = optim.AdamW([p], lr=0.1, ema=0.5)
    g = draw(17)
    p.grad = g.clone()
    for _ in range(3):
        opt.step()
    assert (
        torch.equal(p.grad, g) and (buffer[:10] == 9).all() and (buffer[27:] == 9).all() and (buffer[10:27] != 9).all()
    )


def test_the_gradients_memory_is_let_go():
    import weakref

    p = torch.nn.Parameter(draw(8))
    opt = optim.AdamW([p], clip_norm=1.0)
    p.grad = torch.ones(8)
    seen = weakref.ref(p.grad)
    opt.step()
    opt.zero_grad()
    assert seen() is None


@pytest.mark.parametrize("cls", [optim.AdamW, optim.SGD, optim.Lion, optim.StableAdamW, optim.ScheduleFreeAdamW])
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
