"""Curvature of a loss: products with the Hessian, eigenvalues with bounds, noise, and what optimizers can bear of it."""

from .estimates import Density, Noise, Trace, gradient_noise, spectral_density, trace
from .lanczos import Lanczos, lanczos, start_vector
from .limits import denominators, limit, preconditioned
from .products import gauss_newton_product, hessian_product, sharpness
from .surface import Surface, batches_of

__all__ = [
    "Density",
    "Lanczos",
    "Noise",
    "Surface",
    "Trace",
    "batches_of",
    "denominators",
    "gauss_newton_product",
    "gradient_noise",
    "hessian_product",
    "lanczos",
    "limit",
    "preconditioned",
    "sharpness",
    "spectral_density",
    "start_vector",
    "trace",
]
