"""The task: arguments, inference, building from seeds, evaluation, fingerprints, tasks of files."""

import copy
import inspect
import pickle
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, Dataset

from thalweg.data import Halves, Tensors
from thalweg.errors import BadData, BadOption, BadTask
from thalweg.fresh import kept_because, ks_p_value, redraw
from thalweg.loader import Loader
from thalweg.prepared import fixed_weights
from thalweg.seeds import RandomState
from thalweg.study.case import case_of
from thalweg.task import Task

G = torch.Generator().manual_seed(0)
X = torch.randn(120, 4, generator=G)
Y = torch.randint(3, (120,), generator=G)
T = torch.randn(120, generator=G)


def net(out=3):
    return nn.Linear(4, out)


def make(**kwargs):
    return Task(**({"model": net, "train": (X, Y), "batch_size": 16, "epochs": 2, "device": "cpu"} | kwargs))


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# Arguments


def test_the_signature_is_the_published_one():
    expected = (
        "model, train, valid=None, test=None, loss=None, batch_loss=None, metric=None, goal=None, batch_size=64, "
        "epochs=None, steps=None, shuffle=True, transform=None, device='auto', precision='float32', accumulate=1, "
        "compile=False, seed=0, name=None"
    )
    parameters = inspect.signature(Task).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters]
    assert ", ".join(shown) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": 3}, "model must be a module or a factory"),
        ({"train": None}, "train is missing"),
        ({"loss": F.mse_loss, "batch_loss": F.mse_loss}, "both loss and batch_loss"),
        ({"epochs": 1, "steps": 1}, "both epochs and steps"),
        ({"epochs": 0}, "epochs must be a whole number >= 1"),
        ({"epochs": None, "steps": 1.5}, "steps must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"accumulate": True}, "accumulate must be"),
        ({"shuffle": 0}, "shuffle must be"),
        ({"shuffle": "yes"}, "shuffle must be"),
        ({"precision": "half"}, "precision must be one of 'float32', 'bf16', 'fp16'"),
        ({"compile": 1}, "compile must be True or False"),
        ({"seed": -1}, "seed must be"),
        ({"loss": "mse"}, "loss must be a function"),
        ({"transform": 3}, "transform must be a function"),
        ({"metric": "accuracc"}, "did you mean 'accuracy'"),
        ({"metric": lambda o, t: 0.0}, "goal="),
        ({"goal": "auc"}, "goal must be"),
        ({"device": "gpu"}, "device 'gpu' is not known"),
        ({"device": "cuda:99"}, "there is no device"),
        ({"name": ""}, "name must be"),
    ],
)
def test_bad_arguments_are_named_at_once(given, words):
    with pytest.raises(BadOption, match=words) as error:
        make(**given)
    assert "hint: " in str(error.value)


def test_a_task_is_immutable_named_and_can_be_sent():
    task = make()
    with pytest.raises(AttributeError):
        task.batch_size = 3
    assert task.name == "net" and make(model=nn.Linear(4, 3)).name == "Linear" and make(name="a").name == "a"
    assert make(model=lambda: net()).name == "model"
    task.prepare()
    twin = pickle.loads(pickle.dumps(task))
    assert not twin._memory and twin.fingerprint() == task.fingerprint()


