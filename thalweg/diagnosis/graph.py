"""What the autograd graph of a loss tells before it is walked backward: layers, activations, the loss function, targets.

Nothing is run for it and no module is hooked, so functions (``F.relu``) are seen as well as modules. A saved tensor is
read only where it lies in the graph as it is: activation checkpointing and offloading would compute it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

NODES = 20_000  # of a graph, at most
NUMBERS = 65_536  # of an activation, at most
LAYERS = ("AddmmBackward", "MmBackward", "ConvolutionBackward", "LinearBackward")
# Losses that cannot be below zero; the first two where they are given log-probabilities.
LOSSES = ("NllLossBackward", "NllLoss2DBackward", "MseLossBackward", "BinaryCrossEntropyWithLogitsBackward",
          "BinaryCrossEntropyBackward", "SmoothL1LossBackward", "HuberLossBackward")  # fmt: skip
KEEPS = ("ToCopyBackward", "ViewBackward", "SqueezeBackward", "UnsqueezeBackward", "MeanBackward", "SumBackward")
SCALES = ("NegBackward", "MulBackward", "DivBackward")
SUM = 2  # torch's number of reduction="sum"
SATURATED = {"TanhBackward": (-1.0, 1.0), "SigmoidBackward": (0.0, 1.0)}
NEAR = 0.01  # of the range of tanh and sigmoid, from its end


@dataclass
class Scene:
    """What one graph showed.

    Attributes:
        reached: identities of the parameters in it.
        depth: names (weight, bias or None) of the layers with weights, in the order of the forward pass.
        dead: where → units of a ReLU that are zero on every row.
        rows: how many those are.
        saturated: where → share of the numbers of a tanh or sigmoid that are within 1 % of its end.
        channel_values: where → values a channel of a batch norm in training mode.
        normalized: whether there is any normalization.
        half: whether any activation is float16.
        loss: name of the loss function, "" where it is none that is known.
        summed: rows that the loss is summed over; 0: it is not, or is divided afterwards.
        non_negative: whether the loss function cannot be below zero.
        classes: how many there are.
        labels: class → rows of this batch.
        constant: whether the output is the same for every row; None: not seen.
        doubled: the function that a loss of logits has inside and that its input has been through too; "": none.
        opaque: what hides a part of the graph.
    """

    reached: set[int] = field(default_factory=set)
    depth: list[tuple[str, str | None]] = field(default_factory=list)
    dead: dict[str, Tensor] = field(default_factory=dict)
    rows: int = 0
    saturated: dict[str, float] = field(default_factory=dict)
    channel_values: dict[str, int] = field(default_factory=dict)
    normalized: bool = False
    half: bool = False
    loss: str = ""
    summed: int = 0
    non_negative: bool = False
    classes: int = 0
    labels: dict[int, int] = field(default_factory=dict)
    constant: bool | None = None
    doubled: str = ""
    opaque: set[str] = field(default_factory=set)


def children(node: Any) -> list[Any]:
    """The nodes behind a node."""
    return [child for child, _ in node.next_functions if child is not None]


def nodes_of(root: Tensor) -> list[Any]:
    """All nodes behind a loss, in the order of the forward pass; leaves last."""
    seen: dict[Any, None] = {}
    stack = [root.grad_fn]
    while stack and len(seen) < NODES:
        node = stack.pop()
        if node is not None and node not in seen:
            seen[node] = None
            stack += children(node)
    return sorted(seen, key=lambda node: node._sequence_nr())


def saved(node: Any, name: str) -> Tensor | None:
    """A tensor that a node saved; None where it did not, or where reading would compute it again."""
    raw = getattr(node, f"_raw_saved_{name}", None)
    if raw is None or getattr(raw, "unpack_hook", True) is not None:
        return None
    try:
        value: Tensor | None = getattr(node, f"_saved_{name}")
    except RuntimeError:  # changed in place since; the backward pass itself will say so
        return None
    return None if value is None else value.detach()


def saved_tensors(node: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors that a node saved and that may be read."""
    for key in dir(node):
        if key.startswith("_raw_saved_"):
            name = key.removeprefix("_raw_saved_")
            value = saved(node, name)
            if value is not None:
                yield name, value


def own_parameters(node: Any) -> Iterator[Tensor]:
    """The leaves that a node reads itself, through a transpose or a cast at most."""
    for child in children(node):
        if hasattr(child, "variable"):
            yield child.variable
        elif child.name().startswith(("TBackward", "ToCopyBackward", "TransposeBackward")):
            for grandchild in children(child):
                if hasattr(grandchild, "variable"):
                    yield grandchild.variable


def owner(node: Any, names: Mapping[int, str]) -> str:
    """The module that a node belongs to or follows: that of the nearest parameters behind it; "" where there is none."""
    for _ in range(12):
        for parameter in own_parameters(node):
            name = names.get(id(parameter))
            if name is not None:
                return name.rpartition(".")[0]
        behind = [child for child in children(node) if not hasattr(child, "variable")]
        if not behind:
            return ""
        node = behind[0]
    return ""


