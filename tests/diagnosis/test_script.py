"""Training scripts, run as they are under watch."""

import json

import pytest
import torch

from thalweg import errors
from thalweg.cli import main
from thalweg.diagnosis import commands
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


def test_scripts_that_are_named_together_do_not_meet(tmp_path, capsys):
    (tmp_path / "first.py").write_text(
        "import torch\ntorch.set_default_dtype(torch.float64)\n" + MENDED, encoding="utf-8"
    )
    second = "import torch\nassert torch.get_default_dtype() == torch.float32\n" + MENDED
    (tmp_path / "second.py").write_text(second, encoding="utf-8")
    (tmp_path / "third.py").write_text("import os\nos._exit(3)", encoding="utf-8")
    names = [str(tmp_path / name) for name in ("first.py", "second.py", "third.py")]
    assert main(["diagnose", *names, "--steps", "20", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["diagnoses"]
    assert [one["cost"]["gradient_evaluations"] for one in found[:2]] == [20, 20]
    assert "ended its process" in found[2]["error"]["message"] and torch.get_default_dtype() == torch.float32


def test_a_task_file_that_trains_at_its_top_is_told(tmp_path):
    path = tmp_path / "task.py"
    path.write_text(TASK, encoding="utf-8")
    told = [
        one["why"] for one in commands.diagnose(str(path), budget=20).not_measured if one["what"] == "that training"
    ]
    assert len(told) == 1 and "task.py trains when it is loaded (7 steps)" in told[0]
    path.write_text(TASK.replace("range(7)", "range(0)"), encoding="utf-8")
    assert not any(one["what"] == "that training" for one in commands.diagnose(str(path), budget=20).not_measured)


MENDED = SCRIPT.replace("{after}", "pass").replace("{zero}", "opt.zero_grad()")
TASK = """
import torch
import thalweg as tw
x, y = torch.randn(80, 4), torch.randint(2, (80,))
task = tw.Task(model=lambda: torch.nn.Linear(4, 2), train=(x, y), loss=torch.nn.functional.cross_entropy, epochs=2)
net = torch.nn.Linear(4, 2)
opt = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(7):
    opt.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    opt.step()
"""
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
