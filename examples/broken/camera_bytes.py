"""Recognize digits in grey pictures of one byte a pixel, as a camera gives them, with plain SGD."""

import torch
from torch import nn

import thalweg as tw

digits = tw.Task.load("digits")


def as_bytes(images):
    """The pictures as the camera stores them: 0 is black, 255 is white."""
    return (images * 255).round().to(torch.uint8)


def pictures(data):
    images, labels = data
    return as_bytes(images).float(), labels


def make_net():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


task = tw.Task(
    model=make_net,
    train=pictures(digits.train),
    valid=pictures(digits.valid),
    loss=nn.functional.cross_entropy,
    metric="accuracy",
    batch_size=32,
    epochs=10,
    name="camera",
)
recipe = tw.Recipe("sgd", lr=0.1, schedule="constant")

if __name__ == "__main__":
    print(tw.train(task, recipe, quiet=True))
