"""Remedies against closed forms: two Gaussians, linear regression, Satterthwaite by hand; and that no harm is done."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import thalweg
from thalweg.errors import BadData, BadOption
from thalweg.seeds import RandomState
from thalweg.shifts.identical import row_keys
from thalweg.shifts.remedies import adapting, trying
from thalweg.shifts.remedies.changes import Change, change, group_losses
from thalweg.shifts.remedies.correcting import Corrected, shares
from thalweg.shifts.remedies.measuring import Tried, recommend, try_remedies
from thalweg.shifts.remedies.trying import REMEDIES
from thalweg.shifts.remedies.undoing import find_undo, undone
from thalweg.shifts.sample import Flat, Sample

MEANS = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])


def gaussians(n, share=0.5, seed=0):
    """Rows of two unit Gaussians about MEANS; class 1 has ``share`` of them."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=generator) < share).long()
    return MEANS[y] + torch.randn(n, 2, generator=generator), y


def bayes():
    """The logits log p(y|x) of even shares, up to a constant: μᵀx - |μ|²/2."""
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(MEANS)
        model.bias.copy_(-MEANS.square().sum(1) / 2)
    return model


def task_of(model, n=1200, **settings):
    return thalweg.Task(
        model=model, train=gaussians(n, seed=1), valid=gaussians(400, seed=2), batch_size=64, epochs=2, name="gaussians",
        device="cpu", **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def task():
    return task_of(lambda: nn.Linear(2, 2))


# --- intervals ---


def test_one_seed_is_the_paired_t_interval():
    random = np.random.default_rng(0)
    before, after = random.normal(size=12), random.normal(size=12)
    expected = stats.ttest_rel(after, before).confidence_interval(0.9)
    assert change(after[None], before).interval(0.1) == pytest.approx(tuple(expected))


def test_several_seeds_by_satterthwaite():
    d = np.random.default_rng(1).normal(size=(3, 8)) + np.array([[0.0], [2.0], [4.0]])
    rows, seeds = d.mean(0).var(ddof=1) / 8, d.mean(1).var(ddof=1) / 3
    df = (rows + seeds) ** 2 / (rows**2 / 7 + seeds**2 / 2)
    found = change(d + 5, np.full(8, 5.0))
    assert (found.error, found.df) == (pytest.approx(math.sqrt(rows + seeds)), pytest.approx(df))
    assert found.interval()[0] == pytest.approx(d.mean() - stats.t.ppf(0.975, df) * found.error)


def test_intervals_cover_at_least_as_often_as_they_say():
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(600):
        d = 1 + random.normal(size=(3, 1)) * 0.3 + random.normal(size=20) + random.normal(size=(3, 20)) * 0.5
        low, high = change(d, np.zeros(20)).interval(0.1)
        hits += low <= 1 <= high
    assert hits >= 600 * 0.9 - 3 * math.sqrt(600 * 0.09)


def test_what_diverged_or_was_not_measured_has_no_difference():
    assert change(np.array([[1.0, math.inf]]), np.ones(2)).mean == math.inf
    assert change(np.array([[2.0]]), np.ones(1)).interval() == (-math.inf, math.inf)
    assert all(map(math.isnan, Change().interval()))


def test_groups_are_means_of_the_rows_losses(task):
    x, y = gaussians(130, seed=3)
    model = bayes()
    each = nn.functional.cross_entropy(model(x), y, reduction="none").detach().double().numpy()
    assert group_losses(task, model, Sample(x, y)) == pytest.approx(each.reshape(65, 2).mean(1), rel=1e-5)


# --- pieces ---


def test_prior_correction_is_bayes_rule():
    x, _ = gaussians(50, seed=4)
    found = Corrected(bayes(), [0.5, 0.5], [0.1, 0.9])(x).exp()
    joint = torch.stack(
        [w * torch.exp(-(x - m).square().sum(1) / 2) for w, m in zip((0.1, 0.9), MEANS, strict=True)], 1
    )
    assert found.detach() == pytest.approx((joint / joint.sum(1, keepdim=True)).numpy(), abs=1e-6)


def test_prior_correction_of_one_logit():
    found = Corrected(nn.Identity(), [0.5, 0.5], [0.2, 0.8])(torch.zeros(3, 1))
    assert torch.sigmoid(found).flatten().tolist() == pytest.approx([0.8] * 3)
    assert shares(torch.tensor([1, 1, 0, 2]), 4).tolist() == pytest.approx([1.5 / 6, 2.5 / 6, 1.5 / 6, 0.5 / 6])


@pytest.mark.parametrize("factor", [0.001, 0.01, 60.0, 255.0, 1000.0])
def test_units_are_found(factor):
    x = torch.randn(600, 3, generator=torch.Generator().manual_seed(0)) + 2
    wrong = x[300:] * torch.tensor([1.0, factor, 1.0])
    [undo] = find_undo(Sample(x[:300]), Sample(wrong), ["x1"])
    assert undo.factor * factor == pytest.approx(1.0)
    assert torch.allclose(undone(Sample(wrong), [undo]).inputs, x[300:], rtol=1e-5)


def test_swapped_columns_a_code_and_a_scale_are_found():
    x = torch.randn(2000, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 1, 1, 1]) + torch.tensor(
        [5.0, -5, 7, 0]
    )
    old, new = Sample(x[:1000]), x[1000:].clone()
    new[:, [0, 1]] = new[:, [1, 0]]
    new[::4, 2] = -1
    new[:, 3] = 1.8 * new[:, 3] + 32
    found = find_undo(old, Sample(new), ["x0", "x1", "x2", "x3"])
    assert [(u.column, u.source, u.code) for u in found] == [(0, 1, None), (1, 0, None), (2, 2, -1.0), (3, 3, None)]
    fixed = undone(Sample(new), found).inputs
    assert torch.equal(fixed[:, :2], x[1000:, :2])
    assert (fixed[::4, 2] - x[:1000, 2].median()).abs().max() < 0.01
    assert (fixed[:, 3] - x[1000:, 3]).abs().mean() < 0.15
    assert str(found[2]).startswith("x2: -1 stands for missing")


