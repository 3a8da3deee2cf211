"""What a function or object is, as text that is the same in every process: for telling tasks apart."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import types
from typing import Any

import torch

DEEP = 6  # levels of closures, arguments and attributes that are looked into


def identity(value: Any, depth: int = DEEP) -> str:
    """A text that differs where the source, the arguments, the closure or the numbers of ``value`` differ.

    Args:
        value: a function, partial, method, module, tensor, or any object.
        depth: how many levels are looked into.

    Example:
        >>> identity(functools.partial(round, ndigits=1)) == identity(functools.partial(round, ndigits=2))
        False
    """
    if isinstance(value, torch.Tensor):
        x = value.detach().double() if value.is_floating_point() else value.detach()
        sums = [x.sum().item(), x.abs().sum().item()] if x.numel() and not x.is_complex() else []
        return f"{value.dtype}{tuple(value.shape)}{sums}"
    if value is None or isinstance(value, str | bytes | int | float | bool | complex | torch.dtype | torch.device):
        return repr(value)
    if depth <= 0 or isinstance(value, types.ModuleType | type):
        return f"{type(value).__name__}:{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"
    if isinstance(value, functools.partial):
        return f"partial({identity(value.func, depth - 1)},{identity((value.args, value.keywords), depth - 1)})"
    if isinstance(value, torch.nn.Module):
        state = {name: identity(tensor) for name, tensor in value.state_dict().items()}
        return f"{value!r}{state}"
    if inspect.ismethod(value):
        return f"{identity(value.__func__, depth - 1)}of{identity(value.__self__, depth - 1)}"
    if isinstance(value, types.FunctionType):
        cells = [identity(cell.cell_contents, depth - 1) for cell in value.__closure__ or () if _filled(cell)]
        return f"{value.__qualname__}{_source(value)}{cells}{identity(value.__defaults__, depth - 1)}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{identity(k, depth - 1)}:{identity(v, depth - 1)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        parts = [identity(v, depth - 1) for v in value]
        return f"{type(value).__name__}({','.join(sorted(parts) if isinstance(value, set | frozenset) else parts)})"
    held = getattr(value, "__dict__", None)
    inside = identity(held, depth - 1) if held is not None else re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return f"{type(value).__qualname__}{inside}"


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of `identity`."""
    return hashlib.blake2b(identity(value).encode(), digest_size=8).hexdigest()


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _source(function: types.FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = function.__code__
        return f"{code.co_code.hex()}{code.co_names}{[c for c in code.co_consts if not isinstance(c, types.CodeType)]}"
