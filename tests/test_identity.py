import functools

import torch
from torch import nn

from thalweg.identity import digest, identity


def scaled(factor):
    return lambda x: x * factor


class Loss:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, output, target):
        return (self.weight * (output - target) ** 2).mean()

    def method(self):
        return self.weight


def test_what_computes_the_same_has_the_same_digits_and_what_does_not_has_others():
    pairs = [
        (scaled(1), scaled(1), scaled(2)),
        (functools.partial(scaled, 1), functools.partial(scaled, 1), functools.partial(scaled, 2)),
        (Loss(1.0), Loss(1.0), Loss(2.0)),
        (Loss(1.0).method, Loss(1.0).method, Loss(2.0).method),
        (
            nn.CrossEntropyLoss(torch.ones(3)),
            nn.CrossEntropyLoss(torch.ones(3)),
            nn.CrossEntropyLoss(torch.tensor([1.0, 2, 3])),
        ),
        ([1, {"a": None}], [1, {"a": None}], [1, {"a": 0}]),
        ({1, 2}, {2, 1}, {1, 3}),
        (torch.float32, torch.float32, torch.float64),
        (print, print, len),
    ]
    for one, same, other in pairs:
        assert digest(one) == digest(same) != digest(other)
        assert " at 0x" not in identity(one)