def test_importing_the_task_is_light():
    code = (
        "import sys, thalweg.task; heavy = {'scipy', 'sklearn', 'torchmetrics', 'torchvision', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# Inference


class Own(nn.Module):
    """As the models of transformers: labels are an argument, the output carries the loss."""

    def __init__(self, needs_labels=False):
        super().__init__()
        self.linear, self.needs_labels = nn.Linear(4, 3), needs_labels

    def forward(self, x, labels=None):
        if self.needs_labels and labels is None:
            raise ValueError("labels are missing")
        logits = self.linear(x)
        return SimpleNamespace(logits=logits, loss=None if labels is None else F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("given", "kind", "metric", "direction"),
    [
        ({}, "classification", "accuracy", "max"),
        ({"loss": F.cross_entropy}, "classification", "accuracy", "max"),
        ({"train": (X, Y.double().numpy())}, "classification", "accuracy", "max"),
        ({"model": lambda: net(1), "train": (X, T)}, "regression", "mse", "min"),
        ({"model": lambda: net(1), "train": (X, T), "loss": F.l1_loss}, "regression", "mse", "min"),
        ({"model": lambda: net(1), "train": (X, (T > 0).float())}, "binary", "accuracy", "max"),
        ({"model": lambda: net(1), "train": (X, (T > 0).long())}, "binary", "accuracy", "max"),
        ({"train": (X, X[:, :3])}, "regression", "mse", "min"),
        ({"train": (X, (X[:, :3] > 0).float())}, "binary", "accuracy", "max"),
        ({"train": (torch.randn(120, 5, 4), torch.randint(3, (120, 5)))}, "language-model", "nll", "min"),
        ({"model": lambda: nn.Conv2d(1, 3, 1), "train": (torch.randn(40, 1, 2, 5), torch.randint(3, (40, 2, 5)))},
         "classification", "accuracy", "max"),
        ({"model": Own, "train": {"x": X, "labels": Y}}, "classification", "accuracy", "max"),
        ({"model": lambda: Own(True), "train": {"x": X, "labels": Y}}, "classification", "accuracy", "max"),
        ({"model": lambda: Own(True), "train": (X, Y)}, "classification", "accuracy", "max"),
        ({"batch_loss": lambda model, batch: model(batch[0]).square().mean()}, "other", "loss", "min"),
        ({"batch_loss": lambda model, batch: model(batch).square().mean(), "train": X}, "other", "loss", "min"),
        ({"loss": lambda output, target: output.square().mean(), "train": X}, "other", "loss", "min"),
        ({"goal": "min ece"}, "classification", "ece", "min"),
    ],
)  # fmt: skip
def test_loss_kind_and_metric_are_inferred(given, kind, metric, direction):
    task = make(**given)
    prepared = task.prepare()
    assert (prepared.kind, prepared.metric, prepared.direction) == (kind, metric, direction)
    batch = next(prepared.train.batches(16, seed=0))
    model = task.build(0)
    loss = task.loss_of(model, batch)
    assert loss.shape == () and loss.requires_grad
    loss.backward()
    values = task.evaluate(model, prepared.judge)
    assert {"loss", metric} <= set(values) and all(np.isfinite(value) for value in values.values())
    assert {"nll", "ece"} <= set(values) or kind not in ("classification", "binary")
    assert task.prepare() is prepared


def test_losses_are_what_torch_computes():
    model = nn.Linear(4, 1)
    for targets, expected in [
        (T, lambda o: F.mse_loss(o[:, 0], T)),
        ((T > 0).float(), lambda o: F.binary_cross_entropy_with_logits(o[:, 0], (T > 0).float())),
    ]:
        for loss in (None, F.mse_loss if targets is T else F.binary_cross_entropy_with_logits):
            task = make(model=model, train=(X, targets), valid=(X, targets), loss=loss)
            batch = next(Tensors(X, targets).batches(120))
            assert torch.allclose(task.loss_of(model, batch), expected(model(X)))
            assert any("trailing 1" in note for note in task.prepare().notes)


def test_defaults_are_said():
    prepared = make(epochs=None).prepare()
    notes = " ".join(prepared.notes)
    for words in ("No validation data given: 24 of the 120", "cross entropy", "accuracy (max)", "5 epochs"):
        assert words in notes
    assert (prepared.steps, prepared.epochs, prepared.steps_per_epoch, prepared.target_sd) == (30, 5, 6, None)
    prepared = make(epochs=None, steps=10, valid=(X, Y), accumulate=3).prepare()
    assert (prepared.steps, prepared.batches_per_epoch, prepared.steps_per_epoch, prepared.epochs) == (10, 8, 3, 4)
    assert (prepared.select.rows, prepared.judge.rows, prepared.judge_rows, prepared.test) == (60, 60, 60, None)
    assert prepared.parameters == 15 and prepared.classes == 3 and prepared.loss_name == "cross_entropy"
    task = make(model=lambda: net(1), train=(X, T), valid=(X, T), test=(X, T))
    assert task.prepare().target_sd == pytest.approx(float(T.std())) and task.prepare().test.rows == 120


def test_given_halves_stay_in_order():
    prepared = make(valid=Halves((X[:10], Y[:10]), (X[10:30], Y[10:30]))).prepare()
    assert torch.equal(prepared.select.inputs, X[:10]) and torch.equal(prepared.judge.inputs, X[10:30])


def test_the_loader_decides_the_batch_size_unless_the_task_does():
    loader = DataLoader(list(zip(X, Y, strict=True)), batch_size=10, shuffle=True)
    assert Task(model=net, train=loader).prepare().batch_size == 10
    assert Task(model=net, train=loader, batch_size=12).prepare().batch_size == 12


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(x)


class Empty(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train": (X, Y + 1)}, r"label 3 does not fit the model's 3 classes \(0 to 2\)"),
        ({"train": (X, Y - 1)}, "label -1 does not fit"),
        ({"loss": lambda o, t: F.cross_entropy(o, t, reduction="none")}, r"gave a tensor of shape \(8,\) for 8 rows"),
        ({"loss": lambda o, t: 3.0}, "gave a float"),
        ({"loss": lambda o, t: F.cross_entropy(o.detach(), t)}, "does not depend on the model's parameters"),
        ({"loss": lambda o, t: o.nothing}, r"loss <lambda> failed on inputs \(8, 4\) float32 and targets \(8,\) int64"),
        ({"model": Fails}, r"model failed on inputs \(8, 4\) float32[\s\S]*RuntimeError"),
        ({"train": (X.double(), Y)}, r"transform=lambda x: x.float\(\)"),
        ({"train": (X, X)}, "no loss fits outputs"),
        ({"train": X}, "no targets and no loss"),
        ({"model": Empty, "loss": lambda o, t: o.mean()}, "no parameters"),
        ({"model": lambda: 3}, "factory gave a int"),
        ({"model": lambda: 1 / 0}, "factory failed: ZeroDivisionError"),
        ({"model": lambda: nn.LazyLinear(3)}, "sizes are not known"),
        ({"model": nn.LazyLinear(3)}, "sizes are not known"),
        ({"batch_loss": lambda m, b: m(b)}, r"batch_loss failed on inputs \(8, 4\)"),
        ({"batch_loss": lambda m, b: m(b[0])}, "not one number"),
    ],
)
def test_what_does_not_fit_is_explained(given, words):
    with pytest.raises(BadTask, match=words) as error:
        make(**given).prepare()
    assert "hint: " in str(error.value)


