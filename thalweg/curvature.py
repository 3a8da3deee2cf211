"""Curvature of a loss: products with the Hessian, and its largest eigenvalue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from .seeds import Stream

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .batch import Batch
    from .task import Task


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
        total = sum(((g * vector[i]).sum() for g, i in used), start=loss.new_zeros(()))
        if not total.requires_grad:
            return [torch.zeros_like(p) for p in params]
        found = torch.autograd.grad(total, params, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if h is None else h.detach() for h, p in zip(found, params, strict=True)]

    return product


def largest_eigenvalue(
    product: Callable[[Sequence[Tensor]], list[Tensor]], params: Sequence[Tensor], steps: int = 12, seed: int = 0
) -> float:
    """The algebraically largest eigenvalue of a symmetric matrix, by Lanczos with full re-orthogonalization.

    The largest eigenvalue of the tridiagonal T = VᵀHV of k steps never exceeds λmax, and grows to it with k; it is
    found also where an eigenvalue of larger magnitude is negative.

    Args:
        product: v → H v.
        params: tensors whose shapes the vectors have.
        steps: k products at most.
        seed: of the first vector.

    Example:
        >>> matrix = torch.diag(torch.tensor([-9.0, 1.0, 4.0]))
        >>> round(largest_eigenvalue(lambda v: [matrix @ v[0]], [torch.zeros(3)]), 4)
        4.0

    Source: G. Golub, C. Van Loan, Matrix Computations, 4th edition, 2013, section 10.1.
    """
    shapes, sizes = [p.shape for p in params], [p.numel() for p in params]
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
    basis, diagonal, beside = [v / v.norm()], list[float](), list[float]()
    for _ in range(min(steps, len(v))):
        parts = [x.reshape(s).to(p) for x, s, p in zip(basis[-1].split(sizes), shapes, params, strict=True)]
        w = torch.cat([h.reshape(-1).cpu().double() for h in product(parts)])
        diagonal.append(float(w @ basis[-1]))
        stack = torch.stack(basis)
        for _ in range(2):  # once leaves what rounding put back
            w = w - stack.T @ (stack @ w)
        beside.append(float(w.norm()))
        if not beside[-1] > 1e-10 * max(map(abs, diagonal)):
            break
        basis.append(w / beside[-1])
    inner = beside[: len(diagonal) - 1]
    return float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))[-1])


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
    with Stream(task.seed, "curvature"), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _buffers_kept(model):
        return largest_eigenvalue(hessian_product(task.loss_of(model, batch), params), params, steps)


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    yield
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
