"""The built-in tasks train with the kernels as they do with the reference."""

import os

import pytest

import thalweg as tw
from thalweg import loop
from thalweg.cohort import Solo
from thalweg.seeds import stream

STEPS = 50
needs_data = pytest.mark.skipif(not os.environ.get("THALWEG_DATA"), reason="THALWEG_DATA is not set")


def losses(name, recipe, engine):
    task = tw.Task.load(name)
    data = task.prepare()
    with stream(1, "dropout"):
        cohort = Solo(task, recipe, 1, STEPS)
        cohort.optimizer.engine = engine
        feed = loop.updates(data.train, data.batch_size, task.accumulate, 1)
        [(trace, outcome)] = loop.train(cohort, feed, [loop.Course(STEPS)])
    assert outcome.status == "finished"
    [engine_of] = {section.variant.engine for section in cohort.optimizer._stepper.sections} or {"reference"}
    return trace.loss, engine_of


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        pytest.param("fashion-mlp", marks=needs_data),
        pytest.param("fashion-cnn", marks=needs_data),
        pytest.param("shakespeare", marks=needs_data),
    ],
)
def test_the_first_losses_are_the_references(name):
    recipe = tw.Recipe("adamw", lr=1e-3, weight_decay=0.01, clip_norm=1.0)
    compiled, engine = losses(name, recipe, "auto")
    reference, other = losses(name, recipe, "reference")
    assert (engine, other, len(compiled)) == ("numba", "reference", STEPS)
    assert compiled == pytest.approx(reference, rel=1e-4)