def test_a_batch_larger_than_the_data():
    with pytest.raises(BadData, match="batch of 500 rows is larger"):
        make(batch_size=500).prepare()


def test_ignored_targets_are_no_labels_beyond_the_classes():
    targets = Y.clone()
    targets[::5] = -100
    task = make(train=(X, targets))
    assert task.prepare().kind == "classification"
    assert 0 <= task.evaluate(task.build(0), task.prepare().judge)["accuracy"] <= 1


def test_preparing_disturbs_neither_generators_nor_the_users_module():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).eval()
    model[0].weight.grad = torch.ones(8, 4)
    before = copy.deepcopy(model.state_dict())
    state = RandomState.capture()
    expected = torch.rand(2), random.random(), np.random.rand()
    state.restore()
    task = make(model=model)
    task.evaluate(task.build(0), task.prepare().judge)
    task.fingerprint()
    got = torch.rand(2), random.random(), np.random.rand()
    assert torch.equal(got[0], expected[0]) and got[1:] == expected[1:]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model.training and torch.equal(model[0].weight.grad, torch.ones(8, 4)) and model[3].weight.grad is None


def test_a_model_that_writes_into_its_inputs_does_not_change_the_data():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear(x.mul_(2))

    x = X.clone()
    task = make(model=Writes, train=(x, Y), valid=(x, Y))
    prepared = task.prepare()
    model = task.build(0)
    assert task.evaluate(model, prepared.judge) == task.evaluate(model, prepared.judge)
    assert torch.equal(x, X)


