import fnmatch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from thalweg import groups, norms
from thalweg.errors import BadOption


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4, bias=False)


class ScaleNorm(nn.Module):
    """A norm of one's own, with a matrix for a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 4))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attention, self.last = ScaleNorm(), Attention(), nn.RMSNorm(4)


class Net(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(3, 4))
        self.embed = nn.Embedding(9, 4)
        self.conv = nn.Sequential(nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 9)
        if tied:
            self.head.weight = self.embed.weight


MATRICES = ["position", "embed.weight", "conv.0.weight"] + [
    f"blocks.{i}.attention.{part}.weight" for i in (0, 1) for part in ("qkv", "out")
]


def options_of(made):
    """The group of every parameter, by its name; fails where a parameter is in two."""
    found = {}
    for group in made:
        assert len(group["params"]) == len(group["param_names"]) > 0
        for name in group["param_names"]:
            assert name not in found
            found[name] = group
    return found


def test_only_matrices_that_belong_to_no_norm_are_decayed():
    net = Net()
    assert [n for n, _ in net.named_parameters() if n in groups.matrices(net)] == MATRICES
    assert groups.matrices(net, embeddings=False) == set(MATRICES) - {"embed.weight"}
    made = options_of(groups.make(net, lr=0.1, weight_decay=0.05, decay="matrices"))
    assert {name: group["weight_decay"] for name, group in made.items()} == {
        name: 0.05 if name in MATRICES else 0.0 for name, _ in net.named_parameters()
    }
    assert {group["name"] for group in made.values()} == {"decayed", "not decayed"}
    made = options_of(groups.make(net, weight_decay=0.05, decay="matrices", decay_embeddings=False))
    assert made["embed.weight"]["weight_decay"] == 0 and "lr" not in made["embed.weight"]


@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm((2, 2)), nn.GroupNorm(1, 4), nn.BatchNorm2d(4), nn.InstanceNorm3d(4, affine=True), ScaleNorm()],
)
def test_every_norm_is_known(norm):
    class Own(type(norm)):
        __init__ = nn.Module.__init__

    own = Own()
    own._parameters.update(norm._parameters)
    assert list(norm.parameters()) and not groups.matrices(norm) and not groups.matrices(own)


def test_a_layer_is_a_block_or_a_module():
    depth = groups.depths(Net())
    assert depth["position"] == 6 and depth["embed.weight"] == 5
    assert depth["conv.0.weight"] == 4 and depth["conv.1.bias"] == 3
    assert {depth[n] for n in depth if n.startswith("blocks.0.")} == {2}
    assert {depth[n] for n in depth if n.startswith("blocks.1.")} == {1} and depth["head.bias"] == 0
    made = options_of(groups.make(Net(), lr=1.0, layer_decay=0.5))
    assert {name: group["lr"] for name, group in made.items()} == {name: 0.5**d for name, d in depth.items()}
    assert made["blocks.1.norm.scale"]["name"] == "depth 1" and len({id(g) for g in made.values()}) == 7


def test_patterns_come_first_and_everything_multiplies():
    made = options_of(
        groups.make(
            Net(),
            lr=1.0,
            weight_decay=0.1,
            decay="matrices",
            layer_decay=0.5,
            patterns={
                "head.*": {"lr_scale": 10},
                "blocks.1.*.weight": {"lr": 3.0, "weight_decay": 0.7, "betas": (0.5, 0.9)},
                "blocks.*": {},
            },
        )
    )
    assert made["head.bias"]["lr"] == 10 and made["head.bias"]["name"] == "head.*, depth 0, not decayed"
    assert made["embed.weight"]["lr"] == 10 * 0.5**5  # tied to head.weight
    block = made["blocks.1.attention.qkv.weight"]
    assert (block["lr"], block["weight_decay"], block["betas"]) == (1.5, 0.7, (0.5, 0.9))
    assert made["blocks.1.last.weight"]["weight_decay"] == 0.7 and "betas" not in made["blocks.0.last.weight"]
    assert made["blocks.0.last.weight"]["weight_decay"] == 0 and made["blocks.0.last.weight"]["lr"] == 0.25


NAMES = [name for name, _ in Net().named_parameters(remove_duplicate=False)]
PATTERNS = st.sampled_from(["*", "*.bias", "head.*", "blocks.*", "blocks.1.*", "embed.*", "*.weight", "position"])


@given(
    st.dictionaries(PATTERNS, st.sampled_from([{}, {"lr_scale": 2.0}, {"lr": 0.3, "weight_decay": 0.2}])),
    st.lists(PATTERNS.filter(lambda p: p != "*"), max_size=2, unique=True),
    st.sampled_from(["all", "matrices"]),
    st.sampled_from([None, 1.0, 0.7]),
    st.sets(st.sampled_from(NAMES), max_size=4),
)
def test_every_trained_parameter_is_in_exactly_one_group(patterns, freeze, decay, layer_decay, frozen):
    net = Net()
    for name in frozen:
        net.get_parameter(name).requires_grad_(False)
    every = dict(net.named_parameters())
    kept = {
        name
        for name, p in every.items()
        if p.requires_grad
        and not any(fnmatch.fnmatchcase(n, q) for n in NAMES if net.get_parameter(n) is p for q in freeze)
    }
    arguments = {"decay": decay, "layer_decay": layer_decay, "patterns": patterns, "freeze": freeze}
    if not kept:
        with pytest.raises(BadOption, match="nothing left to train"):
            groups.make(net, lr=0.1, **arguments)
        return
    made = groups.make(net, lr=0.1, **arguments)
    found = options_of(made)
    assert set(found) == kept == {name for name, p in every.items() if p.requires_grad}
    for group in made:
        assert all(every[n] is p for n, p in zip(group["param_names"], group["params"], strict=True))
    optimizer = torch.optim.AdamW(made, lr=0.1)
    assert [g["name"] for g in optimizer.param_groups] == [g["name"] for g in made]


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_any_optimizer_takes_them_and_keeps_the_names(cls):
    net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    optimizer = cls(groups.make(net, lr=0.1, decay="matrices", layer_decay=0.9), lr=0.1)
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    assert [g["param_names"] for g in saved["param_groups"]] == [g["param_names"] for g in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    optimizer.add_param_group(groups.make(nn.Linear(2, 2))[0])


def test_our_optimizers_take_them():
    from thalweg import optim

    net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    made = groups.make(net, decay="matrices", weight_decay=0.1, patterns={"2.*": {"betas": (0.5, 0.9)}})
    optimizer = optim.AdamW(made, lr=0.1)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0, 0.1, 0.0]
    net(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0]["param_names"] == ["0.weight"]


def test_what_nothing_says_is_left_to_the_optimizer():
    (group,) = groups.make(nn.Linear(2, 2))
    assert set(group) == {"params", "param_names", "name"} and group["name"] == "all"
    made = groups.make(nn.Linear(2, 2), decay="matrices")
    assert [g.get("weight_decay") for g in made] == [None, 0.0]


def test_freezing_reaches_shared_parameters_and_stays():
    net = Net()
    made = options_of(groups.make(net, freeze=["head.*", "conv.*"]))
    assert not net.embed.weight.requires_grad and "embed.weight" not in made
    assert set(made) == {n for n in NAMES if n.startswith("blocks.") or n == "position"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"patterns": {"haed.*": {}}}, "pattern 'haed.*' matches no parameter; there are: position, embed.weight"),
        ({"patterns": {"haed.*": {}}}, "did you mean 'head.*'"),
        ({"patterns": {"block.0.*": {}}}, "did you mean 'blocks.0.*'"),
        ({"patterns": {"*.biass": {}}}, "did you mean '*.bias'"),
        ({"patterns": {"head.wieght": {}}}, "did you mean 'head.weight'"),
        ({"patterns": {"Head.*": {}}}, "did you mean 'head.*'"),
        ({"freeze": ["zzzzzz"]}, "use * and ? as in file names"),
        ({"freeze": ["*"]}, "nothing left to train"),
        ({"patterns": {"head.*": {"lr_scale": 2}}}, "lr_scale of group 'head.*' scales lr, which is not given"),
        ({"layer_decay": 0.5}, "layer_decay scales lr, which is not given"),
        ({"layer_decay": 0, "lr": 1.0}, "layer_decay must be a number in (0, 1], or None"),
        ({"lr": -1.0}, "groups: lr must be"),
        ({"decay": "matrix"}, "decay must be one of 'all', 'matrices'"),
        ({"patterns": {"head.*": 0.1}}, "options must be a table, got 0.1"),
        ({"patterns": {"head.*": {"lr": -1.0}}}, "group 'head.*': lr must be"),
        ({"patterns": {"head.*": {"weight_decy": 1.0}}}, "did you mean 'weight_decay'"),
        ({"patterns": {"head.*": {"lr_sclae": 1.0}}}, "did you mean 'lr_scale'"),
        ({"patterns": {"head.*": {"params": []}}}, "leave params out"),
    ],
)
def test_wrong_use_says_what_was_allowed_and_what_to_do(arguments, said):
    with pytest.raises(BadOption) as error:
        groups.make(Net(), **arguments)
    assert said in str(error.value) and "\nhint: " in str(error.value)


def test_an_error_leaves_the_model_as_it_was():
    net = Net()
    with pytest.raises(BadOption):
        groups.make(net, freeze=["head.*", "nowhere"])
    assert all(p.requires_grad for p in net.parameters())


def test_the_parts_of_a_calculated_weight_answer_to_its_name():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    norms.swap(net, "weight", lambda m: m(torch.randn(5, 4)))
    made = groups.make(net, lr=0.1, patterns={"2.weight": {"lr_scale": 10}}, freeze=["0.weight"])
    parts = {f"2.parametrizations.weight.original{i}" for i in (0, 1)}
    assert [set(g["param_names"]) for g in made if g["lr"] == 1.0] == [parts]
    assert not any(p.requires_grad for n, p in net.named_parameters() if n.startswith("0.parametrizations"))
