"""How well training with a constant rate follows a minimum that drifts, and the rate that follows it best.

On a quadratic with curvature h, whose minimum m moves by v a step, with gradient noise σ, gradient descent with the rate η
is x ← x − η (h (x − m) + σ ε). With u = ηh, the error e = x − m after a step is e ← (1 − u)(e − v) − ησε. In the long run

    its mean is      −(1 − u) v / u                  the lag: longer the smaller the rate
    its variance is  u / (2 − u) · (σ/h)²            the spread: larger the larger the rate

and the mean square, the sum of the first squared and the second, is least where its derivative by u is zero:

    (1 − u)(2 − u)² = r² u³,  r = σ / (h v)

Of that cubic one root lies between 0 and 1: the left side falls from 4 to 0 there, the right side rises from 0. For slow
drifts, r ≫ 1, it is u ≈ (2/r)^(2/3). A rate that falls to zero, such as 1/t, has a lag that grows without end.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import NOT_NEGATIVE, POSITIVE, check


@dataclass(frozen=True)
class Tracking:
    """How a constant rate follows a drifting minimum, in the long run.

    Attributes:
        rate: η; 0: without drift the best constant rate is ever smaller, and one that falls to zero is right.
        gain: u = ηh.
        lag: by how much the mean stays behind.
        spread: standard deviation about that.
        error: root of the mean square of the distance.
        absolute: mean distance, where the noise is normal.
    """

    rate: float
    gain: float
    lag: float
    spread: float
    error: float
    absolute: float

    @property
    def memory(self) -> float:
        """Steps after which a gradient's share has fallen to 1/e."""
        if self.gain <= 0:
            return math.inf
        return -1 / math.log1p(-self.gain) if self.gain < 1 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def tracking(rate: float, drift: float, noise: float, curvature: float = 1.0) -> Tracking:
    """The error of gradient descent with a constant rate behind a minimum that drifts.

    Args:
        rate: η, below 2/h.
        drift: v, the minimum's way a step.
        noise: σ, standard deviation of the gradient's noise a step.
        curvature: h.

    Returns:
        What it comes to; infinite for rates of 0 (with drift) and of 2/h and more.

    Raises:
        BadOption: a number below zero, or no curvature.

    Example:
        >>> round(tracking(0.1, drift=0.01, noise=0.3).absolute, 3)
        0.096

    Source: the module's derivation; that constant rates track: B. Widrow et al., Proceedings of the IEEE 64, 1976.
    """
    for name, value in (("rate", rate), ("drift", drift), ("noise", noise)):
        check("tracking", name, value, NOT_NEGATIVE)
    check("tracking", "curvature", curvature, POSITIVE)
    u = rate * curvature
    if u >= 2:
        return Tracking(rate, u, math.inf, math.inf, math.inf, math.inf)
    lag = 0.0 if not drift else math.inf if not u else abs(1 - u) * drift / u
    spread = math.sqrt(u / (2 - u)) * noise / curvature
    absolute = lag
    if spread and math.isfinite(lag):
        z = lag / spread
        absolute = spread * math.sqrt(2 / math.pi) * math.exp(-z * z / 2) + lag * math.erf(z / math.sqrt(2))
    return Tracking(rate, u, lag, spread, math.hypot(lag, spread), absolute)


def best_tracking(drift: float, noise: float, curvature: float = 1.0) -> Tracking:
    """The constant rate with the least mean square distance behind a minimum that drifts.

    Args:
        drift: v, the minimum's way a step.
        noise: σ, standard deviation of the gradient's noise a step.
        curvature: h.

    Raises:
        BadOption: a number below zero, or no curvature.

    Example:
        >>> found = best_tracking(drift=0.01, noise=0.3)
        >>> round(found.rate, 3), round(found.absolute, 3)
        (0.148, 0.083)

    Source: the module's derivation.
    """
    from scipy.optimize import brentq

    tracking(0.0, drift, noise, curvature)  # the numbers are looked at
    if not drift:
        return tracking(0.0, drift, noise, curvature)
    if not noise:
        return tracking(1 / curvature, drift, noise, curvature)
    r = 2 * math.log(noise) - 2 * math.log(curvature) - 2 * math.log(drift)

    def slope(log_u: float) -> float:
        u = math.exp(log_u)
        return math.log1p(-u) + 2 * math.log(2 - u) - r - 3 * log_u

    start = min(math.log(0.5), -r / 3 - 2)  # there the slope is above zero
    u = math.exp(brentq(slope, start, -1e-15, xtol=1e-14)) if slope(-1e-15) < 0 else 1.0
    return tracking(u / curvature, drift, noise, curvature)
