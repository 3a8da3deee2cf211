"""What operators do to the axes of their tensors; see `units`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..batch import leaves
from .axes import Axes, Axis, fix, identify, new, regrouped

GIVES = {"mm", "addmm", "bmm", "baddbmm", "linear", "convolution", "embedding", "add"}
JOINS = {"cat", "stack"}
FACTORS = {
    "mm": ("self", "mat2"), "bmm": ("self", "mat2"), "addmm": ("mat1", "mat2"), "baddbmm": ("batch1", "batch2"),
}  # fmt: skip
COPIES = {"clone", "_to_copy", "detach", "alias", "lift_fresh"}
UNIFORM = {"zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}


@dataclass
class Call:
    """An operator, what it is given by name, its results, and the axes of a tensor.

    ``shapes``: of the results, as they were then: a tensor may be transposed in place later.
    """

    func: Any
    args: Any
    kwargs: Any
    results: list[Tensor]
    of: Callable[[Tensor], Axes]
    name: str = field(init=False)
    tensors: list[Tensor] = field(init=False)
    shapes: list[tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.name = str(self.func).split(".")[1].rstrip("_")
        self.tensors = leaves((self.args, self.kwargs))
        self.shapes = [tuple(x.shape) for x in self.results]

    def __getitem__(self, name: str) -> Any:
        for k, argument in enumerate(self.func._schema.arguments):
            if argument.name == name:
                given = self.args[k] if k < len(self.args) else self.kwargs.get(name, argument.default_value)
                return given
        raise KeyError(name)

    def axes(self, name: str) -> Axes:
        """Of an argument; none where it is not given."""
        x = self[name]
        return self.of(x) if isinstance(x, Tensor) else []

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first result."""
        return self.shapes[0]


def axes_of(call: Call) -> list[Axes]:
    """The axes of an operator's results; those that are missing at the end are fixed."""
    rule = RULES.get(call.name)
    if not call.results:
        return []
    if rule is not None:
        return rule(call)
    if call.name in UNIFORM:
        return [new(call.shape)]
    if torch.Tag.pointwise in call.func.tags:
        return _pointwise(call)
    return unknown(call)


def unknown(call: Call) -> list[Axes]:
    """All that it is given is fixed."""
    fix(*(axis for x in call.tensors for axis in call.of(x)))
    return []


def _laid(terms: list[Axes], ndim: int) -> Axes:
    """Tensors laid on each other, the last axes on the last; an axis with a single place fits all."""
    result = Axes()
    for d in range(ndim, 0, -1):
        axes = [axes[-d] for axes in terms if len(axes) >= d and axes[-d]]
        for other in axes[1:]:
            identify(axes[0], other)
        result.append(axes[0] if axes else ())
    return result


def _same(call: Call) -> list[Axes]:
    return [call.of(call.tensors[0])]


def _product(call: Call) -> list[Axes]:
    """Of matrices, or of as many as the first axis has places; with a bias where it adds one."""
    added = "self" not in FACTORS[call.name]
    x, y = (call.axes(name) for name in FACTORS[call.name])
    identify(x[-1], y[-2])
    front = Axes()
    if len(x) == 3:
        identify(x[0], y[0])
        front = [x[0]]
    made = [*front, x[-2], y[-1]]
    return [_laid([made, call.axes("self")], len(made)) if added else made]


def _linear(call: Call) -> list[Axes]:
    x, weight = call.axes("input"), call.axes("weight")
    identify(x[-1], weight[1])
    return [_laid([[*x[:-1], weight[0]], call.axes("bias")], len(x))]


