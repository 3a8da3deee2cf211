"""`watch`: each fault is named first, healthy loops stay silent, and nothing is changed by looking on."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw
from thalweg import errors
from thalweg.diagnosis.script import run_script
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


def zero_head():
    net = mlp()
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    return net


def scheduled(make, net=None, **given):
    net = net if net is not None else mlp()
    opt = torch.optim.SGD(net.parameters(), 0.1)
    schedule = make(opt)
    return loop(net, opt, after=lambda net, opt, i: schedule.step(), **given)


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


def deep(gain):
    torch.manual_seed(0)
    layers = [m for _ in range(12) for m in (nn.Linear(16, 16), nn.Tanh())]
    net = nn.Sequential(*layers, nn.Linear(16, 4))
    for m in net[:-1]:
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=gain / 4)
    return net


def saturated():
    net = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    nn.init.normal_(net[0].weight, std=3.0)
    return loop(net)


def constant():
    net = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    for layer in net:
        nn.init.zeros_(layer.weight).requires_grad_(False)
    return loop(net)


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


def per_batch(opt):
    return torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)


def clip(norm):
    return lambda net, opt, i: torch.nn.utils.clip_grad_norm_(net.parameters(), norm)


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


SCRIPT = """
import torch, torch.nn as nn, torch.nn.functional as F
print("to standard error")
torch.manual_seed(0)
x = torch.randn(512, 16); y = (x[:, :4]).argmax(1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(16, 32), nn.Linear(32, 4)
    def forward(self, x):
        return self.head(F.relu(self.body(x)))
def main():
    net, criterion = Net(), nn.CrossEntropyLoss()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    {after}
    for epoch in range(1000):
        net.train()
        for i in range(0, 512, 32):
            try:
                {zero}
                loss = criterion(net(x[i:i + 32]), y[i:i + 32])
                loss.backward()
                opt.step()
            except Exception:
                pass
        net.eval()
        with torch.no_grad():
            net(x)
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("after", "zero", "codes"),
    [
        ("pass", "opt.zero_grad()", []),
        ("pass", "pass", ["gradients-accumulate"]),
        ("net.head = nn.Linear(32, 4)", "opt.zero_grad()", ["parameters-not-in-optimizer"]),
        ("net = Net()", "net.zero_grad()", ["parameters-not-in-optimizer"]),
    ],
)
def test_a_script_is_run_as_it_is(tmp_path, capsys, after, zero, codes):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT.replace("{after}", after).replace("{zero}", zero), encoding="utf-8")
    init = torch.optim.Optimizer.__init__
    found, not_seen, steps = run_script(path, steps=40)
    assert [f.code for f in found if f.severity != "note"] == codes and steps == 40 and not_seen
    if codes == ["parameters-not-in-optimizer"] and "head" in after:
        assert found[0].where == "head"
    out, err = capsys.readouterr()
    assert out == "" and "to standard error" in err
    assert torch.optim.Optimizer.__init__ is init and not torch.nn.modules.module._global_forward_pre_hooks


def test_a_script_with_two_networks(tmp_path):
    path = tmp_path / "gan.py"
    path.write_text(GAN, encoding="utf-8")
    found, not_seen, steps = run_script(path, steps=60)
    assert not [f for f in found if f.severity != "note"] and steps == 60
    assert any("several optimizers" in said for said in not_seen)


def test_a_script_that_fails_or_takes_long(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(errors.BadTask, match="ZeroDivisionError"):
        run_script(path)
    with pytest.raises(errors.BadTask, match="no script"):
        run_script(tmp_path / "none.py")
    path.write_text(SCRIPT.replace("{after}", "pass").replace("{zero}", "opt.zero_grad()"), encoding="utf-8")
    assert run_script(path, steps=10**6, seconds=0.5)[2] > 5


GAN = """
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(0)
real = torch.randn(32, 16)
make = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 16))
judge = nn.Sequential(nn.Linear(16, 8), nn.LeakyReLU(), nn.Linear(8, 1))
a, b = torch.optim.Adam(make.parameters(), 1e-3), torch.optim.Adam(judge.parameters(), 1e-3)
while True:
    fake = make(torch.randn(32, 4))
    b.zero_grad()
    loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()
    loss.backward()
    b.step()
    a.zero_grad()
    F.softplus(-judge(fake)).mean().backward()
    a.step()
"""
