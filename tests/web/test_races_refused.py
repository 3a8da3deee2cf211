"""Races that are refused: what is asked wrongly, and what no float can hold."""

import math

import pytest

from thalweg import errors
from thalweg.web.playground import race


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surface": "beal"}, "unknown surface 'beal'"),
        ({"surface": "../../etc:pca"}, "unknown surface"),
        ({"surface": None}, "surface must be"),
        ({"start": [1.0]}, "start must be two finite numbers"),
        ({"start": [math.nan, 0.0]}, "start must be"),
        ({"start": [True, 0.0]}, "start must be"),
        ({"steps": 5001}, "whole number from 1 to 5000"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 10.5}, "steps must be"),
        ({"noise": -1}, "noise must be"),
        ({"noise": math.inf}, "noise must be"),
        ({"clip": 0}, "clip must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"goal": "near"}, "goal must be"),
        ({"racers": []}, "1 to 16 racers"),
        ({"racers": [{"rule": "sgd"}] * 17}, "1 to 16 racers"),
        ({"racers": [{"options": {}}]}, "each with a rule"),
        ({"racers": [{"rule": "adm"}]}, "unknown optimizer 'adm'"),
        ({"racers": [{"rule": "sgd", "lr": 1}]}, "unknown field of a racer 'lr'"),
        ({"racers": [{"rule": "sgd", "options": [1]}]}, "options must be an object"),
        ({"racers": [{"rule": "sgd", "options": {"rate": 1}}]}, "unknown option 'rate'"),
        ({"racers": [{"rule": "sgd", "options": {"lr": "fast"}}]}, "lr must be"),
        ({"racers": [{"rule": "sgd", "options": {"fall": 3}}]}, "fall must be"),
        ({"racers": [{"rule": "adam", "options": {"beta1": 1}}]}, "betas must be"),
        ({"racers": [{"rule": "nesterov", "options": {"momentum": 0}}]}, "needs momentum"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_refused(change, message):
    with pytest.raises(errors.BadOption, match=message):
        race({"surface": "beale", "racers": [{"rule": "sgd"}], **change})


def test_refused_as_a_whole():
    with pytest.raises(errors.BadOption, match="must be an object"):
        race([1])
    with pytest.raises(errors.BadOption, match="no minimum that stands still"):
        race({"surface": "slope", "goal": 0.1, "racers": [{"rule": "sgd"}]})


HUGE = 10**400


@pytest.mark.parametrize(
    "field", [{"start": [HUGE, 0]}, {"noise": HUGE}, {"clip": HUGE}, {"goal": HUGE}, {"steps": HUGE}, {"seed": HUGE},
              {"racers": [{"rule": "sgd", "options": {"lr": HUGE}}]}, {"racers": [{"rule": "sgd", "options": {"fall": HUGE}}]},
              {"racers": [{"rule": "sgd", "options": {"counted": HUGE}}]}]
)  # fmt: skip
def test_numbers_that_no_float_can_hold_are_refused(field):
    with pytest.raises(errors.BadOption):
        race({"surface": "beale", "racers": [{"rule": "sgd"}]} | field)
