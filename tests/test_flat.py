import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.cohort import Solo


class Sometimes(nn.Module):
    """The second layer takes part in every other batch only; the third never; the first and last share weights."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)
        self.last.weight = self.first.weight
        self.head = nn.Linear(4, 3)
        self.use = True

    def forward(self, x):
        x = self.first(x)
        x = self.second(x) if self.use else x
        return self.head(self.last(x.relu()))


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_parameters_side_by_side_are_updated_as_if_they_were_apart(toy, name):
    task = tw.Task(
        model=Sometimes,
        train=toy.train,
        valid=toy.valid,
        batch_size=16,
        steps=30,
        name="sometimes",
        loss=F.cross_entropy,
    )
    recipe = tw.Recipe(
        name, lr=0.01, weight_decay=0.01, groups={"head.*": {"lr_scale": 3}}, schedule="constant", clip_norm=1.0
    )
    cohort = Solo(task, recipe, 0, 30)
    other = copy.deepcopy(cohort.model)
    optimizer, _ = recipe.build(other, 30)
    third = cohort.model.third.weight.clone()
    batches = task.prepare().train.batches(16, seed=0)
    for step, batch in zip(range(8), batches, strict=False):
        cohort.model.use = other.use = name != "sgd" or step % 2 == 0
        cohort.backward(cohort.forward(batch), 1.0)
        cohort.step()
        optimizer.zero_grad()
        F.cross_entropy(other(batch.inputs), batch.targets).backward()
        optimizer.step()
        for (key, mine), its in zip(cohort.model.named_parameters(), other.parameters(), strict=True):
            assert torch.allclose(mine, its, rtol=1e-6, atol=1e-8), key
    assert torch.equal(cohort.model.third.weight, third)
    assert cohort.model.first.weight is cohort.model.last.weight
    assert len(cohort.optimizer.param_groups[0]["params"]) < 6


def test_a_parameter_without_gradient_keeps_value_and_state(toy):
    task = tw.Task(
        model=Sometimes,
        train=toy.train,
        valid=toy.valid,
        batch_size=16,
        steps=30,
        name="sometimes",
        loss=F.cross_entropy,
    )
    cohort = Solo(task, tw.Recipe("adamw", lr=0.1, weight_decay=0.1), 0, 30)
    batch = next(task.prepare().train.batches(16, seed=0))
    for use in (True, False):
        cohort.model.use = use
        before = cohort.model.second.weight.clone()
        cohort.backward(cohort.forward(batch), 1.0)
        cohort.step()
        assert torch.equal(cohort.model.second.weight, before) == (not use)
    whole = cohort.optimizer.param_groups[0]["params"][0]
    assert cohort.optimizer.state[whole]["exp_avg"].shape == whole.shape
