"""The bench's scenarios: what is quick of it, and what its records say."""

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest
import torch

from thalweg.shifts.remedies.measuring import recommend, try_remedies
from thalweg.shifts.sample import Sample

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
scenarios = importlib.import_module("scenarios")
shifts = importlib.import_module("shifts")
BY_NAME = {scenario.name: scenario for scenario in scenarios.SCENARIOS}


def test_there_are_fifteen_shifts_of_every_kind():
    assert len(BY_NAME) == 15 and sum(shifts.SPLITS.values()) == 400
    kinds = set().union(*(scenario.kinds for scenario in scenarios.SCENARIOS))
    assert kinds == {
        None,
        "covariate",
        "label",
        "concept",
        "pipeline",
        "new-class",
        "subgroup",
        "harmless",
        "not-enough-data",
    }


def test_halves_of_the_pool_share_no_rows_and_seeds_draw_other_ones():
    scenario = BY_NAME["clean split"]
    one, other, again = (scenario.case(*at).incoming[0] for at in ((0, 0), (1, 0), (0, 0)))
    assert torch.equal(one, again) and len(one) == 300
    rows = {tuple(row.tolist()) for row in one}
    assert not rows & {tuple(row.tolist()) for row in other}


def test_the_model_ignores_what_it_is_said_to_ignore():
    case = BY_NAME["drift that the model ignores"].case()
    ground = scenarios.digits()
    x, _ = scenarios._of(ground.pool[0], 300, scenarios.np.random.default_rng([0, 0]))
    with torch.no_grad():
        assert torch.allclose(case.run.model(case.incoming[0]), case.run.model(x), atol=1e-4)
    assert (case.incoming[0] - x).norm(dim=1).min() > 1.9


def test_a_new_class_wants_training_and_a_clean_split_nothing():
    case = BY_NAME["a new class"].case()
    assert 9 not in case.reference[1] and 9 in case.incoming[1]
    tried = try_remedies(
        case.task, case.run.model, Sample(*case.reference), Sample(*case.incoming), recipe=case.run.recipe,
        names=["fine-tune the last layer", "fine-tune everything"],
    )  # fmt: skip
    assert recommend(tried).name.startswith("fine-tune") and recommend(tried).change.mean < -1


def test_counts_and_the_row_of_batch_norm():
    record = {
        "kind": "covariate", "expected": ["covariate"], "named": True, "alarm": True, "asks": True, "right": True,
        "seconds": 2.0, "rows": 9, "recommended": "x", "best": "x",
        "tried": [
            {"name": "nothing", "loss": 1.0, "old_loss": 0.5, "interval": [0, 0]},
            {"name": shifts.NORM, "loss": 0.6, "old_loss": 0.9, "interval": [-0.45, -0.35]},
            {"name": shifts.TUNED, "loss": 0.55, "old_loss": 0.9, "interval": [-0.5, -0.4]},
        ],
    }  # fmt: skip
    calm = record | {"kind": "label", "expected": ["None"], "asks": False, "tried": []}
    rows = {row.what: row for row in shifts.rows_of({"a": record, "b": calm})}
    assert [rows[f"{name} right, of 2 shifts"].ours for name in ("kinds", "remedies")] == [1, 2]
    assert not rows["alarms where nothing has to be done"].holds
    norm = next(row for row in rows.values() if row.peer_name == shifts.TUNED)
    assert (norm.ours, norm.peer) == (pytest.approx(0.8), pytest.approx(0.9)) and norm.holds
    assert norm.what.endswith("[0.70, 0.90]")


def test_the_null_is_held_against_its_spread():
    """Alarms may be rarer than the level, since they ask for an effect too; p-values may not."""

    def rows(low, n=400):
        p = [0.01 if k < low else 0.5 for k in range(n)]
        given = [{"alarm": x < 0.05, "unlabeled": x < 0.05, "joint": x, "features": x, "rows": 30} for x in p]
        return shifts.null_rows(given)

    for low, holds in ((6, (*(4 * [True]), False, False)), (7, 6 * (True,))):
        assert tuple(row.holds for row in rows(low)) == holds
    assert all(row.holds for row in rows(33)) and not any(row.holds for row in rows(34))
    assert dataclasses.asdict(rows(20)[0])["ours"] == 0.05


def test_alarms_are_counted_with_and_without_labels_and_by_size():
    """Ten alarms without labels, all of the smallest size: all sizes together hide what that size shows."""
    records = [
        {"rows": size, "alarm": False, "unlabeled": size == 30 and k < 10, "joint": 0.5, "features": 0.5}
        for size, count in ((30, 40), (300, 360))
        for k in range(count)
    ]
    rows = {row.what.removeprefix("alarm rate under no shift, "): row for row in shifts.null_rows(records)}
    assert rows["without labels, all sizes"].holds and not rows["without labels, 30 rows of each side"].holds
    assert (rows["without labels, 30 rows of each side"].ours, rows["without labels, 30 rows of each side"].n) == (
        0.25,
        40,
    )
    assert rows["without labels, 300 rows of each side"].ours == 0 and rows["with labels, all sizes"].holds


def test_a_split_is_asked_about_with_and_without_labels():
    record = shifts.null_of(30, 0)
    assert record["rows"] == 30 and {"alarm", "unlabeled", "joint", "features"} <= record.keys()
    assert record["kind"] == record["unlabeled kind"] == "not-enough-data"
