import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import thalweg as tw
from thalweg import schedules
from thalweg.errors import BadOption

OPTIONS = {
    "sgd": st.fixed_dictionaries({}, optional={"momentum": st.floats(0.1, 0.99), "dampening": st.floats(0, 0.5)}),
    "adam": st.fixed_dictionaries(
        {}, optional={"betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.999)), "amsgrad": st.booleans()}
    ),
    "rmsprop": st.fixed_dictionaries({}, optional={"alpha": st.floats(0.1, 0.99), "centered": st.booleans()}),
}
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.none() | st.floats(1e-8, 10),
        "schedule": st.sampled_from(sorted(schedules.SCHEDULES)),
        "warmup": st.none() | st.integers(1, 100) | st.floats(0.01, 0.9),
        "clip_norm": st.none() | st.floats(0.1, 10),
        "weight_decay": st.floats(0, 1),
        "batch_size": st.none() | st.integers(1, 4096) | st.just("full"),
        "freeze": st.none() | st.lists(st.text(min_size=1, max_size=8), max_size=3),
        "groups": st.none()
        | st.dictionaries(
            st.text(min_size=1, max_size=12), st.just({"lr_scale": 10.0, "weight_decay": 0.0}), max_size=3
        ),
        "layer_decay": st.none() | st.floats(0.1, 1),
    },
)


@st.composite
def recipes(draw):
    name = draw(st.sampled_from(sorted(OPTIONS)))
    return tw.Recipe(name, **draw(FIELDS), **draw(OPTIONS[name]))


@given(recipes())
def test_toml_and_pickle_give_the_same_recipe_back(recipe):
    again = tw.Recipe.from_toml(recipe.to_toml())
    assert again == recipe and hash(again) == hash(recipe) and again.id == recipe.id
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert eval(repr(recipe), {"Recipe": tw.Recipe}) == recipe


@given(recipes(), recipes())
def test_diff_is_empty_exactly_for_equal_recipes_and_leads_from_one_to_the_other(a, b):
    change = a.diff(b)
    assert (not change) == (a == b)
    if a.optimizer == b.optimizer and not any(new is None for _, new in change.values()):
        assert a.but(**{k: new for k, (_, new) in change.items()}) == b


def test_an_integer_rate_is_the_same_recipe_as_a_float():
    assert tw.Recipe("sgd", lr=1) == tw.Recipe("sgd", lr=1.0)


def test_a_recipe_is_frozen():
    recipe = tw.Recipe("sgd", lr=0.1, groups={"a": {"lr": 1.0}})
    with pytest.raises(AttributeError, match="frozen"):
        recipe.lr = 0.2
    recipe.groups["a"]["lr"] = 5.0
    recipe.options["momentum"] = 0.5
    assert recipe == tw.Recipe("sgd", lr=0.1, groups={"a": {"lr": 1.0}})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tw.Recipe("adamv"), "did you mean 'adam"),
        (lambda: tw.Recipe("adam", lr=-1), "lr must be a finite number >= 0, or None, got -1"),
        (lambda: tw.Recipe("adam", lr=float("nan")), "got nan"),
        (lambda: tw.Recipe("adam", betas=(1, 0.9)), "betas must be"),
        (lambda: tw.Recipe("adam", momentum=0.9), "unknown option 'momentum'"),
        (lambda: tw.Recipe("adam", leraning_rate=1), "hint:"),
        (lambda: tw.Recipe("adam", schedule="linaer"), "'linear'"),
        (lambda: tw.Recipe("adam", schedule="plateau"), "Recipe: schedule 'plateau' follows a watched number"),
        (lambda: tw.Recipe("adam", schedule=3), "schedule must be one of"),
        (lambda: tw.Recipe("adam", batch_size=0), "whole number >= 1"),
        (lambda: tw.Recipe("adam", warmup=1.5), "warmup must be"),
        (lambda: tw.Recipe("adam", init="xavier"), "did you mean 'xavier_normal'"),
        (lambda: tw.Recipe("adam", groups={"a": {"lr_sclae": 2}}), "did you mean 'lr_scale'"),
        (lambda: tw.Recipe("adam", groups={"a": {"lr_scale": -2}}), "> 0"),
        (lambda: tw.Recipe("sgd", nesterov=True), "momentum"),
        (lambda: tw.Recipe.from_toml("lr = = 1"), "not TOML"),
        (lambda: tw.Recipe.from_toml('optimizer = "sgd"\nrate = 1'), "unknown option 'rate'"),
        (lambda: tw.Recipe.load("nowhere.toml"), "cannot read nowhere.toml"),
        (lambda: tw.Recipe("sgd").build(nn.Linear(1, 1)), "lr is None"),
    ],
)
def test_wrong_use_says_what_was_allowed_and_what_to_do(make, said):
    with pytest.raises(BadOption) as error:
        make()
    assert said in str(error.value) and "\nhint: " in str(error.value)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(2)])
        self.head = nn.Linear(8, 3)


