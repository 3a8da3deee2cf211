import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.batch import Batch
from thalweg.curvature import lanczos, start_vector
from thalweg.data import Feed, Tensors
from thalweg.errors import BadData, BadOption
from thalweg.shifts.rows import Rows, drawn
from thalweg.shifts.surfaces.moved import surface_moved
from thalweg.shifts.surfaces.probed import Probed, leading, predicted_rise

D = 4
W = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def regression(weights, rows, seed, noise=0.5):
    g = generator(seed)
    x = torch.randn(rows, D, generator=g, dtype=torch.float64)
    return x, (x @ weights + noise * torch.randn(rows, generator=g, dtype=torch.float64))[:, None]


def linear_task(at=None, **more):
    """Linear regression whose model stands at the least squares of its reference, or at given weights."""
    x, y = regression(W, 400, 0)
    task = tw.Task(model=lambda: nn.Linear(D, 1, bias=False).double(), train=(x, y), loss=F.mse_loss, steps=1, **more)
    model = task.build(0)
    with torch.no_grad():
        model.weight.copy_((torch.linalg.lstsq(x, y).solution if at is None else at).reshape(1, D))
    return task, model


def state_of(model):
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    return (
        [t.clone() for t in tensors],
        [m.training for m in model.modules()],
        torch.get_rng_state(),
        np.random.get_state(),
    )


def same_state(a, b):
    return all(map(torch.equal, a[0], b[0])) and a[1] == b[1] and torch.equal(a[2], b[2]) and str(a[3]) == str(b[3])


def test_rows_have_their_own_losses_and_slopes():
    task, model = linear_task()
    x, y = regression(W, 100, 1)
    rows = Rows(task, model, drawn((x, y), 100, seed=3))
    order = np.random.default_rng(3).permutation(100)
    residual = (x @ model.weight.detach().T - y)[order]
    assert rows.losses() == pytest.approx((residual**2).numpy()[:, 0], rel=1e-12)
    directions = torch.eye(D, dtype=torch.float64)
    assert rows.slopes(directions) == pytest.approx((2 * residual * x[order]).numpy(), rel=1e-8, abs=1e-10)
    assert rows.slopes(directions).mean(0) == pytest.approx(rows.gradient().numpy(), abs=1e-10)


@pytest.mark.parametrize("how", ["loss that looks at its numbers", "batch_loss", "own loss"])
def test_losses_of_rows_where_they_cannot_be_batched(how):
    def looks(out, y):
        return (out - y).square().mean() if float(out.detach().sum()) > -1e9 else out.sum()

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(D, 1)

        def forward(self, x, y=None):
            out = self.f(x)
            return {"logits": out} | ({} if y is None else {"loss": (out - y).square().mean()})

    x, y = regression(W, 64, 2)
    x, y = x.float(), y.float()
    given = {
        "loss that looks at its numbers": {"model": lambda: nn.Linear(D, 1), "loss": looks},
        "batch_loss": {"model": lambda: nn.Linear(D, 1), "batch_loss": lambda m, b: (m(b[0]) - b[1]).square().mean()},
        "own loss": {"model": Own},
    }[how]
    task = tw.Task(train=(x, y), steps=1, batch_size=16, **given)
    model = task.build(0)
    f = model.f if how == "own loss" else model
    found = Rows(task, model, list(task.prepare().train.batches(16))).losses()
    wanted = (f(task.prepare().train.inputs) - task.prepare().train.targets).square().detach()[:, 0]
    assert found == pytest.approx(wanted.numpy(), rel=1e-5)


