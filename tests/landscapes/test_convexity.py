"""Chords: none is passed by convex losses, whatever they are computed in; networks are found out."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import thalweg as tw
from thalweg.curvature import batches_of
from thalweg.errors import BadData, BadOption
from thalweg.landscapes.convexity import convexity
from thalweg.landscapes.field import Function, ModelField
from thalweg.landscapes.rounding import noise


def rows(n=80, d=16, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(classes, d))[y] + rng.normal(size=(n, d))
    return torch.from_numpy(x), torch.from_numpy(y)


def cross_entropy(z, y):
    """Of logits (..., rows, classes)."""
    each = F.cross_entropy(z.flatten(0, -2), y.expand(z.shape[:-1]).flatten(), reduction="none")
    return each.reshape(z.shape[:-1]).mean(-1)


def logistic(dtype=torch.float64):
    x, y = rows()
    return Function(lambda w: cross_entropy(x.to(dtype) @ w.to(dtype).unflatten(-1, (16, 5)), y).double(), 80)


def network(act=torch.tanh):
    x, y = rows()

    def fn(w):
        a, b = w[..., : 16 * 6].unflatten(-1, (16, 6)), w[..., 16 * 6 :].unflatten(-1, (6, 5))
        return cross_entropy(act(x @ a) @ b, y)

    return Function(fn, 16 * 6 + 6 * 5)


def point(n, scale, seed=0):
    return scale * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("scale", "radius"), [(0.0, None), (1.0, None), (1.0, 0.01), (0.1, 100.0)])
def test_logistic_regression_passes_no_chord_in_10_000(scale, radius):
    found = convexity(logistic(), center=point(80, scale), radius=radius, segments=10_000)
    assert not found.violated and found.witness is None and found.segments == 10_000 and found.skipped == 0
    assert abs(found.least_eigenvalue) <= found.bound  # a shift of all classes' weights changes nothing
    assert found.sentence.startswith("no violation found in 10000 segments") and "convex" not in found.sentence


@pytest.mark.parametrize("radius", [1e-3, 0.1, 10.0])
def test_nor_where_it_is_computed_in_float32(radius):
    found = convexity(logistic(torch.float32), center=point(80, 0.3), radius=radius, segments=5_000)
    assert not found.violated, found


@pytest.mark.parametrize("act", [torch.tanh, torch.relu])
@pytest.mark.parametrize("seed", range(5))
def test_a_network_with_a_hidden_layer_is_found_out_within_100(act, seed):
    field = network(act)
    center = point(field.n, 0.3, seed)
    found = convexity(field, center=center, segments=100, seed=seed)
    w = found.witness
    assert found.violated and found.segments <= 100 and found.sentence.startswith("violated here: ")
    ends = torch.stack([w.a_n, (1 - w.t) * w.a_n + w.t * w.b_n, w.b_n])
    fa, fm, fb = field.losses(ends).tolist()
    assert fm - ((1 - w.t) * fa + w.t * fb) == pytest.approx(w.excess, abs=1e-13)
    assert w.excess > w.tolerance > 0 and w.losses == pytest.approx((fa, fm, fb), rel=1e-12)
    assert all(float((p - center).norm()) <= found.radius * (1 + 1e-12) for p in ends)


def test_random_segments_alone_find_it_too(monkeypatch):
    monkeypatch.setattr(sys.modules[convexity.__module__], "STEPS", (1e-9,))
    field = network()
    found = [convexity(field, center=point(field.n, 0.3, s), segments=1000, seed=s).segments for s in range(9)]
    assert np.median(found) <= 100 and max(found) < 1000, found


def test_models_of_tasks():
    x, y = rows()
    straight = tw.Task(model=lambda: nn.Linear(16, 5), train=(x.float(), y), batch_size=40, epochs=1)
    bent = tw.Task(
        model=lambda: nn.Sequential(nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 5)),
        train=(x.float(), y), batch_size=40, epochs=1,
    )  # fmt: skip
    for task, violated in ((straight, False), (bent, True)):
        model = task.build(0)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        state = torch.get_rng_state()
        field = ModelField(task, model, batches_of(task, 2))
        found = convexity(field, center=field.start, segments=100)
        assert found.violated is violated, found
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in model.parameters())


def test_the_same_seed_gives_the_same_answer_whatever_the_batch():
    field = network()
    center = point(field.n, 0.3)
    first, again = (convexity(field, center=center, segments=50) for _ in range(2))
    assert torch.equal(first.witness.a_n, again.witness.a_n) and first.sentence == again.sentence
    one_by_one = convexity(field, center=center, segments=50, batch=1)
    assert one_by_one.segments == first.segments and one_by_one.witness.excess == pytest.approx(first.witness.excess)


def test_least_eigenvalue_of_quadratics():
    values = torch.tensor([-0.5, 1.0, 2.0, 7.0], dtype=torch.float64)
    found = convexity(Function(lambda x: (values * x**2).sum(-1) / 2, 4), center=torch.ones(4))
    assert found.least_eigenvalue == pytest.approx(-0.5, abs=1e-9) and found.bound < 1e-6 and found.violated
    found = convexity(Function(lambda x: (values.abs() * x**2).sum(-1) / 2, 4), center=torch.ones(4))
    assert found.least_eigenvalue == pytest.approx(0.5, abs=1e-9) and not found.violated


@pytest.mark.parametrize(
    "fn",
    [lambda x: 3.0 * x.sum(-1), lambda x: 0 * x.sum(-1), lambda x: x.abs().sum(-1), lambda x: x.amax(-1) + 1e9],
    ids=["linear", "constant", "kinks", "far above zero"],
)
def test_on_the_border_of_convex_nothing_is_found(fn):
    found = convexity(Function(fn, 3), center=torch.ones(3), segments=5000)
    assert not found.violated, found


def test_a_concave_kink_is_found():
    assert convexity(Function(lambda x: -x.abs().sum(-1), 3), center=torch.ones(3), radius=3.0).violated


def test_where_there_are_no_second_derivatives_the_chords_are_tried_all_the_same():
    found = convexity(Function(lambda x: torch.linalg.vector_norm(x, dim=-1), 3), center=torch.zeros(3))
    assert not found.violated and found.segments == 1000


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=6), st.integers(0, 10**6))
@settings(max_examples=30)
def test_quadratics_by_their_eigenvalues(values, seed):
    curvature = torch.tensor(values, dtype=torch.float64)
    turn, _ = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed)).double()
    )
    a = turn @ torch.diag(curvature) @ turn.T
    field = Function(lambda x: ((x @ a) * x).sum(-1) / 2, len(values))
    found = convexity(field, center=torch.ones(len(values)), segments=200, seed=seed)
    if min(values) >= 0:
        assert not found.violated
    elif min(values) < -1e-6 * max(map(abs, values)):
        assert found.violated and found.least_eigenvalue == pytest.approx(min(values), rel=1e-6)


def test_losses_that_are_not_finite_are_skipped_and_counted():
    fn = lambda x: torch.where(x[..., 0] > 1, torch.inf, (x**2).sum(-1))  # noqa: E731
    found = convexity(Function(fn, 2), center=torch.zeros(2), radius=30.0, segments=500)
    assert not found.violated and found.skipped > 50 and found.segments + found.skipped == 500
    assert "not finite" in found.sentence


def test_noise_is_that_of_the_rounding():
    at = point(50, 1.0)
    sigmas = [
        noise(Function(lambda x, dtype=dtype: (x**2).mean(-1).to(dtype).double(), 50), at, point(50, 1.0, 1))
        for dtype in (torch.float64, torch.float32)
    ]
    ulp = float(np.spacing(np.float32((at**2).mean())))
    assert sigmas[0] < 1e-15 and sigmas[1] == pytest.approx(ulp / math.sqrt(12), rel=1.0)
    assert noise(Function(lambda x: x.sum(-1) / 0, 50), at, at) == math.inf


def test_wrong_use():
    field = logistic()
    with pytest.raises(BadData, match="the field 80"):
        convexity(field, center=torch.zeros(3))
    with pytest.raises(BadData, match="not finite"):
        convexity(Function(lambda x: 1 / x.sum(-1), 3), center=torch.zeros(3))
    with pytest.raises(BadOption, match="radius"):
        convexity(field, center=torch.zeros(80), radius=-1.0)
    with pytest.raises(BadOption, match="segments"):
        convexity(field, center=torch.zeros(80), segments=0)


def test_as_dict_is_plain():
    import json

    field = network()
    for segments in (1, 100):
        found = convexity(field, center=point(field.n, 0.3), segments=segments)
        read = json.loads(json.dumps(found.as_dict()))
        assert read["violated"] == found.violated and read["sentence"] == str(found)
    assert read["witness"]["excess"] > 0 and convexity(logistic(), center=point(80, 1.0)).as_dict()["witness"] is None
