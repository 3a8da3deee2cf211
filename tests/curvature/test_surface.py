import copy
import hashlib
import math
import random

import numpy as np
import pytest
import torch
from networks import himmelblau, task_at
from torch import nn

import thalweg as tw
from thalweg.curvature import Surface, batches_of, hessian_product, lanczos, sharpness, start_vector


def test_a_product_is_that_of_the_matrix():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 6, generator=g, dtype=torch.float64)
    h = a + a.T
    x, y = (torch.randn(k, generator=g, dtype=torch.float64, requires_grad=True) for k in (2, 4))
    z = torch.cat([x, y])
    v = [torch.randn(2, generator=g, dtype=torch.float64), torch.randn(4, generator=g, dtype=torch.float64)]
    got = torch.cat(hessian_product(0.5 * z @ h @ z, [x, y])(v))
    torch.testing.assert_close(got, h @ torch.cat(v))


def test_parameters_that_the_loss_does_not_curve_have_zeros():
    x, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    assert [h.tolist() for h in hessian_product((2 * x).sum(), [x, unused])([x, unused])] == [[0.0] * 3, [0.0] * 2]


def test_sharpness_of_quadratic_deep_and_what_it_leaves_alone():
    task = tw.Task.load("quadratic-deep")
    batch = next(iter(task.prepare().train.training(128, [0])))
    assert 2 / sharpness(task, task.build(0), batch, steps=60) == pytest.approx(0.0376, abs=5e-4)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    x = torch.randn(64, 4)
    task = tw.Task(model=net, train=(x, (x[:, 0] > 0).long()), batch_size=32, steps=3)
    model = task.build(0).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = sharpness(task, model, next(iter(task.prepare().train.training(32, [0]))))
    assert math.isfinite(found) and torch.equal(state, torch.get_rng_state()) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def surface_of(function, at):
    task = task_at(function, at)
    return Surface(task, task.build(0), batches_of(task, 2))


def spectrum(surface, product=None, most=None):
    found = lanczos(product or surface.hessian(), start_vector(surface.n, 0), most or surface.n)
    return found.values_k


A, B, C, D, X, Y = (
    (-200, -100, -170, 15), (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7), (1, 0, -0.5, -1), (0, 0.5, 1.5, 1)
)  # fmt: skip


def mueller_brown(x, y):
    terms = zip(A, B, C, D, X, Y, strict=True)
    return sum(a * torch.exp(b * (x - u) ** 2 + c * (x - u) * (y - v) + d * (y - v) ** 2) for a, b, c, d, u, v in terms)


@pytest.mark.parametrize(
    ("function", "at", "wanted", "tolerance"),
    [
        (himmelblau, (3.0, 2.0), (25.72, 82.28), 0.005),
        (himmelblau, (-3.0730, -0.0814), (-39.65, 72.44), 0.02),
        (himmelblau, (-0.2708, -0.9230), None, 0),
        (lambda x, y: x**3 - 3 * x * y**2, (0.0, 0.0), (0.0,), 1e-12),
        (lambda x, y: x**4 + 0 * y, (0.01, 0.0), (0.0, 12e-4), 1e-9),
    ],
)
def test_functions_of_two_variables(function, at, wanted, tolerance):
    surface = surface_of(function, at)
    values = spectrum(surface)
    if wanted is None:
        assert (values < 0).all(), "a maximum"
        return
    assert values[[0, -1][: len(wanted)]] == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(
    ("start", "value"), [((-0.558, 1.442), -146.700), ((0.623, 0.028), -108.167), ((-0.050, 0.467), -80.768)]
)
def test_minima_of_mueller_brown(start, value):
    surface = surface_of(mueller_brown, start)
    assert surface.loss() == pytest.approx(value, abs=2e-3) and spectrum(surface)[0] > 0
    assert float(surface.gradient().norm()) < 1.5


