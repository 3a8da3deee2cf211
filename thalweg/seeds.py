"""One stream of random numbers per purpose, so that drawing for one never changes the draws of another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor


def derive(seed: int, purpose: str) -> int:
    """The 63-bit seed of one purpose: unrelated for different purposes, equal on every machine.

    Args:
        seed: the seed a user gave.
        purpose: a word such as ``"weights"``, ``"order:3"`` or ``"dropout"``.

    Example:
        >>> derive(0, "weights") == derive(0, "weights"), derive(0, "weights") == derive(0, "order")
        (True, False)
    """
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class RandomState:
    """The state of the global generators: Python, NumPy, torch on the CPU and on every CUDA device.

    CUDA is left out while it is not initialized: asking would initialize it, which forbids a later fork.

    Example:
        >>> before = RandomState.capture()
        >>> a = torch.rand(3)
        >>> before.restore()
        >>> torch.equal(a, torch.rand(3))
        True
    """

    python: Any
    numpy: Any
    torch: Tensor
    cuda: tuple[Tensor, ...] | None

    @classmethod
    def capture(cls) -> RandomState:
        """The state now."""
        cuda = tuple(torch.cuda.get_rng_state_all()) if _cuda() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Put the generators back into this state."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(list(self.cuda))


def seed_all(number: int) -> None:
    """Seed the global generators (CUDA only once it is initialized) with one number of at most 63 bits."""
    random.seed(number)
    np.random.seed(number % 2**32)
    # Not torch.manual_seed: it would leave a queued seed for a CUDA that starts after the stream has ended.
    torch.default_generator.manual_seed(number)
    if _cuda():
        torch.cuda.manual_seed_all(number)


@contextmanager
def stream(seed: int, purpose: str) -> Iterator[None]:
    """Seed the global generators for one purpose inside the block; outside nothing has changed.

    Args:
        seed: the seed a user gave.
        purpose: what the numbers are for.

    Example:
        >>> with stream(0, "weights"):
        ...     a = torch.rand(2)
        >>> with stream(0, "weights"):
        ...     b = torch.rand(2)
        >>> torch.equal(a, b)
        True
    """
    outside = RandomState.capture()
    try:
        seed_all(derive(seed, purpose))
        yield
    finally:
        outside.restore()


class Stream:
    """A stream that can be entered again and again: each entry continues where the last one stopped.

    Args:
        seed: the seed a user gave.
        purpose: what the numbers are for.

    Attributes:
        state: where the next entry continues; None before the first. Save it to resume, set it to go back.

    Example:
        >>> a, b = Stream(0, "dropout"), Stream(0, "dropout")
        >>> with a:
        ...     whole = torch.rand(4)
        >>> with b:
        ...     first = torch.rand(2)
        >>> other = torch.rand(7)
        >>> with b:
        ...     second = torch.rand(2)
        >>> torch.equal(whole, torch.cat([first, second]))
        True
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self.seed, self.purpose = seed, purpose
        self.state: RandomState | None = None
        self._outside: list[RandomState | None] = []

    def __enter__(self) -> Stream:
        if self._outside:  # already inside: an inner entry simply goes on drawing
            self._outside.append(None)
            return self
        self._outside.append(RandomState.capture())
        if self.state is None:
            seed_all(derive(self.seed, self.purpose))
        else:
            self.state.restore()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outside = self._outside.pop()
        if outside is not None:
            self.state = RandomState.capture()
            outside.restore()

    def __repr__(self) -> str:
        return f"Stream({self.seed}, {self.purpose!r})"
