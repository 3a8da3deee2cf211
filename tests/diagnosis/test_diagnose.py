"""`diagnose` names a fault first, says nothing of what is healthy, and changes nothing."""

import copy
import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from faulty import (
    ADAM,
    SGD,
    Attention,
    Cut,
    FrozenNorm,
    Noisy,
    OverTheBatch,
    Probabilities,
    Residual,
    Unused,
    clone,
    deep,
    digits,
    every,
    frozen,
    line,
    mlp,
    numbers,
    places,
    regressor,
    started,
    straight,
    task,
    with_norm,
)  # fmt: skip
from torch import nn

import thalweg as tw
from thalweg.cli import main
from thalweg.diagnosis.findings import CODES

R = tw.Recipe


def x():
    return digits()[0]


def y():
    return digits()[1]


def shuffled(t):
    return t[torch.randperm(len(t), generator=torch.Generator().manual_seed(0))]


def mostly_shuffled(t):
    return torch.cat([shuffled(t[:1000]), t[1000:]])


def with_nan():
    inputs = x().clone()
    inputs[7] = float("nan")
    return inputs, y()


def by_class():
    order = y().argsort()
    return x()[order], y()[order]


L = line()[2]
FAULTS = {
    "rate too high": ({"lr-too-high"}, lambda: (task(), R("adamw", lr=1.0))),
    "rate too low": ({"lr-too-low"}, lambda: (task(), R("adamw", lr=1e-7))),
    "above the limit": ({"lr-unstable"}, lambda: (straight(), R("sgd", lr=2.05 / L, schedule="constant"))),
    "heavy ball above it": ({"lr-unstable"}, lambda: (straight(), R("momentum", lr=3.9 / L, schedule="constant"))),
    "momentum": ({"momentum-too-high"}, lambda: (task(), R("momentum", lr=0.05, momentum=0.999))),
    "eps": ({"adam-epsilon"}, lambda: (task(), R("adam", lr=1e-3, eps=1.0))),
    "clipping": ({"clipped-always"}, lambda: (task(), R("sgd", lr=0.1, clip_norm=1e-4))),
    "decay": ({"weight-decay-dominates"}, lambda: (task(), R("sgd", lr=0.1, weight_decay=1.0))),
    "schedule": ({"schedule-collapsed"}, lambda: (task(), R("sgd", lr=0.1, warmup=100_000))),
    "zeros": ({"symmetric-units"}, lambda: (task(started(mlp(), every(lambda p: p.zero_()))), ADAM)),
    "all alike": ({"symmetric-units"}, lambda: (task(started(mlp(), every(lambda p: p.fill_(0.1)))), ADAM)),
    "clones": ({"symmetric-units"}, lambda: (task(started(mlp(), clone)), ADAM)),
    "wide tanh": (
        {"saturated-units"},
        lambda: (task(started(deep(4, nn.Tanh, 128), every(lambda p: p.normal_()))), ADAM),
    ),
    "20 layers": ({"vanishing-signal", "vanishing-gradient"}, lambda: (task(deep(20)), ADAM)),
    "dead": ({"dead-units"}, lambda: (task(started(mlp(), lambda m: m[0].bias.fill_(-10))), ADAM)),
    "50 branches": ({"exploding-signal"}, lambda: (task(lambda: Residual(50, zero=False)), ADAM)),
    "no activations": (
        {"linear-network"},
        lambda: (task(lambda: nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 10))), ADAM),
    ),
    "softmax twice": ({"double-softmax"}, lambda: (task(mlp(nn.Softmax(1)), loss=F.cross_entropy), ADAM)),
    "softmax in forward": ({"double-softmax"}, lambda: (task(Probabilities), ADAM)),
    "ReLU on logits": ({"output-range"}, lambda: (task(mlp(nn.ReLU())), ADAM)),
    "sigmoid": ({"output-range"}, lambda: (task(regressor(nn.Sigmoid()), numbers()), ADAM)),
    "over the batch": ({"batch-mixing"}, lambda: (task(OverTheBatch), ADAM)),
    "detached": ({"graph-detached"}, lambda: (task(Cut), ADAM)),
    "unused": ({"parameters-without-gradient"}, lambda: (task(Unused), ADAM)),
    "noise in evaluation": ({"eval-not-deterministic"}, lambda: (task(Noisy), ADAM)),
    "attention": ({"attention-saturated"}, lambda: (task(lambda: Attention(1.0), places()), ADAM)),
    "bytes": ({"input-scale"}, lambda: (task(train=(x() * 255 / x().max(), y())), R("sgd", lr=0.05))),
    "NaN": ({"input-non-finite"}, lambda: (task(train=with_nan()), ADAM)),
    "label range": ({"label-range"}, lambda: (task(train=(x(), y() + 3)), ADAM)),
    "shuffled labels": ({"labels-shuffled"}, lambda: (task(train=(x(), shuffled(y()))), ADAM)),
    "most labels": (
        {"labels-shuffled"},
        lambda: (task(train=(x(), mostly_shuffled(y())), valid=(x() + 1e-3, y())), SGD),
    ),
    "sorted": ({"not-shuffled"}, lambda: (task(train=by_class(), valid=(x() + 1e-3, y()), shuffle=False), SGD)),
    "leakage": ({"leakage"}, lambda: (task(valid=(x()[:300], y()[:300])), ADAM)),
    "batch of two": ({"batchnorm-small-batch"}, lambda: (task(with_norm(), batch_size=2), ADAM)),
    "stale": ({"batchnorm-stale"}, lambda: (task(with_norm(0.0)), ADAM)),
    "sum": ({"loss-is-summed"}, lambda: (task(loss=nn.CrossEntropyLoss(reduction="sum")), SGD)),
    "negated": ({"loss-ascends"}, lambda: (task(loss=lambda o, t: -F.cross_entropy(o, t)), ADAM)),
    "valley": ({"ill-conditioned"}, lambda: (straight(3.0), R("sgd", lr=1 / line(3.0)[2], schedule="constant"))),
}
HEALTHY = {
    "plain": lambda: (task(), ADAM),
    "SGD": lambda: (task(), SGD),
    "a low rate": lambda: (task(), R("adam", lr=1e-3)),
    "tanh": lambda: (task(mlp(act=nn.Tanh)), ADAM),
    "regression": lambda: (task(regressor(), numbers()), ADAM),
    "batch norm": lambda: (task(with_norm()), ADAM),
    "frozen batch norm": lambda: (task(FrozenNorm), ADAM),
    "frozen layers": lambda: (task(frozen), ADAM),
    "zero head": lambda: (task(started(mlp(), lambda m: m[4].weight.zero_())), ADAM),
    "zero branches": lambda: (task(lambda: Residual(6, zero=True)), ADAM),
    "attention": lambda: (task(lambda: Attention(64**-0.5), places()), ADAM),
    "smoothed labels": lambda: (task(loss=nn.CrossEntropyLoss(label_smoothing=0.1)), ADAM),
    "accumulation": lambda: (task(accumulate=4, batch_size=16), ADAM),
    "long warm-up": lambda: (task(), ADAM.but(warmup=0.3)),
    "restarts": lambda: (task(), R("sgd", lr=0.2, schedule="restarts")),
    "some decay and clipping": lambda: (task(), R("adamw", lr=1e-3, weight_decay=0.1, clip_norm=1.0)),
    "a summed loss under Adam": lambda: (task(loss=nn.CrossEntropyLoss(reduction="sum")), ADAM),
    "edge of stability": lambda: (straight(), R("sgd", lr=1.95 / L, schedule="constant")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_first(name):
    codes, make = FAULTS[name]
    found = tw.diagnose(*make())
    first = found.findings[0]
    assert first.code in codes and first.severity != "note" and first.evidence
    assert first.remedy is not None and found.cost["gradient_evaluations"] <= 200


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_what_is_healthy(name):
    found = tw.diagnose(*HEALTHY[name]())
    assert not found.trouble, str(found)


def test_the_edge_of_stability_is_a_note():
    found = tw.diagnose(*HEALTHY["edge of stability"]())
    assert [f.code for f in found.findings] == ["edge-of-stability"]


@pytest.mark.parametrize("name", ["rate too high", "zeros", "softmax twice", "bytes", "sum", "negated", "sorted"])
def test_a_remedy_works_on_fresh_seeds(name):
    found = tw.diagnose(*FAULTS[name][1]())
    outcome = found.verify(seeds=3).outcome
    assert outcome.helps and outcome.after < outcome.before and found.findings[0].outcome is outcome


def test_a_code_that_is_among_few_rows_only_is_no_trouble():
    random = torch.Generator().manual_seed(0)
    parts = [torch.randint(0, 9, (rows, 8), generator=random) for rows in (300, 120)]
    parts[1][0, 0] = 9  # one half of the validation rows has it, the other and the training rows have not
    data = [(codes, (codes + 1) % 10) for codes in parts]

    def net():
        return nn.Sequential(nn.Embedding(10, 16), nn.Linear(16, 10))

    spoken = tw.Task(model=net, train=data[0], valid=data[1], batch_size=32, epochs=2, name="codes")
    found = tw.diagnose(spoken, ADAM)
    assert "labels-shuffled" not in {one["what"] for one in found.as_dict()["not_measured"]}
    assert "labels-shuffled" not in [one.code for one in found.findings]


def test_every_code_of_the_faults_is_in_the_table():
    assert len(FAULTS) > 30 and len(HEALTHY) > 15
    assert set().union(*(codes for codes, _ in FAULTS.values())) <= {*CODES}


def state(model, optimizer=None):
    parts = [p.detach().clone() for p in (*model.parameters(), *model.buffers())]
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    wanted = [p.requires_grad for p in model.parameters()]
    return parts, modes, hooks, grads, wanted, torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("ends", ["well", "badly", "interrupted"])
def test_no_harm_is_done(ends, monkeypatch):
    model = with_norm()()
    loss = F.cross_entropy(model(x()[:32]), y()[:32])
    loss.backward()
    given, trained = task(model), copy.deepcopy(model)
    trained[0].weight.grad = torch.ones(64, 64)
    if ends != "well":
        from thalweg.diagnosis.examination import Examination

        failure = KeyboardInterrupt() if ends == "interrupted" else RuntimeError("no")

        def fail(*_, **__):
            torch.randn(3), np.random.rand(3), random.random()
            raise failure

        monkeypatch.setattr(Examination, "mini", fail)
    before = state(model), state(trained)
    try:
        tw.diagnose(given, SGD, model=trained)
    except KeyboardInterrupt:
        assert ends == "interrupted"
    assert same(before, (state(model), state(trained)))
    if ends == "well":
        found = tw.diagnose(task(model), R("sgd", lr=0.1, clip_norm=1e-4))
        before = state(model), state(trained)
        found.verify(seeds=2)
        assert same(before, (state(model), state(trained)))


def test_the_command_says_it_for_programs_and_at_80_columns(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch, thalweg as tw\nx = torch.randn(400, 4)\n"
        "task = tw.Task(model=lambda: torch.nn.Linear(4, 2), train=(x, (x[:, 0] > 0).long()), epochs=5)\n"
        "recipe = tw.Recipe('sgd', lr=1e-7)\n"
    )
    assert main(["diagnose", str(file), "--json", "--verify"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert {"findings", "measured", "not_measured", "cost"} <= told.keys()
    first = told["findings"][0]
    assert first["code"] == "lr-too-low" and first["outcome"]["after"] < first["outcome"]["before"]
    assert {"kind", "change", "text"} == first["remedy"].keys() and first["remedy"]["kind"] == "recipe"
    assert main(["diagnose", "digits"]) == 0
    shown = capsys.readouterr().out
    assert "No trouble found" in shown and all(len(row) <= 80 for row in shown.splitlines())


def test_weights_of_another_model_are_refused(capsys, tmp_path):
    from safetensors.torch import save_file

    save_file({"0.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    assert main(["diagnose", "digits", "--model", str(tmp_path / "other.safetensors")]) == 2
    assert "are not this model's" in capsys.readouterr().err