def test_columns_of_a_table_are_put_right_in_their_own_units():
    generator = torch.Generator().manual_seed(4)
    raw = torch.exp(0.5 * torch.randn(1000, 2, generator=generator, dtype=torch.float64)) * torch.tensor([30.0, 4.0])
    mean, sd = raw[:500].mean(0), raw[:500].std(0)

    def sample(rows):
        inputs = ((rows - mean) / sd).float()
        return Sample(inputs, names=("age", "rooms"), table=Flat(rows.numpy(), ["age", "rooms"]))

    right, thousandfold, swapped = raw[500:], raw[500:] * torch.tensor([1000.0, 1.0]), raw[500:].flip(1)
    [undo] = find_undo(sample(raw[:500]), sample(thousandfold), ["age"])
    assert str(undo) == "age = age / 1000"
    assert torch.allclose(undone(sample(thousandfold), [undo]).inputs, sample(right).inputs, atol=1e-4)
    found = find_undo(sample(raw[:500]), sample(swapped), ["rooms", "age"])
    assert [str(undo) for undo in found] == ["age = rooms", "rooms = age"]
    assert torch.allclose(undone(sample(swapped), found).inputs, sample(right).inputs, atol=1e-4)
    gone = right.clone()
    gone[::5, 1] = -1
    [undo] = find_undo(sample(raw[:500]), sample(gone), ["rooms"])
    fixed = undone(sample(gone), [undo]).inputs * sd.float() + mean.float()
    assert undo.code == -1 and (fixed[::5, 1] - raw[:500, 1].median()).abs().max() < 0.01
    assert torch.allclose(fixed[1::5], right[1::5].float(), atol=1e-3)


def test_columns_as_before_are_left_alone():
    x = torch.randn(800, 2, generator=torch.Generator().manual_seed(2))
    assert find_undo(Sample(x[:400]), Sample(x[400:]), ["x0", "x1"]) == []
    assert find_undo(Sample(x[:400].long()), Sample(x[400:].long()), ["x0"]) == []


def test_all_pixels_in_another_unit():
    x = torch.rand(100, 1, 5, 5, generator=torch.Generator().manual_seed(3))
    [undo] = find_undo(Sample(x[:50]), Sample(255 * x[50:]), Sample(x).flat().names)
    assert torch.allclose(undone(Sample(255 * x[50:]), [undo]).inputs, x[50:])


