"""Shifts made from handwritten digits, fashion images and house values, each with the kind that it is.

A ground is a trained model with rows that it was not trained on: a reference, and a pool in two halves from which incoming
rows are drawn, so that what was found on one can be checked on the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw
from thalweg.data import Tensors
from thalweg.order import order
from thalweg.readers import Encoder, Table, read_images
from thalweg.tasks import images
from thalweg.tasks.digits import mlp
from thalweg.tasks.folder import find
from thalweg.tasks.housing import ORIGIN
from thalweg.tasks.housing import mlp as house_mlp

Pair = tuple[Tensor, Tensor]
HARMLESS = {None, "harmless", "not-enough-data"}  # kinds that ask for nothing


@dataclass(frozen=True, eq=False)
class Ground:
    """A trained model, and rows that it has not seen: ``pool[half]`` are those to draw incoming rows from."""

    task: tw.Task
    run: tw.Run
    reference: Any
    pool: tuple[Any, Any]
    encoder: Encoder | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One question to `thalweg.shift`."""

    task: tw.Task
    run: tw.Run
    reference: Any
    incoming: Any


@dataclass(frozen=True)
class Scenario:
    """A shift.

    Attributes:
        name: what was done.
        kinds: codes that are right.
        ground: where.
        change: incoming rows of (ground, half of the pool, generator).
        features: that must be named.
        reference: another reference of (ground, generator), or None: the ground's.
    """

    name: str
    kinds: frozenset[str | None]
    ground: Callable[[], Ground]
    change: Callable[[Ground, int, np.random.Generator], Any]
    features: tuple[str, ...] = ()
    reference: Callable[[Ground, np.random.Generator], Any] | None = None
    quick: bool = field(default=False)

    @property
    def asks(self) -> bool:
        """Whether something should be done."""
        return not self.kinds <= HARMLESS

    def case(self, half: int = 0, seed: int = 0) -> Case:
        """The shift as it comes from a half of the pool."""
        ground = self.ground()
        reference = ground.reference
        if self.reference is not None:
            reference = self.reference(ground, np.random.default_rng([seed, half, 1]))
        incoming = self.change(ground, half, np.random.default_rng([seed, half]))
        return Case(ground.task, ground.run, reference, incoming)


def _ground(name: str, model: Callable[[], nn.Module], parts: list[Pair], recipe: tw.Recipe, **settings: Any) -> Ground:
    """Train on the first part; the second is the reference, the others the pool."""
    train, reference, first, second = parts
    task = tw.Task(model=model, train=train, valid=reference, name=name, device="cpu", **settings)
    return Ground(task, tw.train(task, recipe, quiet=True), reference, (first, second))


def _cut(x: Tensor, y: Tensor, sizes: list[int], seed: int = 0) -> list[Pair]:
    rows = order(len(x), seed, 0)
    return [(x[part], y[part]) for part in rows[: sum(sizes)].split(sizes)]


def _of(pair: Pair, count: int, random: np.random.Generator) -> Pair:
    """Some rows, drawn without replacement."""
    rows = torch.from_numpy(random.choice(len(pair[0]), min(count, len(pair[0])), replace=False))
    return pair[0][rows], pair[1][rows]


@functools.cache
def digits(trained: tuple[int, ...] = tuple(range(10))) -> Ground:
    """Digits, 64-32-10; trained and referred to on some classes only."""
    task = tw.Task.load("digits")
    x, y = (torch.cat(pair) for pair in zip(task.train, task.valid, strict=True))
    parts = _cut(x, y, [800, 397, 300, 300])
    known = [(a[torch.isin(b, torch.tensor(trained))], b[torch.isin(b, torch.tensor(trained))]) for a, b in parts[:2]]
    return _ground("digits", mlp, [*known, *parts[2:]], tw.Recipe("adamw", lr=3e-3), batch_size=64, epochs=20)


@functools.cache
def _fashion() -> tuple[Pair, Pair]:
    origin = images.ORIGIN["fashion-mnist"]
    train = read_images(find("fashion-mnist/train-images-idx3-ubyte.gz", origin))
    return train, read_images(find("fashion-mnist/t10k-images-idx3-ubyte.gz", origin))