def task_of(model, x, y, loss, batch=None):
    return tw.Task(model=model, train=(x, y), valid=(x[:8], y[:8]), loss=loss, batch_size=batch or len(x), steps=1)


def half_squares(output, y):
    return 0.5 * (output - y).square().sum() / len(y)


@pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-10), (False, 1e-4)])
def test_linear_regression(double, tolerance):
    x, y = torch.randn(60, 7, generator=torch.Generator().manual_seed(0)), torch.randn(60, 1)
    task = task_of(lambda: nn.Linear(7, 1, bias=False), x, y, nn.functional.mse_loss, 20)
    surface = Surface(task, task.build(0), batches_of(task, 3), double=double)
    wanted = np.linalg.eigvalsh((2 / 60 * x.double().T @ x.double()).numpy())
    assert surface.n == 7 and surface.rows == 60 and not surface.notes
    for product in (surface.hessian(), surface.gauss_newton()):
        assert spectrum(surface, product) == pytest.approx(
            wanted, rel=tolerance, abs=max(tolerance, surface.floor * wanted[-1])
        )
    assert (tolerance > 1e-9) or surface.floor < 1e-12


def test_logistic_regression():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(80, 5, generator=g), torch.randint(2, (80, 1), generator=g).float()
    task = task_of(lambda: nn.Linear(5, 1, bias=False), x, y, nn.functional.binary_cross_entropy_with_logits)
    model = task.build(3)
    p = (x.double() @ model.weight.detach().double().T).sigmoid()
    wanted = np.linalg.eigvalsh((x.double().T @ (p * (1 - p) * x.double()) / 80).numpy())
    surface = Surface(task, model, batches_of(task, 1), double=True)
    assert spectrum(surface) == pytest.approx(wanted, rel=1e-8)


def test_softmax_regression_at_zero():
    g, n, d, classes = torch.Generator().manual_seed(0), 90, 4, 3
    x, y = torch.randn(n, d, generator=g), torch.randint(classes, (n,), generator=g)
    task = task_of(lambda: nn.Linear(d, classes, bias=False), x, y, nn.functional.cross_entropy)
    model = task.build(0)
    nn.init.zeros_(model.weight)
    surface = Surface(task, model, batches_of(task, 1), double=True)
    product = surface.hessian()
    dense = torch.stack([product(row) for row in torch.eye(d * classes, dtype=torch.float64)]).numpy()
    single = np.linalg.eigvalsh((x.double().T @ x.double() / n).numpy()) / classes
    assert np.linalg.eigvalsh(dense) == pytest.approx(np.sort(np.r_[np.zeros(d), single, single]), abs=1e-12)


@pytest.mark.parametrize("hidden", [2, 5])
def test_two_layer_linear_net_at_zero(hidden):
    g, n = torch.Generator().manual_seed(0), 50
    x, y = torch.randn(n, 4, generator=g), torch.randn(n, 3, generator=g)
    net = lambda: nn.Sequential(nn.Linear(4, hidden, bias=False), nn.Linear(hidden, 3, bias=False))  # noqa: E731
    task = task_of(net, x, y, half_squares)
    model = task.build(0)
    for p in model.parameters():
        nn.init.zeros_(p)
    surface = Surface(task, model, batches_of(task, 1), double=True)
    product = surface.hessian()
    values = np.linalg.eigvalsh(
        torch.stack([product(row) for row in torch.eye(surface.n, dtype=torch.float64)]).numpy()
    )
    sigma = np.linalg.svd((y.double().T @ x.double() / n).numpy(), compute_uv=False)
    wanted = np.sort(np.r_[np.repeat(sigma, hidden), -np.repeat(sigma, hidden), np.zeros(surface.n - 6 * hidden)])
    assert values == pytest.approx(wanted, abs=1e-12) and float(surface.gradient().norm()) == 0


