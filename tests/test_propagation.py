import json
import math

import numpy as np
import pytest
import torch
from networks import Residual, mlp
from scipy import integrate, stats
from torch import nn

import thalweg as tw
from thalweg.building import sample
from thalweg.cli import main
from thalweg.errors import BadOption
from thalweg.mean_field import theory
from thalweg.propagation import effective_rank


def task(net, width=256, rows=1000, **options):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(rows, width, generator=g), torch.randint(10, (rows,), generator=g)
    return tw.Task(model=net, train=(x, y), batch_size=min(256, rows // 3), epochs=1, name="net", **options)


def deep(act, width=256, depth=10, std=None, bias=True):
    def build():
        net = mlp(act, width=width, depth=depth, inputs=width, outputs=10, std=std)
        for layer in net if not bias else ():
            if isinstance(layer, nn.Linear):
                layer.bias.data.zero_()
        return net

    return build


def geometric(values):
    return math.exp(np.mean(np.log(values)))


@pytest.mark.parametrize(("width", "depth"), [(64, 50), (256, 10), (1024, 5)])
def test_torchs_default_loses_a_factor_six_of_the_second_moment_a_layer(width, depth):
    layers = tw.signal(task(deep(nn.ReLU, width, depth, bias=False), width)).layers[:-1]
    assert [layer.predicted_factor for layer in layers] == pytest.approx([1 / 6] * depth, rel=0.1)
    assert geometric([layer.factor for layer in layers]) == pytest.approx(1 / 6, rel=3 / width + 0.1)


@pytest.mark.parametrize(("width", "depth"), [(64, 50), (256, 10), (1024, 5)])
def test_he_keeps_the_second_moment(width, depth):
    layers = tw.signal(task(deep(nn.ReLU, width, depth), width), tw.Recipe("sgd", lr=0.1, init="he_normal")).layers[:-1]
    assert [layer.predicted_factor for layer in layers] == pytest.approx([1] * depth, rel=0.15)
    assert geometric([layer.factor for layer in layers]) == pytest.approx(1, abs=15 / width)


def test_tanh_with_unit_weights_saturates_and_its_gradients_explode():
    layers = tw.signal(task(deep(nn.Tanh, 256, 10, std=1.0))).layers[:-1]
    assert np.mean([layer.saturated for layer in layers]) == pytest.approx(0.9, abs=0.03)
    squares = [layer.gradient_norm**2 for layer in layers]
    assert 7.4 <= (squares[0] / squares[-1]) ** (1 / 9) <= 9.5
    assert 7.4 <= geometric([layer.gradient_factor for layer in layers[1:]]) <= 9.5
    assert [layer.predicted_gradient_factor for layer in layers] == pytest.approx([8.7] * 10, rel=0.04)


@pytest.mark.parametrize(("width", "depth"), [(64, 50), (256, 20), (1024, 5)])
def test_tanh_with_unit_weights_at_other_widths(width, depth):
    layers = tw.signal(task(deep(nn.Tanh, width, depth, std=1.0), width)).layers[:-1]
    second = layers[-1].second_moment
    share = math.erfc(math.atanh(0.97) / math.sqrt(width * second) / math.sqrt(2))  # of a normal distribution
    assert np.mean([layer.saturated for layer in layers[1:]]) == pytest.approx(share, abs=0.03)
    grown = geometric([layer.gradient_factor for layer in layers[1:]])
    assert grown == pytest.approx(geometric([layer.predicted_gradient_factor for layer in layers[1:]]), rel=0.15)
    assert grown > math.sqrt(width) / 3, "they explode"


@pytest.mark.parametrize(("width", "depth", "within"), [(64, 5, 0.3), (256, 10, 0.15), (1024, 8, 0.1)])
def test_sigmoid_layers_at_other_widths(width, depth, within):
    layers = tw.signal(task(deep(nn.Sigmoid, width, depth), width)).layers[1:-1]
    assert geometric([layer.gradient_factor for layer in layers]) == pytest.approx(1 / 48, rel=within)


@pytest.mark.parametrize(("width", "depth"), [(64, 50), (256, 20), (1024, 5)])
def test_orthogonal_layers_keep_lengths_and_zeros_give_nothing(width, depth):
    net = deep(nn.Identity, width, depth)
    layers = tw.signal(task(net, width), tw.Recipe("sgd", lr=0.1, init="orthogonal")).layers[:-1]
    assert [layer.factor for layer in layers] == pytest.approx([1] * depth, rel=1e-3)
    dead = tw.signal(task(deep(nn.ReLU, width, depth), width), tw.Recipe("sgd", lr=0.1, init="zeros")).layers[:-1]
    assert all(layer.second_moment == 0 and layer.dead == 1 and layer.gradient_norm == 0 for layer in dead)


def test_sigmoid_layers_at_the_default_shrink_the_squared_gradient():
    layers = tw.signal(task(deep(nn.Sigmoid, 512, 10), 512)).layers[:-1]
    squares = [layer.gradient_norm**2 for layer in layers[1:]]
    assert (squares[-1] / squares[0]) ** (1 / 8) == pytest.approx(48, rel=0.12)
    assert [layer.predicted_gradient_factor for layer in layers[1:]] == pytest.approx([1 / 48] * 9, rel=0.06)


def test_fifty_layers_with_weights_below_and_above_one():
    """aⁿ: 50 linear layers a · I shrink or grow what goes through them as powers."""

    def build(a):
        net = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(50)), nn.Linear(4, 10))
        for layer in net[:-1]:
            layer.weight.data = a * torch.eye(4)
        return net

    for a, size in ((0.5, 9e-16), (1.1, 117)):
        layers = tw.signal(task(lambda a=a: build(a), 4)).layers[:-1]
        assert [layer.factor for layer in layers] == pytest.approx([a * a] * 50, rel=1e-4)
        assert math.prod(layer.factor for layer in layers) ** 0.5 == pytest.approx(size, rel=0.05)


