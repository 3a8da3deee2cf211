"""Permuted units: which there are, that permuting them changes nothing, and that a permuted twin is put back."""

import copy
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Residual, Shared, Tied
from scipy.optimize import linear_sum_assignment
from torch import nn

import thalweg as tw
from thalweg.curvature import batches_of
from thalweg.errors import BadOption, BadTask
from thalweg.landscapes.axes import fix, identify, new, regrouped, resolved
from thalweg.landscapes.connecting import line
from thalweg.landscapes.field import ModelField
from thalweg.landscapes.matching import changes, groups, match, permute

CLASSES = 3


class Attention(nn.Module):
    """One block of a transformer with a causal mask."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(11, 8), nn.Parameter(torch.randn(5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(5)
        return self.head(self.block(self.token(x) + self.place, src_mask=mask, is_causal=True).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.rnn = kind(4, 6, batch_first=True, **options)
        self.head = nn.Linear(12 if options.get("bidirectional") else 6, CLASSES)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, CLASSES))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, bias=False),
        nn.BatchNorm2d(8), nn.PReLU(8), nn.AvgPool2d(2, stride=1), nn.Flatten(), nn.Linear(8, 10), nn.LayerNorm(10),
        nn.GELU(), nn.Linear(10, CLASSES),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.GroupNorm(2, 6), nn.SiLU(), nn.Conv2d(6, 12, 3, groups=6), nn.ConvTranspose2d(12, 5, 2),
        nn.ELU(), nn.Flatten(), nn.Linear(125, CLASSES),
    )  # fmt: skip


def normed():
    return nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 7)), nn.Sigmoid(), nn.Linear(7, CLASSES)
    )


PICTURES = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
ROWS = {
    "pictures": PICTURES,
    "numbers": PICTURES[:, 0, 0, :4],
    "series": PICTURES[:, 0, :5, :4],
    "tokens": (PICTURES[:, 0, 0, :5].abs() * 5).long().clamp(max=10),
}
NETS = {  # a factory, its rows, the sizes of the groups
    "mlp": (mlp, "pictures", [12, 9]),
    "cnn": (cnn, "pictures", [6, 8, 10]),
    "residual": (Residual, "pictures", [8, 8]),
    "shared": (Shared, "numbers", [8]),
    "attention": (Attention, "tokens", [8, 2, 4, 12]),
    "lstm": (lambda: Recurrent(num_layers=2), "series", [6, 6]),
    "gru": (lambda: Recurrent(nn.GRU), "series", [6]),
    "both ways": (lambda: Recurrent(nn.RNN, bidirectional=True), "series", [6]),
    "depthwise": (depthwise, "pictures", [2, 3, 2, 5]),
    "normed": (normed, "pictures", [7]),
}


def net_of(name, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NETS[name][0]()
        for p in net.parameters():  # no two units are alike, not even in a bias or a norm
            p.data += 0.1 * torch.randn_like(p)
        for key, buffer in net.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + ("var" in key))
    return net


def task_of(name):
    rows = ROWS[NETS[name][1]]
    labels = torch.arange(len(rows)) % CLASSES
    return tw.Task(
        model=lambda: net_of(name), train=(rows, labels), valid=(rows[:8], labels[:8]), batch_size=16, steps=1
    )


def outputs(net, name):
    with torch.no_grad():
        return copy.deepcopy(net).eval()(ROWS[NETS[name][1]])


def forward_of(name):
    return lambda m: m(ROWS[NETS[name][1]][:6])


def twin_of(net, name, seed):
    """The network with its units in a random order, and the orders."""
    generator, state, orders = np.random.default_rng(seed), net.state_dict(), {}
    for group in groups(net, forward_of(name)):
        orders[group.name] = generator.permutation(group.size)
        state = permute(state, group, orders[group.name])
    twin = copy.deepcopy(net)
    twin.load_state_dict(state)
    return twin, orders


@pytest.mark.parametrize("name", NETS)
def test_groups_are_found_and_permuting_them_changes_nothing(name):
    net = net_of(name)
    before, state, modes = copy.deepcopy(net.state_dict()), torch.get_rng_state(), [m.training for m in net.modules()]
    found = groups(net, forward_of(name))
    assert [g.size for g in found] == NETS[name][2]
    twin, orders = twin_of(net, name, 0)
    assert len(orders) == len(found) and any(not torch.equal(x, before[key]) for key, x in twin.state_dict().items())
    torch.testing.assert_close(outputs(twin, name), outputs(net, name), rtol=1e-4, atol=1e-5)
    assert all(changes(net, forward_of(name), g) < 100 for g in found)
    assert all(torch.equal(x, before[key]) for key, x in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state()) and modes == [m.training for m in net.modules()]


@pytest.mark.parametrize("name", NETS)
def test_half_of_a_group_is_noticed(name):
    """Each tensor that carries units is needed: without its first carrier, or its last, the output changes."""
    net = net_of(name)
    for group in groups(net, forward_of(name)):
        for carriers in (group.carriers[1:], group.carriers[:-1]):
            part = type(group)(group.name, group.size, carriers)
            assert changes(net, forward_of(name), part) > 1e3, (group.name, carriers)


@pytest.mark.parametrize("by", ["weights", "activations"])
@pytest.mark.parametrize("name", NETS)
def test_a_permuted_twin_is_put_back(name, by):
    net, task = net_of(name), task_of(name)
    twin, orders = twin_of(net, name, 1)
    before, state = copy.deepcopy(twin.state_dict()), torch.get_rng_state()
    found = match(task, net, twin, by=by)
    assert torch.equal(state, torch.get_rng_state()) and all(m.training for m in twin.modules())
    assert {key: order.tolist() for key, order in found.permutations.items()} == {
        key: np.argsort(order).tolist() for key, order in orders.items()
    }
    assert all(torch.equal(x, found.state[key]) for key, x in net.state_dict().items())
    assert found.distance[0] > 0.1 and found.distance[1] == 0
    moved = sum(int((order != np.arange(len(order))).sum()) for order in orders.values())
    assert found.moved == pytest.approx(moved / sum(map(len, orders.values())))
    assert all(torch.equal(x, before[key]) for key, x in twin.state_dict().items())
    assert f"by {by}" in found.sentence and found.as_dict()["distance"][1] == 0


@pytest.mark.parametrize("name", ["mlp", "cnn", "residual"])
def test_the_barrier_to_a_permuted_twin_is_gone_after_matching(name):
    task = task_of(name)
    net = tw.train(
        tw.Task(model=task.model, train=task.train, valid=task.valid, batch_size=20, steps=60),
        tw.Recipe("adam", lr=0.01), quiet=True,
    ).model  # fmt: skip
    twin, _ = twin_of(net, name, 2)
    field = ModelField(task, net, batches_of(task, 2), norm="batch")
    there = field.point(twin.state_dict())
    assert field.loss(there) == pytest.approx(field.loss(field.start), rel=1e-4)
    straight = line(field, field.start, there)
    assert straight.barrier > 0.05 and not straight.connected
    found = match(task, net, twin)
    matched = line(field, field.start, found.point, matched=True)
    assert matched.barrier <= 1e-5 * max(1.0, field.loss(field.start)) and matched.kind == "matched line"
    torch.testing.assert_close(found.point, field.start)


@pytest.mark.parametrize("by", ["weights", "activations"])
def test_two_trained_networks_come_nearer(by):
    """64-32-10 on digits: other seeds, the same task. Matching lowers the barrier, and does not remove it."""
    task = tw.Task.load("digits")
    a, b = (tw.train(task, tw.Recipe("momentum", lr=0.1), seed=seed, quiet=True).model for seed in (0, 1))
    field = ModelField(task, a, batches_of(task, 2, rows=640))
    found = match(task, a, b, by=by)
    straight, matched = (line(field, field.start, there) for there in (field.point(b.state_dict()), found.point))
    assert 0 < matched.barrier < 0.6 * straight.barrier and found.distance[1] < 0.8 * found.distance[0]
    assert sorted(found.permutations["0.weight"].tolist()) == list(range(32)) and not found.notes
    twin = copy.deepcopy(b)
    twin.load_state_dict(found.state)
    x = task.prepare().judge.inputs[:50] if hasattr(task.prepare().judge, "inputs") else torch.rand(50, 64)
    torch.testing.assert_close(twin(x), b(x), rtol=1e-4, atol=1e-5)
    again = match(task, a, b, by=by)
    assert all(torch.equal(order, again.permutations[key]) for key, order in found.permutations.items())


def test_by_weights_one_hidden_layer_is_matched_as_well_as_can_be():
    """Of all 120 orders of five units, the one that is nearest."""
    x = torch.randn(32, 4)
    task = tw.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
        train=(x, (x[:, 0] > 0).long()),
        batch_size=8,
    )
    a, b = task.build(0), task.build(1)
    found = match(task, a, b)
    (group,) = groups(b, lambda m: m(x))

    def distance(order):
        state = permute(b, group, list(order))
        return sum(float((p.detach() - state[key]).double().square().sum()) for key, p in a.named_parameters())

    best = min(permutations(range(5)), key=distance)
    assert found.permutations[group.name].tolist() == list(best)
    assert found.distance[1] == pytest.approx(distance(best) ** 0.5)


def test_by_weights_no_exchange_of_two_units_brings_the_networks_nearer():
    task = task_of("mlp")
    a, b = net_of("mlp", 0), net_of("mlp", 1)
    found = match(task, a, b)

    def distance(state):
        return sum(float((p.detach() - state[key]).double().square().sum()) for key, p in a.named_parameters()) ** 0.5

    assert distance(b.state_dict()) == pytest.approx(found.distance[0])
    assert distance(found.state) == pytest.approx(found.distance[1]) and found.distance[1] < found.distance[0]
    for group in groups(b, forward_of("mlp")):
        for i in range(group.size):
            for j in range(i):
                order = np.arange(group.size)
                order[[i, j]] = order[[j, i]]
                assert distance(permute(found.state, group, order)) >= found.distance[1] - 1e-6


def test_by_activations_the_correlations_before_the_non_linearity_decide():
    task = task_of("mlp")
    nets = [net_of("mlp", seed) for seed in (0, 1)]
    batches = batches_of(task, 2)
    found = match(task, *nets, by="activations", batches=batches)
    x = torch.cat([batch.inputs for batch in batches])
    for layers, name in ((2, "1.weight"), (4, "3.weight")):
        with torch.no_grad():
            given = [net[:layers](x).double().numpy() for net in nets]
        correlations = np.corrcoef(*given, rowvar=False)[: given[0].shape[1], given[0].shape[1] :]
        assert found.permutations[name].tolist() == linear_sum_assignment(-correlations)[1].tolist()


def test_what_is_told_apart_is_left_alone():
    class Odd(nn.Module):
        """Units that are sliced, sorted, concatenated with others, or weighted by a constant."""

        def __init__(self, how):
            super().__init__()
            self.how, self.first, self.head = how, nn.Linear(4, 6), nn.Linear(7 if how == "joined" else 6, 2)
            self.register_buffer("ramp", torch.arange(6.0), persistent=False)

        def forward(self, x):
            h = self.first(x).relu()
            if self.how == "sliced":
                h = torch.cat([h[:, :2], h[:, 2:].tanh()], 1)
            elif self.how == "sorted":
                h = h.cumsum(1)
            elif self.how == "joined":
                h = torch.cat([h, x[:, :1]], 1)
            elif self.how == "weighted":
                h = h * self.ramp
            else:
                h = h.roll(1, dims=1)
            return self.head(h)

    x = torch.randn(8, 4)
    for how in ("sliced", "sorted", "joined", "weighted", "rolled"):
        assert groups(Odd(how), lambda m: m(x)) == [], how
        task = tw.Task(model=lambda how=how: Odd(how), train=(x, torch.arange(8) % 2), batch_size=4, steps=1)
        found = match(task, task.build(0), task.build(1))
        assert found.permutations == {} and found.moved == 0 and "first.weight" in found.notes[0]


def test_a_group_that_the_analysis_takes_for_free_wrongly_is_left_alone():
    """The weight is used behind the analysis's back: only the output tells."""

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            weights = torch.tensor(self.first.weight.detach().numpy()[:, 0].tolist())  # no operator sees it
            return self.head(self.first(x).relu()) * (weights * torch.arange(6)).sum()

    x = torch.randn(8, 4)
    task = tw.Task(model=Hidden, train=(x, torch.arange(8) % 2), batch_size=4, steps=1)
    assert len(groups(task.build(0), lambda m: m(x))) == 1
    found = match(task, task.build(0), task.build(1))
    assert found.permutations == {} and "first.weight: left as it is" in found.notes[0]


