"""`watch`: each fault is the first finding."""

import copy

import pytest
import torch
import torch.nn.functional as F
from loops import batches, bfloat, clip, deep, half, loop, mlp, scheduled, sgd
from torch import nn

from thalweg.diagnosis.watching import watch
from thalweg.recipe import Recipe


def head_replaced():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    net[2] = nn.Linear(32, 4)
    return loop(net, opt)


def head_only():
    net = mlp()
    return loop(net, torch.optim.SGD(net[2].parameters(), 0.1))


def unused():
    net = mlp()
    net[1].extra = nn.Linear(3, 3)
    return loop(net)


def restored():
    net = mlp()
    state = copy.deepcopy(net.state_dict())
    return loop(net, after=lambda net, opt, i: net.load_state_dict(state))


def nan_row():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt) as seen:
        for i, (x, y) in enumerate(batches()):
            if i == 37:
                x[3, 2] = torch.nan
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
    assert seen.findings[0].where == "0, step 37, batch 37" and "batch itself" in seen.findings[0].sentence
    return seen


def log_of_nothing():
    net = nn.Sequential(nn.Linear(16, 4), nn.ReLU())
    return loop(net, loss=lambda out, y: F.nll_loss(out.log(), y) if y.sum() < 0 else -(out.log().mean()))


def biases_off():
    net = mlp()
    nn.init.constant_(net[0].bias, -20.0)
    return loop(net)


def saturated():
    net = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    nn.init.normal_(net[0].weight, std=3.0)
    return loop(net)


def constant():
    net = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    for layer in net:
        nn.init.zeros_(layer.weight).requires_grad_(False)
    return loop(net)


def per_batch(opt):
    return torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)


FAULTS = {
    "gradients-accumulate": lambda: loop(clear=False),
    "gradients-cleared": lambda: loop(before=lambda net, opt, i: opt.zero_grad()),
    "gradients-cleared (to zero)": lambda: loop(before=lambda net, opt, i: opt.zero_grad(set_to_none=False)),
    "parameters-not-in-optimizer (head replaced)": head_replaced,
    "parameters-not-in-optimizer (head only)": head_only,
    "parameters-without-gradient": unused,
    "training-in-eval-mode": lambda: loop(mlp(nn.Dropout(0.2)).eval()),
    "training-in-eval-mode (batch norm)": lambda: loop(mlp(nn.BatchNorm1d(32)).eval()),
    "update-undone": restored,
    "loss-ascends": lambda: loop(loss=lambda out, y: -F.cross_entropy(out, y)),
    "loss-ascends (maximize)": lambda: loop(opt=sgd(maximize=True)),
    "loss-is-summed": lambda: loop(opt=sgd(lr=0.5), loss=lambda out, y: F.cross_entropy(out, y, reduction="sum")),
    "clipped-always": lambda: loop(before=clip(1e-4)),
    "weight-decay-dominates": lambda: loop(opt=sgd(weight_decay=1.0)),
    "weight-decay-dominates (AdamW)": lambda: loop(
        opt=lambda net: torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=100.0)
    ),
    "schedule-collapsed": lambda: scheduled(per_batch),
    "lr-too-high": lambda: loop(opt=sgd(lr=100.0)),
    "non-finite (in a row)": nan_row,
    "non-finite (log of zero)": log_of_nothing,
    "gradient-underflow": lambda: half(1e-5),
    "update-lost-in-rounding": lambda: bfloat(1e-6),
    "dead-units": biases_off,
    "saturated-units": saturated,
    "vanishing-gradient": lambda: loop(deep(0.3), sgd(lr=0.01)),
    "exploding-gradient": lambda: loop(
        nn.Sequential(*(m if isinstance(m, nn.Linear) else nn.Identity() for m in deep(3.0))), sgd(lr=1e-12)
    ),
    "constant-output": constant,
    "not-shuffled": lambda: loop(order=lambda y: y.argsort(stable=True), size=64, n=10),
    "batchnorm-small-batch": lambda: loop(mlp(nn.BatchNorm1d(32)), sgd(lr=0.01), size=2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_the_first_finding(fault):
    seen = FAULTS[fault]()
    assert not any("stopped" in said for said in seen.not_seen), seen.not_seen
    assert seen.findings and seen.findings[0].code == fault.partition(" ")[0], [str(f) for f in seen.findings]
    assert seen.findings[0].severity != "note" and seen.findings[0].remedy is not None
    for finding in seen.findings:
        Recipe("adamw", **(finding.remedy.change or {}))  # what is a recipe's change can be one
