"""Products with the Hessian and the Gauss–Newton matrix of a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..seeds import Stream
from .lanczos import lanczos, start_vector

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..batch import Batch
    from ..task import Task


def hessian_product(loss: Tensor, params: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """The function v → H v, H = ∂²loss/∂params², by differentiating gᵀv; each call is one more backward pass.

    Args:
        loss: a scalar with its graph.
        params: what is differentiated by.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> [hv] = hessian_product((x**3).sum(), [x])([torch.tensor([1.0, 1.0])])
        >>> hv.tolist()
        [6.0, 12.0]

    Source: B. Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 6, 1994.
    """
    gradients = torch.autograd.grad(loss, params, create_graph=True, allow_unused=True)
    used = [(g, i) for i, g in enumerate(gradients) if g is not None and g.requires_grad]

    def product(vector: Sequence[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            total = sum(((g * vector[i]).sum() for g, i in used), start=loss.new_zeros(()))
        if not used:
            return [torch.zeros_like(p) for p in params]
        found = torch.autograd.grad(total, params, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if h is None else h.detach() for h, p in zip(found, params, strict=True)]

    return product


def gauss_newton_product(
    loss: Tensor, output: Tensor, params: Sequence[Tensor]
) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    """The function v → G v, G = Jᵀ (∂²loss/∂output²) J with J = ∂output/∂params.

    J v is got by differentiating Jᵀu by u, so that no operator needs a forward derivative.

    Args:
        loss: a scalar, a function of ``output``, with its graph.
        output: of the model.
        params: what is differentiated by.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> out = w * torch.tensor([3.0, 1.0])
        >>> [gv] = gauss_newton_product((out**2).sum(), out, [w])([torch.ones(2)])
        >>> gv.tolist()
        [18.0, 2.0]

    Source: N. Schraudolph, Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent, 2002.
    """
    u = torch.zeros_like(output, requires_grad=True)
    back = torch.autograd.grad(output, params, grad_outputs=u, create_graph=True, allow_unused=True)
    used = [(g, i) for i, g in enumerate(back) if g is not None and g.requires_grad]
    [slope] = torch.autograd.grad(loss, [output], create_graph=True)

    def product(vector: Sequence[Tensor]) -> list[Tensor]:
        zero = [torch.zeros_like(p) for p in params]
        if not used or not slope.requires_grad:
            return zero
        ahead = torch.autograd.grad([g for g, _ in used], u, [vector[i] for _, i in used], retain_graph=True)[0]
        [curved] = torch.autograd.grad(slope, [output], ahead.detach(), retain_graph=True, materialize_grads=True)
        found = torch.autograd.grad(output, params, grad_outputs=curved, retain_graph=True, allow_unused=True)
        return [z if h is None else h.detach() for h, z in zip(found, zero, strict=True)]

    return product


def sharpness(task: Task, model: nn.Module, batch: Batch, steps: int = 12) -> float:
    """λmax of the Hessian of the loss on a batch, at the model's weights; weights and random states stay as they are.

    Gradient descent at a constant rate is stable on the quadratic model of the loss below 2 / λmax.

    Args:
        task: gives the loss.
        model: in the mode it is in.
        batch: of the training data.
        steps: products with the Hessian.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    with Stream(task.seed, "curvature"), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), buffers_kept(model):
        product, sizes = hessian_product(task.loss_of(model, batch), params), [p.numel() for p in params]

        def flat(vector: Tensor) -> Tensor:
            parts = [x.reshape(p.shape).to(p) for x, p in zip(torch.split(vector, sizes), params, strict=True)]
            return torch.cat([h.reshape(-1).cpu().double() for h in product(parts)])

        return float(lanczos(flat, start_vector(sum(sizes), 0), steps, vectors=False).values_k[-1])


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Inside, the model has copies of its buffers; afterwards its own ones, untouched: a graph may hold the copies."""
    places = [(m, name, b) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    copies = {id(b): b.clone() for _, _, b in places}
    try:
        for module, name, buffer in places:
            module._buffers[name] = copies[id(buffer)]
        yield
    finally:
        for module, name, buffer in places:
            module._buffers[name] = buffer
