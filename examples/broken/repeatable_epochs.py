"""Train on pictures that lie in one folder per class, every epoch the same, so that runs can be compared."""

import torch
from torch import nn

import thalweg as tw

digits = tw.Task.load("digits")


def read_folders(data):
    """One class after the other, as the folders are listed."""
    images, labels = data
    by_folder = [images[labels == digit] for digit in range(10)]
    return torch.cat(by_folder), torch.cat([torch.full((len(f),), digit) for digit, f in enumerate(by_folder)])


def make_net():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


task = tw.Task(
    model=make_net,
    train=read_folders(digits.train),
    valid=digits.valid,
    loss=nn.functional.cross_entropy,
    metric="accuracy",
    batch_size=32,
    epochs=10,
    shuffle=False,
    name="folders",
)
recipe = tw.Recipe("sgd", lr=0.2, schedule="constant")

if __name__ == "__main__":
    print(tw.train(task, recipe, quiet=True))