# Building


def test_factories_are_repeatable():
    task = make()
    assert same_weights(task.build(3), task.build(3)) and not same_weights(task.build(3), task.build(4))
    assert not fixed_weights(task)
    assert make(model=lambda width=3: net(width)).build(0, width=5).out_features == 5


def test_a_factory_that_gives_the_same_module_twice():
    one = net()
    task = make(model=lambda: one)
    with pytest.raises(BadTask, match="same module twice"):
        task.prepare(), task.build(0)


def test_a_factory_of_fixed_weights_is_said():
    def ones():
        model = net()
        nn.init.ones_(model.weight), nn.init.zeros_(model.bias)
        return model

    case = case_of(make(model=ones))
    assert case.fixed_weights and any("seeds vary the order only" in note for note in case.notes)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        x = self.embed(x)
        return self.attend(x, x, x)[0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(30, 16)
        self.head = nn.Linear(16, 30, bias=False)
        self.head.weight = self.token.weight


FRESH = {
    "mlp": lambda: nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.LayerNorm(50), nn.Linear(50, 1)),
    "cnn": lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 32, 3), nn.PReLU()),
    "transformer": lambda: nn.Transformer(16, 4, 2, 2, 32, batch_first=True),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2),
    "attention": Attention,
    "recurrent": lambda: nn.Sequential(nn.Embedding(40, 8, padding_idx=0), nn.LSTM(8, 12, 2), nn.GRU(12, 4)),
    "tied": Tied,
}


def kaiming():
    model = FRESH["cnn"]()
    for module in model:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            nn.init.zeros_(module.bias)
    return model


def trained():
    model = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = torch.randn(200, 20), torch.randint(3, (200,))
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


class OwnParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(1))


def seen():
    model = FRESH["cnn"]()
    model(torch.randn(4, 3, 8, 8))
    return model


def zeros():
    model = nn.Linear(6, 4)
    nn.init.zeros_(model.bias)
    return model


def ungained():
    model = FRESH["mlp"]()
    nn.init.constant_(model[2].weight, 0.5)
    return model


KEPT = {
    "kaiming": kaiming, "trained": trained, "parameter": OwnParameter, "statistics": seen, "zero bias": zeros,
    "gain": ungained,
    "reparametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", FRESH)
def test_fresh_models_are_redrawn(name):
    for seed in range(3):
        torch.manual_seed(seed)
        model = FRESH[name]()
        assert kept_because(model) is None
    task = make(model=model)
    one, two, other = task.build(0), task.build(0), task.build(1)
    assert same_weights(one, two) and not same_weights(one, other) and not same_weights(one, model)
    assert kept_because(one) is None


@pytest.mark.parametrize("name", KEPT)
def test_other_models_are_kept(name):
    torch.manual_seed(0)
    model = KEPT[name]()
    assert kept_because(model)
    task = make(model=model)
    assert same_weights(task.build(0), model) and same_weights(task.build(1), model)


def test_what_was_decided_about_the_module_is_said():
    torch.manual_seed(0)
    model = net()
    task = make(model=model)
    assert not fixed_weights(task) and any("redrawn for each seed" in note for note in task.prepare().notes)
    nn.init.zeros_(model.weight)
    task = make(model=model)
    assert fixed_weights(task) and any("seeds vary the order only" in note for note in task.prepare().notes)
    with pytest.raises(BadTask, match="takes no arguments"):
        make(model=model).build(0, width=3)


def test_redrawing_keeps_modules_of_other_kinds():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    before = copy.deepcopy(model)
    redraw(model)
    assert not same_weights(model, before)


def test_kolmogorov_smirnov_against_scipy():
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    for shift in (0, 0.1, 0.3):
        a, b = rng.normal(size=900), rng.normal(shift, size=700)
        assert ks_p_value(a, b) == pytest.approx(ks_2samp(a, b, method="asymp").pvalue, rel=0.3, abs=1e-3)


# Evaluation


class Modes(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.drop = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.linear(x)))


