"""A rule of twelve lines is all that an optimizer takes."""

import ast
import inspect

import pytest
import torch

from thalweg import errors, explain, optim, rules
from thalweg.engine import emit_triton
from thalweg.parity.cases import Case
from thalweg.parity.measure import measure
from thalweg.rules import Option, Rule, State


# fmt: off
def tanh_step(xp, p, g, m, *, lr, beta1, scale, t):
    """Smooth signs of a corrected average: m ← βm + (1 − β)g; p ← p − lr·m̂ / (|m̂| + scale)."""
    m = beta1 * m + (1 - beta1) * g
    h = m / (1 - beta1**t)
    return p - lr * h / (xp.abs(h) + scale), m


NEW = Rule(name="smoothsign", title="SmoothSign", summary="Signs that fade near zero.", update=tanh_step,
           state=(State("m", "exp_avg"),), equation="m ← βm + (1 − β)g;  p ← p − lr·m̂ / (|m̂| + scale)", source="here",
           differs="nothing", rates=(1e-4, 1e-1), options=(Option("lr", 1e-2, errors.POSITIVE, "rate"), Option(
               "betas", (0.9,), errors.Allowed("a tuple", bool), "β"), Option("scale", 1e-3, errors.POSITIVE, "c")))
# fmt: on


@pytest.fixture
def table(monkeypatch):
    """The tables with the new rule in them."""
    monkeypatch.setitem(rules.TABLE, NEW.name, NEW)
    monkeypatch.setitem(optim.OPTIMIZERS, NEW.name, optim.optimizer_class(NEW))


def test_it_is_twelve_lines():
    source, _ = inspect.getsourcelines(inspect.getmodule(test_it_is_twelve_lines))
    lines = source[source.index("# fmt: off\n") + 1 : source.index("# fmt: on\n")]
    assert len([line for line in lines if line.strip()]) <= 12


def test_the_engines_agree(table):
    ends = []
    for engine in ("numba", "reference"):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 17, dtype=torch.float64))
        opt = optim.optimizer_class("smoothsign")([p], engine=engine, clip_norm=2.0)
        for k in range(5):
            p.grad = torch.cos(3 * p.detach() + k)
            opt.step()
        ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-13, atol=1e-15)


def test_triton_gets_a_kernel(table):
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    section = optim.optimizer_class("smoothsign")([p]).plan().sections[0]
    text = emit_triton.triton(section.variant.kernel(section.variant.expression(), section.inputs))
    assert ast.parse(text) and "tl.abs" in text


def test_it_has_a_class_and_a_page(table):
    cls = optim.optimizer_class("smoothsign")
    assert issubclass(cls, torch.optim.Optimizer) and NEW.equation in cls.__doc__
    found = explain.document("smoothsign", measure=False)
    assert found["bytes_per_parameter"] == 20 and "def update(p, g, m" in found["kernels"][0]


def test_it_passes_the_parity_table(table):
    kinds = [("none", "float32", "strided"), ("cautious", "float64", "contiguous"), ("several", "bfloat16", "strided")]
    cases = [Case(NEW.name, link, dtype, 17, layout, "normal") for link, dtype, layout in kinds]
    found = [row for case in cases for row in measure(case)]
    assert {row["engine"] for row in found} >= {"reference", "numba"}
    assert all(row["holds"] is not False for row in found), [row for row in found if row["holds"] is False]
