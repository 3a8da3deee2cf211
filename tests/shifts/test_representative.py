"""Splits that are good, and splits with one thing wrong, which must be the thing that is said."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import thalweg
from thalweg.shifts.representative import representative


def rows(n, seed, classes=2):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    return x, (torch.rand(n, generator=generator) * classes).long()


def task_of(train, valid, **more):
    return thalweg.Task(
        model=lambda: nn.Linear(train[0].shape[1], 2), train=train, valid=valid, device="cpu", name="toy", **more
    )


def alarms(found):
    return {(check.code, check.part) for check in found.findings if check.alarm}


def test_a_drawn_split_is_in_order():
    found = representative(task_of(rows(900, 0), rows(300, 1), test=rows(300, 2)))
    assert not found.alarm and "Nothing speaks against" in found.sentence
    assert {check.part for check in found.findings} == {"validation", "test", "training"}
    assert json.loads(json.dumps(found.as_dict()))["alarm"] is False
    assert len(str(found).split("\n")) == 1 + len(found.findings)


def test_a_feature_that_moved_is_named():
    x, y = rows(400, 3)
    found = representative(task_of(rows(900, 4), (x + torch.tensor([0.0, 0.0, 2.0, 0.0]), y)))
    assert alarms(found) == {("inputs", "validation"), ("features", "validation")}
    assert next(c for c in found.findings if c.code == "features").names == ("x2",)
    assert found.findings[0].alarm and found.sentence.startswith("The split does not look representative")


def test_other_shares_of_the_classes():
    x, y = rows(600, 5)
    found = representative(task_of(rows(900, 6), (x, torch.where(torch.arange(600) % 2 == 0, 0, y))))
    assert ("labels", "validation") in alarms(found) and ("duplicates", "validation") not in alarms(found)
    said = next(c for c in found.findings if c.code == "labels").sentence
    assert "0.2" in said or "0.3" in said  # half of the rows of class 1 went: 1/4 in total variation


def test_rows_of_the_training_set_among_the_validation_rows():
    x, y = rows(900, 7)
    a, b = rows(200, 8)
    found = representative(task_of((x, y), (torch.cat([a, x[:10]]), torch.cat([b, y[:10]]))))
    [check] = [c for c in found.findings if c.code == "duplicates"]
    assert check.alarm and check.statistic == pytest.approx(10 / 210)
    one = representative(task_of((x, y), (torch.cat([a, x[:1]]), torch.cat([b, y[:1]]))))
    [check] = [c for c in one.findings if c.code == "duplicates"]
    assert not check.alarm and check.statistic == pytest.approx(1 / 201)


def test_training_rows_that_drift_over_their_order():
    x, y = rows(900, 9)
    drift = x + torch.linspace(-2, 2, 900)[:, None]
    found = representative(task_of((drift, y), None))
    assert not found.alarm and found.sentence.startswith("The parts look alike, but the first and the second half")
    assert "hold out the last rows" in next(c for c in found.findings if c.code == "order").sentence
    order = torch.randperm(900, generator=torch.Generator().manual_seed(0))
    mixed = representative(task_of((drift[order], y[order]), None))
    assert "no drift" in next(c for c in mixed.findings if c.code == "order").sentence


def test_a_clock_says_whether_validation_is_later():
    (x, y), (a, b) = rows(600, 10), rows(200, 11)
    clock = torch.arange(800.0)
    train, late = (torch.column_stack([x, clock[:600]]), y), (torch.column_stack([a, clock[600:]]), b)
    early = (torch.column_stack([a, clock[:200] + 0.5]), b)
    [after] = [c for c in representative(task_of(train, late)).findings if c.code == "later"]
    [before] = [c for c in representative(task_of(train, early)).findings if c.code == "later"]
    assert after.statistic == 1 and not after.alarm and after.names == ("x4",)
    assert before.statistic == 0 and before.alarm


def test_numbers_as_targets():
    x, _ = rows(600, 12)
    train, valid = (x[:400], x[:400, :1]), (x[400:], x[400:, :1] + 1)
    task = thalweg.Task(model=lambda: nn.Linear(4, 1), train=train, valid=valid, device="cpu")
    assert ("labels", "validation") in alarms(representative(task))


def test_drawn_splits_raise_no_more_alarms_than_the_level_says():
    false = 0
    for seed in range(40):
        x, y = rows(300, 100 + seed, classes=3)
        false += representative(
            thalweg.Task(model=lambda: nn.Linear(4, 3), train=(x, y), device="cpu", seed=seed), seed=seed
        ).alarm
    assert false <= 40 * 0.05 + 3 * math.sqrt(40 * 0.05 * 0.95)


def test_the_task_and_the_random_states_are_left_alone():
    task = task_of(rows(300, 13), rows(100, 14))
    before, state = task.train[0].clone(), torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()
    representative(task)
    assert torch.equal(task.train[0], before) and torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)


def test_columns_of_a_table_are_called_by_their_names_and_shown_in_their_own_units(tmp_path):
    random = np.random.default_rng(0)

    def write(name, count, more):
        towns = random.choice(["north", "south"], count)
        lines = [
            f"{a + more:.3f},{'' if k % 7 == 0 else f'{b:.3f}'},{town},{k % 2}"
            for k, (a, b, town) in enumerate(zip(*random.normal(40, 10, (2, count)), towns, strict=True))
        ]
        path = tmp_path / name
        path.write_text("\n".join(["age,income,town,label", *lines]), encoding="utf-8")
        return str(path)

    task = thalweg.Task(
        model=lambda: nn.Linear(5, 2), train=write("train.csv", 600, 0), valid=write("valid.csv", 400, 25),
        device="cpu", name="people",
    )  # fmt: skip
    found = representative(task)
    features = next(c for c in found.findings if c.code == "features")
    assert features.names == ("age",) and "age" in features.sentence