def test_inputs_are_no_units_even_where_they_are_made_of_zeros():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert [g.size for g in groups(net, lambda m: m(torch.zeros(4, 2)))] == [3]


def test_tied_weights_stay_tied():
    net = Tied()
    x = torch.arange(20).reshape(4, 5) % 11
    found = groups(net, lambda m: m(x))
    stream = next(g for g in found if g.size == 8)
    assert {c.tensor for c in stream.carriers} >= {"token.weight", "head.weight", "place"}
    state = permute(net, stream, np.roll(np.arange(8), 1))
    assert torch.equal(state["token.weight"], state["head.weight"])
    assert all(changes(net, lambda m: m(x), g) < 100 for g in found)


def test_what_is_not_allowed():
    task = task_of("mlp")
    a = task.build(0)
    with pytest.raises(BadOption, match="by must be"):
        match(task, a, a, by="names")
    with pytest.raises(BadTask, match="other parameters"):
        match(task, a, nn.Linear(3, 3))
    with pytest.raises(BadTask, match="no batches"):
        match(task, a, a, batches=[])
    group = groups(a, forward_of("mlp"))[0]
    for wrong in ([0, 1], list(range(1, 13)), [0] * 12):
        with pytest.raises(BadTask, match="no permutation of the 12"):
            permute(a, group, wrong)


