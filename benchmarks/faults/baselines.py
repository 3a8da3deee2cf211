"""The threshold rules of three published tools, over a short trace of the same training.

Written from the papers' descriptions, with their default thresholds; their troubles stand for those of our codes that a
reader would take them for. The tools look at Keras models with classes; where the targets are numbers, the explained
share of their variance stands for the accuracy.

- UMLAUT: E. Schoop, F. Huang, B. Hartmann, CHI 2021.
- AutoTrainer: X. Zhang, J. Zhai, S. Ma, C. Shen, ICSE 2021.
- DeepDiagnosis: M. Wardat, B. D. Cruz, W. Le, H. Rajan, ICSE 2022.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from .trace import Trace

HIGH = {"lr-too-high", "lr-unstable"}
RATE = HIGH | {"lr-too-low", "schedule-collapsed", "adam-epsilon", "momentum-too-high"}
STUCK = {"lr-too-low", "schedule-collapsed", "adam-epsilon", "clipped-always", "vanishing-gradient", "plateau"}


def umlaut(trace: Trace) -> set[str]:
    """Inputs beyond ±1, NaN losses, the rate outside [1e-7, .01], missing activations, overfitting, too good a validation."""
    found = set[str]()
    if trace.inputs[0] < -1 or trace.inputs[1] > 1:
        found.add("input-scale")
    if any(math.isnan(epoch.loss) for epoch in trace.epochs):
        found |= {"non-finite", "input-non-finite"}
    if trace.lr > 0.01:
        found |= HIGH
    if trace.lr < 1e-7:
        found.add("lr-too-low")
    if trace.linear:
        found.add("linear-network")
    if trace.valid_loss[1] > trace.valid_loss[0] and trace.epochs[-1].loss < trace.epochs[len(trace.epochs) // 2].loss:
        found.add("overfitting")
    if trace.classes and trace.valid_accuracy[1] > 0.95:
        found.add("leakage")
    return found


def autotrainer(trace: Trace) -> set[str]:
    """Exploding and vanishing gradients, dying ReLUs, an oscillating loss, slow convergence.

    Its thresholds: β1 = 1e-3 and β2 = 1e-4 for vanishing, β3 = 70 for exploding, γ = .7 of gradients zero, ζ = .03 and
    η = .2 for oscillation, δ = .01 and Θ = .7 of accuracy for convergence.
    """
    last = trace.epochs[-1]
    values = [x for epoch in trace.epochs for x in (epoch.loss, *epoch.gradients)]
    if not all(map(math.isfinite, values)) or trace.valid_loss[1] >= 1e5:
        return {"exploding-gradient", "non-finite"} | HIGH
    accuracies = [epoch.accuracy for epoch in trace.epochs]
    slow = max((b - a for a, b in itertools.pairwise(accuracies)), default=0.0) < 0.01
    if min(max(accuracies), max(trace.valid_accuracy)) < 0.7 or slow:
        ratio = last.gradients[0] / last.gradients[-1] if last.gradients[-1] else math.inf
        if last.zeros >= 0.7:
            return {"dead-units"}
        if ratio > 70:
            return {"exploding-gradient"}
        if ratio < 1e-3 and last.gradients[0] < 1e-4:
            return {"vanishing-gradient", "vanishing-signal"}
        return set(STUCK) if slow else set()
    triples = list(zip(accuracies, accuracies[1:], accuracies[2:], strict=False))
    tops = [b for a, b, c in triples if b >= a and b >= c]
    bottoms = [b for a, b, c in triples if b <= a and b <= c]
    swings = sum(top - bottom >= 0.03 for top, bottom in zip(tops, bottoms, strict=False))
    return set(HIGH) if swings >= 0.2 * len(accuracies) else set()


def _advice(trace: Trace) -> set[str]:
    """What a symptom is put down to: weights of odd variance, inputs beyond ±1, the rate; else the optimizer."""
    last = trace.epochs[-1]
    if any(not 1e-5 <= variance <= 10 for variance in last.weights):
        return {"symmetric-units", "initial-loss", "exploding-signal", "vanishing-signal"}
    if trace.inputs[0] < -1 or trace.inputs[1] > 1:
        return {"input-scale"}
    if any(not 1e-5 <= step <= 0.1 for step in last.steps):
        return set(RATE)
    return set()


def deepdiagnosis(trace: Trace) -> set[str]:
    """Outputs out of range, numerical errors, dead and saturated units, what stays the same, vanishing gradients.

    Its thresholds: .7 of a ReLU's outputs zero; half of a tanh's or sigmoid's inputs beyond ±5; a mean absolute gradient
    below 1e-7; the same loss or mean output over five epochs.
    """
    low, high = {"softmax": (0, 1), "sigmoid": (0, 1), "relu": (0, math.inf)}.get(trace.end, (-math.inf, math.inf))
    if not trace.classes and (trace.targets[0] < low or trace.targets[1] > high):
        return {"output-range"}
    if trace.classes and trace.end in ("relu", "sigmoid"):
        return {"output-range"}
    for epoch in trace.epochs:
        if not all(map(math.isfinite, (epoch.loss, *epoch.gradients, *epoch.outputs))):
            return {"non-finite", "exploding-gradient"} | _advice(trace)
        if any(value == 0 for value in epoch.outputs):
            return _advice(trace) | {"symmetric-units"}
    last = trace.epochs[-1]
    if any(share >= 0.7 for share in last.dead):
        return {"dead-units"} | _advice(trace)
    if any(share > 0.5 for share in last.saturated):
        return {"saturated-units"} | _advice(trace)
    if len({epoch.loss for epoch in trace.epochs[-5:]}) == 1:
        return STUCK | _advice(trace)
    outputs = [epoch.outputs for epoch in trace.epochs[-5:]]
    if any(len(set(values)) == 1 for values in list(zip(*outputs, strict=True))[:-1]):
        return STUCK | _advice(trace)
    if any(value < 1e-7 for value in last.still):
        return {"vanishing-gradient"} | (_advice(trace) & RATE)
    return set()


BASELINES: dict[str, Callable[[Trace], set[str]]] = {
    "UMLAUT": umlaut, "AutoTrainer": autotrainer, "DeepDiagnosis": deepdiagnosis,
}  # fmt: skip
