"""Linear layers and cross-entropy of many members at once are torch's: value, gradient, what is left out or refused."""

import contextlib

import pytest
import torch
from torch.nn import functional as F

from thalweg.batched import Batched

ROWS, CLASSES, MEMBERS = 17, 10, 5


def both(logits, classes, **options):
    """Value and gradient of each member's loss, batched and one by one."""
    found = []
    for batched in (True, False):
        z = logits.clone().requires_grad_()
        if batched:
            with Batched():
                losses = torch.vmap(lambda one: F.cross_entropy(one, classes, **options))(z)
        else:
            losses = torch.stack([F.cross_entropy(one, classes, **options) for one in z])
        losses.sum().backward()
        found.append((losses.detach(), z.grad))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_value_and_gradient(dtype, scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(MEMBERS, ROWS, CLASSES, generator=generator, dtype=dtype)
    classes = torch.randint(CLASSES, (ROWS,), generator=generator)
    (value, gradient), (wanted, wanted_gradient) = both(logits, classes)
    tolerance = 1e-6 if dtype is torch.float32 else 1e-14
    assert torch.allclose(value, wanted, rtol=tolerance, atol=0)
    assert torch.allclose(gradient, wanted_gradient, rtol=10 * tolerance, atol=tolerance / ROWS)


def test_rows_that_are_left_out_and_a_sure_prediction():
    classes = torch.tensor([0, -100, 2, -100])
    logits = torch.zeros(MEMBERS, 4, 3)
    logits[:, 0, 0] = 20.0
    (value, gradient), (wanted, wanted_gradient) = both(logits, classes)
    assert torch.allclose(value, wanted) and torch.allclose(gradient, wanted_gradient)
    assert not gradient[:, [1, 3]].any()


@pytest.mark.parametrize("place", [0, 1])
def test_a_class_that_is_impossible(place):
    """One that is not asked for has no part in it; one that is gives an infinite loss."""
    logits = torch.zeros(MEMBERS, 2, 3)
    logits[:, 0, place] = -torch.inf
    (value, gradient), (wanted, wanted_gradient) = both(logits, torch.tensor([1, 2]))
    assert torch.equal(value, wanted) and bool(value.isinf().all()) == (place == 1)
    assert place == 1 or torch.allclose(gradient, wanted_gradient)


@pytest.mark.parametrize(
    "options",
    [{"reduction": "sum"}, {"label_smoothing": 0.1}, {"weight": torch.arange(1.0, CLASSES + 1)}, {"ignore_index": 3}],
    ids=lambda options: next(iter(options)),
)
def test_what_is_asked_for_otherwise_is_torchs_own(options):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(MEMBERS, ROWS, CLASSES, generator=generator)
    classes = torch.randint(CLASSES, (ROWS,), generator=generator)
    (value, gradient), (wanted, wanted_gradient) = both(logits, classes, **options)
    assert torch.allclose(value, wanted) and torch.allclose(gradient, wanted_gradient)


def test_a_class_that_does_not_exist_is_an_error():
    with Batched(), pytest.raises((IndexError, RuntimeError)):
        F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 3]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 8, 16, 17])
def test_a_linear_layer_and_its_gradients_with_few_and_many_outputs(rows, bias):
    generator = torch.Generator().manual_seed(2)
    x, weight, b = (
        torch.randn(MEMBERS, *shape, generator=generator, dtype=torch.float64) for shape in ((rows, 3), (8, 3), (8,))
    )
    found = []
    for mode in (Batched(), contextlib.nullcontext()):
        tensors = [t.clone().requires_grad_() for t in (x, weight, b)]
        with mode:
            out = torch.vmap(lambda x, w, b: F.linear(x, w, b if bias else None))(*tensors)
        out.square().sum().backward()
        found.append([out.detach(), *(t.grad for t in tensors if t.grad is not None)])
        assert (out.stride(2) > out.stride(1)) == (isinstance(mode, Batched) and rows > 8)
    assert all(torch.allclose(a, b, rtol=1e-14, atol=1e-14) for a, b in zip(*found, strict=True))


def test_in_the_precision_of_autocast_a_linear_layer_is_torchs_own():
    x, layer = torch.randn(9, 3), torch.nn.Linear(3, 2)
    with torch.autocast("cpu", torch.bfloat16), Batched():
        found = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert found.dtype is torch.bfloat16 and torch.equal(found, layer(x))
