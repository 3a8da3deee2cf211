import math

import pytest

from thalweg import errors, schedules


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_every_schedule_warms_up_then_starts_at_one(name):
    rate = schedules.make(name, steps=100, warmup=10)
    assert [rate(k) for k in range(10)] == [(k + 1) / 10 for k in range(10)]
    assert rate(10) == 1
    rates = [rate(k) for k in range(10, 100)]
    assert rates == sorted(rates, reverse=True) and all(r >= 0 for r in rates)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ("1/t", [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]),
        ("1/sqrt(t)", [1, 1 / math.sqrt(2), 1 / math.sqrt(3), 1 / 2, 1 / math.sqrt(5)]),
    ],
)
def test_the_values(name, expected):
    for warmup in (0, 3):
        rate = schedules.make(name, steps=4 + warmup, warmup=warmup)
        assert [rate(k + warmup) for k in range(5)] == pytest.approx(expected, abs=1e-15)
        assert rate(99 + warmup) >= 0


def test_an_unknown_length_keeps_linear_and_cosine_constant():
    for name in ("linear", "cosine"):
        rate = schedules.make(name, None, 2)
        assert [rate(k) for k in (0, 1, 2, 10**6)] == [0.5, 1, 1, 1]


def test_a_warmup_longer_than_the_run():
    rate = schedules.make("linear", 3, 10)
    assert [rate(k) for k in range(3)] == pytest.approx([0.1, 0.2, 0.3])


def test_the_default_warmup():
    assert schedules.default_warmup(1000) == 100
    assert schedules.default_warmup(100_000, 0.999) == 2000
    assert schedules.default_warmup(1000, 0.9) == 20
    assert schedules.default_warmup(5, 0.999) == 0


def test_wrong_uses():
    with pytest.raises(errors.BadOption, match="did you mean 'cosine'"):
        schedules.make("cosin", 10)
    for arguments in (("linear", 0), ("linear", 10, -1), ("linear", 10, 0.5)):
        with pytest.raises(errors.BadOption, match="must be"):
            schedules.make(*arguments)
    for arguments in ((0,), (10, 1.0)):
        with pytest.raises(errors.BadOption, match="must be"):
            schedules.default_warmup(*arguments)
