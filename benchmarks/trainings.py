"""Trainings of a network of GPT-2's shapes, each by one optimizer in a process of its own, whose steps take turns.

What a step that makes new tensors costs depends on where their memory comes from: what its process has freed, or the
system, which takes longer. So a peer's step is measured where its users have it: after a backward, with no other
optimizer in its process.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from thalweg import optim

WIDTH, PLACES = 768, 1_024
WARM = 7  # turns that are not counted: RAdam's first five steps are shorter
REST = 0.02  # seconds, after which the threads of another process no longer wait for work


class GPT2(nn.Module):
    """GPT-2's tensors, the output tied to the embedding: with 12 blocks and 50 257 words 124 M numbers in 148."""

    def __init__(self, blocks: int, words: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, WIDTH), nn.Embedding(PLACES, WIDTH)
        made = (nn.TransformerEncoderLayer(WIDTH, 12, 4 * WIDTH, 0.0, "gelu", batch_first=True) for _ in range(blocks))
        self.blocks, self.norm = nn.Sequential(*made), nn.LayerNorm(WIDTH)
        for embedding in (self.words, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the next word, (texts, length, words)."""
        h: Tensor = self.norm(self.blocks(self.words(x) + self.places.weight[: x.shape[1]]))
        return h @ self.words.weight.T


@dataclass(frozen=True)
class Training:
    """A network, made where it is trained, and the optimizer with its options; ``library`` "thalweg" is ours."""

    library: str
    name: str
    blocks: int
    words: int
    options: dict[str, Any] = field(default_factory=dict)

    def optimizer(self, params: Any) -> Any:
        """The optimizer, ready to train; ImportError if its library is not installed."""
        if self.library == "thalweg":
            return optim.optimizer_class(self.name)(params, lr=1e-4, **self.options)
        module = torch.optim if self.library == "torch" else __import__(self.library)
        made = getattr(module, self.name)(params, lr=1e-4, **self.options)
        if hasattr(made, "train"):
            made.train()
        return made

    def begin(self) -> tuple[Callable[[], None], Callable[[], Any]]:
        """A backward, and the step after it."""
        net = GPT2(self.blocks, self.words)
        optimizer, x = self.optimizer(net.parameters()), torch.randint(self.words, (1, 33))

        def backward() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[:, :-1])[0], x[0, 1:]).backward()

        return backward, optimizer.step


@dataclass(frozen=True)
class Floor:
    """An in-place multiplication of as many numbers."""

    numbers: int

    def begin(self) -> tuple[Callable[[], None], Callable[[], Any]]:
        """Nothing before it, and the multiplication."""
        x = torch.ones(self.numbers)
        return lambda: None, lambda: x.mul_(1.0001)


def serve(pipe: Connection, made: Training | Floor) -> None:
    """Step when asked, and answer with the seconds; a library that is not installed is said."""
    try:
        before, step = made.begin()
    except ImportError:
        pipe.send(False)
        return
    pipe.send(True)
    while pipe.recv():
        before()
        began = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - began)


def turns(made: dict[str, Training | Floor], n: int) -> list[dict[str, float]]:
    """Seconds of the steps in each turn, without what is not installed."""
    context, pipes = multiprocessing.get_context("spawn"), {}
    for name, training in made.items():
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, training), daemon=True).start()
        theirs.close()
    for name in [name for name, pipe in pipes.items() if not pipe.recv()]:
        print(f"{name} is not installed: pip install thalweg[bench]", file=sys.stderr)
        del pipes[name]

    def ask(pipe: Connection) -> float:
        time.sleep(REST)
        pipe.send(True)
        return float(pipe.recv())

    times = [{name: ask(pipe) for name, pipe in pipes.items()} for _ in range(WARM + n)][WARM:]
    for pipe in pipes.values():
        pipe.send(False)
    for process in multiprocessing.active_children():
        process.join()
    return times
