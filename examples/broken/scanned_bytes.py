"""Recognize digits in scanned pages, one byte a pixel as the scanner gives them, with plain SGD."""

import torch
from torch import nn

import thalweg as tw

digits = tw.Task.load("digits")


def scanned(images):
    """The pictures as the scanner stores them: paper is 255, ink is 0."""
    return (255 - 255 * images).round().to(torch.uint8)


def pictures(data):
    images, labels = data
    return scanned(images).float(), labels


def make_net():
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


task = tw.Task(
    model=make_net,
    train=pictures(digits.train),
    valid=pictures(digits.valid),
    loss=nn.functional.cross_entropy,
    metric="accuracy",
    batch_size=32,
    epochs=15,
    name="scans",
)
recipe = tw.Recipe("sgd", lr=0.1, schedule="constant")

if __name__ == "__main__":
    print(tw.train(task, recipe, quiet=True))