def test_the_quadratic_model_of_linear_regression_is_exact():
    task, model = linear_task()
    new = 2 * W + 1
    x, y = regression(new, 300, 3)
    surface = Rows(task, model, [Batch(x, y, 300, (x, y))])
    g, h = surface.gradient(), surface.hessian()
    wanted = 2 / 300 * x.T @ (x @ model.weight.detach().T - y)
    torch.testing.assert_close(g, wanted[:, 0])
    torch.testing.assert_close(torch.stack([h(v) for v in torch.eye(D, dtype=torch.float64)]), 2 / 300 * x.T @ x)
    d = torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64)
    here = surface.loss()
    with surface.moved(d):
        assert predicted_rise(g, h, d) == pytest.approx(surface.loss() - here, rel=1e-10)
    found = Probed.of(g, h, list(torch.eye(D, dtype=torch.float64))).move(0.0)
    least = torch.linalg.lstsq(x, y).solution[:, 0]
    torch.testing.assert_close(model.weight.detach()[0] + found, least, rtol=1e-8, atol=1e-10)


def test_the_damped_move_within_a_subspace():
    a = torch.randn(6, 6, generator=generator(0), dtype=torch.float64)
    h, g = a @ a.T, torch.randn(6, generator=generator(1), dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(6, 3, generator=generator(2), dtype=torch.float64)).Q.T
    probed = Probed.of(g, lambda v: h @ v, [*basis, basis[0] + basis[1], torch.zeros(6)])
    assert len(probed.basis_kn) == 3
    wanted = -basis.T @ torch.linalg.solve(basis @ h @ basis.T, basis @ g)
    torch.testing.assert_close(probed.move(0.0), wanted)
    lengths = [float(probed.move(share).norm()) for share in (0.0, 0.01, 0.1, 1.0, 10.0)]
    assert lengths == sorted(lengths, reverse=True)
    top = float(torch.linalg.eigvalsh(basis @ h @ basis.T)[-1])
    damped = -basis.T @ torch.linalg.solve(basis @ h @ basis.T + 0.5 * top * torch.eye(3), basis @ g)
    torch.testing.assert_close(probed.move(0.5), damped)
    saddle = Probed.of(torch.ones(2).double(), lambda v: v * torch.tensor([4.0, -2.0]), list(torch.eye(2).double()))
    torch.testing.assert_close(saddle.move(0.0), torch.tensor([-0.25, -0.5], dtype=torch.float64))


def test_leading_eigenvectors():
    q = torch.linalg.qr(torch.randn(12, 12, generator=generator(0), dtype=torch.float64)).Q
    values = torch.tensor([9.0, 7.0, 3.0, 2.0, 1.0, 0.5, 0, 0, -1, -2, -3, -20], dtype=torch.float64)
    found = leading(lambda v: q @ (values * (q.T @ v)), 12, count=3, most=12)
    assert found.values_k == pytest.approx([9, 7, 3], abs=1e-4)
    assert (found.vectors_kn @ q[:, :3]).abs().diagonal().numpy() == pytest.approx([1, 1, 1], abs=1e-2)
    assert leading(lambda v: 2 * v, 1).values_k.tolist() == [2.0]


def test_new_rows_of_the_same_law_raise_no_alarm_at_the_stated_rate():
    task, model = linear_task()
    alarms, p, covered = 0, [], 0
    for seed in range(24):
        reference, incoming = regression(W, 120, 100 + seed), regression(W, 160, 200 + seed)
        found = surface_moved(task, model, reference, incoming, seed=seed, steps=1, gate=0.0)
        alarms, covered = alarms + found.alarm, covered + (found.interval[0] <= 0 <= found.interval[1])
        p.append(found.score.p)
    assert alarms <= 4 and covered >= 19  # of 24 at 5 %: beyond these by chance in one of 100 runs or fewer
    assert 0.25 < np.mean(p) < 0.75


