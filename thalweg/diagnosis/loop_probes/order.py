"""`not-shuffled`: batches that are each of one class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import chi2_contingency

from ..findings import Evidence, Finding, Remedy
from ..record import Record

LOOKS = 5
ROWS = 4  # in a batch, at least
LIKELY = 1e-6
STRONG = 0.5  # Cramér's V: 0 where batches are alike, 1 where each is of one class


def not_shuffled(record: Record) -> Iterator[Finding]:
    """The class of a row depends on its batch: a test of independence, and how strong the dependence is.

    An imbalance that is the same in all batches is none; and where only one class was seen, nothing can be said.
    """
    batches = [look.scene.labels for look in record.seen if look.scene is not None and look.scene.labels]
    batches = [labels for labels in batches if sum(labels.values()) >= ROWS]
    classes = sorted({label for labels in batches for label in labels})
    if len(batches) < LOOKS or len(classes) < 2:
        return
    table = np.array([[labels.get(label, 0) for label in classes] for labels in batches])
    result = chi2_contingency(table, correction=False)
    strength = float(np.sqrt(result.statistic / (table.sum() * (min(table.shape) - 1))))
    if result.pvalue < LIKELY and strength > STRONG:
        in_one = float(np.median((table > 0).sum(1)))
        yield Finding(
            "not-shuffled",
            "error" if strength > 0.8 else "warning",
            "train",
            f"A batch has rows of {in_one:.0f} class{'es' if in_one > 1 else ''} where {len(classes)} were seen in "
            f"{len(batches)} looks: the rows are not shuffled.",
            {"cramers_v": Evidence(strength, STRONG), "p_value": Evidence(float(result.pvalue), LIKELY)},
            0.95,
            Remedy("DataLoader(..., shuffle=True)"),
        )