def sizes(axis):
    return [atom.size for atom in resolved(axis)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.lists(st.integers(0, 4), max_size=3))
def test_a_view_and_back_is_the_same_axes(shape, cuts):
    axes = new(shape)
    atoms = [atom for axis in axes for atom in resolved(axis)]
    cuts = sorted({min(c, len(shape)) for c in cuts} | {0, len(shape)})
    merged = [int(np.prod(shape[i:j])) for i, j in pairwise(cuts)]
    flat = regrouped(axes, merged)
    assert [int(np.prod(sizes(axis))) for axis in flat] == merged
    assert [atom for axis in regrouped(flat, shape) for atom in resolved(axis)] == atoms
    assert not any(atom.fixed for atom in atoms)


@settings(max_examples=100, deadline=None)
@given(st.permutations([2, 3, 2, 5]), st.permutations([2, 3, 2, 5]))
def test_identified_axes_have_the_same_atoms_or_are_fixed(one, other):
    a, b = (tuple(atom for axis in new(shape) for atom in axis) for shape in (one, other))
    identify(a, b)
    free = [[atom for atom in resolved(axis) if not atom.fixed] for axis in (a, b)]
    assert free[0] == free[1] and np.prod(sizes(a)) == np.prod(sizes(b)) == 60
    if one == other:
        assert len(free[0]) == 4


def test_axes_that_do_not_divide_are_fixed():
    (a,), (b,) = new([6]), new([6])
    identify(a, sum(new([2, 3]), ()))
    identify(b, sum(new([3, 2]), ()))
    assert sizes(a) == [2, 3] and sizes(b) == [3, 2]
    identify(a, b)
    assert all(atom.fixed for axis in (a, b) for atom in resolved(axis))
    (c,) = new([4])
    fix(c)
    (d,) = new([4])
    identify(c, d)
    assert resolved(c) == resolved(d) and resolved(d)[0].fixed


def test_a_functional_network_is_analysed_like_modules():
    class Functions(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 5))
            self.v = nn.Parameter(torch.randn(5, 2))

        def forward(self, x):
            return torch.einsum("nd,de->ne", F.softplus(x @ self.w), self.v)

    (group,) = groups(Functions(), lambda m: m(torch.randn(3, 4)))
    assert [(c.tensor, c.axis) for c in group.carriers] == [("w", 1), ("v", 0)]