def rates(groups):
    return sorted({(round(g["lr"], 12), sum(p.numel() for p in g["params"])) for g in groups})


def test_groups_freezing_and_layer_decay_reach_the_right_parameters():
    net = Net()
    recipe = tw.Recipe(
        "adamw",
        lr=0.1,
        groups={"head.*": {"lr_scale": 10}, "*.bias": {"weight_decay": 0}},
        freeze=["embed.*"],
        weight_decay=0.05,
    )
    optimizer, _ = recipe.build(net, steps=10)
    by_name = {}
    for group in optimizer.param_groups:
        for name, parameter in net.named_parameters():
            if any(parameter is p for p in group["params"]):
                by_name[name] = (group["initial_lr"], group["weight_decay"])
    assert by_name["head.weight"] == by_name["head.bias"] == (1.0, 0.05)
    assert by_name["blocks.0.0.bias"] == (0.1, 0) and by_name["blocks.0.0.weight"] == (0.1, 0.05)
    assert not any(name.startswith("embed") for name in by_name)
    assert not net.embed.weight.requires_grad


def test_layer_decay_counts_blocks_from_the_output():
    groups = tw.Recipe("sgd", lr=1.0, layer_decay=0.5).parameter_groups(Net())
    assert rates(groups) == [(0.125, 40), (0.25, 88), (0.5, 88), (1.0, 27)]


def test_a_pattern_that_matches_nothing_and_a_fully_frozen_model_are_errors():
    for recipe in (
        tw.Recipe("sgd", lr=1.0, groups={"haed.*": {"lr": 1.0}}),
        tw.Recipe("sgd", lr=1.0, freeze=["haed.*"]),
    ):
        with pytest.raises(BadOption, match=r"'haed\.\*' matches no parameter; there are: embed.weight"):
            recipe.build(Net())
    with pytest.raises(BadOption, match="every parameter is frozen"):
        tw.Recipe("sgd", lr=1.0, freeze=["*"]).build(Net())


def test_the_schedule_warms_up_and_decays_to_zero():
    net = nn.Linear(1, 1)
    optimizer, schedule = tw.Recipe("sgd", lr=2.0).build(net, steps=100)
    seen = []
    for _ in range(100):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert seen[:10] == pytest.approx([0.2 * (k + 1) for k in range(10)], rel=1e-12)
    assert seen[10:] == pytest.approx([2.0 * (100 - k) / 90 for k in range(10, 100)], rel=1e-12)
    assert optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [("sgd", 1000, 100), ("adamw", 100_000, 2000), ("adamw", 1000, 100), ("sgd", None, 0)],
)
def test_the_default_warm_up_is_a_tenth_or_two_time_constants(name, steps, expected):
    assert tw.Recipe(name, lr=1.0).warmup_steps(steps) == expected


def test_a_constant_rate_has_no_warm_up_unless_asked():
    assert tw.Recipe("adamw", lr=1.0, schedule="constant").warmup_steps(1000) == 0
    assert tw.Recipe("adamw", lr=1.0, schedule="constant", warmup=7).warmup_steps(1000) == 7
    assert tw.Recipe("adamw", lr=1.0, warmup=0.5).warmup_steps(1000) == 500


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_a_recipe_takes_every_schedule_by_name(name):
    recipe = tw.Recipe("adamw", lr=1.0, schedule=name)
    factor, warmup = recipe.multiplier(100), recipe.warmup_steps(100)
    assert (warmup == 0) == (name in ("constant", "1cycle"))
    assert [factor(k) for k in range(100)] == [schedules.make(name, 100, warmup)(k) for k in range(100)]


def test_clipping_is_part_of_the_optimizer():
    net = nn.Linear(2, 1, bias=False)
    before = net.weight.detach().clone()
    optimizer, _ = tw.Recipe("sgd", lr=1.0, clip_norm=0.5, schedule="constant").build(net)
    net.weight.grad = torch.tensor([[3.0, 4.0]])
    optimizer.step()
    assert torch.allclose(before - net.weight.detach(), torch.tensor([[0.3, 0.4]]))
