"""Loading by name, and strictly."""

import copy

import pytest
import torch
from torch import nn

from thalweg import errors, optim
from thalweg.loading import _few


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 1))


def stepped(net, opt, steps=2):
    for k in range(steps):
        opt.zero_grad()
        net(torch.full((5, 3), 1.0 + k)).square().sum().backward()
        opt.step()
    return opt


def groups(net, names):
    named = dict(net.named_parameters())
    return [{"params": [(n, named[n]) for n in part]} for part in names]


NAMES = ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("library", [optim, torch.optim])
def test_by_name_in_another_order_continues_to_the_bit(library):
    net = network()
    old = stepped(net, library.AdamW(net.named_parameters(), lr=0.02))
    twin = copy.deepcopy(net)
    saved = copy.deepcopy(old.state_dict())
    new = optim.AdamW(groups(twin, [NAMES[::-1][:2], NAMES[::-1][2:]]))
    new.load_state_dict(saved, named=True, strict=library is optim)
    assert [g["lr"] for g in new.param_groups] == [0.02, 0.02]
    assert [g["param_names"] for g in new.param_groups] == [NAMES[::-1][:2], NAMES[::-1][2:]]
    peer = optim.AdamW(net.named_parameters())
    peer.load_state_dict(saved)
    stepped(net, peer), stepped(twin, new)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))


def test_by_name_takes_what_is_there_and_begins_the_rest():
    net = network()
    saved = stepped(net, optim.Adam(groups(net, [NAMES[:4]]), lr=0.3)).state_dict()
    new = optim.Adam(groups(net, [NAMES[2:4], NAMES[4:]]), lr=0.1)
    new.load_state_dict(saved, named=True)
    held = [len(new.state[p]) for p in net.parameters() if p in new.state]
    assert held == [3, 3] and [g["lr"] for g in new.param_groups] == [0.3, 0.1]
    assert new.state[net[1].weight]["exp_avg"] is not saved["state"][2]["exp_avg"]
    assert torch.equal(new.state[net[1].weight]["exp_avg"], saved["state"][2]["exp_avg"])
    before = copy.deepcopy(new.state_dict())
    with pytest.raises(errors.BadData, match=r"lacks 2.weight, 2.bias and has 0.weight, 0.bias, which .*\nhint: "):
        new.load_state_dict(saved, named=True, strict=True)
    assert str(new.state_dict()) == str(before)
    stepped(net, new)
    assert [new.state[p]["step"].item() for p in list(net.parameters())[2:]] == [4, 4, 2, 2]


def test_a_group_from_several_keeps_its_own_options():
    net = network()
    parts = groups(net, [NAMES[:3], NAMES[3:]])
    parts[0]["lr"], parts[1]["lr"] = 0.1, 0.2
    saved = stepped(net, optim.SGD(parts, momentum=0.9)).state_dict()
    new = optim.SGD(net.named_parameters(), lr=0.7, momentum=0.5)
    new.load_state_dict(saved, named=True)
    assert new.param_groups[0]["lr"] == 0.7 and len(new.state) == 6
    with pytest.raises(errors.BadData, match="come from several groups"):
        new.load_state_dict(saved, named=True, strict=True)


@pytest.mark.parametrize("ours", [True, False])
def test_names_are_needed(ours):
    net = network()
    named, bare = optim.SGD(net.named_parameters()), optim.SGD(net.parameters())
    to, of = (bare, named) if ours else (named, bare)
    with pytest.raises(errors.BadData, match="the optimizer's" if ours else "the state dict's"):
        to.load_state_dict(of.state_dict(), named=True)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "schedulefreeadamw", "nadam", "mars"])
