import functools

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import loop, variants
from thalweg.errors import BadOption, BadTask


def network(width=8, *, activation="relu"):
    return nn.Sequential(nn.Linear(4, width), {"relu": nn.ReLU, "tanh": nn.Tanh}[activation](), nn.Linear(width, 3))


@pytest.fixture
def task(toy):
    return tw.Task(model=network, train=toy.train, valid=toy.valid, batch_size=16, epochs=2, name="wide")


def test_a_variant_has_its_own_model_on_the_same_data(task):
    wide = variants.of(task, {"width": 32})
    assert wide.build(0)[0].out_features == 32 and wide.prepare().train is task.prepare().train
    assert wide.prepare().structure["0.weight"] == (32, 4) and task.prepare().structure["0.weight"] == (8, 4)
    assert variants.of(task, {"width": 32}) is wide and variants.of(task, {}) is task
    assert torch.equal(wide.build(3)[0].weight, task.build(3, width=32)[0].weight)


def test_a_variant_trains_as_a_task_written_with_its_arguments_does(task):
    written = tw.Task(
        model=functools.partial(network, 16, activation="tanh"),
        train=task.train, valid=task.valid, batch_size=16, epochs=2, name="wide",
    )  # fmt: skip
    recipe = tw.Recipe("adam", lr=0.01)
    runs = [loop.run(t, recipe, 5)[0] for t in (variants.of(task, {"width": 16, "activation": "tanh"}), written)]
    assert runs[0].trace.loss == runs[1].trace.loss and runs[0].final == runs[1].final


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        (network, "widht", "did you mean 'width'"),
        (nn.Linear(4, 3), "width", "the model is a module"),
        (lambda: nn.Linear(4, 3), "width", "takes no arguments"),
    ],
)
def test_a_factory_without_the_argument_is_an_error(task, model, name, said):
    with pytest.raises(BadOption) as error:
        variants.check(tw.Task(model=model, train=task.train), name)
    assert said in str(error.value) and "\nhint: " in str(error.value)


def test_a_factory_that_takes_anything_or_the_argument_is_fine(task):
    variants.check(task, "activation")
    variants.check(tw.Task(model=lambda **options: network(**options), train=task.train), "width")
    with pytest.raises(BadTask, match="factory failed"):
        variants.of(task, {"activation": "sine"})
