"""Which kind a shift is called: each kind where it is true, and none where nothing moved or a name would be wrong."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import thalweg as tw
from thalweg.data import Halves
from thalweg.shifts.causes.answers import answers
from thalweg.shifts.causes.kinds import CODES, name_kind
from thalweg.shifts.causes.looking import Look
from thalweg.shifts.causes.pipeline import distance, signatures, turned
from thalweg.shifts.causes.subgroups import find_subgroup
from thalweg.shifts.distributions.drift import sorted_by
from thalweg.shifts.distributions.power import critical_distance
from thalweg.shifts.reading import read, subject
from thalweg.shifts.rises import rise
from thalweg.shifts.sample import Flat, Sample

CENTRES = torch.tensor([[2.0, 0.0, 0.0, 0.0], [-2.0, 1.0, 0.0, 0.0], [0.0, -2.0, 0.0, 0.0]])


def rows(count, seed, shares=(1 / 3, 1 / 3, 1 / 3)):
    """Three normal classes in the plane of x0 and x1; x2 is noise that the model ignores, x3 lognormal."""
    random = np.random.default_rng(seed)
    y = torch.from_numpy(random.choice(3, count, p=shares))
    x = CENTRES[y] + torch.from_numpy(random.normal(size=(count, 4))).float()
    x[:, 3] = x[:, 3].exp()
    return x, y


@pytest.fixture(scope="module")
def known():
    """A linear classifier that is the classes' own discriminant, and 1500 rows that it knows."""
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight.copy_(CENTRES)
        model.bias.copy_(-(CENTRES**2).sum(1) / 2)
    x, y = rows(1500, 0)
    feed = (x, y)
    task = tw.Task(model=model, train=rows(1500, 9), valid=Halves(feed, feed), name="three normals")
    return model, task


def named(known, incoming, level=0.05, seed=0):
    model, task = known
    about = subject(model, task=task)
    return name_kind(Look(about, read(incoming, task, "incoming", like=about.reference), level, seed))


def test_nothing_moved_and_too_few_rows(known):
    found = named(known, rows(1000, 1))
    assert found.code is None and not found.matters and "1500 reference and 1000 incoming" in found.sentence
    few = named(known, rows(20, 1))
    assert few.code == "not-enough-data" and not few.matters and "incoming would do" in few.sentence
    # Four features at the part of the level that their family has: features, joint, order, classes and losses share it.
    assert "4 features, 1 % level" in few.sentence
    assert few.evidence["critical_distance"] == pytest.approx(critical_distance(1500, 20, 0.05 / 5 / 4))
    count = int(re.search(r"(\d+) incoming would do", few.sentence).group(1))
    assert named(known, rows(count, 1)).code is None and named(known, rows(count - 1, 1)).code == "not-enough-data"
    assert 0.15 < found.evidence["visible_effect"] < 0.25
    assert f"{found.evidence['visible_effect']:.2g} sd" in found.sentence


def test_false_alarms_are_as_rare_as_stated(known):
    model, task = known
    codes = []
    for seed in range(60):
        about = subject(model, reference=rows(300, 1000 + seed), task=task)
        incoming = read(rows(300, 5000 + seed), task, "incoming", like=about.reference)
        codes.append(name_kind(Look(about, incoming, 0.05, seed)).code)
    alarms = sum(code is not None for code in codes)
    assert stats.binom.sf(alarms - 1, len(codes), 0.05) > 1e-3, codes


def test_without_labels_false_alarms_are_as_rare(known):
    model, task = known
    codes = []
    for rows_of_each in (300, 1000):
        for seed in range(40):
            about = subject(model, reference=rows(rows_of_each, 3000 + seed), task=task)
            incoming = read(rows(rows_of_each, 7000 + seed)[0], task, "incoming", like=about.reference)
            codes.append(name_kind(Look(about, incoming, 0.05, seed)).code)
    alarms = sum(code is not None for code in codes)
    assert stats.binom.sf(alarms - 1, len(codes), 0.05) > 1e-3, codes


def looked(known, incoming, reference=None):
    model, task = known
    about = subject(model, task=task, reference=reference)
    return Look(about, read(incoming, task, "incoming", like=about.reference))


def test_the_tests_of_losses_share_one_part_of_the_level(known):
    look = looked(known, rows(400, 60))
    assert look.part == pytest.approx(0.05 / 5) and look.loss_part == pytest.approx(look.part / 3)
    assert looked(known, rows(400, 60)[0]).part == pytest.approx(0.05 / 4)


