"""`watch` changes nothing, looks seldom, and says what it cannot see."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from loops import STEPS, batches, mlp
from torch import nn

import thalweg as tw
from thalweg import errors
from thalweg.diagnosis import following
from thalweg.diagnosis.watching import watch


def everything(net, opt):
    """All that a watch could change."""
    modules = [(m.training, list(m._forward_hooks), list(m._forward_pre_hooks)) for m in net.modules()]
    hooks = [(p.requires_grad, p._backward_hooks, None if p.grad is None else p.grad.clone()) for p in net.parameters()]
    return {
        "state": copy.deepcopy(net.state_dict()),
        "parameters": hooks,
        "modules": modules,
        "optimizer": copy.deepcopy(opt.state_dict()),
        "step hooks": (list(opt._optimizer_step_pre_hooks), list(opt._optimizer_step_post_hooks)),
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()),
        "torch": (torch.Tensor.backward, torch.amp.GradScaler.scale, torch.optim.Optimizer.__init__),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("stop", [None, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("make", [torch.optim.AdamW, tw.optim.AdamW, torch.optim.SGD])
def test_nothing_is_changed_by_looking_on(make, stop):
    def run(watched):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        net = mlp(nn.BatchNorm1d(32), nn.Dropout(0.2))
        net[0].bias.requires_grad_(False)
        opt = make(net.parameters(), lr=1e-2)
        losses = []

        def train(n):
            for i, (x, y) in enumerate(batches(n)):
                opt.zero_grad(set_to_none=i % 2 == 0)
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                losses.append(loss.item())
                if stop is not None and i == 20:
                    raise stop
                opt.step()

        with pytest.raises(stop) if stop is not None else watch(net, opt) if watched else torch.enable_grad():
            if stop is not None and watched:
                with watch(net, opt, share=1.0):
                    train(STEPS)
            else:
                train(STEPS)
        after = everything(net, opt)
        for x, y in batches(10):
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
        return after, losses, everything(net, opt)

    assert same(run(True), run(False))


def test_findings_are_there_during_the_loop_and_two_watches_go_together():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    other = watch(net, opt)
    with watch(net, opt, share=1.0) as seen:
        for i, (x, y) in enumerate(batches(20)):
            if i == 10:
                assert seen.findings[0].code == "gradients-accumulate"
                other.__enter__()
            F.cross_entropy(net(x), y).backward()
            opt.step()
    assert torch.Tensor.backward.__module__ != "torch._tensor"  # the other still listens
    other.__exit__(None, None, None)
    assert torch.Tensor.backward.__module__ == "torch._tensor"


def test_checkpointed_activations_are_not_computed_again():
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return torch.relu(super().forward(x))

    net = nn.Sequential(Counted(16, 8), nn.Linear(8, 4))
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt, share=1.0) as seen:
        for x, y in batches(10):
            opt.zero_grad()
            hidden = torch.utils.checkpoint.checkpoint(net[0], x, use_reentrant=False)
            F.cross_entropy(net[1](hidden), y).backward()
            opt.step()
    assert len(calls) == 20 and not seen.findings


def test_gradients_by_other_ways_are_said_not_to_be_seen():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt) as seen:
        for x, y in batches(10):
            loss = F.cross_entropy(net(x), y)
            for p, g in zip(net.parameters(), torch.autograd.grad(loss, net.parameters()), strict=True):
                p.grad = g
            opt.step()
    assert not seen.findings and any("torch.autograd.grad" in said for said in seen.not_seen)


def test_few_steps_are_looked_at():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt, share=0.001) as seen:
        for x, y in batches(200):
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
    assert 5 <= len(seen.records[0].seen) < 20 and seen.records[0].steps == seen.losses.count == 200


@pytest.mark.parametrize(("model", "optimizer"), [(1, None), ([], None), (nn.Linear(1, 1), []), (nn.Linear(1, 1), 3)])
def test_something_else_is_refused(model, optimizer):
    with pytest.raises((errors.BadOption, TypeError)):
        watch(model, optimizer)


@pytest.mark.parametrize(("step", "look", "between"), [(1.0, 0.6, 0.001), (0.2, 1.5, 0.002), (50.0, 2.0, 0.0)])
def test_the_share_holds_by_construction(monkeypatch, step, look, between):
    """A simulated clock: steps, looks and the calls between looks take so long."""
    now = [0.0]
    monkeypatch.setattr(following, "perf_counter", lambda: now[0])
    clock, due, looks = following.Clock(0.02), 0, []
    for k in range(20_000):
        now[0] += step
        if k >= due:
            due = clock.next(k)
        if k >= due:
            clock.look_begins()
            looks.append(k)
        now[0] += look if k >= due else between
        clock.spent += look if k >= due else between
    clock.stop()
    now[0] += 1e6
    assert looks[:5] == [0, 1, 2, 3, 4] and len(looks) > 5
    assert 0.017 < clock.spent / clock.elapsed <= 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_watch_says_what_it_took(dtype):
    net = mlp().to(dtype)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(net, opt) as seen:
        for x, y in batches(30):
            opt.zero_grad()
            F.cross_entropy(net(x.to(dtype)), y).backward()
            opt.step()
    assert not any("stopped" in said for said in seen.not_seen) and seen.records[0].steps == 30
    assert seen.cost == seen.cost and 0 < seen.cost["share"] < 1
    assert seen.cost["seconds"] == pytest.approx(seen.cost["share"] * seen.clock.elapsed)