def test_equal_rows_have_equal_keys():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    a = row_keys({"x": x}, torch.tensor([0, 0, 0]))
    b = row_keys({"x": x}, torch.tensor([0, 0, 1]))
    assert a[0] == a[2] != a[1] and b[0] != b[2] and a[0] == b[0]


def test_training_on_is_gradient_descent_from_the_given_weights(task):
    x, y = gaussians(40, seed=5)
    model, twin = nn.Linear(2, 2), None
    twin = copy.deepcopy(model).double()
    recipe = thalweg.Recipe("sgd", lr=0.5, schedule="constant", batch_size="full")
    found, outcome = adapting.adapt(task, adapting.copies(model), Sample(x, y), recipe, 4, seed=0)
    for _ in range(4):
        loss = nn.functional.cross_entropy(twin(x.double()), y)
        grads = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, g in zip(twin.parameters(), grads, strict=True):
                p -= 0.5 * g
    assert outcome.status == "finished"
    for p, q in zip(found.parameters(), twin.parameters(), strict=True):
        assert p.double().detach() == pytest.approx(q.detach().numpy(), abs=1e-6)


def test_the_optimizers_state_goes_on(task):
    x, y = gaussians(40, seed=6)
    model = nn.Linear(2, 2)
    recipe = thalweg.Recipe("adam", lr=0.1, schedule="constant", batch_size="full")
    straight, _ = adapting.adapt(task, adapting.copies(model), Sample(x, y), recipe, 1, seed=0)
    twin = copy.deepcopy(model)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
    for step in range(6):
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(x), y).backward()
        if step == 5:
            state, half = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(twin)
        optimizer.step()
    found, _ = adapting.adapt(task, adapting.copies(half), Sample(x, y), recipe, 1, seed=0, state=state)
    anew, _ = adapting.adapt(task, adapting.copies(half), Sample(x, y), recipe, 1, seed=0)
    assert torch.allclose(found.weight, twin.weight, atol=1e-5)
    assert not torch.allclose(anew.weight, twin.weight, atol=1e-3)
    assert not torch.equal(straight.weight, model.weight)


def test_frozen_parameters_and_still_norms_stay_to_the_bit():
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    task = task_of(lambda: copy.deepcopy(net))
    freeze = adapting.frozen(net, adapting.last_layer(net))
    assert freeze == ("0.*", "1.*")
    recipe = thalweg.Recipe("adamw", lr=0.1, freeze=freeze)
    x, y = gaussians(100, seed=7)
    found, _ = adapting.adapt(task, adapting.copies(net), Sample(x, y), recipe, 5, seed=0, still=True)
    moved = [name for name, v in found.state_dict().items() if not torch.equal(v, net.state_dict()[name])]
    assert moved == ["3.weight", "3.bias"]
    assert adapting.norm_layers(net) == {"1.weight", "1.bias"}


def test_patterns_never_freeze_what_is_to_be_trained():
    net = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2)}), "c[0]": nn.Linear(2, 2)})
    net["a"].w = nn.Parameter(torch.zeros(1))
    freeze = adapting.frozen(net, {"a.b.weight"})
    recipe = thalweg.Recipe("sgd", lr=0.1, freeze=freeze)
    assert [n for g in recipe.parameter_groups(net) for n in g["param_names"]] == ["a.b.weight"]


def test_a_module_is_drawn_anew_only_where_it_can_be():
    net = nn.Sequential(nn.Linear(2, 2))
    make = adapting.fresh_models(thalweg.Task(model=net, train=gaussians(50)), net)
    assert not torch.equal(make()[0].weight, net[0].weight)
    net.own = nn.Parameter(torch.zeros(2))
    assert adapting.fresh_models(thalweg.Task(model=net, train=gaussians(50)), net) is None


# --- the whole ---


def test_no_shift_wants_nothing_and_no_harm_is_done(task):
    model, new = bayes().train(), Sample(*gaussians(400, seed=8))
    before, inputs = copy.deepcopy(model.state_dict()), new.inputs.clone()
    torch.manual_seed(3)
    np.random.seed(3)
    state = RandomState.capture()
    tried = try_remedies(task, model, Sample(*gaussians(400, seed=9)), new, steps=20)
    assert recommend(tried).name == "nothing"
    assert [t.name for t in tried] == list(REMEDIES)
    after = RandomState.capture()
    assert torch.equal(state.torch, after.torch) and state.python == after.python
    assert np.array_equal(state.numpy[1], after.numpy[1])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(new.inputs, inputs)
    again = try_remedies(task, model, Sample(*gaussians(400, seed=9)), new, steps=20)
    plain = [[{k: v for k, v in t.as_dict().items() if k != "cost"} for t in each] for each in (tried, again)]
    assert str(plain[0]) == str(plain[1])


