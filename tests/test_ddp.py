"""Two processes with DistributedDataParallel train as one process on all rows does."""

import copy
import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from thalweg import optim

STEPS, ROWS = 6, 8
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch has no distributed package")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(ROWS, 6, generator=generator) for _ in range(STEPS)]


def train(model, opt, rows):
    for batch in batches():
        part = batch[rows]
        opt.zero_grad()
        (model(part[:, :5]) - part[:, 5:]).square().mean().backward()
        opt.step()


def worker(rank, folder, options):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    net = network()
    model = DistributedDataParallel(net, **options)
    opt = optim.AdamW(model.parameters(), lr=0.02, clip_norm=1.0)
    train(model, opt, slice(rank * ROWS // 2, (rank + 1) * ROWS // 2))
    torch.save([p.detach() for p in net.parameters()], f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads now and then abort a process that takes them down in order


@pytest.mark.parametrize("options", [{}, {"gradient_as_bucket_view": True, "bucket_cap_mb": 0.001}], ids=str)
def test_two_processes_train_as_one(options, tmp_path):
    torch.multiprocessing.spawn(worker, (str(tmp_path), options), nprocs=2)
    net = copy.deepcopy(network())
    train(net, optim.AdamW(net.parameters(), lr=0.02, clip_norm=1.0, engine="reference"), slice(None))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for p, first, second in zip(net.parameters(), *ranks, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, p.detach(), rtol=1e-5, atol=1e-6)