@pytest.mark.parametrize("links", [{}, {"ema": 0.9, "cautious": True}])
def test_its_own_state_is_strictly_right(name, links):
    net = network()
    cls = optim.optimizer_class(name)
    opt = stepped(net, cls(net.named_parameters(), lr=0.01, **links))
    for named in (False, True):
        cls(net.named_parameters(), lr=0.01, **links).load_state_dict(opt.state_dict(), named=named, strict=True)
    fresh = cls(net.named_parameters(), lr=0.01, **links)
    fresh.load_state_dict(cls(net.named_parameters(), lr=0.01, **links).state_dict(), strict=True)


def test_strict_refuses_what_is_missing_and_what_is_more():
    net = network()
    full = stepped(net, optim.Adam(net.named_parameters(), amsgrad=True))

    def refused(match, change, opt=None):
        saved = copy.deepcopy(full.state_dict())
        change(saved)
        opt = opt or optim.Adam(net.named_parameters(), amsgrad=True)
        with pytest.raises(errors.BadData, match=match):
            opt.load_state_dict(saved, strict=True)
        assert not opt.state
        opt.load_state_dict(saved)  # which torch would take too

    refused("lacks exp_avg_sq\n", lambda s: s["state"][3].pop("exp_avg_sq"))
    refused("has ema, which", lambda s: s["state"][3].update(ema=torch.zeros(2)))
    refused("parameter 9 that is in no group", lambda s: s["state"].update({9: {"step": torch.tensor(1.0)}}))
    refused("lacks the options eps", lambda s: s["param_groups"][0].pop("eps"))
    refused("in another order", lambda s: s["param_groups"][0]["param_names"].reverse())
    other = network()
    refused(
        "lacks a.0.weight",
        lambda s: None,
        optim.Adam([("a." + n, p) for n, p in other.named_parameters()], amsgrad=True),
    )
    with pytest.raises(errors.BadData, match="has max_exp_avg_sq, which"):
        optim.Adam(net.named_parameters()).load_state_dict(_plain(full.state_dict()), strict=True)


def _plain(saved):
    saved["param_groups"][0]["amsgrad"] = False
    return saved


def test_many_names_are_shortened():
    assert _few([]) == "" and _few(["a", "b"]) == "a, b"
    assert _few(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_a_group_that_was_not_saved_stays_as_it_was():
    net = network()
    saved = stepped(net, optim.AdamW(groups(net, [NAMES[:4]]))).state_dict()
    new = optim.AdamW([*groups(net, [NAMES[:4], NAMES[4:]]), {"params": [], "param_names": []}])
    torch.optim.lr_scheduler.OneCycleLR(new, max_lr=[0.1, 0.2, 0.3], total_steps=10)
    kept = {name: x for name, x in new.param_groups[1].items() if name != "params"}
    new.load_state_dict(saved, named=True)
    assert {name: x for name, x in new.param_groups[1].items() if name != "params"} == kept
    new.load_state_dict(new.state_dict(), named=True, strict=True)


def test_names_must_be_unique():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    twice = optim.SGD([("w", a), ("w", b)])
    with pytest.raises(errors.BadData, match="the optimizer's names are not unique: w"):
        twice.load_state_dict(twice.state_dict(), named=True)


@pytest.mark.parametrize("key", ["state", "param_groups"])
def test_what_is_no_state_dict_is_refused(key):
    opt = optim.SGD(network().named_parameters())
    saved = opt.state_dict()
    del saved[key]
    with pytest.raises(errors.BadData, match=f"no '{key}'"):
        opt.load_state_dict(saved)


def test_strict_refuses_the_options_of_another_rule():
    saved = optim.AdamW(network().named_parameters()).state_dict()
    with pytest.raises(errors.BadData, match="has the options amsgrad, eps"):
        optim.Lion(network().named_parameters()).load_state_dict(saved, strict=True)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adadelta", "Rprop"])
def test_torchs_own_state_is_strictly_right(name):
    net = network()
    saved = stepped(net, getattr(torch.optim, name)(net.named_parameters(), lr=0.01)).state_dict()
    getattr(optim, name)(net.named_parameters()).load_state_dict(saved, strict=True, named=True)
