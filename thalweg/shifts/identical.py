"""Which rows are the same, bit for bit, as others."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..batch import leaves


def row_keys(*columns: Any) -> npt.NDArray[np.uint64]:
    """A number for each row, (N,): equal rows have equal ones, others by chance once in 1.8e19 pairs.

    Args:
        columns: tensors (N, ...), or nestings of such; None is left out.

    Raises:
        ValueError: no tensor at all.

    Example:
        >>> a, b, c = row_keys(torch.tensor([[1.0, 2.0], [1.0, 2.5], [1.0, 2.0]]))
        >>> bool(a == c), bool(a == b)
        (True, False)
    """
    parts = [
        leaf.detach().cpu().contiguous().reshape(len(leaf), -1).view(torch.uint8).numpy() for leaf in leaves(columns)
    ]
    rows = np.ascontiguousarray(np.concatenate(parts, 1))
    digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint64)
