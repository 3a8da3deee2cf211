"""The optimizers in any PyTorch loop, as drop-in replacements of torch's, with clipping inside the step."""

import torch
from torch import nn

import thalweg as tw

torch.manual_seed(0)
net = nn.Linear(10, 1)
x = torch.randn(256, 10)
y = x @ torch.arange(10.0).unsqueeze(1)

optimizer = tw.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.0, clip_norm=10.0)
for step in range(1, 601):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    if step % 200 == 0:
        print(f"step {step}: loss {loss.item():.1e}, gradient norm {optimizer.grad_norm.item():.1e}")
