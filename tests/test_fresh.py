import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.fresh import looks_trained
from thalweg.study import plan
from thalweg.study.case import case_of


def net(*first):
    return nn.Sequential(*first, nn.Linear(32, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 64), nn.Linear(64, 5))


def initialized(how, scale=None):
    torch.manual_seed(0)
    model = net()
    for module in model:
        if isinstance(module, nn.Linear):
            how(module.weight) if scale is None else how(module.weight, scale)
            nn.init.zeros_(module.bias)
    return model


INITS = {
    "kaiming normal": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "kaiming uniform": nn.init.kaiming_uniform_,
    "xavier": nn.init.xavier_uniform_,
    "truncated": lambda w: nn.init.trunc_normal_(w, std=0.02),
    "tiny": lambda w: nn.init.normal_(w, std=1e-8),
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
    "orthogonal": nn.init.orthogonal_,
}


@pytest.mark.parametrize("name", INITS)
def test_an_initializer_of_ones_own_is_no_training(name):
    assert not looks_trained(initialized(INITS[name]))


@pytest.mark.parametrize("name", ["kaiming normal", "kaiming uniform"])
def test_a_trained_network_looks_trained(name):
    x, y = torch.randn(256, 32, generator=torch.Generator().manual_seed(1)), torch.arange(256) % 5
    task = tw.Task(model=lambda: initialized(INITS[name]), train=(x, y), valid=(x, y), epochs=30)
    model = tw.train(task, tw.Recipe("adam", lr=3e-3), quiet=True).model
    assert looks_trained(model)
    assert looks_trained(tw.train(task, tw.Recipe("sgd", lr=0.1), quiet=True).model)


def test_batch_norm_that_has_seen_data_was_trained():
    model = net(nn.BatchNorm1d(32))
    assert not looks_trained(model)
    model(torch.randn(8, 32))
    assert looks_trained(model)


def test_only_a_trained_network_is_fine_tuned():
    x, y = torch.randn(200, 32), torch.arange(200) % 5
    fresh = case_of(tw.Task(model=initialized(INITS["kaiming normal"]), train=(x, y), name="own"))
    assert fresh.fixed_weights and not fresh.pretrained
    tuned = net(nn.BatchNorm1d(32))
    tuned(x)
    trained = case_of(tw.Task(model=tuned, train=(x, y), name="trained"))
    assert trained.fixed_weights and trained.pretrained
    for case, notes in ((fresh, 0), (trained, 1)):
        assert len(plan.entrants(None, None, case.kind, case.pretrained)[1]) == notes
