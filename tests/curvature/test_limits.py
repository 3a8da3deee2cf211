"""Stability limits against the optimizers themselves, and the noise of gradients against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from thalweg import optim
from thalweg.curvature import denominators, gradient_noise, lanczos, limit, preconditioned, start_vector
from thalweg.errors import BadOption


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (optim.SGD, {}),
        (optim.Momentum, {"momentum": 0.9}),
        (optim.Nesterov, {"momentum": 0.9}),
        (optim.Momentum, {"momentum": 0.9, "dampening": 0.5}),
        (torch.optim.SGD, {"momentum": 0.5}),
        (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
    ],
)
def test_below_the_limit_a_quadratic_converges_and_above_it_diverges(make, options):
    bound = limit(make.__name__, options)
    for share, falls in ((0.97, True), (1.03, False)):
        w = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
        optimizer = make([w], lr=share * bound / 7, **options)
        for _ in range(3000):
            w.grad = 7 * w.detach()
            optimizer.step()
            if abs(w.item()) > 1e6:
                break
        assert (abs(w.item()) < 1e-3) == falls


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_limit_of_an_averaged_gradient(beta):
    bound = limit("adam", {"betas": (beta, 0.999)})
    for share, falls in ((0.97, True), (1.03, False)):
        p, m = 1.0, 0.0
        for _ in range(4000):
            m = beta * m + (1 - beta) * p
            p -= share * bound * m
            if abs(p) > 1e6:
                break
        assert (abs(p) < 1e-3) == falls


@pytest.mark.parametrize(
    "name", ["adam", "adamw", "adagrad", "rmsprop", "adamax", "yogi", "adabelief", "laprop", "adopt"]
)
def test_denominators_are_those_of_the_next_step(name):
    """The same gradient each time, no momentum: a step moves by lr · g / D."""
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(5, dtype=torch.float64))
    kind = optim.optimizer_class(name)
    options = {"betas": (0.0, 0.9)} if "betas" in kind.rule.defaults else {}
    optimizer = kind([w], lr=1e-3, weight_decay=0.0, **options)
    gradient = torch.randn(5, dtype=torch.float64)
    for _ in range(3):
        before = w.detach().clone()
        w.grad = gradient.clone()
        optimizer.step()
    moved = (before - w.detach()) / 1e-3
    assert (gradient / moved).numpy() == pytest.approx(denominators(optimizer).numpy(), rel=1e-6)


def test_the_denominators_of_adadelta_are_a_ratio_of_roots():
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adadelta([w], lr=1.0, rho=0.5, eps=0.0)
    optimizer.state[w] = {
        "step": torch.tensor(3.0),
        "square_avg": torch.tensor([16.0]),
        "acc_delta": torch.tensor([4.0]),
    }
    assert denominators(optimizer).tolist() == [2.0]


def test_torchs_optimizers_and_ours_have_the_same_denominators():
    torch.manual_seed(0)
    start = torch.randn(6)
    found = []
    for make in (optim.Adam, torch.optim.Adam):
        w = nn.Parameter(start.clone())
        optimizer = make([w], lr=1e-2)
        for k in range(3):
            w.grad = start.sin() * (k + 1)
            optimizer.step()
        found.append(denominators(optimizer))
    assert found[0].numpy() == pytest.approx(found[1].numpy(), rel=1e-6)


def test_preconditioned_by_the_curvature_itself_everything_is_one():
    values = torch.linspace(1, 9, 30, dtype=torch.float64)
    product = preconditioned(lambda v: values * v, values)
    assert lanczos(product, start_vector(30, 0), 10).values_k == pytest.approx([1.0])


def test_what_has_no_limit_says_so():
    w = nn.Parameter(torch.ones(2))
    for make in (optim.Lion, optim.NAdam):
        with pytest.raises(BadOption, match="no closed form"):
            limit(make.__name__, {})
        with pytest.raises(BadOption, match="not known"):
            denominators(make([w], lr=0.1))
    with pytest.raises(BadOption, match="make a step first"):
        denominators(optim.Adam([w], lr=0.1))


def test_rates_of_groups_are_in_the_denominators():
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.01}])
    assert denominators(optimizer).tolist() == pytest.approx([1, 10, 10])
    assert denominators(optimizer, [b, nn.Parameter(torch.ones(1)), a]).tolist() == pytest.approx([10, 10, math.inf, 1])


def test_the_noise_of_linear_regression_is_its_closed_form():
    """y = Xw + e at w itself: each row's gradient is −2 x e, of mean 0 and tr Σ = 4 E|x|² σ²; away from w there is a mean."""
    rng, d, rows, sigma = np.random.default_rng(0), 6, 32, 0.5

    def gradients(offset):
        g = []
        for _ in range(400):
            x, e = rng.normal(size=(rows, d)), rng.normal(0, sigma, rows)
            g.append((2 * x * (x @ offset - e)[:, None]).mean(0))
        return torch.from_numpy(np.array(g))

    still = gradient_noise(gradients(np.zeros(d)), rows)
    assert still.variance == pytest.approx(4 * d * sigma**2, rel=0.05) and not still.significant
    assert abs(still.squared) < 3 * still.error
    offset = np.full(d, 0.3)
    far = gradient_noise(gradients(offset), rows)
    assert far.squared == pytest.approx(4 * (offset**2).sum(), rel=0.05) and far.significant
    assert far.scale == pytest.approx(far.variance / far.squared)


def test_the_squared_gradient_is_unbiased_and_its_error_true():
    rng = np.random.default_rng(1)
    mean, found = np.full(5, 0.2), []
    for _ in range(600):
        found.append(gradient_noise(torch.from_numpy(mean + rng.normal(size=(12, 5))), rows=1))
    values, errors = np.array([n.squared for n in found]), np.array([n.error for n in found])
    assert values.mean() == pytest.approx(0.2, abs=4 * values.std() / math.sqrt(600))
    assert np.median(errors) == pytest.approx(values.std(), rel=0.35)
    assert math.isinf(gradient_noise(torch.ones(2, 3), 1).error)