def test_evaluation_is_of_the_whole_set_in_evaluation_mode():
    task = make(model=Modes, valid=(X, Y), metric={"f1": "f1", "auc": "auc"}, goal="max f1")
    prepared, model = task.prepare(), task.build(0).train()
    model.norm.eval()
    feed = Tensors(X, Y)
    before = copy.deepcopy(model.state_dict())
    one, two = task.evaluate(model, feed), task.evaluate(model, feed, batch_size=7)
    assert set(one) == {"loss", "f1", "auc", "nll", "ece"}
    assert all(one[name] == pytest.approx(two[name], abs=1e-6) for name in one)
    assert model.training and model.drop.training and not model.norm.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with torch.no_grad():
        output = copy.deepcopy(model).eval()(X)
    assert one["loss"] == pytest.approx(float(F.cross_entropy(output, Y)), abs=1e-6)
    expected = torchmetrics.functional.classification.multiclass_f1_score(output, Y, 3, average="macro")
    assert one["f1"] == pytest.approx(float(expected), abs=1e-6)
    assert task.scores(output, Y, loss=one["loss"]) == pytest.approx(one)
    assert prepared.metric == "f1"


def test_evaluation_restores_the_modes_after_a_failure():
    task = make(model=Modes, metric=lambda o, t: o, goal="max")
    model = task.build(0)
    with pytest.raises(BadTask, match="returns one number"):
        task.evaluate(model, task.prepare().judge)
    assert model.training and model.norm.training


def test_torchmetrics_decide():
    task = make(metric=torchmetrics.classification.MulticlassAccuracy(3, average="micro"))
    prepared = task.prepare()
    values = task.evaluate(task.build(0), prepared.judge)
    assert prepared.direction == "max" and values["MulticlassAccuracy"] == pytest.approx(
        make(metric="accuracy").evaluate(task.build(0), prepared.judge)["accuracy"]
    )


def test_probabilities_become_logits():
    y = (T > 0).float()
    kwargs = {"train": (X, y), "valid": (X, y), "metric": "nll"}
    torch.manual_seed(0)
    linear = nn.Linear(4, 1)
    one = make(model=linear, **kwargs)
    two = make(model=nn.Sequential(linear, nn.Sigmoid()), loss=F.binary_cross_entropy, **kwargs)
    a, b = one.evaluate(one.build(0), Tensors(X, y)), two.evaluate(two.build(0), Tensors(X, y))
    assert a == pytest.approx(b, abs=1e-5)


