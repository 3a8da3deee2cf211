"""Characters of Shakespeare: a small decoder that predicts the next character.

Data (not part of the package): tinyshakespeare, gathered by A. Karpathy; public domain.
Legend of shapes: B rows, T characters, H heads, D width, V characters of the alphabet.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.task import Task
from thalweg.tasks.folder import find

CONTEXT, WIDTH, HEADS, LAYERS = 64, 64, 4, 2
ORIGIN = "tinyshakespeare: https://github.com/karpathy/char-rnn (data/tinyshakespeare/input.txt, public domain)"


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The next representation, (B, T, D)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x_BTD)).chunk(3, -1)
        )
        mixed_BHTd = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.proj(mixed_BHTd.transpose(1, 2).flatten(2))
        return x_BTD + self.down(F.gelu(self.up(self.norm2(x_BTD))))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Token and learned position embeddings, blocks, a final norm and an untied head.

    Args:
        vocabulary: characters of the alphabet.
        context: longest input.
        width: of the representation.
        heads: of the attention.
        layers: blocks.
    """

    def __init__(
        self, vocabulary: int, context: int = CONTEXT, width: int = WIDTH, heads: int = HEADS, layers: int = LAYERS
    ) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (B, T, V) of the next characters."""
        x_BTD = self.token(tokens_BT) + self.position.weight[: tokens_BT.shape[-1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.head(self.norm(x_BTD))  # type: ignore[no-any-return]


def windows(text: Tensor, length: int = CONTEXT) -> tuple[Tensor, Tensor]:
    """Contiguous windows (N, length) of a text and the same moved by one: what comes next.

    Example:
        >>> windows(torch.arange(5), 2)
        (tensor([[0, 1],
                [2, 3]]), tensor([[1, 2],
                [3, 4]]))
    """
    count = (len(text) - 1) // length
    return text[: count * length].view(count, length), text[1 : count * length + 1].view(count, length)


def shakespeare() -> Task:
    """1 115 394 characters, 10 % to validate; 2 layers, 4 heads, width and context 64; 500 steps of 32 windows."""
    text = find("tinyshakespeare/input.txt", ORIGIN).read_text(encoding="utf-8")
    place = {character: number for number, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([place[character] for character in text])
    cut = len(tokens) * 9 // 10
    return Task(
        model=partial(Decoder, len(place)),
        train=windows(tokens[:cut]),
        valid=windows(tokens[cut:]),
        metric="nll",
        batch_size=32,
        steps=500,
        name="shakespeare",
    )
