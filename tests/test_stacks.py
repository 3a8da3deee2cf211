"""Tensors that stand in a model's places for a while: shared ones in each, and the old ones afterwards, also after an error."""

import pytest
import torch
from torch import nn

from thalweg.stacks import Places


class Tied(nn.Module):
    """An output that is the embedding turned, with a buffer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.inner.weight
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, rows):
        return self.scale * self.head(self.inner(rows))


def test_a_shared_tensor_stands_in_each_of_its_places():
    model, rows = Tied(), torch.tensor([0, 4])
    weight, scale = torch.randn(5, 3), torch.tensor(-1.0)
    before = model(rows)
    with Places(model, ["scale", "inner.weight"]).holding([scale, weight]):
        assert torch.equal(model(rows), scale * (weight[rows] @ weight.T))
    assert torch.equal(model(rows), before) and model.head.weight is model.inner.weight


def test_an_error_inside_leaves_the_model_as_it_was():
    model = Tied()
    places, held = Places(model, ["inner.weight"]), dict(model.named_parameters())
    with pytest.raises(IndexError), places.holding([torch.zeros(1, 3)]):
        model(torch.tensor([4]))
    assert all(held[name] is p for name, p in model.named_parameters())