def test_three_layer_linear_net_at_zero_is_flat_to_second_order():
    x, y = torch.randn(20, 4), torch.randn(20, 3)
    net = lambda: nn.Sequential(*(nn.Linear(*s, bias=False) for s in ((4, 3), (3, 3), (3, 3))))  # noqa: E731
    task = task_of(net, x, y, half_squares)
    model = task.build(0)
    for p in model.parameters():
        nn.init.zeros_(p)
    surface = Surface(task, model, batches_of(task, 1))
    assert spectrum(surface).tolist() == [0.0] and float(surface.gradient().norm()) == 0


def digest_of(model, optimizer):
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    tensors += [v for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
    parts = [t.detach().numpy().tobytes() for t in tensors] + [
        str([m.training for m in model.modules()]), str([p.requires_grad for p in model.parameters()]),
        str([len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]),
        str(random.getstate()), str(np.random.get_state()), str(torch.get_rng_state().tolist()),
    ]  # fmt: skip
    return hashlib.sha256(b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)).hexdigest()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_it_leaves_everything_as_it_was(training, fails):
    x = torch.randn(64, 4)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    task = tw.Task(model=net, train=(x, (x[:, 0] > 0).long()), batch_size=16, steps=3)
    model = task.build(0)
    model[0].eval()
    optimizer = torch.optim.Adam(model.parameters())
    task.loss_of(model, batches_of(task, 1)[0]).backward()
    optimizer.step()
    before = digest_of(model, optimizer)
    surface = Surface(task, model, batches_of(task, 3), training=training)
    assert surface.deterministic()
    v = start_vector(surface.n, 0)
    assert surface.hessian()(v).shape == surface.gauss_newton()(v).shape == surface.gradient().shape
    assert surface.gradients().mean(0).numpy() == pytest.approx(surface.gradient().numpy(), abs=1e-6)
    assert len(set(surface.along(v, [0.0, 0.1, -0.1]))) == 3 and surface.along(v, [0.0]) == [surface.loss()]
    if fails:
        handle = model[4].register_forward_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            surface.loss()
        with pytest.raises(KeyboardInterrupt), surface.moved(v):
            surface.gradient()
        handle.remove()
    assert digest_of(model, optimizer) == before


class Once(torch.autograd.Function):
    """A square that can be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


def test_what_cannot_be_differentiated_twice_is_taken_by_differences_and_that_is_said():
    x, y = torch.randn(30, 4), torch.randn(30, 1)

    def task_with(square):
        return task_of(lambda: nn.Linear(4, 1), x, y, lambda out, y: square(out - y).mean())

    plain, once = task_with(torch.square), task_with(Once.apply)
    wanted = spectrum(Surface(plain, plain.build(0), batches_of(plain, 1), double=True))
    surface = Surface(once, once.build(0), batches_of(once, 1), double=True)
    assert spectrum(surface) == pytest.approx(wanted, rel=1e-4) and "differences of gradients" in surface.notes[0]


def test_recurrent_and_attention_models_have_products():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.attend = nn.LSTM(4, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            h = self.rnn(x)[0]
            return self.head(self.attend(h, h, h, need_weights=False)[0][:, -1])

    x = torch.randn(16, 5, 4)
    task = tw.Task(model=Reader, train=(x, (x[:, 0, 0] > 0).long()), batch_size=8, steps=1)
    surface = Surface(task, task.build(0), batches_of(task, 1), double=True)
    v = start_vector(surface.n, 0)
    exact = surface.hessian()(v)
    assert not surface.notes
    torch.testing.assert_close(surface._differences(v), exact, rtol=1e-3, atol=1e-5)


def test_the_gauss_newton_matrix_of_a_convex_loss_has_no_negative_end():
    task = tw.Task.load("digits")
    surface = Surface(task, task.build(0), batches_of(task, 2))
    values = spectrum(surface, surface.gauss_newton(), 30)
    assert values[0] > -surface.floor * values[-1] and values[-1] > 0
