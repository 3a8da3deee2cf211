"""What broke before the model, in both sides of a question: columns, images, the target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..sample import Flat
from .looking import Look
from .pipeline import Broken, signatures, turned


def faults(look: Look) -> list[Broken]:
    """The signatures of a broken pipeline; [] where none is found.

    Args:
        look: both sides under the model.
    """
    names = look.columns[0].names
    found = _target(look) if look.target is not None and look.target.alarm else []
    if not look.moved:
        return found
    images = [_images(s.inputs, names) for s in (look.subject.reference, look.incoming)]
    way = None if images[0] is None or images[1] is None else turned(images[0], images[1])
    if way is not None:
        return [*found, way]
    if look.subject.reference.table is not None or images[0] is None or _scaled(look):
        found += signatures(*look.columns, [f.name for f in look.moved], level=look.level)
    return found


def _images(inputs: Any, names: list[str]) -> Any:
    """The rows as images (N, C, H, W), also where square ones come as vectors without names; None: they are none."""
    shape = tuple(getattr(inputs, "shape", ()))
    if len(shape) == 4 and min(shape[2:]) > 3:
        return _numbers(inputs)
    if len(shape) == 3 and inputs.is_floating_point():
        return _numbers(inputs)[:, None]
    side = math.isqrt(shape[1]) if len(shape) == 2 else 0
    if side >= 7 and side**2 == shape[1] and inputs.is_floating_point() and names[0] == "x0":
        return _numbers(inputs).reshape(-1, 1, side, side)
    return None


def _numbers(inputs: Tensor) -> npt.NDArray[Any]:
    """Without a copy, but of what NumPy does not know."""
    return inputs.float().numpy() if inputs.dtype == torch.bfloat16 else inputs.numpy()


def _scaled(look: Look) -> bool:
    """Whether all values together have another size."""
    a, b = (float(np.nanmean(np.abs(side.values))) for side in look.columns)
    return a > 0 and b > 0 and not 1 / 4 < b / a < 4


def _target(look: Look) -> list[Broken]:
    """A target in another unit."""
    assert look.numbers is not None and look.subject.task is not None
    (a, b), encoder = look.numbers, getattr(look.subject.task.prepare().train, "encoder", None)
    name = "the target"
    if encoder is not None:
        a, b, name = a * encoder.scale + encoder.centre, b * encoder.scale + encoder.centre, encoder.target_name
    return [x for x in signatures(Flat(a, [name]), Flat(b, [name]), [name]) if x.what in ("units", "sign")]