def read(root: Tensor, names: Mapping[int, str]) -> Scene:
    """Read the graph of a loss.

    Args:
        root: the loss, before its backward pass.
        names: identity of a parameter → its name.
    """
    scene = Scene()
    for node in nodes_of(root):
        if hasattr(node, "variable"):
            scene.reached.add(id(node.variable))
            continue
        kind = node.name().rstrip("0123456789")
        if kind in LAYERS:
            _layer(node, names, scene)
        elif kind == "ReluBackward":
            result = saved(node, "result")
            if result is not None and result.dim() > 1:
                where = f"the ReLU after {owner(node, names) or 'the input'}"
                result = _some(result)
                zero = _units_where_all(result == 0)
                scene.rows = result.shape[0]
                known = scene.dead.get(where)
                scene.dead[where] = zero if known is None or known.shape != zero.shape else known & zero
                scene.half |= result.dtype == torch.float16
        elif kind in SATURATED:
            result = saved(node, "result")
            if result is not None and result.dim() > 1 and result.shape[-1] > 1:
                low, high = SATURATED[kind]
                near = NEAR * (high - low) / 2 if low else NEAR
                ends = (_some(result) < low + near) | (_some(result) > high - near)
                where = f"the {kind.removesuffix('Backward').lower()} after {owner(node, names) or 'the input'}"
                scene.saturated[where] = float(ends.float().mean())
        elif "BatchNorm" in kind or "LayerNorm" in kind or "GroupNorm" in kind or "RmsNorm" in kind:
            _normalization(node, kind, names, scene)
        elif kind.startswith("CompiledFunction"):
            scene.opaque.add("a compiled model: layers and activations inside it are not seen")
        elif kind.startswith("CheckpointFunction"):
            scene.opaque.add("activations inside a checkpointed part are not seen")
    _loss(root, scene)
    return scene


def _layer(node: Any, names: Mapping[int, str], scene: Scene) -> None:
    own = [(names[id(p)], p) for p in own_parameters(node) if id(p) in names]
    weights = [name for name, p in own if p.dim() > 1]
    if weights:
        scene.depth.append((weights[0], next((name for name, p in own if p.dim() == 1), None)))
    value = saved(node, "mat1" if "mm" in node.name().lower() else "input")
    scene.half |= value is not None and value.dtype == torch.float16


def _normalization(node: Any, kind: str, names: Mapping[int, str], scene: Scene) -> None:
    scene.normalized = True
    if "BatchNorm" in kind and getattr(node, "_saved_training", False):
        value = saved(node, "input")
        if value is not None and value.shape[0] > 0:
            where = owner(node, names)
            scene.channel_values[where] = value.numel() // value.shape[1]


def _some(value: Tensor) -> Tensor:
    """The first rows, so that there are not too many numbers."""
    rows = max(1, NUMBERS * value.shape[0] // max(value.numel(), 1))
    return value[:rows]


def _units_where_all(mask: Tensor) -> Tensor:
    """Which units (channels of images, else the last axis) have True everywhere."""
    axis = 1 if mask.dim() >= 4 else mask.dim() - 1
    return mask.transpose(axis, -1).flatten(0, -2).all(0).cpu()


def _loss(root: Tensor, scene: Scene) -> None:
    """Follow the loss down to a loss function that is known, through what only scales it or changes its shape."""
    node: Any = root.grad_fn
    scaled = summed = False
    for _ in range(12):
        kind = node.name().rstrip("0123456789")
        if kind in LOSSES:
            break
        behind = children(node)
        if len(behind) != 1 or kind not in KEEPS + SCALES:
            return
        scaled |= kind in SCALES or kind == "MeanBackward"
        summed |= kind == "SumBackward"
        node = behind[0]
    else:
        return
    scene.loss = kind.removesuffix("Backward")
    target, output = saved(node, "target"), saved(node, "self")
    reduction = getattr(node, "_saved_reduction", None)
    if target is not None and not scaled and (reduction == SUM or (reduction == 0 and summed)):
        scene.summed = target.numel()
    behind = children(node)
    if kind.startswith("Nll"):
        scene.non_negative = bool(behind) and behind[0].name().startswith("LogSoftmax")
        if scene.non_negative and _first(behind[0]).startswith("SoftmaxBackward"):
            scene.doubled = "softmax"
        if target is not None and output is not None and target.dim() == 1:
            scene.classes = output.shape[1]
            values, counts = torch.unique(target, return_counts=True)
            scene.labels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    elif kind.startswith("BinaryCrossEntropy"):
        scene.non_negative = target is not None and bool(((target >= 0) & (target <= 1)).all())
        if "WithLogits" in kind and _first(node).startswith("SigmoidBackward"):
            scene.doubled = "sigmoid"
    else:
        scene.non_negative = True
    if output is not None and output.dim() >= 1 and output.shape[0] > 1:
        rows = output.float()
        scale = rows.abs().max() * 8 * torch.finfo(output.dtype).eps
        scene.constant = bool((rows.amax(0) - rows.amin(0)).max() <= scale)


def _first(node: Any) -> str:
    """The name of what comes before a node, but for changes of shape."""
    for _ in range(4):
        behind = children(node)
        if not behind:
            return ""
        node = behind[0]
        if not node.name().startswith(KEEPS):
            break
    return str(node.name())


def where_not_finite(root: Tensor, names: Mapping[int, str]) -> tuple[str, str]:
    """The first place of the forward pass where a number is not finite.

    Returns:
        ("input", module), ("inside", module), or ("loss", "") where all that was saved is finite.
    """
    for node in nodes_of(root):
        for name, value in saved_tensors(node):
            mask = "mask" in name or "bias" in name  # of an attention: −inf on purpose
            if value.is_floating_point() and not mask and not value.isfinite().all():
                if name.startswith(("result", "output")):
                    return "inside", owner(node, names)
                inner = [c for c in children(node) if not hasattr(c, "variable") and not c.name().startswith("TBack")]
                return ("inside", owner(inner[0], names)) if inner else ("input", owner(node, names))
    return "loss", ""
