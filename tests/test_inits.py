import math

import numpy as np
import pytest
import torch
from networks import Deep, Residual, Shared, Tied, mlp, plain_cnn, transformer
from scipy import stats
from torch import nn

import thalweg as tw
from thalweg import inits, loop
from thalweg.errors import BadOption
from thalweg.norms import swap

NORMAL = ("xavier_normal", "he_normal", "lecun_normal", "normal(0.3)", "mup(32)")
UNIFORM = ("xavier_uniform", "he_uniform", "lecun_uniform", "he_uniform(fan_out)")


def initialize(model, scheme, x, **options):
    return inits.initialize(model, scheme, lambda m: m(x), **options)


def pair(fan=200, units=300, act=nn.ReLU):
    """A layer before a non-linearity, and one behind it."""
    return nn.Sequential(nn.Linear(fan, units), act(), nn.Linear(units, 50)), torch.randn(4, fan)


def expected(scheme, fan_in, fan_out, gain):
    return {
        "xavier": math.sqrt(2 / (fan_in + fan_out)),
        "he": gain / math.sqrt(fan_out if "fan_out" in scheme else fan_in),
        "lecun": 1 / math.sqrt(fan_in),
        "normal(0.3)": 0.3,
    }[scheme.partition("_")[0]]


@pytest.mark.parametrize("scheme", NORMAL + UNIFORM)
def test_the_draws_have_the_published_distribution(scheme):
    net, x = pair()
    done = initialize(net, scheme, x)
    for layer, gain in ((net[0], math.sqrt(2)), (net[2], 1.0)):
        fan_in, fan_out = layer.in_features, layer.out_features
        if scheme == "mup(32)":
            std = 1 / math.sqrt(fan_in) if layer is net[0] else math.sqrt(32) / fan_in
        else:
            std = expected(scheme, fan_in, fan_out, gain)
        values = layer.weight.detach().double().numpy().ravel()
        law = stats.norm(0, std) if scheme in NORMAL else stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)
        assert stats.kstest(values, law.cdf).pvalue > 1e-3
        assert (layer.bias == 0).all()
    for row, layer in zip(done.rows, (net[0], net[2]), strict=True):
        assert row.got == pytest.approx(float(layer.weight.detach().std(correction=0)), rel=1e-5)
        assert row.asked is None or row.asked == pytest.approx(row.got, rel=0.03)


def test_torch_leaves_the_weights_as_they_were_built():
    net, x = pair()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    done = initialize(net, "torch", x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [row.scheme for row in done.rows] == ["as built"] * 2


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (90, 40)])
def test_every_singular_value_of_an_orthogonal_matrix_is_the_gain(shape):
    net = nn.Sequential(nn.Linear(*shape), nn.Tanh(), nn.Linear(shape[1], 3))
    initialize(net, "orthogonal", torch.randn(2, shape[0]))
    values = torch.linalg.svdvals(net[0].weight.detach().double())
    assert values.numpy() == pytest.approx(5 / 3, abs=1e-5)
    assert torch.linalg.svdvals(net[2].weight.detach()).numpy() == pytest.approx(1, abs=1e-5)


def test_a_delta_orthogonal_convolution_keeps_lengths():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, (5, 3), padding=(2, 1)))
    x = torch.randn(2, 4, 9, 9)
    initialize(net, "delta_orthogonal", x)
    assert net(x).square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-5)
    assert int((net[1].weight != 0).sum()) == 64 and (net[1].weight[:, :, 2, 1] != 0).all()


def test_sparse_gives_every_unit_the_same_number_of_inputs():
    net, x = pair(act=nn.Identity)
    initialize(net, "sparse(15)", x)
    weight = net[0].weight.detach()
    assert ((weight != 0).sum(1) == 15).all()
    assert stats.kstest(weight[weight != 0].double().numpy() * math.sqrt(15), stats.norm.cdf).pvalue > 1e-3
    counts = (weight != 0).sum(0).double()
    assert abs(float(counts.mean()) - 15 * 300 / 200) < 1e-9 and float(counts.std()) < 10, "no input is preferred"
    small = nn.Linear(4, 3)
    initialize(small, "sparse(15)", torch.randn(2, 4))
    assert (small.weight != 0).all()