def test_every_number_is_what_it_says():
    built = task(deep(nn.ReLU, 8, 2), 8, rows=60)
    report = tw.signal(built, tw.Recipe("sgd", lr=0.1))
    net = built.build(0)
    batch = sample(built)
    z = net[0](batch.inputs)
    a = torch.relu(z)
    z2 = net[2](a)
    a2 = torch.relu(z2)
    out = net[4](a2)
    for x in (a, a2):
        x.retain_grad()
    loss = nn.functional.cross_entropy(out, batch.targets)
    loss.backward()
    one, two, three = report.layers
    assert report.loss == pytest.approx(loss.item(), rel=1e-6) and report.rows == len(batch.inputs)
    values = a2.detach()
    assert two.mean == pytest.approx(values.mean().item(), rel=1e-5) and two.std == pytest.approx(
        values.std(correction=0).item(), rel=1e-5
    )
    assert two.second_moment == pytest.approx(values.square().mean().item(), rel=1e-5)
    assert two.dead == pytest.approx((values == 0).all(0).float().mean().item()) and two.saturated is None
    assert two.factor == pytest.approx((values.square().mean() / a.detach().square().mean()).item(), rel=1e-5)
    assert two.gradient_norm == pytest.approx(net[2].weight.grad.norm().item(), rel=1e-5)
    assert two.gradient_factor == pytest.approx((a.grad.square().mean() / a2.grad.square().mean()).item(), rel=1e-5)
    assert one.gradient_factor is None, "there is no gradient by the input"
    ratio = 0.1 * net[2].weight.grad.norm() / net[2].weight.detach().norm()
    assert two.update_ratio == pytest.approx(ratio.item(), rel=1e-4)
    counts, low, high = two.histogram
    assert sum(counts) == values.numel() and (low, high) == pytest.approx((values.min().item(), values.max().item()))
    assert three.activation is None and three.saturated is None and three.dead is None and one.name == "0"


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "softplus"])
def test_the_theory_is_the_integral_over_a_normal_distribution(name):
    function = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(name) or getattr(
        nn.functional, name
    )
    for q in (0.1, 1.0, 9.0):

        def value(z, q=q):
            return float(function(torch.tensor(math.sqrt(q) * z, dtype=torch.float64)))

        wanted = integrate.quad(lambda z: value(z) ** 2 * stats.norm.pdf(z), -9, 9, points=[0])[0]
        assert theory(name, q)[0] == pytest.approx(wanted, rel=2e-3)

        def slope(z, q=q):
            return (value(z + 1e-5, q) - value(z - 1e-5, q)) / (2e-5 * math.sqrt(q))

        steep = integrate.quad(lambda z, q=q: slope(z, q) ** 2 * stats.norm.pdf(z), -9, 9, points=[0])[0]
        assert theory(name, q)[1] == pytest.approx(steep, rel=5e-3)
    assert theory("softmax", 1.0) is None and theory("relu", math.nan) is None and theory(None, 2.0) == (2.0, 1.0)
    assert theory("leaky_relu", 1.0, (0.5,))[0] == pytest.approx((1 + 0.25) / 2, rel=2e-3)


