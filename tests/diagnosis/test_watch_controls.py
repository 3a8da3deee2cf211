"""`watch`: healthy loops are silent, but for notes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from loops import STEPS, adam, batches, bfloat, clip, data, deep, half, loop, mlp, scheduled, sgd
from torch import nn

import thalweg as tw
from thalweg.diagnosis.watching import watch


def accumulation():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt, share=1.0) as seen:
        for i, (x, y) in enumerate(batches(4 * STEPS)):
            (F.cross_entropy(net(x), y) / 4).backward()
            if i % 4 == 3:
                opt.step()
                opt.zero_grad(set_to_none=i % 8 == 3)
    return seen


def zero_grad_late():
    net = mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    with watch(net, opt, share=1.0) as seen:
        for x, y in batches():
            loss = F.cross_entropy(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
    return seen


def frozen():
    net = mlp(nn.Dropout(0.1))
    net[0].requires_grad_(False)
    return loop(net, lambda net: torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1))


def frozen_norm():
    net = mlp(nn.BatchNorm1d(32))
    net[1].eval()
    return loop(net)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 8)
        self.head = nn.Linear(8, 4, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(F.relu(self.embedding(x)) + 0.1)


def tokens(net, opt):
    with watch(net, opt, share=1.0) as seen:
        for _, y in batches():
            opt.zero_grad()
            F.cross_entropy(net(y), (y + 1) % 4).backward()
            opt.step()
    return seen


def tied():
    net = Tied()
    return tokens(net, torch.optim.Adam(net.parameters(), 1e-2))


def sparse():
    return two_optimizers(nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Linear(8, 4)))


def two_optimizers(net=None):
    net = net if net is not None else mlp()
    body = torch.optim.SGD(net[0].parameters(), 0.1)
    head = torch.optim.Adam(net[-1].parameters(), 1e-3)
    with watch(net, [body, head], share=1.0) as seen:
        for x, y in batches():
            body.zero_grad()
            head.zero_grad()
            F.cross_entropy(net(y if isinstance(net[0], nn.Embedding) else x), y).backward()
            body.step()
            head.step()
    return seen


def many_zeros():
    net = mlp()
    nn.init.constant_(net[0].bias, -0.7)
    return loop(net)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 16)
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(4))
        self.head = nn.Linear(16, 4)
        for branch in self.branches:
            nn.init.zeros_(branch[2].weight)
            nn.init.zeros_(branch[2].bias)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        x = self.first(x)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


def average():
    net = mlp(nn.Dropout(0.1))
    mean = copy.deepcopy(net.state_dict())

    def swap(net, opt, i):
        for name, value in net.state_dict().items():
            mean[name].lerp_(value, 0.1)
        own = copy.deepcopy(net.state_dict())
        net.load_state_dict(mean)
        net.eval()
        with torch.no_grad():
            net(data()[0])
        net.train()
        net.load_state_dict(own)

    return loop(net, after=swap)


def lbfgs():
    net = mlp()
    opt = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=5)
    x, y = data()
    with watch(net, opt, share=1.0) as seen:
        for _ in range(10):

            def closure():
                opt.zero_grad()
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                return loss

            opt.step(closure)
    return seen


def scaler(make, unscale):
    net = mlp()
    opt = make(net.parameters(), lr=0.01)
    amp = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=10)
    with watch(net, opt, share=1.0) as seen:
        for x, y in batches():
            opt.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = F.cross_entropy(net(x), y)
            amp.scale(loss).backward()
            if unscale:
                amp.unscale_(opt)
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            amp.step(opt)
            amp.update()
    assert max(seen.losses.recent) < 2 and seen.records[0].scaled
    assert all(0 < look.norm <= 1.001 * look.left < 10 for look in seen.records[0].seen)  # both without the scale
    return seen


def gan():
    torch.manual_seed(0)
    make, judge = (
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 16)),
        nn.Sequential(nn.Linear(16, 8), nn.LeakyReLU(), nn.Linear(8, 1)),
    )
    maker, judging = torch.optim.Adam(make.parameters(), 1e-3), torch.optim.Adam(judge.parameters(), 1e-3)
    one, zero = torch.ones(32, 1), torch.zeros(32, 1)
    with watch([make, judge], [maker, judging], share=1.0) as seen:
        for x, _ in batches():
            fake = make(torch.randn(32, 4))
            judging.zero_grad()
            F.binary_cross_entropy_with_logits(judge(x), one).backward()
            F.binary_cross_entropy_with_logits(judge(fake.detach()), zero).backward()
            judging.step()
            maker.zero_grad()
            F.binary_cross_entropy_with_logits(judge(fake), one).backward()
            maker.step()
    assert any("several optimizers" in said for said in seen.not_seen)
    return seen


def cyclic(opt):
    return torch.optim.lr_scheduler.CyclicLR(opt, 1e-5, 0.5, step_size_up=5)


def warm_up(opt):
    return torch.optim.lr_scheduler.LambdaLR(opt, lambda i: max(1e-6, min(1.0, i / 100)))


def zero_head():
    net = mlp()
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    return net


def resumed():
    """A model that has converged: single batches differ by orders of magnitude."""
    net = mlp()
    opt = torch.optim.Adam(net.parameters(), 1e-2)
    for x, y in batches(600):
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()
    return loop(net, opt)


def clamped(net, opt, i):
    with torch.no_grad():
        for p in net.parameters():
            p.clamp_(-0.1, 0.1)


def rewards(out, y):
    """A policy gradient, which has no sign to go by."""
    chosen = out.log_softmax(1).gather(1, y[:, None])
    return -(chosen * torch.randn(len(y), 1, generator=torch.Generator().manual_seed(0))).mean()


CONTROLS = {
    "converged": resumed,
    "clamped": lambda: loop(after=clamped),
    "policy gradient": lambda: loop(opt=adam(), loss=rewards),
    "bfloat16": lambda: bfloat(1e-2),
    "zero head in a warm-up": lambda: scheduled(warm_up, net=zero_head()),
    "sigmoid output": lambda: loop(
        loss=lambda out, y: F.binary_cross_entropy(out[:, 0].sigmoid(), (y > 1).float()), opt=adam(lr=1e-2)
    ),
    "plain": loop,
    "ours": lambda: loop(opt=lambda net: tw.optim.AdamW(net.parameters(), lr=1e-3, clip_norm=1.0)),
    "accumulation": accumulation,
    "zero_grad before backward": zero_grad_late,
    "clip at 1 with Adam": lambda: loop(opt=adam(), before=clip(1.0)),
    "clip at 1e-4 with Adam": lambda: loop(opt=adam(), before=clip(1e-4)),
    "weight decay": lambda: loop(opt=lambda net: torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.01)),
    "coupled weight decay": lambda: loop(opt=sgd(weight_decay=5e-4, momentum=0.9, lr=0.02)),
    "warm-up": lambda: scheduled(warm_up, before=clip(0.01)),
    "cyclic rate": lambda: scheduled(cyclic),
    "cosine": lambda: scheduled(lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, STEPS)),
    "frozen backbone": frozen,
    "frozen batch norm": frozen_norm,
    "batch norm": lambda: loop(mlp(nn.BatchNorm1d(32))),
    "tied weights": tied,
    "sparse gradients": sparse,
    "dropout": lambda: loop(mlp(nn.Dropout(0.5))),
    "label smoothing": lambda: loop(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "two optimizers": two_optimizers,
    "many zeros": many_zeros,
    "zero branches": lambda: loop(Residual(), adam()),
    "average": average,
    "LBFGS": lbfgs,
    "gradient scaler": lambda: scaler(torch.optim.SGD, True),
    "gradient scaler, ours": lambda: scaler(tw.optim.AdamW, False),
    "GAN": gan,
    "summed loss with Adam": lambda: loop(opt=adam(), loss=lambda out, y: F.cross_entropy(out, y, reduction="sum")),
    "deep tanh": lambda: loop(deep(1.0), sgd(lr=0.05)),
    "batch of one": lambda: loop(opt=sgd(lr=0.01), size=1),
    "float16": lambda: half(1.0),
    "regression": lambda: loop(loss=lambda out, y: F.mse_loss(out[:, 0], y.float())),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_healthy_loop_is_silent(control):
    seen = CONTROLS[control]()
    assert [str(f) for f in seen.findings if f.severity != "note"] == []
    assert not any("stopped" in said for said in seen.not_seen), seen.not_seen
    assert seen.records[0].steps >= 10 and len(seen.records[0].seen) >= 5
