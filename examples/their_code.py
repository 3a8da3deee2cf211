"""Somebody's code, as one finds it: a residual network in the style of torchvision, and loaders with augmentation."""

from importlib.resources import files

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


class BasicBlock(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + identity)


class ResNet(nn.Module):
    def __init__(self, width: int = 8, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = BasicBlock(width, width)
        self.layer2 = BasicBlock(width, 2 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2 * width, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


class Digits(Dataset):
    def __init__(self, augment: bool) -> None:
        data = np.load(str(files("thalweg") / "tasks" / "digits.npz"))
        images, labels = (data[name] for name in data.files)
        self.images = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self.images[index]
        if self.augment:
            dx, dy = torch.randint(-1, 2, (2,)).tolist()
            image = torch.roll(image, (dx, dy), (1, 2)) + 0.05 * torch.randn_like(image)
        return image, self.labels[index]


net = ResNet()
train_loader = DataLoader(Subset(Digits(augment=True), range(800)), batch_size=64, shuffle=True)
valid_loader = DataLoader(Subset(Digits(augment=False), range(800, 1797)), batch_size=256)

if __name__ == "__main__":
    images, labels = next(iter(train_loader))
    loss = nn.functional.cross_entropy(net(images), labels)
    print(
        f"{sum(p.numel() for p in net.parameters())} parameters, images {tuple(images.shape)}, loss {loss.item():.2f}"
    )
