"""What kind of shift it is: questions in order, of which the first that is surely answered with yes names it.

The order guards against false names. Facts come first (labels never seen; a column that fits once its unit is put back),
then whether anything moved at all, then explanations from the narrow to the wide: class shares alone; the answer to the
same inputs; a class of its own; a drift that the model ignores; and what is left is a covariate shift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..distributions.power import critical_distance, visible
from ..distributions.ratio import density_ratio
from .faults import faults
from .looking import Look
from .regions import apart, failing

CODES = ("covariate", "label", "concept", "pipeline", "new-class", "subgroup", "harmless", "not-enough-data")
SILENT = (None, "harmless", "not-enough-data")  # kinds that are no trouble
TELLABLE, SLIGHT = 0.65, 0.5  # AUC and effect (sd) up to which density ratios say what the inputs' shift explains
EFFECTIVE = 0.3  # share of the reference that must count after weighting
OUTPUT_DISTANCE = 0.15  # the model's outputs are the same if no test tells them apart that sees this distance
NAMED = 5  # features that a sentence names


@dataclass(frozen=True)
class Kind:
    """The name of a shift.

    Attributes:
        code: one of `CODES`, or None: nothing moved.
        sentence: what happened, in words.
        features: the names of the columns it concerns.
        confidence: that it is this kind rather than another, in [0, 1]: .95 where it was tested directly, less where
            something had to be assumed.
        evidence: the numbers that show it, by name.
    """

    code: str | None
    sentence: str
    features: tuple[str, ...] = ()
    confidence: float = 0.95
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def matters(self) -> bool:
        """Whether something moved that asks for action."""
        return self.code not in SILENT

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "code": self.code,
            "sentence": self.sentence,
            "features": list(self.features),
            "confidence": self.confidence,
            "evidence": dict(self.evidence),
        }


def name_kind(look: Look) -> Kind:
    """The kind of the shift between a model's reference and the incoming rows.

    Args:
        look: both sides under the model.

    Returns:
        Always one; ``code=None`` where nothing moved by more than the gates and there was enough data to see it.
    """
    questions: tuple[Callable[[Look], Kind | None], ...] = (
        _unseen_labels, _pipeline, _nothing, _label, _concept, _own_class, _harmless, _over_time,
    )  # fmt: skip
    for question in questions:
        found = question(look)
        if found is not None:
            return found
    return _covariate(look)


def _unseen_labels(look: Look) -> Kind | None:
    if not len(look.strange):
        return None
    labels = look.labels
    rows = int(np.isin(labels, look.strange).sum())
    names = ", ".join(look.subject.class_name(int(c)) for c in look.strange[:NAMED])
    more = "" if len(look.strange) <= NAMED else f" and {len(look.strange) - NAMED} more"
    return Kind(
        "new-class",
        f"{rows} of {len(labels)} rows are of {'a class' if len(look.strange) == 1 else 'classes'} that no training or "
        f"reference row has: {names}{more}.",
        (), 0.99, {"rows": rows, "share": rows / len(labels), "classes": [int(c) for c in look.strange]},
    )  # fmt: skip


def _pipeline(look: Look) -> Kind | None:
    found, names = faults(look), look.columns[0].names
    if not found:
        return None
    features: list[str] = []
    for broken in found:
        features += names if broken.columns[0].startswith("all ") else broken.columns
    sentence = "; ".join(b.sentence for b in found[:NAMED]) + (
        f"; and {len(found) - NAMED} more" if found[NAMED:] else ""
    )
    evidence = {b.sentence.split(":")[0]: dict(b.numbers) for b in found}
    rest = [f.name for f in look.moved if f.name not in features]
    sure = (
        0.95
        if all(b.numbers["undone"] < 0.1 for b in found if b.what not in ("turned", "channels", "inverted"))
        else 0.9
    )
    also = f" Beside that {_list(rest)} moved." if rest else ""
    return Kind("pipeline", f"A step before the model is broken: {sentence}.{also}", tuple(features), sure, evidence)


def _nothing(look: Look) -> Kind | None:
    shares = look.shares
    drifts = look.order is not None and look.order.alarm
    moved = (
        look.inputs_moved or look.rose or drifts or (shares is not None and shares.alarm) or failing(look) is not None
    )
    n, m = look.sizes
    if look.too_few is not None and not (moved and _overwhelming(look)):
        return Kind(
            "not-enough-data",
            f"{'Something may have moved' if moved else 'Nothing is seen to move'}, but {n} reference and {m} incoming rows "
            f"show only large shifts surely. {look.too_few}",
            (), 0.95, {"critical_distance": critical_distance(n, m, look.part / len(look.features)), "rows": [n, m]},
        )  # fmt: skip
    if moved:
        return None
    best = min(look.features, key=lambda f: f.adjusted, default=None)
    seen = visible(n, m, level=look.part, tests=len(look.features))
    evidence = {"least_adjusted_p": best.adjusted if best else 1.0, "auc": look.joint.statistic, "visible_effect": seen}
    said = f"Nothing moved: {n} reference and {m} incoming rows, which would show"
    return Kind(None, f"{said} four of five shifts of one feature by {seen:.2g} sd.", (), 0.95, evidence)


def _overwhelming(look: Look) -> bool:
    """Whether a test would alarm at a hundredth of its level too."""
    found = [f.adjusted for f in look.moved] + [
        x.p for x in (look.joint, look.shares, look.loss, look.errors) if x is not None
    ]
    return min(found) < look.part / 100


def _label(look: Look) -> Kind | None:
    shares, within = look.shares, look.within_classes
    if shares is None or not shares.alarm or within:
        return None
    if within is None and (not shares.counted or (look.inputs_moved and look.joint.statistic > 0.75)):
        return None
    if look.rose and within is None:
        return None
    change = shares.incoming - shares.reference
    order = np.argsort(-np.abs(change), kind="stable")[:3]
    said = ", ".join(
        f"{look.subject.class_name(int(c))} {100 * shares.reference[c]:.3g} → {100 * shares.incoming[c]:.3g} %"
        for c in order
    )
    how = "counted" if shares.counted else "estimated from the predictions"
    rest = "within a class the rows look as before" if within is False else "too few rows to compare within classes"
    return Kind(
        "label", f"The classes' shares moved ({how}): {said}; {rest}.{_time(look)}", (),
        0.95 if shares.counted and within is False else 0.85 if within is False else 0.6,
        {"reference": shares.reference.tolist(), "incoming": shares.incoming.tolist(), "p": shares.p, "moved": shares.moved},
    )  # fmt: skip


def _concept(look: Look) -> Kind | None:
    if look.loss is None:
        return None
    found = failing(look)
    if found is not None:
        return Kind(
            "subgroup",
            f"The loss rose where {found.text} ({100 * found.share:.3g} % of the rows): {found.inside[0]:.3g} → "
            f"{found.inside[1]:.3g}; elsewhere {found.outside[0]:.3g} → {found.outside[1]:.3g}. The inputs did not move.",
            found.features, 0.9,
            {"share": found.share, "inside": list(found.inside), "outside": list(found.outside), "p": found.p,
             "interval": list(found.interval), "rows": found.rows},
        )  # fmt: skip
    if not look.rose:
        return None
    loss = look.loss
    low, high = loss.interval()
    numbers = {"loss_reference": loss.before, "loss_incoming": loss.after, "interval": [low, high], "p": loss.p}
    said = f"the loss rose from {loss.before:.3g} to {loss.after:.3g} [{low:+.3g}, {high:+.3g}]"
    if not look.inputs_moved:
        return Kind(
            "concept", f"The same inputs have other answers: {said}, though the inputs did not move.", (), 0.95, numbers
        )
    if look.joint.statistic > TELLABLE or any(f.effect > SLIGHT for f in look.moved):
        return None
    assert look.losses is not None
    ratio = density_ratio(look.old.representation_Nh, look.new.representation_Nh, seed=look.seed)
    before, after = look.losses
    weights = np.asarray(ratio.weights_N, dtype=np.float64)[~np.isnan(before)]
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    if weights.sum() ** 2 / (weights**2).sum() < EFFECTIVE * len(weights):
        return None
    expected = float((weights * before).sum() / weights.sum())
    error = math.hypot(
        math.sqrt(float((weights**2 * (before - expected) ** 2).sum())) / weights.sum(),
        float(after.std()) / math.sqrt(len(after)),
    )
    unexplained = loss.after - expected
    if unexplained - 3 * error < look.margin:  # the weights are estimated too: more than twice the error is asked
        return None
    return Kind(
        "concept", f"Beyond what the inputs' shift explains {said}; {expected:.3g} was to be expected.", (), 0.75,
        numbers | {"expected": expected, "unexplained": unexplained, "error": error},
    )  # fmt: skip


def _own_class(look: Look) -> Kind | None:
    found = apart(look)
    if found is None:
        return None
    return Kind(
        "new-class",
        f"{100 * found.share:.3g} % of the rows lie far from every class and close together, while the others look as "
        "before: perhaps a class that was not trained. Without labels that is a guess.",
        (), 0.6, {"share": found.share, "spread": found.spread, "auc_of_the_others": found.auc},
    )  # fmt: skip


def _harmless(look: Look) -> Kind | None:
    if look.order is not None and look.order.alarm:
        return None
    if not look.inputs_moved or look.rose or (look.shares is not None and look.shares.alarm):
        return None
    shown = len(look.old.outputs_Nk), len(look.new.outputs_Nk)
    least = critical_distance(*shown, look.part / len(look.outputs))
    if any(f.alarm for f in look.outputs) or least > OUTPUT_DISTANCE:
        return None
    if not look.same_loss if look.loss is not None else look.joint.alarm:
        return None
    names = [f.name for f in look.moved]
    farthest = max((f.effect for f in look.outputs), default=0.0)
    numbers: dict[str, Any] = {
        "output_effect": farthest,
        "output_p": min((f.adjusted for f in look.outputs), default=1.0),
    }
    said = f"its outputs did not (largest effect {farthest:.2g} sd)"
    if look.loss is not None:
        low, high = look.loss.interval(0.1)
        numbers |= {"margin": look.narrow, "interval": [low, high]}
        said += f", and its loss changed by less than {look.narrow:.2g} (90 % interval {low:+.2g} to {high:+.2g})"
    else:
        said += "; without labels the loss is not known"
    what = f"The inputs moved ({_list(names)})" if names else "The representation moved"
    return Kind(
        "harmless", f"{what}, but the model does not react: {said}.", tuple(names), 0.9 if look.loss else 0.7, numbers
    )


def _over_time(look: Look) -> Kind | None:
    """Rows that drift over their order, while all together look as before."""
    if look.order is None or not look.order.alarm or look.inputs_moved:
        return None
    return Kind(
        "covariate",
        f"Over time: the first half of the incoming rows is told from the second (AUC {look.order.auc:.2f}), though all "
        "together look as before. Where these rows were cut from one file, the cut was not random.",
        (), 0.8, {"auc": look.order.auc, "p": look.order.p},
    )  # fmt: skip


def _covariate(look: Look) -> Kind:
    names = [f.name for f in look.moved]
    parts = []
    if names:
        largest = look.moved[0]
        parts.append(f"{_list(names)} moved (up to {largest.effect:.2g} sd, {largest.name})")
    if look.joint.alarm:
        parts.append(f"the rows are told from the reference with AUC {look.joint.statistic:.2f}")
    if look.shares is not None and look.shares.alarm:
        parts.append("the classes' shares too")
    if look.loss is not None:
        low, high = look.loss.interval()
        parts.append(f"loss {look.loss.before:.3g} → {look.loss.after:.3g} [{low:+.3g}, {high:+.3g}]")
        if look.rose:
            parts.append("whether the answers to the same inputs changed as well cannot be told from these rows")
    evidence: dict[str, Any] = {"features": len(names), "auc": look.joint.statistic, "p": look.joint.p}
    if look.loss is not None:
        evidence |= {"loss_reference": look.loss.before, "loss_incoming": look.loss.after}
    sentence = f"The inputs moved: {'; '.join(parts)}.{_time(look)}"
    return Kind("covariate", sentence, tuple(names), 0.9 if look.loss is not None else 0.8, evidence)


def _time(look: Look) -> str:
    if look.order is None or not look.order.alarm:
        return ""
    return f" They go on moving over their own order (first half against second: AUC {look.order.auc:.2f})."


def _list(names: list[str]) -> str:
    few = ", ".join(names[:NAMED])
    return few if len(names) <= NAMED else f"{few} and {len(names) - NAMED} more"