def test_linear_regression_on_data_with_other_weights():
    task, model = linear_task()
    new = W + torch.tensor([1.0, 0, 0, -1.0], dtype=torch.float64)
    old_rows, new_rows = regression(W, 500, 5), regression(new, 400, 6)
    model.weight.grad = torch.ones_like(model.weight)
    before = state_of(model)
    found = surface_moved(task, model, old_rows, new_rows, steps=30)
    assert same_state(before, state_of(model))
    assert found.alarm and found.rows == (500, 400) and found.score.p < 1e-6 and found.score.kind == "projected"
    losses = [((x @ model.weight.detach().T - y) ** 2).numpy()[:, 0] for x, y in (old_rows, new_rows)]
    assert (found.loss_reference, found.loss_incoming) == pytest.approx((losses[0].mean(), losses[1].mean()))
    wanted = ttest_ind(losses[1], losses[0], equal_var=False).confidence_interval(0.95)
    assert found.interval == pytest.approx(tuple(wanted))
    # the minimum of the new rows is reached up to the noise of half of them, and the price on the old ones is known
    step = found.step
    assert step.directions == D and step.damping == 0.0
    assert step.incoming.after == pytest.approx(0.25, abs=0.08) and step.incoming.interval[1] < 0
    assert step.reference.after == pytest.approx(0.25 + 2, abs=0.5) and step.reference.interval[0] > 0
    assert found.predicted == (step.incoming.predicted, step.reference.predicted)
    assert step.incoming.predicted == pytest.approx(step.incoming.after - step.incoming.before, abs=0.6)
    assert found.gradient.difference == pytest.approx(float((2 * (W - new)).square().sum()), rel=0.5)
    assert abs(found.gradient.reference) < 0.2 and found.curvature_reference.values[0] == pytest.approx(2, abs=0.6)


def test_sections_are_the_two_quadratics():
    task, model = linear_task()
    new = W + torch.tensor([1.0, 0, 0, -1.0], dtype=torch.float64)
    found = surface_moved(task, model, regression(W, 200, 5), regression(new, 200, 6), steps=60)
    assert [s.name for s in found.slices] == ["gradient difference", "move", "top eigenvector"]
    for line in found.slices:
        assert line.at_s[8] == 0
        for losses in (line.reference_s, line.incoming_s):
            assert np.polyval(np.polyfit(line.at_s, losses, 2), line.at_s) == pytest.approx(losses, rel=1e-8)
    move = found.slices[1]
    assert move.incoming_s.argmin() > 8 > move.reference_s.argmin() - 2
    plane = found.plane
    start, old, end = plane.points
    assert (
        start.at == (0, 0) and len(end.path_t2) == 61 and end.incoming < old.incoming and old.reference < end.reference
    )
    assert end.at[1] == pytest.approx(0, abs=1e-9) and end.at[0] > 0
    assert start.reference == pytest.approx(move.reference_s[8]) and start.incoming == pytest.approx(move.incoming_s[8])
    for at, low, high in ((0, plane.first_p[0], plane.first_p[-1]), (1, plane.second_q[0], plane.second_q[-1])):
        assert all(low < p.at[at] < high for p in plane.points)
    # the ends are the least squares of what was trained on, so the lowest place of the plane is near them
    i, j = np.unravel_index(plane.incoming_pq.argmin(), plane.incoming_pq.shape)
    cell = plane.first_p[1] - plane.first_p[0]
    assert math.hypot(plane.first_p[i] - end.at[0], plane.second_q[j] - end.at[1]) < 3 * cell
    json.dumps(found.as_dict(), allow_nan=False)
    assert "The surface moved (200 reference rows" in str(found)


def classified(rows, seed, turn=False, centre=0.0):
    g = generator(seed)
    x = torch.randn(rows, 2, generator=g) + centre
    return x, ((x[:, 0] > 0) ^ turn).long()


def classifier(kind):
    """A trained network with batch norm and dropout."""
    x, y = classified(400, 0)
    last = 1 if kind == "binary" else 2
    net = lambda: nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, last))  # noqa: E731
    task = tw.Task(model=net, train=(x, y[:, None].float() if kind == "binary" else y), batch_size=50, epochs=8)
    return task, tw.train(task, tw.Recipe("adamw", lr=0.02), quiet=True).model


@pytest.fixture(scope="module")
def trained():
    return {kind: classifier(kind) for kind in ("classes", "binary")}


