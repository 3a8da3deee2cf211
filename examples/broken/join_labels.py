"""Join a table of pictures and a table of labels by their ids, and train a classifier on the result."""

import torch
from torch import nn

import thalweg as tw

digits = tw.Task.load("digits")

# Two tables as they come out of JSON files: the keys are the ids, as text.
images, labels = (torch.cat([a, b]) for a, b in zip(digits.train, digits.valid, strict=True))
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
picture_table = {str(i): images[i] for i in range(len(labels))}
label_table = {str(i): int(labels[i]) for i in order}

picture_ids = sorted(picture_table, key=int)
label_ids = sorted(label_table)
x = torch.stack([picture_table[i] for i in picture_ids])
y = torch.tensor([label_table[i] for i in label_ids])
assert len(x) == len(y)


def make_net():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


task = tw.Task(
    model=make_net,
    train=(x[:1300], y[:1300]),
    valid=(x[1300:], y[1300:]),
    loss=nn.functional.cross_entropy,
    metric="accuracy",
    batch_size=64,
    epochs=15,
    name="joined-tables",
)
recipe = tw.Recipe("adamw", lr=3e-3)

if __name__ == "__main__":
    print(tw.train(task, recipe, quiet=True))
