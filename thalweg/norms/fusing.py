"""Batch norms folded into the layers before them."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import fusion

from .rewriting import Forward, Rewriting, apart, channels

FUSED = 1e-5  # relative difference of the outputs of a model and its fused form


def fuse(model: nn.Module, forward: Forward) -> nn.Module:
    """A copy for inference whose batch norms are folded into the linear layers and convolutions before them.

    w' = w · γ/σ, b' = (b − μ) · γ/σ + β, with the running μ and σ. One that something else reads as well stays.

    Args:
        model: left as it is.
        forward: gives the model's output on a batch, on which the copy differs by less than 1e-5 of its largest number.

    Returns:
        The copy, in evaluation mode.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> fuse(net, lambda m: m(torch.randn(2, 1, 8, 8)))[1]
        Identity()
    """
    twin = copy.deepcopy(model).eval()
    work = Rewriting(twin, forward)
    for layer in work.layers:
        module = work.modules.get(layer.name)
        name = (layer.norm or "").rpartition(".")[0]
        norm = work.modules.get(name) if layer.norm else None
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
            continue
        if not isinstance(module, nn.Linear | _ConvNd) or channels(module) != norm.num_features:
            continue
        if isinstance(module, nn.Linear):
            new: nn.Module = fusion.fuse_linear_bn_eval(module, norm)
        else:
            new = fusion.fuse_conv_bn_eval(module, norm, transpose=module.transposed)
        had, before = len(work.undo), work.forward
        if name == f"{layer.name}.norm".lstrip("."):  # put in by `swap`
            delattr(new, "norm")
            new._forward_hooks.clear()
        else:
            work.exchange(name, norm, nn.Identity())
        work.exchange(layer.name, module, new)
        with torch.no_grad():
            wrong = not apart(work.before, before(twin)) < FUSED
        if wrong:
            while len(work.undo) > had:
                work.undo.pop()()
        else:
            work.modules = dict(twin.named_modules())
    return twin
