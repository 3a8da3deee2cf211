"""How many members of a cohort the memory holds."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import rules
from .cohort import Solo
from .seeds import stream

if TYPE_CHECKING:
    from torch import Tensor

    from .recipe import Recipe
    from .task import Task

SHARE = 0.5  # of the free memory that cohorts may take: what operators hold for a moment is not counted
CGROUPS = (  # limit, what is used, and the name in memory.stat of what of it are files that can be read again
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def member_bytes(task: Task, recipe: Recipe) -> int:
    """Memory that a member of a cohort takes: weights, gradients, states, and what the forward keeps for the backward.

    Measured by one forward of the model alone, so that nothing large is allocated to find out.

    Args:
        task: what is trained.
        recipe: how; its rate is known.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> 30_000 < member_bytes(task, thalweg.Recipe("adam", lr=1e-3)) < 200_000
        True
    """
    saved: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return x

    data = task.prepare()
    with stream(0, "dropout"):
        solo = Solo(task, recipe, 0, 1)
        batch = next(iter(data.train.training(recipe.batch_size or data.batch_size, [0])))
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
            sdpa_kernel(SDPBackend.MATH),
        ):  # as in a cohort
            solo.forward(batch)
    weights, buffers = list(solo.model.parameters()), list(solo.model.buffers())
    for x in (*weights, *buffers):
        saved.pop(x.untyped_storage().data_ptr(), None)
    # A step's traffic is 12 bytes a number and 8 for each state: weight and gradient stay, and half of the states' share.
    held = rules.get(recipe.optimizer).bytes_per_parameter(recipe.options) // 2 + 2
    return sum(saved.values()) + held * sum(p.numel() for p in weights) + sum(b.nbytes for b in buffers)


def free_bytes(device: str) -> float:
    """Memory that is free on a device, within the limits that this process was given; infinite where unknown.

    Example:
        >>> from thalweg.capacity import free_bytes
        >>> free_bytes("cpu") > 2**20
        True
    """
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    found = [math.inf]
    for folder, limit, used, cached in CGROUPS:
        most, now = _number(f"{folder}/{limit}"), _number(f"{folder}/{used}")
        if most is not None and now is not None:
            found.append(most - now + (_number(f"{folder}/memory.stat", cached) or 0.0))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    except OSError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2)
    return max(0.0, min(found))


def _number(path: str, name: str = "") -> float | None:
    """The number in a file, or that after a name at the beginning of a line."""
    try:
        lines = [line.split() for line in Path(path).read_text(encoding="ascii").splitlines()]
        return next((float(words[-1]) for words in lines if not name or words[0] == name), None)
    except (OSError, ValueError, IndexError):
        return None


def most_members(task: Task, recipe: Recipe, workers: int = 1) -> int:
    """How many members fit into a cohort when so many workers have one each; at least 1."""
    each = member_bytes(task, recipe)
    room = SHARE * free_bytes(task.prepare().device.type) / workers
    return max(1, int(min(room / max(each, 1), 1e9)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up, on the device or in this process."""
    said = str(error).lower()
    told = "not enough memory" in said or "out of memory" in said
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and told)