def test_ignored_targets_are_no_class_and_are_counted(known):
    x, y = rows(1000, 61)
    y[::5] = -100
    look = looked(known, (x, y))
    assert name_kind(look).code is None and look.notes == [
        "200 of 1000 incoming rows have a target that the loss ignores or the model has no output for: they are in no loss."
    ]
    kept = torch.arange(1000) % 5 != 0
    assert look.loss.after == pytest.approx(nn.functional.cross_entropy(known[0](x[kept]), y[kept]).item())
    assert look.errors.rows == (1500, 800) and look.shares.incoming.sum() == pytest.approx(1)
    # Class shares of a part with gaps, on either side.
    x, y = rows(1500, 62, (0.8, 0.1, 0.1))
    a, b = rows(1500, 63)
    y[::4], b[::4] = -100, -100
    assert name_kind(looked(known, (x, y), (a, b))).code == "label"
    assert name_kind(looked(known, x, (a, b))).code == "label"


def test_losses_that_are_not_finite_are_the_worst_ones_and_are_counted(known):
    x, _ = rows(1000, 64)
    right = known[0](x).argmax(1)  # where every other answer is right, what is left looks better than before
    x[:30] = 3e38
    look = looked(known, (x, right))
    finite = look.new.losses_N[30:]
    assert np.isinf(look.new.losses_N[:30]).all() and finite.mean() < look.loss.before
    assert look.losses[1][:30].min() > max(finite.max(), look.old.losses_N.max())
    assert look.notes == ["30 of 1000 incoming rows have no finite loss: each counts as worse than every finite one."]


def test_a_concept_beyond_the_inputs_shift_has_numbers_though_a_reference_row_has_no_loss(known):
    a, b = rows(1500, 65)
    b[0] = -100
    x, y = rows(1500, 66)
    x[:, 0] += 0.25
    found = name_kind(looked(known, (x, torch.where(torch.arange(1500) % 3 == 0, (y + 1) % 3, y)), (a, b)))
    assert found.code == "concept" and np.isfinite(found.evidence["expected"]) and found.evidence["unexplained"] > 0.1


def test_the_target_is_looked_at_only_where_its_test_alarms(monkeypatch):
    from thalweg.shifts.causes import faults

    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(1200, 3))).float()
    y = (3 + x[:, 0] + 0.1 * torch.randn(1200)).exp()
    task = tw.Task(model=nn.Linear(3, 1), train=(x, y), valid=Halves((x, y), (x[:600], y[:600])), name="numbers")
    about = subject(task.model, task=task)
    asked = []
    monkeypatch.setattr(faults, "_target", lambda look: asked.append(look) or [])
    for factor, alarm in ((1.0, False), (1000.0, True)):
        look = Look(about, read((x[600:], factor * y[600:]), task, "incoming", like=about.reference))
        assert look.part == pytest.approx(0.05 / 5)  # the target's test is a family of its own
        faults.faults(look)
        assert look.target.alarm is alarm and len(asked) == alarm


def test_a_covariate_shift_names_its_column(known):
    x, y = rows(1000, 2)
    x[:, 0] += 0.8
    found = named(known, (x, y))
    assert found.code == "covariate" and found.features[0] == "x0" and found.matters


def test_a_direction_that_the_model_ignores_is_harmless_with_and_without_labels(known):
    x, y = rows(1000, 3)
    x[:, 2] += 1.0
    found = named(known, (x, y))
    assert found.code == "harmless" and found.features == ("x2",) and not found.matters
    low, high = found.evidence["interval"]
    assert -found.evidence["margin"] < low < high < found.evidence["margin"]
    # Without labels the representation must be quiet too, and here it is the inputs themselves.
    assert named(known, x).code in ("harmless", "covariate")


@pytest.mark.parametrize("labeled", [True, False])
def test_class_shares(known, labeled):
    x, y = rows(1500, 4, (0.8, 0.1, 0.1))
    found = named(known, (x, y) if labeled else x)
    assert found.code == "label"
    assert np.allclose(found.evidence["incoming"], [0.8, 0.1, 0.1], atol=0.05)


def test_moved_class_shares_of_moved_classes_are_no_label_shift(known):
    x, y = rows(1500, 5, (0.8, 0.1, 0.1))
    x[:, :2] += torch.where(y[:, None] == 0, 1.5, 0.0)
    assert named(known, (x, y)).code == "covariate"