def _convolution(call: Call) -> list[Axes]:
    """Groups of channels: inputs and outputs are groups × channels of a group."""
    x, weight, groups = call.axes("input"), call.axes("weight"), int(call["groups"])
    fix(*x[2:], *weight[2:])
    (group,) = new([groups])
    (own,) = new([call["weight"].shape[0] // groups])
    identify(weight[0], group + own)
    inside, outside = group + weight[1], weight[0]
    if call["transposed"]:
        inside, outside = outside, inside
    identify(x[1], inside)
    for axis in call.axes("bias"):
        identify(axis, outside)
    return [[x[0], outside, *new(call.shape[2:], fixed=True)]]


def _embedding(call: Call) -> list[Axes]:
    weight = call.axes("weight")
    fix(weight[0])
    return [[*call.axes("indices"), weight[1]]]


def _channel_norm(call: Call) -> list[Axes]:
    x, *vectors = (call.of(y) for y in call.tensors)
    for vector in vectors:
        identify(x[1], vector[0])
    if call.name == "native_group_norm":
        identify(x[1], new([int(call["group"])])[0] + new([int(call["C"]) // int(call["group"])])[0])
    return [x]


def _layer_norm(call: Call) -> list[Axes]:
    x, *affine = (call.of(y) for y in call.tensors)
    return [_laid([x, *affine], len(x))]


def _pool(call: Call) -> list[Axes]:
    """Along the last axes, as many as the name says."""
    x = call.of(call.tensors[0])
    along = next(int(digit) for digit in call.name if digit.isdigit())
    fix(*x[-along:])
    return [[*x[:-along], *new(call.shape[-along:], fixed=True)]]


def _view(call: Call) -> list[Axes]:
    return [regrouped(call.of(call.tensors[0]), call.shape)]


def _turn(call: Call) -> list[Axes]:
    x = call.axes("self")
    order = list(range(len(x)))
    if call.name == "permute":
        order = list(call["dims"])
    else:
        i, j = (call["dim0"], call["dim1"]) if call.name == "transpose" else (0, -1)
        if order:
            order[i], order[j] = order[j], order[i]
    return [[x[k] for k in order]]


def _expand(call: Call) -> list[Axes]:
    """Numbers that are repeated are alike: their places may be permuted."""
    x, shape = call.axes("self"), call.shape
    x = [()] * (len(shape) - len(x)) + x
    return [[axis or new([size])[0] for axis, size in zip(x, shape, strict=True)]]


def _repeated(call: Call) -> list[Axes]:
    """Times × places of an axis."""
    x, times = call.axes("self"), call["repeats"]
    x = [()] * (len(times) - len(x)) + x
    return [[new([count])[0] + axis for axis, count in zip(x, times, strict=True)]]


def _weight_norm(call: Call) -> list[Axes]:
    """Directions and their lengths; a length is the same in whatever order."""
    return [_laid([call.axes("v"), call.axes("g")], len(call.shape))]


def _picked(call: Call) -> list[Axes]:
    """One place of an axis, or each of them, or several."""
    x = list(call.axes("self"))
    k = int(call["dim"]) % len(x)
    away = call.name in ("select", "unbind")
    if call.name == "slice" and call.shape[k] == call["self"].shape[k]:
        return [x]
    fix(x[k])
    x[k : k + 1] = [] if away else new([call.shape[k]], fixed=True)
    return [x] * len(call.results)


def _padded(call: Call) -> list[Axes]:
    x, pad = list(call.axes("self")), call["pad"]
    for k in range(1, len(pad) // 2 + 1):  # from the last axis on
        if any(pad[2 * k - 2 : 2 * k]):
            fix(x[-k])
            x[-k] = new([call.shape[-k]], fixed=True)[0]
    return [x]


def _pointwise(call: Call) -> list[Axes]:
    return [_laid([call.of(x) for x in call.tensors], len(call.shape))] * len(call.results)


def _split(call: Call) -> list[Axes]:
    """Equal parts: the axis is parts × places of a part."""
    x = call.axes("self")
    k = int(call["dim"]) % len(x)
    if len(set(call.shapes)) > 1:
        fix(x[k])
        return [[*x[:k], *new([shape[k]], fixed=True), *x[k + 1 :]] for shape in call.shapes]
    (part,) = new([call.shape[k]])
    identify(x[k], new([len(call.results)], fixed=True)[0] + part)
    return [[*x[:k], part, *x[k + 1 :]]] * len(call.results)


def _joined(call: Call) -> list[Axes]:
    """The inverse of `_split`, or, as a stack, along an axis of its own."""
    stack = call.name == "stack"
    parts = [call.of(x) for x in call.tensors]
    k = int(call["dim"]) % len(call.shape)
    place = new([len(parts)], fixed=True)[0]
    if stack:
        made = _laid(parts, len(parts[0]))
        return [[*made[:k], place, *made[k:]]]
    if len({x.shape for x in call.tensors}) == 1:
        made = _laid(parts, len(parts[0]))
        return [[*made[:k], place + made[k], *made[k + 1 :]]]
    fix(*(axes[k] for axes in parts if len(axes) > k))
    rest = _laid([[() if j == k else axis for j, axis in enumerate(axes)] for axes in parts], len(call.shape))
    return [[*rest[:k], new([call.shape[k]], fixed=True)[0], *rest[k + 1 :]]]


def _reduced(call: Call) -> list[Axes]:
    """A sum, mean or extreme is the same in whatever order."""
    x = call.of(call.tensors[0])
    try:
        dims, keep = call["dim"], bool(call["keepdim"])
    except KeyError:
        dims, keep = None, False
    dims = range(len(x)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    away = {d % len(x) for d in dims} if x else set()
    kept: list[Axis | None] = [(() if keep else None) if k in away else axis for k, axis in enumerate(x)]
    return [[axis for axis in kept if axis is not None]] * len(call.results)


RULES: dict[str, Callable[[Call], list[Axes]]] = {
    **dict.fromkeys(FACTORS, _product),
    **dict.fromkeys(("linear", "_linear"), _linear),
    "convolution": _convolution,
    "embedding": _embedding,
    **dict.fromkeys(
        (
            "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "_batch_norm_no_update",
            "native_group_norm",
        ),
        _channel_norm,
    ),
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _layer_norm),
    **dict.fromkeys(
        (
            "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool1d",
            "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
            "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d", "upsample_nearest2d",
            "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "reflection_pad1d", "reflection_pad2d",
        ),
        _pool,
    ),
    **dict.fromkeys(("view", "_unsafe_view", "_reshape_alias", "reshape", "unsqueeze", "squeeze"), _view),
    **dict.fromkeys(("t", "transpose", "permute"), _turn),
    "expand": _expand,
    "repeat": _repeated,
    "copy": _pointwise,
    "_prelu_kernel": _pointwise,
    "_weight_norm_interface": _weight_norm,
    "constant_pad_nd": _padded,
    **dict.fromkeys(("select", "slice", "unbind", "index_select", "narrow"), _picked),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _split),
    **dict.fromkeys(JOINS, _joined),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "logsumexp", "linalg_vector_norm", "norm", "prod"),
        _reduced,
    ),
    **dict.fromkeys({"_softmax", "_log_softmax", "_safe_softmax"} | COPIES, _same),
}  # fmt: skip
