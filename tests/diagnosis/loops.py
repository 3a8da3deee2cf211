"""Small training loops under watch, shared by its tests."""

import torch
import torch.nn.functional as F
from torch import nn

from thalweg.diagnosis.watching import watch

STEPS = 60


def data(rows=640, features=16, classes=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator)
    return x, (x @ torch.randn(features, classes, generator=generator)).argmax(1)


def mlp(*between):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), *between, nn.ReLU(), nn.Linear(32, 4))


def batches(n=STEPS, size=32, order=None, cast=torch.float32):
    x, y = data()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1)) if order is None else order(y)
    for i in range(n):
        rows = order[torch.arange(i * size, (i + 1) * size) % len(x)]
        yield x[rows].to(cast), y[rows]


def loop(net=None, opt=None, *, loss=F.cross_entropy, before=None, after=None, clear=True, n=STEPS, **given):
    """The loop of the tutorials, with something in it between the backward pass and the step, or after the step."""
    net = net if net is not None else mlp()
    opt = opt(net) if callable(opt) else opt if opt is not None else torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt, share=1.0) as seen:
        for i, (x, y) in enumerate(batches(n, **given)):
            if clear:
                opt.zero_grad()
            loss(net(x), y).backward()
            if before is not None:
                before(net, opt, i)
            opt.step()
            if after is not None:
                after(net, opt, i)
    return seen


def sgd(**options):
    return lambda net: torch.optim.SGD(net.parameters(), **{"lr": 0.1, **options})


def adam(**options):
    return lambda net: torch.optim.Adam(net.parameters(), **{"lr": 1e-3, **options})


def scheduled(make, net=None, **given):
    net = net if net is not None else mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    schedule = make(opt)
    return loop(net, opt, after=lambda net, opt, i: schedule.step(), **given)


def deep(gain):
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(16, 16), nn.Tanh())]
    net = nn.Sequential(*layers, nn.Linear(16, 4))
    for m in net[:-1]:
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=gain / 4)
    return net


def half(scale):
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt, share=1.0) as seen:
        for x, y in batches():
            opt.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                out = net(x)
            (F.cross_entropy(out.float(), y) * scale).backward()
            opt.step()
    return seen


def bfloat(lr):
    net = mlp().bfloat16()
    opt = torch.optim.AdamW(net.parameters(), lr, weight_decay=0)
    return loop(net, opt, loss=lambda out, y: F.cross_entropy(out.float(), y), cast=torch.bfloat16)


def clip(norm):
    return lambda net, opt, i: torch.nn.utils.clip_grad_norm_(net.parameters(), norm)