def test_other_answers_to_the_same_inputs(known):
    x, y = rows(1000, 6)
    found = named(known, (x, (y + 1) % 3))
    assert found.code == "concept" and found.evidence["loss_incoming"] > 2 * found.evidence["loss_reference"]
    # Class 2 called class 1 moves the labels' shares too, but the inputs do not follow: no label shift.
    assert named(known, (x, torch.where(y == 2, 1, y))).code in ("concept", "subgroup")


def test_a_failing_subgroup_is_found_and_described(known):
    x, y = rows(2000, 7)
    found = named(known, (x, torch.where(x[:, 2] > 1, (y + 1) % 3, y)))
    assert found.code == "subgroup" and "x2" in found.features
    (before, after), (out_before, out_after) = found.evidence["inside"], found.evidence["outside"]
    assert after > 5 * before and abs(out_after - out_before) < 0.2


def test_new_classes_need_labels_to_be_sure(known):
    x, y = rows(1000, 8)
    y[:50] = 7
    found = named(known, (x, y))
    assert found.code == "new-class" and found.evidence == {"rows": 50, "share": 0.05, "classes": [7]}
    far = torch.cat([x, torch.randn(200, 4) * 0.5 + torch.tensor([8.0, 8.0, 0.0, 1.5])])
    guess = named(known, far)
    assert guess.code == "new-class" and guess.confidence < 0.7 and "guess" in guess.sentence
    assert named(known, x + 3 * torch.randn(1000, 4)).code != "new-class"  # all rows moved, not some


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x[:, 3].mul_(1000), "x3 is ×1000"),
        (lambda x: x[:, 3].div_(100), "x3 is ÷100"),
        (lambda x: x[:, 3].neg_(), "x3 has the other sign"),
        (lambda x: x[::7, 3].fill_(-1), "hold -1, which stands for missing cells"),
        (lambda x: x.copy_(x[:, [0, 3, 2, 1]]), "x1 and x3 are swapped"),
    ],
)
def test_a_broken_pipeline_names_column_and_fault(known, change, sentence):
    x, y = rows(1000, 10)
    change(x)
    found = named(known, (x, y))
    assert found.code == "pipeline" and sentence in found.sentence, found.sentence
    assert named(known, x).code == "pipeline"


def test_a_natural_shift_is_not_taken_for_a_broken_pipeline(known):
    for seed, change in enumerate(
        [
            lambda x: x[:, 3].mul_(1.5),
            lambda x: x[:, 3].add_(2.0),
            lambda x: x[:, 3].clamp_(max=1.0),  # rows pile up at the bound
            lambda x: x[:, 3].pow_(2),
            lambda x: x[:, 3].copy_(torch.where(x[:, 3] > 2, 0.5 * x[:, 3], x[:, 3])),
        ]
    ):
        x, y = rows(1000, 20 + seed)
        change(x)
        assert named(known, (x, y)).code in ("covariate", "harmless")


def test_a_target_in_another_unit():
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(1200, 3))).float()
    y = (3 + x[:, 0] + 0.1 * torch.randn(1200)).exp()
    model = nn.Linear(3, 1)
    task = tw.Task(model=model, train=(x, y), valid=Halves((x, y), (x[:600], y[:600])), name="numbers")
    about = subject(model, task=task)
    found = name_kind(Look(about, read((x[600:], y[600:] * 1000), task, "incoming", like=about.reference)))
    assert found.code == "pipeline" and "the target is ×1000" in found.sentence


def test_rows_that_drift_over_their_order_and_rows_that_are_sorted(known):
    x, y = rows(1200, 30)
    order = torch.argsort(x[:, 0] + torch.randn(1200))
    found = named(known, (x[order], y[order]))
    assert found.code == "covariate" and found.sentence.startswith("Over time")
    block = torch.argsort(y)
    assert named(known, (x[block], y[block])).code is None  # a file sorted by class is no drift
    assert named(known, Sample(x[order], y[order], order=False)).code is None


def test_signatures_spare_columns_that_did_not_move():
    random = np.random.default_rng(0)
    old, new = random.lognormal(size=(2, 800, 3))
    new[:, 0] *= 60
    flats = Flat(old, ["a", "b", "c"]), Flat(new, ["a", "b", "c"])
    assert [(b.what, b.columns, b.sentence) for b in signatures(*flats, ["a"])] == [("units", ("a",), "a is ×60")]
    assert signatures(*flats, []) == []


