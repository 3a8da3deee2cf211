"""Training scripts, run as they are under watch."""

import pytest
import torch

from thalweg import errors
from thalweg.diagnosis.script import run_script

SCRIPT = """
import torch, torch.nn as nn, torch.nn.functional as F
print("to standard error")
torch.manual_seed(0)
x = torch.randn(512, 16); y = (x[:, :4]).argmax(1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(16, 32), nn.Linear(32, 4)
    def forward(self, x):
        return self.head(F.relu(self.body(x)))
def main():
    net, criterion = Net(), nn.CrossEntropyLoss()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    {after}
    for epoch in range(1000):
        net.train()
        for i in range(0, 512, 32):
            try:
                {zero}
                loss = criterion(net(x[i:i + 32]), y[i:i + 32])
                loss.backward()
                opt.step()
            except Exception:
                pass
        net.eval()
        with torch.no_grad():
            net(x)
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("after", "zero", "codes"),
    [
        ("pass", "opt.zero_grad()", []),
        ("pass", "pass", ["gradients-accumulate"]),
        ("net.head = nn.Linear(32, 4)", "opt.zero_grad()", ["parameters-not-in-optimizer"]),
        ("net = Net()", "net.zero_grad()", ["parameters-not-in-optimizer"]),
    ],
)
def test_a_script_is_run_as_it_is(tmp_path, capsys, after, zero, codes):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT.replace("{after}", after).replace("{zero}", zero), encoding="utf-8")
    init = torch.optim.Optimizer.__init__
    found, not_seen, steps = run_script(path, steps=40)
    assert [f.code for f in found if f.severity != "note"] == codes and steps == 40 and not_seen
    if codes == ["parameters-not-in-optimizer"] and "head" in after:
        assert found[0].where == "head"
    out, err = capsys.readouterr()
    assert out == "" and "to standard error" in err
    assert torch.optim.Optimizer.__init__ is init and not torch.nn.modules.module._global_forward_pre_hooks


def test_a_script_with_two_networks(tmp_path):
    path = tmp_path / "gan.py"
    path.write_text(GAN, encoding="utf-8")
    found, not_seen, steps = run_script(path, steps=60)
    assert not [f for f in found if f.severity != "note"] and steps == 60
    assert any("several optimizers" in said for said in not_seen)


def test_a_script_that_fails_or_takes_long(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(errors.BadTask, match="ZeroDivisionError"):
        run_script(path)
    with pytest.raises(errors.BadTask, match="no script"):
        run_script(tmp_path / "none.py")
    path.write_text(SCRIPT.replace("{after}", "pass").replace("{zero}", "opt.zero_grad()"), encoding="utf-8")
    assert run_script(path, steps=10**6, seconds=0.5)[2] > 5


GAN = """
import torch
from torch import nn
import torch.nn.functional as F
torch.manual_seed(0)
real = torch.randn(32, 16)
make = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 16))
judge = nn.Sequential(nn.Linear(16, 8), nn.LeakyReLU(), nn.Linear(8, 1))
a, b = torch.optim.Adam(make.parameters(), 1e-3), torch.optim.Adam(judge.parameters(), 1e-3)
while True:
    fake = make(torch.randn(32, 4))
    b.zero_grad()
    loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake.detach())).mean()
    loss.backward()
    b.step()
    a.zero_grad()
    F.softplus(-judge(fake)).mean().backward()
    a.step()
"""