def test_behind_a_norm_the_size_of_the_input_does_not_matter():
    layers = tw.signal(task(deep(nn.ReLU)), tw.Recipe("sgd", lr=0.1, norm="batch")).layers[:-1]
    assert [layer.second_moment for layer in layers] == pytest.approx([0.5] * 10, rel=0.05)
    first = layers[0]
    assert first.predicted_factor == pytest.approx(first.factor, rel=0.05)


def test_effective_rank():
    x = torch.randn(30, 5)
    s = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = s / s.sum()
    assert effective_rank(x) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)
    assert effective_rank(x.T) == pytest.approx(effective_rank(x)) and effective_rank(torch.zeros(3, 2)) == 0
    assert effective_rank(torch.ones(7, 4)) == pytest.approx(1, abs=1e-6) and math.isnan(effective_rank(x / 0))


@pytest.mark.parametrize("steps", [0, 3])
def test_nothing_of_the_task_changes(steps):
    net = Residual()
    x, y = torch.randn(60, 1, 8, 8), torch.randint(3, (60,))
    own = tw.Task(model=net, train=(x, y), batch_size=20, epochs=1)
    own.prepare()
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    modes = [m.training for m in net.modules()]
    report = tw.signal(own, steps=steps)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and torch.equal(
        state, torch.get_rng_state()
    )
    assert modes == [m.training for m in net.modules()] and all(p.grad is None for p in net.parameters())
    assert len(report.layers) == 4 and len(report.later) == (4 if steps else 0) and own.train[0] is x
    assert [layer.activation for layer in report.layers] == [None, "relu", None, None], (
        "behind the sum is not the layer's"
    )


def test_after_some_steps_the_weights_are_those_of_the_run():
    built = task(deep(nn.Tanh, 16, 2), 16, rows=300)
    recipe = tw.Recipe("sgd", lr=0.5, schedule="constant")
    report = tw.signal(built, recipe, steps=5)
    assert report.later[0].second_moment != report.layers[0].second_moment
    assert tw.signal(built, recipe, steps=5).as_dict() == report.as_dict(), "the same each time"
    with pytest.raises(BadOption, match="steps"):
        tw.signal(built, steps=-1)


def test_the_command(capsys):
    assert main(["diagnose", "--signal", "digits", "--recipe", "adamw,lr=1e-3,init=he_normal", "--steps", "2"]) == 0
    text = capsys.readouterr().out
    assert "theory" in text and "After 2 updates" in text and all(len(line) <= 110 for line in text.splitlines())
    assert main(["diagnose", "--signal", "digits", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    keys = "name kind mean std second_moment dead saturated gradient_norm update_ratio factor predicted_factor".split()
    assert set(keys) <= document["layers"][0].keys() and document["later"] == []
    assert main(["diagnose", "--signal"]) == 2 and "name a task" in capsys.readouterr().err
