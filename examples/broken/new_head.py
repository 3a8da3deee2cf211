"""Learn the digits 0 to 4, then keep what was learned and teach a new last layer the digits 5 to 9."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images).float() / 16, torch.tensor(labels)
low, high = labels < 5, labels >= 5


def train(model, optimizer, x, y, epochs):
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    model.train()
    for epoch in range(epochs):
        for inputs, targets in loader:
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 512), nn.ReLU())
        self.head = nn.Linear(512, 5)

    def forward(self, x):
        return self.head(self.body(x))


model = Net()
train(model, torch.optim.Adam(model.parameters(), lr=3e-3), images[low], labels[low], epochs=5)

model.body.requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
model.head = nn.Linear(512, 5)
x, y = images[high], labels[high] - 5
train(model, optimizer, x[:-200], y[:-200], epochs=15)

model.eval()
with torch.no_grad():
    accuracy = (model(x[-200:]).argmax(1) == y[-200:]).float().mean().item()
print(f"accuracy {accuracy:.3f}")