def test_other_shares_of_the_classes_want_prior_correction(task):
    new = Sample(*gaussians(1500, share=0.95, seed=10))
    model, reference = bayes(), Sample(*gaussians(400, seed=11))
    tried = {t.name: t for t in try_remedies(task, model, reference, new, steps=20, names=["prior correction"])}
    assert list(tried) == ["nothing", "prior correction"]
    found = recommend(list(tried.values()))
    assert found.name == "prior correction" and found.interval[1] < 0 < found.old_change
    # The gain is the closed form: E[log p'(y|x)/p(y|x)] over the held-out rows, here over fresh ones.
    x, y = gaussians(100_000, share=0.95, seed=12)
    with torch.no_grad():
        logits = model(x)
        gain = nn.functional.cross_entropy(logits + torch.log(torch.tensor([0.05, 0.95])), y)
        gain -= nn.functional.cross_entropy(logits, y)
    assert found.interval[0] < float(gain) < found.interval[1]


def test_without_labels_what_needs_none_is_done_and_says_that_it_was_not_measured(task):
    x, _ = gaussians(300, share=0.9, seed=13)
    priors = SimpleNamespace(incoming=np.array([0.1, 0.9]))
    reference = Sample(*gaussians(300, seed=14))
    tried = {t.name: t for t in try_remedies(task, bayes(), reference, Sample(x), priors=priors, steps=10)}
    assert tried["fine-tune everything"].why == "needs labels" == tried["retrain"].why
    assert "no labels" in tried["prior correction"].why and "0.5 → 0.1" in tried["prior correction"].detail
    assert math.isnan(tried["prior correction"].loss) and math.isfinite(tried["prior correction"].old_change)
    assert recommend(list(tried.values())).name == "prior correction"


def test_a_broken_unit_is_undone(task):
    x, y = gaussians(600, seed=15)
    kind = SimpleNamespace(code="pipeline", features=("x0",))
    reference = Sample(*gaussians(400, seed=16))
    tried = try_remedies(task, bayes(), reference, Sample(x * torch.tensor([1000.0, 1.0]), y), kind=kind, steps=20)
    found = recommend(tried)
    assert found.name == "undo the change" and "/ 1000" in found.detail and found.old_change == 0
    assert found.loss == pytest.approx(nn.functional.cross_entropy(bayes()(x), y).item(), abs=0.08)


def test_batch_norm_is_recalibrated_under_a_shift_of_all_inputs():
    net = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2))
    x, y = gaussians(1000, seed=17)
    with torch.no_grad():
        net[0](x)
        net[0].running_mean.copy_(x.mean(0))
        net[0].running_var.copy_(x.var(0))
        net[1].weight.copy_(MEANS * x.std(0))
        net[1].bias.zero_()
    task = task_of(lambda: copy.deepcopy(net))
    a, b = gaussians(800, seed=18)
    tried = try_remedies(
        task, net.eval(), Sample(x, y), Sample(3 * a + 5, b), steps=20, names=["recalibrate batch norm"]
    )
    found = recommend(tried)
    assert found.name == "recalibrate batch norm" and "no labels needed" in found.detail
    with torch.no_grad():
        assert found.loss == pytest.approx(float(nn.functional.cross_entropy(net(a), b)), abs=0.05)


def test_labels_that_changed_places_want_training(task):
    x, y = gaussians(800, seed=19)
    kind = SimpleNamespace(code="concept", features=())
    tried = try_remedies(
        task,
        bayes(),
        Sample(*gaussians(400, seed=20)),
        Sample(x, 1 - y),
        kind=kind,
        recipe=thalweg.Recipe("adamw", lr=0.1),
    )
    found = {t.name: t for t in tried}
    best = recommend(tried)
    assert best.name in ("fine-tune everything", "retrain") and best.old_interval[0] > 0
    assert "the new rows alone" in found["retrain"].detail
    assert found["fine-tune the norms"].why and found["fine-tune everything, state kept"].why
    assert found["prior correction"].interval[0] <= 0.05
    assert "thalweg.Recipe('adamw'" in best.code


