"""Label shift: exact where the confusion matrix is, its intervals' coverage, its level, and when it refuses."""

import math

import numpy as np
import pytest

from thalweg.errors import BadData
from thalweg.shifts.distributions.labels import bbse

CONFUSION = np.array([[0.8, 0.2, 0.1], [0.1, 0.7, 0.1], [0.1, 0.1, 0.8]])  # P(prediction | class), a column each


def exact_rows(shares, rows=1000):
    """Labels and predictions in exactly the proportions of the confusion matrix."""
    labels, predictions = [], []
    for j, share in enumerate(shares):
        for i in range(3):
            count = round(rows * share * CONFUSION[i, j])
            labels += [j] * count
            predictions += [i] * count
    return np.array(predictions), np.array(labels)


def drawn(rng, shares, rows, confusion=CONFUSION):
    labels = rng.choice(len(shares), size=rows, p=shares)
    return (rng.random(rows)[:, None] > confusion.T.cumsum(1)[labels]).sum(1), labels


def test_with_an_invertible_confusion_matrix_the_shares_are_exact():
    predictions, labels = exact_rows([0.5, 0.3, 0.2])
    incoming, _ = exact_rows([0.1, 0.3, 0.6])
    found = bbse(predictions, labels, incoming, 3)
    assert found.incoming == pytest.approx([0.1, 0.3, 0.6], abs=1e-9) and found.reference == pytest.approx(
        [0.5, 0.3, 0.2]
    )
    assert found.weights == pytest.approx([0.2, 1, 3], abs=1e-9) and found.alarm and not found.refused
    assert found.condition == pytest.approx(np.linalg.cond(CONFUSION)) and found.effect == pytest.approx(0.4)
    joint = CONFUSION * [0.5, 0.3, 0.2]
    assert found.weights == pytest.approx(np.linalg.solve(joint, np.bincount(incoming) / len(incoming)), abs=1e-9)
    assert (found.intervals[:, 0] <= found.incoming).all() and (found.intervals[:, 1] >= found.incoming).all()


def test_probabilities_give_the_same_as_the_paper_s_soft_matrix():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    soft = np.exp(2 * np.eye(3)[labels] + rng.normal(size=(600, 3)))
    soft /= soft.sum(1, keepdims=True)
    now = soft[np.r_[np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:50], np.flatnonzero(labels == 2)[:10]]]
    found = bbse(soft, labels, now, 3)
    joint = soft.T @ np.eye(3)[labels] / 600
    assert found.weights == pytest.approx(np.linalg.solve(joint, now.mean(0)), rel=1e-9)
    assert found.incoming == pytest.approx(found.weights * np.bincount(labels) / 600)


def test_shares_below_zero_are_cut_and_the_rest_sum_to_one():
    predictions, labels = exact_rows([0.4, 0.3, 0.3])
    found = bbse(predictions, labels, np.zeros(200, dtype=int), 3)  # more of class 0 than a share of one gives
    assert (found.incoming >= 0).all() and found.incoming.sum() == pytest.approx(1) and found.incoming[0] > 0.95


@pytest.mark.parametrize("soft", [False, True])
def test_the_intervals_cover_the_true_shares(soft):
    truth, covered = np.array([0.2, 0.3, 0.5]), []
    rng = np.random.default_rng(0)
    for _ in range(100):
        predictions, labels = drawn(rng, [0.4, 0.3, 0.3], 400)
        incoming, _ = drawn(rng, truth, 300)
        if soft:
            predictions, incoming = (0.8 * np.eye(3)[p] + 0.2 / 3 for p in (predictions, incoming))
        found = bbse(predictions, labels, incoming, 3)
        covered.append((found.intervals[:, 0] <= truth) & (truth <= found.intervals[:, 1]))
    assert 0.90 < np.mean(covered) <= 0.985, np.mean(covered)


@pytest.mark.parametrize("rows", [30, 300, 3000])
def test_where_nothing_moved_it_alarms_at_its_level(rows, monkeypatch):
    monkeypatch.setattr("thalweg.shifts.distributions.labels.RESAMPLES", 2)  # p takes none
    rng, p = np.random.default_rng(rows), []
    for _ in range(300):
        predictions, labels = drawn(rng, [0.4, 0.3, 0.3], rows)
        p.append(bbse(predictions, labels, drawn(rng, [0.4, 0.3, 0.3], rows)[0], 3, gate=0.0).p)
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 300)


def test_a_certain_but_trifling_shift_is_no_alarm():
    predictions, labels = exact_rows([0.4, 0.3, 0.3], 50_000)
    incoming, _ = exact_rows([0.38, 0.31, 0.31], 50_000)
    found = bbse(predictions, labels, incoming, 3)
    assert found.p < 1e-3 and found.effect == pytest.approx(0.02) and not found.alarm
    assert bbse(predictions, labels, incoming, 3, gate=0.01).alarm


@pytest.mark.parametrize("seed", range(20))
def test_predictions_that_know_nothing_of_the_classes_are_refused(seed):
    rng = np.random.default_rng(seed)
    predictions, labels, incoming = rng.integers(0, 3, 500), rng.integers(0, 3, 500), rng.integers(0, 2, 500)
    found = bbse(predictions, labels, incoming, 3)
    assert found.refused and "do not tell the classes apart" in found.note and np.isnan(found.weights).all()
    assert found.alarm and found.effect == pytest.approx(
        1 / 3, abs=0.1
    )  # that the predictions moved is seen all the same


def test_a_class_that_is_never_predicted_is_refused_and_one_without_reference_rows_is_said():
    labels = np.repeat([0, 1, 2], 200)
    assert bbse(np.minimum(labels, 1), labels, labels[:400], 3).refused
    found = bbse(labels[:400], labels[:400], np.repeat([0, 1, 2], [100, 200, 50]), 3)
    assert "class 2" in found.note and found.incoming[2] == 0 and found.weights[2] == 0
    assert found.incoming[:2] == pytest.approx([1 / 3, 2 / 3]) and np.isfinite(found.intervals).all()


def test_one_row_of_each_says_nothing_certain():
    found = bbse([0], [0], [1], 2)
    assert found.p == 1 and not found.alarm
    assert bbse([0, 1], [0, 1], [0], 2).refused


def test_the_same_seed_the_same_intervals_and_plain_values():
    predictions, labels = exact_rows([0.4, 0.3, 0.3], 200)
    one, same, other = (bbse(predictions, labels, predictions, 3, seed=s) for s in (1, 1, 2))
    assert (one.intervals == same.intervals).all() and (one.intervals != other.intervals).any()
    assert one.as_dict()["intervals"] == one.intervals.tolist() and one.as_dict()["alarm"] is False


def test_wrong_use_says_what():
    labels = np.array([0, 1, 1])
    for wrong in (
        (labels, labels, labels + 1, 2), (labels - 1, labels, labels, 2), (labels, labels[:2], labels, 2),
        (labels + 0.5, labels, labels, 2), (np.ones((3, 2)), labels, labels, 2), (np.full((3, 3), 1 / 3), labels, labels, 2),
        (labels, labels, [], 2),
    ):  # fmt: skip
        with pytest.raises(BadData):
            bbse(*wrong)
