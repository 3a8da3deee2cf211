import numpy as np
import pytest
import torch

from thalweg import errors, rules
from thalweg.minimization import minimize


def bowl(x):
    return (x * x).sum()


@pytest.mark.parametrize("rule", rules.TABLE)
def test_every_rule_descends(rule):
    result = minimize(bowl, [1.0, -2.0], rule=rule, lr=0.05, steps=50)
    assert result.fun < 5 and result.status == 1 and result.message == "all 50 updates were made"
    assert result.nit == 50 and result.nfev == 51 and result.path.shape == (51, 2)
    assert result.path[0].tolist() == [1, -2] and np.array_equal(result.path[-1], result.x.numpy())
    assert result.fun == bowl(result.x).item() and not result.x.requires_grad


def test_the_forms_of_x0():
    for x0, shape in ((3.0, (1,)), ([1.0, 2.0], (2,)), (np.ones((2, 3)), (6,)), (torch.ones(2, 2), (4,)), (2, (1,))):
        result = minimize(bowl, x0, steps=2)
        assert result.path.shape[1:] == shape and result.x.dtype is torch.float64
        assert result.x.shape == torch.as_tensor(x0).shape
    x, y = minimize(lambda z: bowl(z[0]) + bowl(z[1]), (1.0, [2.0, 3.0]), rule="sgd", lr=0.25, steps=1).x
    assert x.item() == 0.5 and y.tolist() == [1, 1.5]


def test_x0_is_not_touched():
    for x0 in (torch.ones(2, dtype=torch.float64), np.ones(2)):
        minimize(bowl, x0, steps=3)
        assert x0.tolist() == [1, 1]


def test_until_stops_as_soon_as_it_holds():
    result = minimize(bowl, 1.0, rule="sgd", lr=0.25, until=lambda x: abs(x) < 0.2)
    assert result.nit == 3 and result.status == 0 and result.x.item() == 0.125
    assert minimize(bowl, 0.1, until=lambda x: x < 1).nit == 0


def test_divergence_is_a_result():
    result = minimize(bowl, [1.0, 1.0], rule="sgd", lr=1e200, steps=10)
    assert result.status == 2 and result.nit < 5 and "diverged" in result.message
    assert np.isfinite(result.path[:-1]).all() and not np.isfinite(result.path[-1]).all()
    assert minimize(lambda x: torch.log(x), -1.0, steps=3).status in (1, 2)


def test_schedule_clipping_and_precision():
    halves = minimize(bowl, 1.0, rule="sgd", lr=0.5, steps=2, schedule=lambda k: 0.5**k)
    assert halves.path[:, 0].tolist() == [1, 0, 0]
    named = minimize(lambda x: x.sum(), 0.0, rule="sgd", lr=1.0, steps=4, schedule="linear")
    assert named.path[:, 0].tolist() == [0, -1, -1.75, -2.25, -2.5]
    clipped = minimize(bowl, [3.0, 4.0], rule="sgd", lr=1.0, steps=1, clip_norm=1.0)
    assert clipped.x.tolist() == pytest.approx([2.4, 3.2])
    assert minimize(bowl, 1.0, dtype=torch.bfloat16, steps=2).path.dtype == np.float32
    assert minimize(bowl, 1.0, dtype=torch.float32, steps=2).path.dtype == np.float32


def test_noise_has_its_deviation_and_its_seed():
    runs = [
        minimize(lambda x: 0 * x.sum(), np.zeros(2000), rule="sgd", lr=1.0, steps=1, gradient_noise=0.3, seed=s).x
        for s in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert abs(runs[0].std().item() - 0.3) < 0.02 and abs(runs[0].mean().item()) < 0.03


def test_a_part_that_the_function_ignores_stays():
    assert minimize(lambda z: bowl(z[0]), (1.0, 5.0), rule="sgd", steps=2).x[1].item() == 5


def test_wrong_uses():
    for options, message in (
        ({"rule": "adm"}, "unknown optimizer"),
        ({"steps": 0}, "steps must be"),
        ({"schedule": "cos"}, "unknown schedule"),
        ({"gradient_noise": -1.0}, "gradient_noise must be"),
        ({"learning_rate": 0.1}, "unknown option"),
        ({"lr": -0.1}, "lr must be"),
    ):
        with pytest.raises(errors.BadOption, match=message):
            minimize(bowl, 1.0, **options)