def _fashion_parts(rows: int, labels: dict[int, int] | None = None) -> list[Pair]:
    train, test = _fashion()
    if labels is not None:
        (train, test) = (
            (x[keep], torch.tensor([labels[int(c)] for c in y[keep]]))
            for x, y in (train, test)
            for keep in [torch.isin(y, torch.tensor(list(labels)))]
        )
    held = min(4000, len(train[0]) - rows)
    return _cut(*train, [rows, held]) + _cut(*test, [len(test[0]) // 2] * 2)


@functools.cache
def fashion() -> Ground:
    """Fashion images, 784-128-10."""
    recipe = tw.Recipe("adamw", lr=1e-3)
    return _ground("fashion-mlp", images.mlp, _fashion_parts(16_000), recipe, batch_size=128, epochs=6)


@functools.cache
def fashion_cnn() -> Ground:
    """Fashion images, two convolutional blocks with batch norm."""
    recipe = tw.Recipe("adamw", lr=2e-3)
    return _ground("fashion-cnn", images.cnn, _fashion_parts(16_000), recipe, batch_size=64, epochs=2)


def _two() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 2))


@functools.cache
def coats() -> Ground:
    """Pullovers against coats."""
    recipe = tw.Recipe("adamw", lr=1e-3)
    return _ground("coats", _two, _fashion_parts(8_000, {2: 0, 4: 1}), recipe, batch_size=128, epochs=5)


@functools.cache
def housing() -> Ground:
    """House values; reference and pool are encoded when they are drawn, since shifts are made in the table."""
    table = Table.read(find("california-housing/housing.csv", ORIGIN), "median_house_value")
    rest, pool = table.split(6000, seed=0)
    train, reference = rest.split(3000, seed=0)
    encoder = Encoder(train, standardize_target=True)
    model = functools.partial(house_mlp, len(encoder.names))
    given = [encoder.apply(part, what) for part, what in ((train, "train"), (reference, "reference"))]
    task = tw.Task(
        model=model,
        train=given[0],
        valid=given[1],
        metric="mse",
        batch_size=64,
        epochs=10,
        name="housing",
        device="cpu",
    )
    run = tw.train(task, tw.Recipe("adamw", lr=2e-3), quiet=True)
    return Ground(task, run, given[1], pool.split(3000, seed=1), encoder)


def _rows(count: int, change: Callable[[Tensor, Tensor, np.random.Generator], Pair] | None = None) -> Any:
    """Drawn rows of tensors, changed."""

    def draw(ground: Ground, half: int, random: np.random.Generator) -> Pair:
        x, y = _of(ground.pool[half], count, random)
        return (x, y) if change is None else change(x.clone(), y.clone(), random)

    return draw


def _cells(change: Callable[[dict[str, np.ndarray], np.random.Generator], Any], rows: int = 2000) -> Any:
    """Drawn rows of the table, whose cells are changed, encoded."""

    def draw(ground: Ground, half: int, random: np.random.Generator) -> Tensors:
        table: Table = ground.pool[half]
        taken = table.take(torch.from_numpy(random.choice(len(table), rows, replace=False)))
        columns = {name: cells.copy() for name, cells in taken.columns.items()}
        keep = change(columns, random)
        assert ground.encoder is not None
        made = Table(taken.name, columns, taken.target, taken.target_name)
        return ground.encoder.apply(made if keep is None else made.take(torch.from_numpy(keep)), "incoming")

    return draw


def brightness(x: Tensor, y: Tensor, random: np.random.Generator) -> Pair:
    """Half as much contrast, and lighter."""
    return 0.5 * x + 0.3, y


def blur(x: Tensor, y: Tensor, random: np.random.Generator) -> Pair:
    """The mean of 5×5 pixels."""
    return F.avg_pool2d(x, 5, 1, 2), y


def noise(x: Tensor, y: Tensor, random: np.random.Generator) -> Pair:
    """Normal noise with a standard deviation of .7."""
    return x + torch.from_numpy(random.normal(0, 0.7, tuple(x.shape))).to(x), y


def imbalance(ground: Ground, half: int, random: np.random.Generator) -> Pair:
    """Nine of ten rows are of class 0."""
    x, y = ground.pool[half]
    picked = [random.choice((y == c).nonzero()[:, 0].numpy(), n, replace=False) for c, n in ((0, 450), (1, 50))]
    rows = torch.from_numpy(random.permutation(np.concatenate(picked)))
    return x[rows], y[rows]


def flipped(x: Tensor, y: Tensor, random: np.random.Generator) -> Pair:
    """Rows of the darkest third have labels that changed places: pullovers are coats there, and coats pullovers."""
    dark = x.flatten(1).mean(1)
    return x, torch.where(dark < dark.quantile(1 / 3), 1 - y, y)


