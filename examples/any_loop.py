"""The optimizers in any PyTorch loop."""

import torch
from torch import nn

import thalweg as tw

torch.manual_seed(0)
net = nn.Linear(10, 1)
x = torch.randn(256, 10)
y = x @ torch.arange(10.0).unsqueeze(1)
optimizer = tw.optim.AdamW(net.parameters(), lr=0.1, clip_norm=10.0)
for _step in range(500):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.2e}")
assert loss < 1e-2
