"""Reading many gradients in one native call: it finds what Python finds, and notices what Python notices."""

import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from thalweg import optim
from thalweg.engine.reading import Reader

pytestmark = pytest.mark.skipif(not Reader.possible(), reason="torch for this system does not export its functions")
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (4, 1, 3)]


def parameters(dtype=torch.float32):
    params = [nn.Parameter(torch.randn(shape).to(dtype)) for shape in SHAPES]
    params.append(nn.Parameter(torch.randn(6, 4).to(dtype).t()))
    params.append(nn.Parameter(torch.randn(2, 3, 4, 4).to(dtype, memory_format=torch.channels_last)))
    for p in params:
        p.grad = torch.randn_like(p)
    return params


def reader(params, dtype="float32"):
    table = np.full((len(params), 3), -1)
    return Reader(params, [p.detach() for p in params], dtype, table[:, 1]), table


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_addresses_of_all_gradients(dtype):
    params = parameters(getattr(torch, dtype))
    read, table = reader(params, dtype)
    for _ in range(3):
        assert read()
        assert table[:, 1].tolist() == [p.grad.data_ptr() for p in params]
        assert (table[:, [0, 2]] == -1).all()
        for p in params:
            p.grad = torch.randn_like(p)


def replaced(p, **kind):
    p.data = p.data.clone()


def swapped(p):
    torch.utils.swap_tensors(p, nn.Parameter(torch.zeros(3, 5)))
    p.grad = torch.zeros(3, 5)


CHANGES = {
    "no gradient": lambda p: setattr(p, "grad", None),
    "sparse": lambda p: setattr(p, "grad", p.grad.to_sparse()),
    "transposed": lambda p: setattr(p, "grad", p.grad.t().contiguous().t()),
    "expanded": lambda p: setattr(p, "grad", torch.ones(()).expand(3, 5)),
    "another dtype": lambda p: setattr(p.grad, "data", p.grad.data.double()),
    "another size": lambda p: setattr(p.grad, "data", torch.zeros(5, 5)),
    "more dimensions": lambda p: setattr(p.grad, "data", torch.zeros(3, 5, 1)),
    "the parameter moved": replaced,
    "the parameter transposed in place": lambda p: setattr(p, "data", p.data.as_strided((3, 5), (1, 3))),
    "the parameter exchanged": swapped,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_not_as_it_was_is_noticed(change):
    params = parameters()
    read, _ = reader(params)
    assert read()
    change(params[3])
    assert not read()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_after_a_change_is_the_reference_step(change, steps):
    runs = []
    for engine in ("numba", "reference"):
        torch.manual_seed(0)
        params = parameters()
        opt = optim.SGD(params, lr=0.1, momentum=0.9, engine="auto" if engine == "numba" else engine)
        for _ in range(steps):
            opt.step()
        change(params[3])
        if params[3].grad is not None and params[3].grad.shape != params[3].shape:
            with pytest.raises(ValueError, match="a gradient of shape"):
                opt.step()
            continue
        opt.step()
        opt.step()
        runs.append([p.detach().clone() for p in params])
    for p, q in zip(*runs, strict=True) if runs else ():
        torch.testing.assert_close(p, q, rtol=2e-6, atol=2e-6)


def test_without_torchs_functions_python_reads(monkeypatch):
    monkeypatch.setattr(Reader, "possible", staticmethod(lambda: False))
    params, twins = parameters(), parameters()
    for p, q in zip(params, twins, strict=True):
        q.data.copy_(p.data)
        q.grad.copy_(p.grad)
    opt, reference = optim.AdamW(params), optim.AdamW(twins, engine="reference")
    for _ in range(3):
        opt.step(), reference.step()
    assert opt._stepper.sections[0]._reader is None
    for p, q in zip(params, twins, strict=True):
        torch.testing.assert_close(p, q, rtol=2e-6, atol=2e-6)


def test_the_reader_is_used():
    opt = optim.AdamW(parameters())
    for _ in range(3):
        opt.step()
    assert opt._stepper.sections[0]._reader is not None


@pytest.fixture
def another_thread():
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    yield
    stop.set()
    other.join()


def borrowed(params):
    """Gradients in the memory of NumPy's arrays, and weak references that tell which array still lives."""
    arrays = [np.ones(p.shape, dtype=np.float32) for p in params]
    for p, array in zip(params, arrays, strict=True):
        p.grad = torch.from_numpy(array)
    return [weakref.ref(array) for array in arrays]


def alive(params, arrays):
    for p in params:
        p.grad = None
    return sum(array() is not None for array in arrays)


def test_with_other_threads_the_gradients_are_held(another_thread):
    params = [nn.Parameter(torch.ones(n)) for n in (3, 5, 7)]
    arrays = borrowed(params)
    read, _ = reader(params)
    assert read()
    assert alive(params, arrays) == 3
    read.release()
    assert alive(params, arrays) == 0


def test_a_step_lets_go_of_the_gradients(another_thread):
    params = [nn.Parameter(torch.ones(n)) for n in (3, 5, 7)]
    opt = optim.AdamW(params)
    for _ in range(3):
        arrays = borrowed(params)
        opt.step()
    assert opt._stepper.sections[0]._reader is not None
    assert alive(params, arrays) == 0


@pytest.mark.parametrize("end", ["read again", "forgotten"])
def test_gradients_of_a_step_that_is_not_made_are_let_go_of(end, another_thread):
    params = [nn.Parameter(torch.ones(n)) for n in (3, 5, 7)]
    arrays = borrowed(params)
    read, _ = reader(params)
    assert read()
    assert alive(params, arrays) == 3
    if end == "read again":
        assert not read()
    else:
        del read
    assert alive(params, arrays) == 0


def test_a_parameter_transposed_in_place():
    found = []
    for engine in ("auto", "reference"):
        p = nn.Parameter(torch.arange(4.0).reshape(2, 2))
        opt = optim.SGD([p], lr=1.0, engine=engine)
        for _ in range(2):
            p.grad = torch.zeros(2, 2)
            opt.step()
        p.data = p.data.t()
        p.grad = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
        opt.step()
        found.append(p.detach().clone())
    assert torch.equal(*found)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_gradient_without_memory(steps):
    found = []
    for engine in ("auto", "reference"):
        p = nn.Parameter(torch.ones(3, 5))
        opt = optim.SGD([p], lr=0.1, momentum=0.9, engine=engine)
        for _ in range(steps):
            p.grad = torch.ones(3, 5)
            opt.step()
        p.grad = torch._efficientzerotensor((3, 5))
        opt.step()
        p.grad = torch.ones(3, 5)
        opt.step()
        found.append(p.detach().clone())
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)