def test_a_turned_label_is_a_moved_surface(trained):
    task, model = trained["classes"]
    model.train()
    before = state_of(model)
    found = surface_moved(task, model, classified(300, 1), classified(300, 2, turn=True), steps=3)
    assert same_state(before, state_of(model))
    assert found.alarm and found.interval[0] > 0.5 and found.effect > 1
    assert found.step.incoming.interval[1] < 0
    recipe = surface_moved(
        task, model, classified(300, 1), classified(300, 2), steps=3, recipe=tw.Recipe("adamw", lr=1e-3)
    )
    assert not recipe.alarm and recipe.plane.training == "3 steps of adamw on each, lr 0.001"
    assert same_state(before, state_of(model))


@pytest.mark.parametrize("kind", ["classes", "binary"])
def test_without_labels_the_models_own_predictions_stand_for_them(trained, kind):
    task, model = trained[kind]
    x, y = classified(300, 1)
    y = y[:, None].float() if kind == "binary" else y
    found = surface_moved(task, model, (x, y), (classified(300, 2, turn=True)[0], None), steps=2)
    assert math.isnan(found.loss_incoming) and math.isnan(found.interval[0]) and found.loss_reference > 0
    assert not found.alarm and "own predictions" in found.notes[1]
    assert "Loss" not in str(found) and found.as_dict()["loss_incoming"] is None
    moved = surface_moved(task, model, (x, y), (classified(300, 2, centre=1.5)[0], None), steps=2)
    assert moved.score.p < found.score.p


class Ready(Feed):
    """Batches that are there already, of a size of their own."""

    rows, batch_size, fixed_batches = None, 40, True

    def __init__(self, x, y):
        self.whole = Tensors(x, y, shuffle=False)

    def batches(self, size, *, seed=None, epoch=0, drop_last=False):
        yield from self.whole.batches(40)

    steps_per_epoch = split = halves = transformed = to = None


def test_data_come_as_feeds_tuples_and_samples():
    task, model = linear_task()
    data = regression(W, 200, 1)
    assert [b.rows for b in drawn(Tensors(*data), 100)] == [12] * 8 + [4]
    ready = drawn(Ready(*data), 100)
    assert sum(b.rows for b in ready) == 120 and len(ready) >= 8

    class Kept:
        def feed(self):
            return Tensors(*data)

    assert sum(b.rows for b in drawn(Kept(), 1000)) == 200
    with pytest.raises(BadOption):
        drawn([1, 2], 10)
    with pytest.raises(BadData, match="15 rows"):
        drawn((data[0][:15], data[1][:15]), 100)
    for wrong in ({"level": 2}, {"steps": 0}, {"lr": -1.0}, {"rows": 0}, {"gate": -1}):
        with pytest.raises(BadOption):
            surface_moved(task, model, data, data, **wrong)
    with pytest.raises(BadData, match="predicts no classes"):
        surface_moved(task, model, data, (data[0], None))


def test_a_loss_that_is_no_mean_of_its_rows_is_said():
    x, y = classified(200, 0)
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))
    task = tw.Task(model=lambda: nn.Linear(2, 2), train=(x, y), loss=weighted, steps=1)
    found = surface_moved(task, task.build(0), classified(64, 1), classified(64, 2), steps=1)
    assert any("is not the batches' loss" in note for note in found.notes)


def test_of_one_parameter_the_plane_is_a_line():
    x = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None]
    task = tw.Task(
        model=lambda: nn.Linear(1, 1, bias=False).double(), train=(x, 2 * x), loss=F.mse_loss, steps=1, batch_size=8
    )
    found = surface_moved(task, task.build(0), (x, 2 * x + 0.01 * torch.sin(9 * x)), (x, -x), steps=2)
    assert found.plane.axes[1] == "none" and found.alarm and found.step.incoming.after == pytest.approx(0, abs=1e-12)
    assert lanczos(Rows(task, task.build(0), drawn((x, x), 64)).hessian(), start_vector(1, 0), 1).exact
