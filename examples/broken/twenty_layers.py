"""Recognize digits with twenty layers of tanh, whose weights are drawn by hand from a normal distribution."""

from torch import nn

import thalweg as tw

digits = tw.Task.load("digits")


class Deep(nn.Module):
    def __init__(self, depth=20, width=64):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, width) for _ in range(depth))
        self.head = nn.Linear(width, 10)
        for layer in self.layers:
            nn.init.normal_(layer.weight, mean=0.0, std=1.0)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).tanh()
        return self.head(x)


task = tw.Task(
    model=Deep,
    train=digits.train,
    valid=digits.valid,
    loss=nn.functional.cross_entropy,
    metric="accuracy",
    batch_size=64,
    epochs=20,
    name="twenty-layers",
)
recipe = tw.Recipe("adam", lr=1e-3)

if __name__ == "__main__":
    print(tw.train(task, recipe, quiet=True))