def test_weighted_rows_follow_the_new_inputs():
    """A straight line through a parabola: where the inputs go, there it must fit."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3000, 1, generator=generator) * 4 - 2
    task = thalweg.Task(model=lambda: nn.Linear(1, 1), train=(x, x**2), batch_size=64, epochs=2, device="cpu")
    with torch.no_grad():
        model = nn.Linear(1, 1)
        model.weight.zero_()
        model.bias.fill_(4 / 3)
    new = 1 + 0.5 * torch.randn(600, 1, generator=generator).clamp(-2, 2)
    old = torch.rand(500, 1, generator=generator) * 4 - 2
    tried = try_remedies(
        task, model, Sample(old, old**2), Sample(new, new**2), recipe=thalweg.Recipe("adam", lr=0.3),
        names=["importance weighting"], steps=200,
    )  # fmt: skip
    assert tried[1].interval[1] < 0 and tried[1].loss < 0.7 * tried[0].loss and tried[1].old_interval[0] > 0


def test_rows_of_unknown_classes_are_left_out(task):
    x, y = gaussians(100, seed=21)
    tried = try_remedies(task, bayes(), Sample(x, y), Sample(x, torch.cat([y[:60], y[60:] * 0 + 2])), names=[])
    assert "40 new rows of ignored or unknown classes left out" in tried[0].detail


def test_training_anew_is_timed_first_even_where_nothing_was_trained_before(task, monkeypatch):
    monkeypatch.setattr(trying, "LONGEST", 1e-9)
    steps = []
    adapt = adapting.adapt
    monkeypatch.setattr(adapting, "adapt", lambda *given, **how: steps.append(given[4]) or adapt(*given, **how))
    x, y = gaussians(300, seed=24)
    tried = try_remedies(task, bayes(), Sample(x, y), Sample(x, 1 - y), names=["retrain"])
    assert "2 trainings of" in tried[1].why and "would take about" in tried[1].why
    assert steps == list(trying.PROBES)


def test_rows_whose_targets_are_ignored_are_left_out_of_every_measure(task):
    x, y = gaussians(60, seed=25)
    y[::3] = -100
    tried = try_remedies(task, bayes(), Sample(x, y), Sample(x, y), names=["fine-tune everything"], steps=5)
    assert "20 new rows of ignored" in tried[0].detail and all(math.isfinite(t.loss + t.old_loss) for t in tried)


def test_wrong_use_is_said(task):
    x, y = gaussians(100, seed=22)
    with pytest.raises(BadOption, match="retrain"):
        try_remedies(task, bayes(), Sample(x, y), Sample(x, y), names=["retrian"])
    with pytest.raises(BadData, match="at least 8"):
        try_remedies(task, bayes(), Sample(x, y), Sample(x[:7], y[:7]))


# --- the recommendation ---


def tried(name, mean, error=0.01, rows=0, old=0.0):
    return Tried(name, 1 + mean, rows=rows, change=Change(mean, error, 50.0), old=Change(old, 0.01, 50.0))


def test_the_recommendation():
    none = tried("nothing", 0.0, 0.0)
    assert recommend([none, tried("a", -0.5), tried("b", -0.3)]).name == "a"
    assert recommend([none, tried("a", -0.5, rows=9), tried("b", -0.49, rows=1)]).name == "b"
    assert recommend([none, tried("a", -0.5, rows=9), tried("b", -0.49, rows=1, old=0.5)]).name == "a"
    assert recommend([none, tried("a", -0.5, 0.4)]).name == "nothing"
    assert recommend([none, tried("a", -0.015, 0.001)]).name == "nothing"
    assert recommend([none, tried("a", math.nan), tried("b", math.inf)]).name == "nothing"
    # One alone is sure where one of many is not.
    weak = tried("a", -0.022, 0.01)
    assert recommend([none, weak]) is weak
    assert recommend([none, weak, *(tried(str(k), 0.0) for k in range(9))]).name == "nothing"


def test_false_recommendations_are_rare():
    random = np.random.default_rng(5)
    false = 0
    for _ in range(400):
        rows = [tried("nothing", 0.0, 0.0)]
        rows += [dataclasses.replace(tried(str(k), float(random.normal() * 0.1), 0.1)) for k in range(8)]
        false += recommend(rows).name != "nothing"
    assert false <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)
