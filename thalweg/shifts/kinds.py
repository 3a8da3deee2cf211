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

from .joint import classifier_test
from .looking import MATCHED, Look
from .pipeline import Broken, signatures, turned
from .power import critical_distance
from .ratio import density_ratio
from .sample import Floats
from .subgroups import Subgroup, find_subgroup

CODES = ("covariate", "label", "concept", "pipeline", "new-class", "subgroup", "harmless", "not-enough-data")
SILENT = (None, "harmless", "not-enough-data")  # kinds that are no trouble
TELLABLE, SLIGHT = 0.65, 0.5  # AUC and effect (sd) up to which density ratios say what the inputs' shift explains
EFFECTIVE = 0.3  # share of the reference that must count after weighting
OUTPUT_DISTANCE = 0.15  # the model's outputs are the same if no test tells them apart that sees this distance
NAMED = 5  # features that a sentence names
OUTLYING, EXCESS = 0.99, 0.05  # a class of its own: rows beyond this quantile of the reference, and how many more


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
    labels = look.new.labels_N
    assert labels is not None
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
    found: list[Broken] = []
    names = look.columns[0].names
    if look.moved:
        found = _target(look)
        images = [_images(s.inputs, names) for s in (look.subject.reference, look.incoming)]
        way = None if images[0] is None or images[1] is None else turned(images[0], images[1])
        if way is not None:
            found.append(way)
        elif look.subject.reference.table is not None or images[0] is None or _scaled(look):
            found += signatures(*look.columns, [f.name for f in look.moved], level=look.level)
    else:
        found = _target(look)
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


def _images(inputs: Any, names: list[str]) -> Any:
    """The rows as images (N, C, H, W), also where square ones come as vectors without names; None: they are none."""
    shape = tuple(getattr(inputs, "shape", ()))
    if len(shape) == 4 and min(shape[2:]) > 3:
        return inputs.double().numpy()
    if len(shape) == 3 and inputs.is_floating_point():
        return inputs.double().numpy()[:, None]
    side = math.isqrt(shape[1]) if len(shape) == 2 else 0
    if side >= 7 and side**2 == shape[1] and inputs.is_floating_point() and names[0] == "x0":
        return inputs.double().numpy().reshape(-1, 1, side, side)
    return None


def _scaled(look: Look) -> bool:
    """Whether all values together have another size."""
    a, b = (float(np.nanmean(np.abs(side.values))) for side in look.columns)
    return a > 0 and b > 0 and not 1 / 4 < b / a < 4


def _target(look: Look) -> list[Broken]:
    """A target in another unit."""
    sides = [s.targets for s in (look.subject.reference, look.incoming)]
    task = look.subject.task
    if task is None or task.prepare().kind != "regression" or any(t is None or t.numel() != len(t) for t in sides):
        return []
    a, b = (t.reshape(-1, 1).double().numpy() for t in sides if t is not None)
    train = task.prepare().train
    encoder = getattr(train, "encoder", None)
    name = "the target"
    if encoder is not None:
        a, b, name = a * encoder.scale + encoder.centre, b * encoder.scale + encoder.centre, encoder.target_name
    from .sample import Flat

    return [x for x in signatures(Flat(a, [name]), Flat(b, [name]), [name]) if x.what in ("units", "sign")]


def _nothing(look: Look) -> Kind | None:
    shares = look.shares
    drifts = look.order is not None and look.order.alarm
    moved = (
        look.inputs_moved or look.rose or drifts or (shares is not None and shares.alarm) or _subgroup(look) is not None
    )
    n, m = look.sizes
    if look.too_few is not None and not (moved and _overwhelming(look)):
        return Kind(
            "not-enough-data",
            f"{'Something may have moved' if moved else 'Nothing is seen to move'}, but {n} reference and {m} incoming rows "
            f"show only large shifts surely. {look.too_few}",
            (), 0.95, {"critical_distance": critical_distance(n, m), "rows": [n, m]},
        )  # fmt: skip
    if moved:
        return None
    best = min(look.features, key=lambda f: f.adjusted, default=None)
    evidence = {"least_adjusted_p": best.adjusted if best else 1.0, "auc": look.joint.statistic}
    return Kind(None, f"Nothing moved: {n} reference and {m} incoming rows.", (), 0.95, evidence)


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


def _subgroup(look: Look) -> Subgroup | None:
    """A failing region with the others in order, found and checked; looked for where the inputs did not move."""
    if "_subgroup" not in look.__dict__:
        look.__dict__["_subgroup"] = _searched(look)
    found: Subgroup | None = look.__dict__["_subgroup"]
    return found


def _searched(look: Look) -> Subgroup | None:
    if look.loss is None or look.inputs_moved or look.old.losses_N is None or look.new.losses_N is None:
        return None
    parts = [_searchable(look, side) for side in (0, 1)]
    found = find_subgroup(parts[0][0], look.old.losses_N, parts[1][0], look.new.losses_N, parts[0][1], seed=look.seed)
    if found is None or found.p >= look.part or found.share > 0.5:
        return None
    inside, outside = (after - before for before, after in (found.inside, found.outside))
    return found if inside > look.margin and outside < max(look.margin, inside / 4) else None