def test_three_columns_in_a_ring():
    random = np.random.default_rng(1)
    old, new = (np.column_stack([random.normal(k * 3, 1 + k, 600) for k in range(3)]) for _ in range(2))
    found = signatures(Flat(old, ["a", "b", "c"]), Flat(new[:, [1, 2, 0]], ["a", "b", "c"]), ["a", "b", "c"])
    assert [b.what for b in found] == ["exchanged"] and set(found[0].columns) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (lambda x: x.transpose(0, 1, 3, 2), "transposed"),
        (lambda x: x[..., ::-1], "mirrored"),
        (lambda x: x[..., ::-1, :], "upside down"),
        (lambda x: np.rot90(x, -1, (-2, -1)), "turned by"),
        (lambda x: x[:, [2, 1, 0]], "channels in the order 2, 1, 0"),
        (lambda x: 1 - x, "inverted"),
        (lambda x: x, None),
        (lambda x: np.clip(x + 0.2, 0, 1), None),
    ],
)
def test_turned_images(way, words):
    random = np.random.default_rng(0)
    face = random.random((3, 8, 8))
    old, new = (np.clip(face + 0.1 * random.normal(size=(300, 3, 8, 8)), 0, 1) for _ in range(2))
    found = turned(old, way(new))
    assert found is None if words is None else words in found.sentence


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40))
def test_the_distance_is_kolmogorovs(seed, n, m):
    random = np.random.default_rng(seed)
    a, b = random.integers(0, 6, n).astype(float), random.integers(0, 6, m).astype(float)
    grid = np.arange(6)
    steps = [(x[:, None] <= grid).mean(0) for x in (a, b)]
    assert distance(a, b) == pytest.approx(np.abs(steps[0] - steps[1]).max())
    assert distance(np.append(a, np.nan), b) == distance(a, b)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 40))
def test_the_rise_is_welchs(seed, n, m):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=n), random.exponential(size=m)
    found, oracle = rise(a, b), stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval(0.95)
    assert found.interval() == pytest.approx((interval.low, interval.high))


def test_the_check_of_a_subgroup_is_fair():
    """Nothing differs: the held-out p-values are uniform, however many regions were tried."""
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        x, y = random.normal(size=(2, 200, 6))
        one = find_subgroup(x, random.exponential(size=200), y, random.exponential(size=200), list("abcdef"), seed=seed)
        found += [] if one is None else [one.p]
    assert len(found) > 40 and stats.kstest(found, "uniform").pvalue > 1e-3


def test_answers_of_rows_are_those_of_the_task(known):
    model, task = known
    x, y = rows(64, 40)
    found = answers(model, Sample(x, y), task)
    logits = model(x).detach()
    expected = torch.nn.functional.cross_entropy(logits, y, reduction="none").double().numpy()
    assert np.allclose(found.losses_N, expected, atol=1e-6)
    assert np.allclose(found.outputs_Nk, logits.softmax(1).numpy(), atol=1e-6)
    assert found.representation_Nh.shape == (64, 4) and found.where == "the inputs"
    assert found.wrong_N.tolist() == (logits.argmax(1) != y).double().tolist()


def test_sorted_rows():
    random = np.random.default_rng(0)
    assert sorted_by(np.sort(random.normal(size=200))) and sorted_by(-np.sort(random.normal(size=200)))
    assert not sorted_by(random.integers(0, 5, 200).astype(float)) and not sorted_by(np.zeros(200))


def test_every_code_has_a_title():
    from thalweg.shifts.shifted import TITLES

    assert set(TITLES) == {None, *CODES}


def test_more_rows_than_the_model_is_asked_about(known, monkeypatch):
    """Features, labels and regions of a part of the rows still belong together."""
    from thalweg.shifts.causes import looking

    monkeypatch.setattr(looking, "MOST", 800)
    x, y = rows(1500, 50, (0.8, 0.1, 0.1))
    assert named(known, (x, y)).code == "label"
    x, y = rows(2000, 51)
    assert named(known, (x, torch.where(x[:, 2] > 1, (y + 1) % 3, y))).code == "subgroup"
    x, y = rows(1500, 52)
    y[7] = 9  # in no part that the model is asked about
    assert named(known, (x, y)).evidence == {"rows": 1, "share": 1 / 1500, "classes": [9]}
