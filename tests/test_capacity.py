import math

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import capacity, loop
from thalweg.stacked import Entry, TooLarge
from thalweg.study import work
from thalweg.study.jobs import Job


def wide(hidden, rows):
    x = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
    net = lambda: nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, 2))  # noqa: E731
    return tw.Task(model=net, train=(x, (x[:, 0] > 0).long()), batch_size=rows, steps=4, name="wide")


def test_a_members_bytes_are_weights_gradients_states_and_what_the_backward_needs():
    sgd, adam = tw.Recipe("sgd", lr=0.1), tw.Recipe("adam", lr=0.1)
    weights = 10 * 100 + 100 + 100 * 2 + 2
    kept = 4 * 64 * (10 + 100 + 2)  # inputs of the two products, log-probabilities: ReLU's output is an input
    found = capacity.member_bytes(wide(100, 64), sgd)
    assert kept + 8 * weights <= found <= 1.5 * kept + 8 * weights
    assert capacity.member_bytes(wide(100, 64), adam) - found == 8 * weights
    assert capacity.member_bytes(wide(100, 128), sgd) - found == pytest.approx(kept, rel=0.5)


def test_how_many_members_fit(monkeypatch):
    task, recipe = wide(100, 64), tw.Recipe("sgd", lr=0.1)
    each = capacity.member_bytes(task, recipe)
    monkeypatch.setattr(capacity, "free_bytes", lambda device: 20.0 * each)
    assert capacity.most_members(task, recipe) == 10 and capacity.most_members(task, recipe, workers=2) == 5
    monkeypatch.setattr(capacity, "free_bytes", lambda device: 0.0)
    assert capacity.most_members(task, recipe) == 1
    monkeypatch.undo()
    assert 0 < capacity.free_bytes("cpu") <= math.inf


def test_free_memory_keeps_to_the_limit_of_a_container_and_counts_what_is_only_cached(tmp_path, monkeypatch):
    for name, text in (("max", "3000"), ("now", "2000"), ("memory.stat", "anon 900\ninactive_file 700\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(capacity, "CGROUPS", ((str(tmp_path), "max", "now", "inactive_file"),))
    assert capacity.free_bytes("cpu") == 1700
    (tmp_path / "memory.stat").unlink()
    assert capacity.free_bytes("cpu") == 1000
    (tmp_path / "max").write_text("max")
    assert capacity.free_bytes("cpu") > 2**20


def test_what_is_out_of_memory():
    assert capacity.out_of_memory(MemoryError()) and capacity.out_of_memory(torch.OutOfMemoryError("x"))
    assert capacity.out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"))
    assert not capacity.out_of_memory(RuntimeError("shapes")) and not capacity.out_of_memory(
        ValueError("out of memory")
    )


class Tight(nn.Module):
    """A layer for which memory ends when more than two members are batched."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10, 2)

    def forward(self, x):
        y = self.layer(x)
        inner = torch._C._functorch.get_unwrapped(y) if torch._C._functorch.is_batchedtensor(y) else y
        if inner.ndim > 2 and max(inner.shape[0], 0) > 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 10 bytes")
        return y


def test_a_cohort_that_does_not_fit_is_split_and_gives_the_same():
    x = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
    task = tw.Task(model=Tight, train=(x, (x[:, 0] > 0).long()), batch_size=64, steps=4, name="tight")
    recipes = [tw.Recipe("sgd", lr=lr) for lr in (0.01, 0.03, 0.1, 0.3, 1.0)]
    with pytest.raises(TooLarge, match="not enough memory"):
        loop.run_cohort(task, [Entry(r, 0, 4) for r in recipes], [1] * 5)
    jobs = [Job("rate", "sgd", r, 0, 4) for r in recipes]
    records = []
    ends = work.of_task(task, None)(jobs, records.append, math.inf)
    assert [e["recipe"]["lr"] for e in ends] == [r.lr for r in recipes]
    for end, recipe in zip(ends, recipes, strict=True):
        alone, _ = loop.run(task, recipe, 0, steps=4, evaluations=1)
        assert end["evaluations"][-1]["loss"] == pytest.approx(alone.trace.evaluations[-1]["loss"], rel=1e-4)