class Noisy(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return X[index] * (1 if random.random() < 0.5 else -1), Y[index]


# A worker that runs none of our code ends with a warning of coverage's, which as an error would kill it.
@pytest.mark.filterwarnings("ignore:No data was collected", "ignore:Module thalweg was previously imported")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_with_augmentation_from_end_to_end(workers):
    loader = DataLoader(Noisy(), batch_size=8, shuffle=True, num_workers=workers)
    task = make(train=loader, valid=DataLoader(Noisy(), batch_size=8), batch_size=64)
    prepared = task.prepare()
    assert isinstance(prepared.train, Loader) and (prepared.batch_size, prepared.steps_per_epoch) == (8, 5)
    model = task.build(0)
    assert task.evaluate(model, prepared.judge) == task.evaluate(model, prepared.judge)
    again = make(train=loader, valid=DataLoader(Noisy(), batch_size=8), batch_size=64)
    one, two = ([b.inputs for b in t.prepare().train.batches(8, seed=1)] for t in (task, again))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert task.fingerprint() == again.fingerprint()


def test_low_precision_runs_under_autocast():
    task = make(precision="bf16", valid=(X, Y))
    model, batch = task.build(0), next(Tensors(X, Y).batches(16))
    exact = make(valid=(X, Y)).loss_of(model, batch)
    loss = task.loss_of(model, batch)
    assert loss.dtype == torch.float32 and loss != exact and torch.allclose(loss, exact, atol=0.05)
    assert np.isfinite(task.evaluate(model, task.prepare().judge)["nll"])


def test_a_loss_module_and_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, a, b):
            return self.linear(torch.cat([a, b], 1))

    weight = torch.tensor([1.0, 2.0, 3.0])
    for train in (((X, X), Y), ({"a": X, "b": X}, Y), {"a": X, "b": X, "target": Y}):
        task = make(model=Two, train=train, loss=nn.CrossEntropyLoss(weight))
        assert task.prepare().kind == "classification"
        assert np.isfinite(task.evaluate(task.build(0), task.prepare().judge)["loss"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("loader", [False, True])
def test_on_cuda(loader):
    train = DataLoader(Noisy(), batch_size=8, shuffle=True) if loader else (X, Y)
    task = make(train=train, model=Modes, device="cuda", precision="fp16", loss=nn.CrossEntropyLoss(torch.ones(3)))
    prepared = task.prepare()
    state = RandomState.capture()
    expected = torch.rand(2, device="cuda")
    state.restore()
    model = task.build(0)
    batch = next(prepared.train.batches(8, seed=0))
    assert batch.inputs.is_cuda and batch.raw[1].is_cuda and task.loss_of(model, batch).is_cuda
    assert task.evaluate(model, prepared.judge) == task.evaluate(model, prepared.judge)
    assert torch.equal(torch.rand(2, device="cuda"), expected)
    cpu = make(train=train, model=Modes, device="cpu", precision="fp16", loss=nn.CrossEntropyLoss(torch.ones(3)))
    assert task.fingerprint() == cpu.fingerprint()


# Fingerprints


def test_fingerprints_are_stable_and_tell_tasks_apart():
    task = make()
    one = task.fingerprint()
    assert one == make().fingerprint() == make(device="auto").fingerprint() and int(one, 16) >= 0
    x = X.clone()
    x[0, 0] += 1
    others = [
        make(seed=1), make(batch_size=8), make(epochs=3), make(train=(x, Y)), make(model=lambda: net(4), name="net"),
        make(metric="nll"), make(goal="min accuracy"), make(loss=lambda o, t: F.cross_entropy(o, t)),
        make(name="other"), make(accumulate=2), make(precision="bf16"), make(shuffle=False), make(test=(X, Y)),
    ]  # fmt: skip
    assert len({one, *(other.fingerprint() for other in others)}) == len(others) + 1


# Tasks of files

FILE = """
import torch
import helper
from torch import nn
import thalweg.task

class Net(nn.Linear):
    pass

def make():
    return thalweg.task.Task(model=lambda: Net(4, 3), train=(torch.randn(60, 4), torch.arange(60) % 3), batch_size=8)

task = make()
number = helper.NUMBER

def fails():
    raise ValueError("not today")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "helper.py").write_text("NUMBER = 3\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    before = list(sys.path)
    yield path
    assert sys.path == before
    sys.modules.pop("helper", None)


def test_tasks_are_loaded_from_files(file):
    assert Task.load(f"{file}:task").prepare().batch_size == 8
    assert Task.load(str(file)).batch_size == 8
    model = Task.load(f"{file}:make").build(0)
    assert pickle.loads(pickle.dumps(model)).out_features == 3
    assert Task.load("digits").name == "digits"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tusk", "did you mean 'task'"),
        ("number", "number is a int, not a Task"),
        ("Net", "Net is a type, not a Task"),
        ("fails", "mine.py failed at line 17: ValueError: not today"),
    ],
)
def test_names_that_are_no_tasks(file, name, words):
    with pytest.raises(BadTask, match=words):
        Task.load(f"{file}:{name}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ny = 1 / 0\n", "failed at line 2: ZeroDivisionError"),
        ("x = 1\n\nz = (\n", "failed at line 3: SyntaxError"),
        ("import nowhere_to_be_found\n", "failed at line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "failed at line 2: SystemExit: 3"),
    ],
)
def test_files_that_fail(file, text, words):
    file.write_text(text)
    with pytest.raises(BadTask, match=words):
        Task.load(f"{file}:task")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(BadTask, match="no file"):
        Task.load(f"{tmp_path}/none.py:task")
    with pytest.raises(BadOption, match="did you mean 'digits'"):
        Task.load("digit")
