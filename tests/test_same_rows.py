"""Products of many members with the same rows: value and gradients against float64, and where they are left to torch."""

import pytest
import torch

from thalweg.same_rows import PRODUCT, same_rows

SHAPES = [(2, 1, 1, 1), (3, 1, 5, 4), (7, 3, 5, 4), (256, 32, 64, 64), (5, 17, 1023, 3), (4, 16, 15, 1)]


@pytest.fixture(autouse=True)
def there():
    if PRODUCT is None:
        pytest.skip("torch without oneDNN")


def asked(weights, rows, biases):
    """Of every member, its product; None where it is left to torch."""
    found = []

    def one(weight, bias):
        made = same_rows(weight, rows, bias)
        found.append(made is not None)
        return weight.sum() if made is None else made

    whole = torch.vmap(one)(weights, biases) if biases is not None else torch.vmap(lambda w: one(w, None))(weights)
    return whole if found[0] else None


@pytest.mark.parametrize(
    "learning", [(True, True, True), (True, False, False), (False, False, True), (False, True, False)]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradients(shape, learning):
    k, n, m, r = shape
    generator = torch.Generator().manual_seed(sum(shape))
    weights, rows, biases = (torch.randn(*size, generator=generator) for size in ((k, n, m), (r, m), (k, n)))
    upstream = torch.randn(k, r, n, generator=generator).mT  # not contiguous
    tensors = [t.requires_grad_(asks) for t, asks in zip((weights, rows, biases), learning, strict=True)]
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in tensors]
    found, wanted = asked(*tensors), exact[0] @ exact[1].mT + exact[2][..., None]
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-5 * m**0.5)
    found.backward(upstream)
    wanted.backward(upstream.double())
    for mine, true in zip(tensors, exact, strict=True):
        assert (mine.grad is None) == (true.grad is None)
        if true.grad is not None:
            assert torch.allclose(mine.grad.double(), true.grad, rtol=1e-4, atol=1e-4 * (k * n * r) ** 0.5)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_the_bits_do_not_depend_on_how_many_members_there_are(shape):
    _, n, m, r = shape
    generator = torch.Generator().manual_seed(0)
    weights, rows = torch.randn(64, n, m, generator=generator), torch.randn(r, m, generator=generator)
    whole = asked(weights, rows, None)
    for k in (1, 2, 3, 7, 16, 63):
        part = asked(weights[:k], rows, None)
        assert part is None if k * n == 1 else torch.equal(part, whole[:k])


def test_what_is_left_to_torch():
    weights, rows = torch.randn(3, 4, 5), torch.randn(6, 5)
    assert asked(weights, rows, None) is not None
    assert asked(weights.double(), rows.double(), None) is None
    assert asked(weights[..., :0], rows[:, :0], None) is None and asked(weights, rows[:0], None) is None
    assert same_rows(weights[0], rows, None) is None
    left = []

    def within(weight):  # a model that takes derivatives itself
        return torch.func.grad(lambda w: left.append(same_rows(w, rows, None)) or w.sum())(weight)

    torch.vmap(within)(weights)
    torch.vmap(lambda w, x: left.append(same_rows(w, x, None)) or w)(weights, torch.randn(3, 6, 5))
    torch.vmap(lambda w: left.append(same_rows(w, rows, None)) or w, in_dims=1)(weights)
    assert left == [None] * 3