class OverTime(nn.Module):
    """A recurrent layer, or a cell, and a head on its last output."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(5 * (2 if getattr(rnn, "bidirectional", False) else 1), 2)

    def forward(self, x):
        if isinstance(self.rnn, nn.RNNBase):
            return self.head(self.rnn(x)[0][:, -1])
        h = None
        for t in range(x.shape[1]):
            state = self.rnn(x[:, t], h)
            h = state
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize(
    ("make", "gates"),
    [
        (lambda: nn.LSTM(4, 5, batch_first=True), 4),
        (lambda: nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True), 4),
        (lambda: nn.GRU(4, 5, batch_first=True), 3),
        (lambda: nn.RNN(4, 5, batch_first=True), 1),
        (lambda: nn.LSTMCell(4, 5), 4),
        (lambda: nn.GRUCell(4, 5), 3),
        (lambda: nn.RNNCell(4, 5), 1),
    ],
)
def test_recurrent_gates_are_orthogonal_each_and_all_biases_zero(make, gates):
    net = OverTime(make())
    done = initialize(net, "orthogonal", torch.randn(2, 3, 4))
    hidden = [p.detach() for n, p in net.rnn.named_parameters() if n.startswith("weight_hh")]
    assert hidden and all(len(w) == 5 * gates for w in hidden)
    for gate in (gate for w in hidden for gate in w.split(5)):
        assert (gate @ gate.T).numpy() == pytest.approx(np.eye(5), abs=1e-5)
    assert all((p == 0).all() for n, p in net.named_parameters() if "bias" in n)
    assert len(done.rows) == sum("weight" in n for n, _ in net.named_parameters())


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell])
def test_every_matrix_of_a_recurrent_layer_has_its_own_fan(make):
    net = OverTime(make(4, 5, **({"batch_first": True} if issubclass(make, nn.RNNBase) else {})))
    done = initialize(net, "lecun_normal", torch.randn(2, 3, 4))
    assert sorted(row.fan for row in done.rows) == [4, 5, 5]


def test_sums_of_different_inputs_are_no_residual_branches():
    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Embedding(9, 6) for _ in range(3))
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.a(x[:, 0]) + self.b(x[:, 1]) + self.c(x[:, 2]))

    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.a(x) + self.b(x) + self.c(x))

    for net, x in ((Three(), torch.randint(9, (7, 3))), (Beside(), torch.randn(7, 4))):
        with pytest.raises(BadOption, match="none was found"):
            initialize(net, "zero_residual", x)


def test_gains():
    assert inits.gain("leaky_relu", (0.2,)) == pytest.approx(math.sqrt(2 / 1.04))
    z = np.random.default_rng(0).normal(size=400_000)
    silu = z / (1 + np.exp(-z))
    assert inits.gain("silu") == pytest.approx(1 / math.sqrt((silu**2).mean()), rel=5e-3)
    assert inits.gain(None) == inits.gain("sigmoid") == inits.gain("softmax") == 1


@pytest.mark.parametrize("make", [lambda: mlp(width=64, depth=6), plain_cnn, lambda: Residual(False), Residual])
def test_lsuv_gives_every_layer_variance_one(make):
    torch.manual_seed(0)
    net = make().train()
    x = torch.randn(256, 4) if isinstance(net[0] if isinstance(net, nn.Sequential) else net.stem, nn.Linear) else None
    x = torch.randn(256, 1, 8, 8) if x is None else x
    buffers = {k: v.clone() for k, v in net.named_buffers()}
    done = initialize(net, "lsuv", x)
    assert not done.notes and {row.scheme for row in done.rows} == {"lsuv"}
    seen = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(
                lambda m, a, y, name=name: seen.__setitem__(name, float(y.detach().var(correction=0)))
            )
    net(x)
    assert len(seen) >= 3 and all(abs(v - 1) <= 0.05 for v in seen.values()), seen
    if not any("running" in name for name in buffers):
        assert all(torch.equal(v, buffers[k]) for k, v in net.named_buffers())


def test_lsuv_of_a_layer_that_gives_nothing_says_so():
    net = nn.Sequential(nn.Linear(4, 8), nn.Hardtanh(5.0, 6.0), nn.Threshold(10.0, 0.0), nn.Linear(8, 2))
    done = initialize(net, "lsuv", torch.randn(50, 4))
    assert done.notes == ["3.weight gives nothing on this batch."]
    assert all(p.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("scheme", ["zero_residual", "he_normal+zero_residual", "fixup"])
def test_a_hundred_residual_branches_that_begin_at_zero_keep_the_variance_flat(scheme):
    torch.manual_seed(0)
    net, x = Deep(32, 100), torch.randn(64, 32)
    seen = []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda m, a: seen.append(float(a[0].detach().var())))
    initialize(net, "he_normal", x)
    seen.clear()
    net(x)
    assert seen[-1] > 1e10 * seen[0], "without it the variance doubles with every branch"
    done = initialize(net, scheme, x)
    seen.clear()
    net(x)
    assert max(seen) == pytest.approx(min(seen)) and len(done.notes) == 1
    if scheme == "fixup":
        weight = net.blocks[0][0].weight.detach()
        assert (
            float(weight.std()) == pytest.approx(math.sqrt(2 / 32) * 100**-0.5, rel=0.1)
            and (net.head.weight == 0).all()
        )


def test_the_scale_of_a_norm_is_what_ends_a_branch_that_has_one():
    net = Residual()
    initialize(net, "zero_residual", torch.randn(4, 1, 8, 8))
    assert (net.n2.weight == 0).all() and (net.b.weight != 0).any()
    with pytest.raises(BadOption, match="residual branches, and none was found"):
        initialize(mlp(), "zero_residual", torch.randn(4, 4))


def test_d10_the_first_loss_is_the_entropy_of_the_labels():
    targets = (torch.arange(1000) < 100).long()
    net, x = nn.Sequential(nn.Linear(5, 2)), torch.randn(1000, 5)
    initialize(net, "zeros+output_bias", x, prior=lambda n: inits.output_prior("classification", targets, n))
    assert nn.functional.cross_entropy(net(x), targets).item() == pytest.approx(0.3251, abs=1e-4)
    initialize(net, "zeros", x)
    assert nn.functional.cross_entropy(net(x), targets).item() == pytest.approx(math.log(2), abs=1e-6)


def test_priors():
    y = torch.tensor([0, 0, 0, 1])
    assert inits.output_prior("classification", y, 2).exp().tolist() == pytest.approx([0.75, 0.25])
    assert inits.output_prior("classification", y, 3)[2].exp() == pytest.approx(1 / 8), "never seen: half a row"
    assert inits.output_prior("binary", y.float(), 1).sigmoid().tolist() == pytest.approx([0.25])
    assert inits.output_prior("regression", torch.tensor([[1.0, 4.0], [3.0, 8.0]]), 2).tolist() == [2, 6]
    assert inits.output_prior(
        "language-model", torch.tensor([[0, 1, -100], [1, 1, 0]]), 2
    ).exp().tolist() == pytest.approx([0.4, 0.6])
    assert inits.output_prior("regression", torch.ones(4, 2), 3) is None and inits.output_prior("other", y, 2) is None
    with pytest.raises(BadOption, match="output_bias needs targets"):
        initialize(mlp(), "output_bias", torch.randn(4, 4))
    with pytest.raises(BadOption, match="has none of its own"):
        initialize(nn.Sequential(nn.Linear(4, 2, bias=False)), "output_bias", torch.randn(4, 4))


@pytest.mark.parametrize("scheme", ["zeros", "constant(0.1)"])
def test_units_that_are_all_alike_stay_alike(scheme):
    task = tw.Task.load("digits")
    run, _ = loop.run(task, tw.Recipe("adamw", lr=1e-3, init=scheme), 0, steps=60)
    weight = next(run.model.parameters()).detach()
    assert torch.allclose(weight, weight[:1].expand_as(weight), atol=1e-5)
    if scheme == "zeros":
        assert run.final["accuracy"] < 0.2, "at chance"


def test_embeddings_are_drawn_only_by_schemes_that_say_a_size():
    net, x = Tied(), torch.randint(11, (3, 5))
    token = net.token.weight.detach().clone()
    done = initialize(net, "he_normal", x)
    assert torch.equal(net.token.weight, token) and done.rows[0].scheme == "as built"
    assert (net.place == 0).all() and (net.layer.norm1.weight == 1).all()
    initialize(net, "normal(0.02)", x)
    assert (
        float(net.token.weight.detach().std()) == pytest.approx(0.02, rel=0.3) and net.head.weight is net.token.weight
    )


@pytest.mark.parametrize("kind", [transformer, Shared])
def test_schemes_on_attention_and_shared_layers(kind):
    net = kind()
    x = torch.randn(6, 4) if kind is Shared else torch.randn(6, 5, 8)
    done = initialize(net, "he_uniform", x)
    named = dict(net.named_parameters())
    assert len(done.rows) == (3 if kind is Shared else 9)
    assert all(p.isfinite().all() for p in named.values()) and net(x).isfinite().all()
    net(x).sum().backward()


def test_a_seed_gives_the_same_weights_and_others_other_ones():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))
        net, x = pair()
        state = torch.get_rng_state()
        initialize(net, "he_normal", x, seed=seed)
        assert torch.equal(state, torch.get_rng_state())
        weights.append(net[0].weight.detach())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_weights_that_are_normalized_get_the_scheme_as_well():
    net, x = pair()
    swap(net, "weight", lambda m: m(x))
    initialize(net, "he_normal", x)
    assert float(net[0].weight.detach().std()) == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    initialize(net, "lsuv", torch.randn(300, 200))
    assert float(net[0](torch.randn(500, 200)).detach().var()) == pytest.approx(1, rel=0.1)
    initialize(net, "zeros", x)
    assert (net[0].weight == 0).all() and net(x).isfinite().all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("he_norml", "did you mean 'he_normal'"), ("he_normal+xavier_normal", "both draw weights"), ("", "init"),
        ("zeros(3)", "takes nothing in brackets"), ("normal(-1)", "a number >= 0"), ("sparse(0)", "sparse takes"),
        ("he_normal(fan)", "fan_in or fan_out"), ("lsuv(2)", "init"), ("he_normal+", "init"), ("normal(x)", "a number"),
    ],
)  # fmt: skip
def test_what_is_not_a_scheme(text, said):
    with pytest.raises(BadOption, match="(?s)" + said.replace("(", r"\(")) as error:
        tw.Recipe("sgd", lr=0.1, init=text)
    assert error.value.hint


def test_mup_gives_the_rates_that_go_with_its_weights():
    net, x = pair(200, 256)
    done = initialize(net, "mup(64)", x)
    assert done.groups == {"2.weight": {"lr_scale": 0.25}}
    groups = tw.Recipe("adam", lr=0.1, groups=done.groups).parameter_groups(net)
    assert sorted({group["lr"] for group in groups}) == pytest.approx([0.025, 0.1])
    assert "lr_scale" not in str(done) and "mup(64)" in str(done)
