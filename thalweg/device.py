"""Where a task is trained."""

from __future__ import annotations

import torch

from thalweg.errors import BadOption


def find_device(name: str) -> torch.device:
    """The torch device of a name; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises:
        BadOption: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise BadOption(f"Task: device {name!r} is not known: {str(error).splitlines()[0]}", 'use "auto"') from error
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise BadOption(f"Task: there is no device {name!r} here", 'use "auto", which takes what there is')
    return device
