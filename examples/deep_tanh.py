"""A network that does not train, to look into: 50 tanh layers of width 512 with weights drawn from N(0, 1).

thalweg diagnose --signal examples/deep_tanh.py:task
"""

import torch
from torch import nn

import thalweg as tw

DEPTH, WIDTH = 50, 512
generator = torch.Generator().manual_seed(0)
x = torch.randn(2000, WIDTH, generator=generator)
y = (x[:, 0] + x[:, 1] > 0).long()


def make_net(std=1.0):
    layers = []
    for _ in range(DEPTH):
        layers += [nn.Linear(WIDTH, WIDTH), nn.Tanh()]
        nn.init.normal_(layers[-2].weight, std=std)
    return nn.Sequential(*layers, nn.Linear(WIDTH, 2))


task = tw.Task(model=make_net, train=(x, y), batch_size=64, epochs=1, name="deep-tanh")

if __name__ == "__main__":
    print(tw.signal(task))
