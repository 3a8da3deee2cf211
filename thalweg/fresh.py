"""Whether a module still has the weights its constructor drew, so that every seed may draw them anew."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.seeds import stream

RESETS = ("reset_parameters", "_reset_parameters")  # nn.MultiheadAttention and nn.Transformer have the second
P_VALUE = 1e-6  # of the two-sample test
BEYOND = 20  # as many values beyond the fresh maximum have probability 2^-20 by exchangeability
SAMPLE = 200_000  # values a tensor that enter the two-sample test


def redraw(model: nn.Module) -> None:
    """Draw all weights anew, in place, from the global generators: children first, as constructors do.

    Args:
        model: modules without ``reset_parameters`` keep what they have.
    """
    with torch.no_grad():
        for module in reversed(list(model.modules())):
            for name in RESETS:
                reset = getattr(module, name, None)
                if callable(reset):
                    reset()
                    break


def kept_because(model: nn.Module) -> str | None:
    """Why the weights of ``model`` cannot be redrawn, or None where they are recognizably fresh.

    The weights are compared with two fresh draws: what the constructor sets to a fixed value must still have it; what
    it draws must not differ in distribution (Kolmogorov–Smirnov, p < 1e-6), nor reach beyond the fresh values 20 times.

    Args:
        model: left untouched.

    Returns:
        A clause for a sentence, such as ``"0.weight was trained or initialized in its own way"``.

    Example:
        >>> kept_because(nn.Linear(3, 2)) is None
        True
    """
    draws = []
    for seed in (0, 1):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in twin.parameters():
                if parameter.is_floating_point() or parameter.is_complex():
                    parameter.fill_(math.nan)
        try:
            with stream(seed, "fresh"):
                redraw(twin)
        except Exception as error:
            return f"redrawing its weights failed: {type(error).__name__}: {error}"
        draws.append(twin)
    first, second = (dict(twin.named_parameters()) for twin in draws)
    for name, now in model.named_parameters():
        a, b, c = (_values(tensor) for tensor in (now, first[name], second[name]))
        if np.isnan(b).any():
            return f"{name} belongs to a module without reset_parameters"
        if _differs(a, b, c):
            return f"{name} was trained, loaded, or initialized in its own way"
    fresh = dict(draws[0].named_buffers())
    for name, buffer in model.named_buffers():
        if not np.array_equal(_values(buffer), _values(fresh[name]), equal_nan=True):
            return f"{name} holds statistics of data it has seen"
    return None


def looks_trained(model: nn.Module) -> bool:
    """Whether the weights are a trained network's rather than an initializer's, be it an initializer of one's own.

    An initializer leaves each tensor constant or a sample of one normal or uniform distribution about zero
    (Kolmogorov–Smirnov, p > 1e-6), and batch norm's counters at zero.

    Args:
        model: left untouched.

    Example:
        >>> looks_trained(nn.Linear(30, 20))
        False
    """
    if any(name.endswith("num_batches_tracked") and bool(buffer) for name, buffer in model.named_buffers()):
        return True
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    shapes = [torch.special.ndtri(grid).numpy(), (math.sqrt(3) * (2 * grid - 1)).numpy()]  # of standard deviation 1
    for parameter in model.parameters():
        x = _values(parameter)
        x = x[:: -(-x.size // SAMPLE) or 1]
        if x.size < 2 or (x == x[0]).all():
            continue
        x = x / math.sqrt(float((x * x).mean()))
        if max(ks_p_value(x, shape) for shape in shapes) < P_VALUE:
            return True
    return False


def _values(tensor: Tensor) -> np.ndarray:
    flat = tensor.detach().cpu().reshape(-1)
    flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
    return flat.double().numpy()


def _differs(now: np.ndarray, fresh: np.ndarray, other: np.ndarray) -> bool:
    if now.size == 0:
        return False
    if np.array_equal(fresh, other):  # the constructor draws nothing here
        return not np.array_equal(now, fresh)
    if not np.isfinite(now).all() or (now.size > 1 and (now == now[0]).all()):
        return True
    if int((np.abs(now) > np.abs(fresh).max()).sum()) >= BEYOND:
        return True
    every = -(-now.size // SAMPLE)
    return ks_p_value(now[::every], np.concatenate([fresh[::every], other[::every]])) < P_VALUE


def ks_p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Asymptotic p-value of the two-sample Kolmogorov–Smirnov test, with Stephens's correction for small samples.

    Example:
        >>> ks_p_value(np.arange(99.0), np.arange(99.0))
        1.0
    """
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    below_a, below_b = np.searchsorted(a, both, "right") / a.size, np.searchsorted(b, both, "right") / b.size
    root = math.sqrt(a.size * b.size / (a.size + b.size))
    x = (root + 0.12 + 0.11 / root) * float(np.abs(below_a - below_b).max())
    if x < 0.2:  # the alternating series needs many terms here, and its sum is 1 to all digits
        return 1.0
    return min(1.0, max(0.0, -2 * sum((-1.0) ** k * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))))