def _searchable(look: Look, side: int) -> tuple[Floats, list[str]]:
    """Columns, and beside them the mean of many and the predicted class."""
    flat, given = look.columns[side], (look.old, look.new)[side]
    rows = flat.values if len(flat.values) == len(given.outputs_Nk) else flat.values[_kept(len(flat.values), given)]
    more, names = [], []
    if rows.shape[1] >= 49:
        more.append(np.nanmean(rows, 1))
        names.append("the mean of all features")
    if look.subject.classes is not None:
        for c in range(min(look.subject.classes, 50)):
            more.append((given.predicted_N == c).astype(np.float64))
            names.append(f"predicted {look.subject.class_name(c)}")
    return (np.column_stack([rows, *more]) if more else rows), flat.names + names


def _kept(rows: int, given: Any) -> Any:
    return np.linspace(0, rows - 1, len(given.outputs_Nk)).astype(np.int64)


def _concept(look: Look) -> Kind | None:
    if look.loss is None:
        return None
    found = _subgroup(look)
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
    old, new = look.old, look.new
    assert old.losses_N is not None and new.losses_N is not None
    ratio = density_ratio(old.representation_Nh, new.representation_Nh, seed=look.seed)
    weights = np.asarray(ratio.weights_N, dtype=np.float64)
    if weights.sum() ** 2 / (weights**2).sum() < EFFECTIVE * len(weights):
        return None
    expected = float((weights * old.losses_N).sum() / weights.sum())
    error = math.hypot(
        math.sqrt(float((weights**2 * (old.losses_N - expected) ** 2).sum())) / weights.sum(),
        float(np.nanstd(new.losses_N)) / math.sqrt(len(new.losses_N)),
    )
    unexplained = loss.after - expected
    if unexplained - 3 * error < look.margin:  # the weights are estimated too: more than twice the error is asked
        return None
    return Kind(
        "concept", f"Beyond what the inputs' shift explains {said}; {expected:.3g} was to be expected.", (), 0.75,
        numbers | {"expected": expected, "unexplained": unexplained, "error": error},
    )  # fmt: skip


def _own_class(look: Look) -> Kind | None:
    """Without labels: rows far from every class, close to each other, while the rest looks as before."""
    if look.new.labels_N is not None or look.old.labels_N is None or look.subject.classes is None:
        return None
    if not look.inputs_moved:
        return None
    far_old, far_new = _far(look)
    bound = float(np.quantile(far_old, OUTLYING))
    out = far_new > bound
    excess = float(out.mean()) - (1 - OUTLYING)
    if excess < EXCESS or out.sum() < MATCHED or (~out).sum() < MATCHED:
        return None
    old, new = look.old.representation_Nh, look.new.representation_Nh
    rest = classifier_test(old[far_old <= bound], new[~out], level=look.level, seed=look.seed)
    own = new[out]
    spread = _spread(own)
    classes = [old[look.old.labels_N == c] for c in np.unique(look.old.labels_N)]
    usual = float(np.mean([_spread(x) for x in classes if len(x) > 1]))
    if rest.alarm or spread > 2 * usual:
        return None
    return Kind(
        "new-class",
        f"{100 * excess:.3g} % of the rows lie far from every class and close together, while the others look as before: "
        "perhaps a class that was not trained. Without labels that is a guess.",
        (), 0.6, {"share": excess, "spread": spread / usual, "auc_of_the_others": rest.statistic},
    )  # fmt: skip


def _spread(rows: Floats) -> float:
    """The middle squared distance to the middle row."""
    return float(np.median(((rows - np.median(rows, 0)) ** 2).sum(1)))


def _far(look: Look) -> tuple[Floats, Floats]:
    """The least Mahalanobis distance to a class's centre, under one covariance within classes; of both sides."""
    old, new, labels = look.old.representation_Nh, look.new.representation_Nh, look.old.labels_N
    assert labels is not None
    centres = np.stack([old[labels == c].mean(0) for c in np.unique(labels)])
    nearest = centres[np.searchsorted(np.unique(labels), labels)]
    covariance = np.cov((old - nearest).T).reshape(old.shape[1], -1)
    covariance += 1e-2 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    sides = [((x @ root)[:, None] - (centres @ root)[None]) ** 2 for x in (old, new)]
    return sides[0].sum(2).min(1), sides[1].sum(2).min(1)


def _harmless(look: Look) -> Kind | None:
    if look.order is not None and look.order.alarm:
        return None
    if not look.inputs_moved or look.rose or (look.shares is not None and look.shares.alarm):
        return None
    if any(f.alarm for f in look.outputs) or critical_distance(*look.sizes) > OUTPUT_DISTANCE:
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
