import math

import numpy as np
import pytest
import torch

from thalweg import optim
from thalweg.engine import host

T = np.arange(1.0, 3001.0)


@pytest.mark.parametrize("beta", [0.9, 0.95, 0.98, 0.99, 0.999, 0.9999])
def test_powers_of_a_column_are_those_of_its_numbers(beta):
    assert host.power(beta, T).tolist() == [beta**t for t in T.tolist()]
    assert host.power(T, 0.5).tolist() == [t**0.5 for t in T.tolist()]


def test_exponentials_and_logarithms_of_a_column_are_those_of_its_numbers():
    x = np.concatenate([np.linspace(-745, 700, 3001), np.linspace(709, 709.78, 3001)])
    assert host.exp(x).tolist() == [math.exp(v) for v in x.tolist()]
    assert host.log(T / 7).tolist() == [math.log(v) for v in (T / 7).tolist()]


def test_beyond_numbers_it_is_ieee_arithmetic():
    with np.errstate(all="ignore"):
        got = host.power([0.0, -8.0, 1e300, math.nan, -2.0, 0.0], [-1.0, 1 / 3, 2.0, 0.0, 3.0, 0.0])
        np.testing.assert_array_equal(got, [math.inf, math.nan, math.inf, 1.0, -8.0, 1.0])
        np.testing.assert_array_equal(host.exp([math.inf, -math.inf, math.nan, 1e4]), [math.inf, 0, math.nan, math.inf])
        np.testing.assert_array_equal(
            host.log([0.0, -1.0, math.inf, math.nan]), [-math.inf, math.nan, math.inf, math.nan]
        )
    assert host.power(2.0, 3.0) == 8.0


def test_scalar_states_are_folded_as_the_rule_calculates_them():
    p = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    opt, product = optim.NAdam([p], engine="numba"), 1.0
    for t in range(1, 301):
        p.grad = torch.ones_like(p)
        opt.step()
        product *= 0.9 * (1 - 0.5 * 0.96 ** (t * 0.004))
        assert opt.state[p]["mu_product"].item() == product, t