def ignored(ground: Ground, half: int, random: np.random.Generator) -> Pair:
    """Moved along a direction that the first layer's weights do not see."""
    x, y = _of(ground.pool[half], 300, random)
    first = next(m for m in ground.run.model.modules() if isinstance(m, nn.Linear))
    unseen = torch.linalg.svd(first.weight.detach().double()).Vh[-1]
    return (x.double() + 2.0 * unseen).to(x), y


def with_class(ground: Ground, half: int, random: np.random.Generator) -> Pair:
    """Rows of all classes, a third of them nines, which the model was never trained on."""
    x, y = ground.pool[half]
    nine = y == 9
    keep = torch.cat([nine.nonzero()[:, 0], (~nine).nonzero()[: 2 * int(nine.sum()), 0]])
    rows = keep[torch.from_numpy(random.permutation(len(keep)))]
    return x[rows], y[rows]


def darkening(x: Tensor, y: Tensor, random: np.random.Generator) -> Pair:
    """Darker and darker with the time."""
    return x * torch.linspace(1.0, 0.3, len(x)).reshape(-1, 1, 1, 1), y


def many(ground: Ground, random: np.random.Generator, moved: float = 0.0, rows: int = 100_000) -> Tensors:
    """The reference's house rows drawn again and again with normal jitter; one number moved by so many sd.

    Both sides of a question are drawn from the same rows: at 100 000, two sets of 3 000 surely differ.
    """
    taken = ground.reference.take(torch.from_numpy(random.integers(ground.reference.rows, size=rows)))
    x = taken.inputs + torch.from_numpy(random.normal(0, 0.2, tuple(taken.inputs.shape))).to(taken.inputs)
    x[:, 0] += moved * float(x[:, 0].std())
    return Tensors(x, taken.targets)


def _thousandfold(cells: dict[str, np.ndarray], random: np.random.Generator) -> None:
    cells["median_income"] = np.array([str(1000 * float(v)) for v in cells["median_income"]], dtype=object)


def _swapped(cells: dict[str, np.ndarray], random: np.random.Generator) -> None:
    cells["population"], cells["households"] = cells["households"], cells["population"]


def _coded(cells: dict[str, np.ndarray], random: np.random.Generator) -> None:
    gone = random.random(len(cells["median_income"])) < 0.3
    cells["median_income"] = np.where(gone, "-1", cells["median_income"]).astype(object)


def _inland(cells: dict[str, np.ndarray], random: np.random.Generator) -> np.ndarray:
    inland = cells["ocean_proximity"] == "INLAND"
    keep: np.ndarray = np.flatnonzero(inland | (random.random(len(inland)) < 0.15))
    return keep


def _kinds(*codes: str | None) -> frozenset[str | None]:
    return frozenset(codes)


SCENARIOS = (
    Scenario("clean split", _kinds(None), digits, _rows(300), quick=True),
    Scenario("clean split of 30 rows", _kinds("not-enough-data"), digits, _rows(30), quick=True),
    Scenario("half the brightness, batch norm", _kinds("covariate"), fashion_cnn, _rows(2000, brightness)),
    Scenario("blur", _kinds("covariate"), fashion, _rows(2000, blur)),
    Scenario("noise", _kinds("covariate"), fashion, _rows(2000, noise)),
    Scenario("one feature × 1000", _kinds("pipeline"), housing, _cells(_thousandfold), ("median_income",)),
    Scenario("two columns swapped", _kinds("pipeline"), housing, _cells(_swapped), ("population", "households")),
    Scenario("missing coded -1", _kinds("pipeline"), housing, _cells(_coded), ("median_income",)),
    Scenario("classes 50:50 to 90:10", _kinds("label"), coats, imbalance),
    Scenario("labels flipped in a subgroup", _kinds("concept", "subgroup"), coats, _rows(1000, flipped)),
    Scenario("drift that the model ignores", _kinds("harmless"), digits, ignored, quick=True),
    Scenario(".005 sd at 100 000 rows", _kinds(None, "harmless"), housing,
             lambda ground, half, random: many(ground, random, 0.005), reference=many),
    Scenario("a new class", _kinds("new-class"), functools.partial(digits, tuple(range(9))), with_class, quick=True),
    Scenario("darker with the time", _kinds("covariate"), fashion, _rows(2000, darkening)),
    Scenario("other districts", _kinds("covariate"), housing, _cells(_inland)),
)  # fmt: skip
