"""Fine-tuning: a pretrained backbone with a new head; the stem frozen, the head at ten times the rate."""

import torch
from torch import nn

import thalweg as tw


class Net(nn.Module):
    """A backbone and a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.body = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)))


torch.manual_seed(0)  # for the head, which is drawn here
data = tw.Task.load("digits").prepare()
x, y = data.train.inputs, data.train.targets
few, many = y < 5, y >= 5

# Pretraining on the digits 0 to 4.
first = tw.Task(model=lambda: Net(5), train=(x[few], y[few]), epochs=20, name="digits-0-4")
backbone = tw.train(first, tw.Recipe("adamw", lr=3e-3), quiet=True).model

# Fine-tuning on the digits 5 to 9 with a new head; the loaded weights are recognized as trained and kept.
backbone.head = nn.Linear(32, 5)
task = tw.Task(model=backbone, train=(x[many], y[many] - 5), epochs=20, name="digits-5-9")
recipe = tw.Recipe("adamw", lr=3e-3, freeze=["stem.*"], groups={"head.*": {"lr_scale": 10}})
run = tw.train(task, recipe, quiet=True)
print(run)
for part in ("stem", "body", "head"):
    before, after = backbone.get_submodule(part).state_dict(), run.model.get_submodule(part).state_dict()
    moved = max((after[name] - before[name]).abs().max().item() for name in before)
    print(f"{part}: {'unchanged' if moved == 0 else f'moved by up to {moved:.3f}'}")
