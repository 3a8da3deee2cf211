"""Train a deep network with batch norm, looking at the validation accuracy before and after every epoch."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

DEPTH, WIDTH, EPOCHS = 12, 64, 8

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x_train, x_valid, y_train, y_valid = train_test_split(images / 16, labels, test_size=0.25, random_state=0)
x_train, x_valid = torch.tensor(x_train).float(), torch.tensor(x_valid).float()
y_train, y_valid = torch.tensor(y_train), torch.tensor(y_valid)
loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True, drop_last=True)

layers = []
for depth in range(DEPTH):
    layers += [nn.Linear(64 if depth == 0 else WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def validate():
    model.eval()
    with torch.no_grad():
        return (model(x_valid).argmax(1) == y_valid).float().mean().item()


model.train()
print(f"before training: accuracy {validate():.3f}")
for epoch in range(EPOCHS):
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {validate():.3f}")
