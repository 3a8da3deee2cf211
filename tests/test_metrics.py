"""Metrics against scikit-learn and torchmetrics, and which one decides."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
import torch.nn.functional as F
import torchmetrics
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from thalweg.errors import BadOption, BadTask
from thalweg.metrics import TABLE, choose

N, C = 400, 5


def metric(name):
    return TABLE[name][0]


@pytest.fixture(params=[0, 1, 2])
def many(request):
    g = torch.Generator().manual_seed(request.param)
    logits = torch.randn(N, C, generator=g) * 2
    labels = torch.randint(C, (N,), generator=g)
    return logits, labels


@pytest.fixture(params=["N", "N1", "N2"])
def two(request):
    g = torch.Generator().manual_seed(7)
    scores = (torch.randn(N, generator=g) * 4).round() / 4  # ties
    labels = (torch.rand(N, generator=g) < 0.3).long()
    outputs = {"N": scores, "N1": scores[:, None], "N2": torch.stack([torch.zeros(N), scores], 1)}[request.param]
    return outputs, labels, scores


def test_multiclass_against_sklearn(many):
    logits, labels = many
    p = logits.double().softmax(-1).numpy()
    y, guess = labels.numpy(), logits.argmax(-1).numpy()
    assert metric("accuracy")(logits, labels) == pytest.approx(sk.accuracy_score(y, guess), abs=1e-12)
    assert metric("f1")(logits, labels) == pytest.approx(sk.f1_score(y, guess, average="macro"), abs=1e-12)
    expected = sk.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert metric("auc")(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert metric("nll")(logits, labels) == pytest.approx(sk.log_loss(y, p), abs=1e-9)
    assert metric("perplexity")(logits, labels) == pytest.approx(math.exp(sk.log_loss(y, p)), rel=1e-9)
    expected = multiclass_calibration_error(torch.from_numpy(p), labels, C, n_bins=15)
    assert metric("ece")(logits, labels) == pytest.approx(float(expected), abs=1e-5)


def test_binary_against_sklearn(two):
    outputs, labels, scores = two
    y, guess = labels.numpy(), (scores > 0).long().numpy()
    p = scores.double().sigmoid()
    assert metric("accuracy")(outputs, labels) == pytest.approx(sk.accuracy_score(y, guess), abs=1e-12)
    assert metric("f1")(outputs, labels) == pytest.approx(sk.f1_score(y, guess, average="macro"), abs=1e-12)
    assert metric("auc")(outputs, labels) == pytest.approx(sk.roc_auc_score(y, scores.numpy()), abs=1e-12)
    assert metric("nll")(outputs, labels) == pytest.approx(sk.log_loss(y, p.numpy()), abs=1e-7)


def test_binary_calibration_against_torchmetrics():
    g = torch.Generator().manual_seed(1)
    scores, labels = torch.randn(N, generator=g).double(), torch.randint(2, (N,), generator=g)
    both = torch.stack([torch.zeros(N), scores], 1)
    assert metric("ece")(scores, labels) == pytest.approx(metric("ece")(both, labels), abs=1e-12)
    sure = torch.maximum(scores.sigmoid(), 1 - scores.sigmoid())
    expected = binary_calibration_error(sure, ((scores > 0).long() == labels).long(), n_bins=15)
    assert metric("ece")(scores, labels) == pytest.approx(float(expected), abs=1e-6)


def test_regression_against_sklearn():
    rng = np.random.default_rng(0)
    y, t = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    a, b = torch.from_numpy(y), torch.from_numpy(t)
    assert metric("mse")(a, b) == pytest.approx(sk.mean_squared_error(t, y), abs=1e-12)
    assert metric("r2")(a, b) == pytest.approx(sk.r2_score(t, y), abs=1e-12)
    assert metric("mse")(a[:, :1], b[:, 0]) == pytest.approx(sk.mean_squared_error(t[:, 0], y[:, 0]), abs=1e-12)


def test_tokens_images_and_ignored_targets():
    g = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(4, 6, 5, generator=g), torch.randint(5, (4, 6), generator=g)
    labels[0, :3] = -100
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert metric("nll")(logits, labels) == pytest.approx(float(expected), rel=1e-6)
    assert metric("nll")(logits.transpose(1, 2), labels) == pytest.approx(float(expected), rel=1e-6)
    kept = labels != -100
    share = (logits.argmax(-1) == labels)[kept].float().mean()
    assert metric("accuracy")(logits, labels) == pytest.approx(float(share))


def test_degenerate_sets():
    assert math.isnan(metric("auc")(torch.randn(4), torch.ones(4)))
    assert metric("f1")(torch.eye(3)[:2], torch.tensor([0, 1])) == 1.0
    assert metric("perplexity")(torch.tensor([[0.0, 2e3]]), torch.tensor([0])) == math.inf
    assert metric("ece")(torch.tensor([[1e3, 0.0]]), torch.tensor([0])) == 0.0


@pytest.mark.parametrize("name", TABLE)
def test_table_names_have_a_direction(name):
    metrics, decides, direction = choose(name, None)
    assert (decides, direction) == (name, TABLE[name][1]) and list(metrics) == [name]


def my_share(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()


def test_who_decides():
    assert choose(None, None, "mse")[1:] == ("mse", "min")
    assert choose(None, "max auc", "accuracy")[1:] == ("auc", "max")
    assert choose(my_share, "max")[1:] == ("my_share", "max")
    assert choose(my_share, "max my_share")[1:] == ("my_share", "max")
    assert choose({"a": my_share, "b": "f1"}, "min a")[1:] == ("a", "min")
    assert choose(torchmetrics.classification.MulticlassAccuracy(3), None)[1:] == ("MulticlassAccuracy", "max")
    assert choose(torchmetrics.MeanSquaredError(), None)[2] == "min"
    metrics, name, _ = choose({"a": "accuracy"}, "min nll")
    assert name == "nll" and set(metrics) == {"a", "nll"}


@pytest.mark.parametrize(
    ("given", "goal", "words"),
    [
        ("acuracy", None, "did you mean 'accuracy'"),
        (my_share, None, "goal='max my_share'"),
        ({"a": "f1", "b": "auc"}, None, "goal='max a'"),
        ("f1", "best f1", "goal must be"),
        ("f1", "max a b", "goal must be"),
        ("f1", "max auk", "did you mean 'auc'"),
        (3, None, "must be a name"),
    ],
)
def test_unclear_goals_are_errors(given, goal, words):
    with pytest.raises(BadOption, match=words):
        choose(given, goal)


def test_torchmetrics_is_used_on_the_whole_set_and_left_alone(many):
    logits, labels = many
    meter = torchmetrics.classification.MulticlassF1Score(C, average="macro")
    metrics, name, _ = choose(meter, None)
    expected = sk.f1_score(labels, logits.argmax(-1), average="macro")
    assert metrics[name](logits, labels) == pytest.approx(expected, abs=1e-6)
    assert metrics[name](logits, labels) == pytest.approx(expected, abs=1e-6)
    assert not meter.update_called


def test_a_failing_metric_says_which_and_on_what():
    metrics, name, _ = choose(lambda outputs, targets: outputs @ targets, "max")
    with pytest.raises(BadTask, match=r"outputs \(3, 2\) and targets \(3,\)"):
        metrics[name](torch.zeros(3, 2), torch.zeros(3))
    metrics, name, _ = choose(lambda outputs, targets: outputs, "max")
    with pytest.raises(BadTask, match="returns one number"):
        metrics[name](torch.zeros(3), torch.zeros(3))
