"""Feeds: orders, batches, holding in memory, loaders, splits."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from thalweg.batch import make_batch, pack, unpack
from thalweg.data import Tensors
from thalweg.errors import BadData, BadTask
from thalweg.loader import Loader
from thalweg.order import count_batches, order
from thalweg.seeds import RandomState
from thalweg.sources import as_feed, held, read_all

X, Y = torch.arange(40.0).reshape(20, 2), torch.arange(20)
CPU = torch.device("cpu")


class Rows(Dataset):
    def __init__(self, rows=20):
        self.rows = rows

    def __len__(self):
        return self.rows

    def __getitem__(self, index):
        return torch.tensor([float(index), 0.0]), index


class Flips(Rows):
    """Random augmentation from all three generators."""

    def __getitem__(self, index):
        sign = 1 if torch.rand(()) < 0.5 else -1
        return torch.tensor([sign * (index + 1.0), random.random(), np.random.rand()]).float(), index


class RareFlips(Rows):
    """Differs between two reads in few rows only, which a probe of some rows misses."""

    def __getitem__(self, index):
        noise = torch.rand(()) if index == 1 else torch.zeros(())
        return noise.reshape(1), index


class Lines(IterableDataset):
    def __init__(self, rows=20, noisy=False):
        self.rows, self.noisy = rows, noisy

    def __iter__(self):
        for index in range(self.rows):
            yield torch.tensor([float(torch.rand(())) if self.noisy else float(index)]), index


class Words(Rows):
    def __getitem__(self, index):
        return {"x": torch.tensor([float(index)]), "name": f"row {index}", "label": index}


class Dicts(Rows):
    def __getitem__(self, index):
        return {"ids": torch.tensor([index, index]), "mask": torch.ones(2), "labels": index % 2}


def rows_of(feed, size=4, **kwargs):
    return [batch.targets.tolist() for batch in feed.batches(size, **kwargs)]


def flat(feed, size=4, **kwargs):
    return list(itertools.chain(*rows_of(feed, size, **kwargs)))


# Batches


def test_every_form_of_batch():
    x, y = torch.zeros(3, 2), torch.ones(3)
    for raw, inputs, targets in [
        ((x, y), x, y), ([x, y], x, y), ((x, x, y), (x, x), y), (((x, x), y), (x, x), y), (({"a": x}, y), {"a": x}, y),
        ({"a": x, "b": x, "label": y}, {"a": x, "b": x}, y), ({"a": x}, {"a": x}, None), (x, x, None), ([x], x, None),
    ]:  # fmt: skip
        batch = make_batch(raw)
        assert type(batch.inputs) is type(inputs) and batch.rows == 3 and batch.raw is raw
        assert batch.targets is targets
        got = unpack(pack(*unpack(raw)))
        assert type(got[0]) is type(inputs) and got[1] is targets
    with pytest.raises(BadData, match="no tensor with rows"):
        make_batch((torch.zeros(()), y))
    with pytest.raises(BadData, match="no tensor with rows"):
        make_batch({"name": "text"})


@pytest.mark.parametrize("key", ["labels", "label", "targets", "target", "y"])
def test_target_keys(key):
    assert unpack({"x": X, key: Y})[1] is Y


# Orders


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 3), st.sampled_from([True, False, 1, 2, 7, 100]))
def test_order_is_a_repeatable_permutation(rows, seed, epoch, shuffle):
    one = order(rows, seed, epoch, shuffle)
    assert one.dtype == torch.int64 and one.sort().values.tolist() == list(range(rows))
    assert torch.equal(one, order(rows, seed, epoch, shuffle))


def test_order_differs_between_epochs_and_seeds():
    orders = {tuple(order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert order(5, 1, 2, False).tolist() == [0, 1, 2, 3, 4]
    assert order(5, 1, 2, 1).tolist() == [0, 1, 2, 3, 4]


def test_order_leaves_the_global_generators_alone():
    state = RandomState.capture()
    a = torch.rand(2), random.random()
    state.restore()
    order(30, 0, 0), order(30, 0, 0, 5)
    assert torch.equal(torch.rand(2), a[0]) and random.random() == a[1]


def test_a_shuffle_buffer_moves_rows_forward_at_most_by_its_size():
    buffer, places = 10, []
    for epoch in range(200):
        index = order(60, 0, epoch, buffer)
        assert all(int(row) <= place + buffer - 1 for place, row in enumerate(index))
        places.append(int(index[0]))
    counts = np.bincount(places, minlength=buffer)
    assert counts.min() > 5 and len(counts) == buffer  # the first is uniform over the buffer


# Tensors


def test_tensors_in_order_are_views_and_shuffled_follow_order():
    feed = Tensors(X, Y)
    assert flat(feed) == list(range(20)) and [len(rows) for rows in rows_of(feed, 8)] == [8, 8, 4]
    first = next(feed.batches(4))
    assert first.inputs.data_ptr() == X.data_ptr() and first.raw[1] is first.targets
    assert flat(feed, seed=3, epoch=1) == order(20, 3, 1).tolist()
    assert feed.steps_per_epoch(8) == 3 and feed.rows == 20 and feed.target_sample() is not None
    feed.copies = True
    assert next(feed.batches(4)).inputs.data_ptr() != X.data_ptr()
    assert flat(Tensors(X, Y, shuffle=False), seed=3) == list(range(20))


@pytest.mark.parametrize(
    ("rows", "size", "shuffle", "sizes"),
    [
        (20, 8, True, [8, 8, 4]), (17, 8, True, [8, 8]), (17, 8, 3, [8, 8]), (20, 8, 3, [8, 8]),
        (3, 1, True, [1, 1, 1]), (1, 1, True, [1]), (16, 8, True, [8, 8]), (18, 8, True, [8, 8, 2]),
        (17, 8, False, [8, 8]), (9, 9, 2, [9]),
    ],
)  # fmt: skip
def test_remainders_in_training(rows, size, shuffle, sizes):
    for feed in (Tensors(X[:rows], Y[:rows], shuffle=shuffle), Loader(Rows(rows), shuffle=shuffle)):
        assert [batch.rows for batch in feed.batches(size, seed=0)] == sizes
        assert feed.steps_per_epoch(size) == len(sizes)
        assert sum(batch.rows for batch in feed.batches(size)) == rows
    feed = Tensors(X[:rows], Y[:rows], shuffle=shuffle)
    assert [batch.rows for batch in feed.batches(size, seed=0, drop_last=True)] == [size] * (rows // size)


def test_a_batch_larger_than_the_data():
    assert count_batches(3, 8, training=False, drop_last=False) == 1
    for feed in (Tensors(X, Y), Loader(Rows())):
        with pytest.raises(BadData, match="21 rows is larger than the data"):
            feed.steps_per_epoch(21)
        with pytest.raises(BadData, match="at most 20"):
            next(feed.batches(21, seed=0))
        assert next(feed.batches(1024)).rows == 20


def test_several_inputs_dicts_and_no_targets():
    batch = next(as_feed(((X, X + 1), Y), what="train").batches(4))
    assert torch.equal(batch.inputs[1], X[:4] + 1) and isinstance(batch.raw[0], tuple)
    batch = next(as_feed(({"a": X.numpy()}, Y), what="train").batches(4, seed=0))
    assert set(batch.inputs) == {"a"} and set(batch.raw[0]) == {"a"}
    batch = next(as_feed({"a": X, "b": X, "y": Y}, what="train").batches(4))
    assert set(batch.inputs) == {"a", "b"} and set(batch.raw) == {"a", "b", "y"}
    batch = next(as_feed(X, what="train").batches(4))
    assert batch.targets is None and batch.raw is batch.inputs
    batch = next(as_feed(TensorDataset(X, X, Y), what="train").batches(4))
    assert len(batch.inputs) == 2 and len(batch.raw) == 3
    assert Tensors(X).target_sample() is None


def test_dtypes():
    feed = as_feed((np.zeros((3, 2)), np.array([0, 1, 2], np.int16)), what="train")
    assert feed.inputs.dtype == torch.float32 and feed.targets.dtype == torch.int64
    feed = as_feed(([[0.0, 1.0], [2.0, 3.0]], [True, False]), what="train")
    assert feed.inputs.dtype == torch.float32 and feed.targets.tolist() == [1, 0]
    feed = as_feed(([torch.zeros(2), torch.ones(2)], torch.tensor([0, 1], dtype=torch.uint8)), what="train")
    assert feed.inputs.shape == (2, 2) and feed.targets.dtype == torch.int64
    assert as_feed((np.zeros((3, 2), ">f8"), np.arange(3, dtype=">i4")), what="train").inputs.dtype == torch.float32


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ((X, Y[:19]), "different numbers of rows: 20, 19"),
        ((X[:0], Y[:0]), "empty"),
        ((X / 0, Y), "40 numbers are NaN or infinite, the first in row 0"),
        (
            (torch.cat([X[:3], torch.tensor([[0.0, torch.nan]])]), Y[:4]),
            "1 numbers are NaN or infinite, the first in row 3",
        ),
        ((X[:, 0], torch.tensor([torch.inf] * 20)), "train targets: 20 numbers"),
        ((np.array(["a", "b"]), np.zeros(2)), "cannot be made a tensor"),
        (([[1, 2], [3]], [0, 1]), "cannot be made a tensor"),
        ((torch.tensor(1.0), Y), "single number"),
        (3, "a int is not data"),
        (object(), "a object is not data"),
        ((X, Y, X), "a tuple is not data"),
        ([], "empty"),
    ],
)
def test_bad_data_are_errors(source, words):
    with pytest.raises(BadData, match=words):
        as_feed(source, what="train")


def test_a_large_sum_is_not_an_infinity():
    assert Tensors(torch.full((4, 1), 3e38)).rows == 4


# Holding


def test_deterministic_data_are_held_and_give_the_same_batches():
    notes = []
    feed = as_feed(Rows(), what="train", notes=notes)
    assert isinstance(feed, Tensors) and not notes
    loader = Loader(Rows())
    assert rows_of(feed, seed=1, epoch=2) == rows_of(loader, seed=1, epoch=2)
    assert isinstance(as_feed([(torch.zeros(2), 1)] * 5, what="train"), Tensors)
    assert isinstance(as_feed(Dicts(), what="train"), Tensors)


@pytest.mark.parametrize("data", [Flips(), RareFlips(), Words(), Lines(noisy=True)], ids=lambda d: type(d).__name__)
def test_what_cannot_be_held_stays_a_loader(data):
    notes = []
    assert isinstance(as_feed(data, what="train", notes=notes), Loader)
    assert "train: read anew each epoch" in notes[0]


def test_too_much_for_memory_is_not_held():
    for data in (Rows(), Lines()):
        notes = []
        assert isinstance(held(Loader(data), notes, limit=10), Loader) and "fit" in notes[0]


def test_a_finite_iterable_is_held_and_shuffled():
    notes = []
    feed = as_feed(Lines(), what="train", notes=notes)
    assert isinstance(feed, Tensors) and feed.rows == 20 and "held and shuffled" in notes[0]


def test_holding_does_not_disturb_the_generators():
    state = RandomState.capture()
    a = torch.rand(2)
    state.restore()
    as_feed(Flips(), what="train")
    as_feed(Rows(), what="train")
    assert torch.equal(torch.rand(2), a)


def test_a_data_loader_with_defaults_is_held_with_its_batch_size():
    feed = as_feed(DataLoader(Rows(), batch_size=5, shuffle=True, drop_last=True), what="train")
    assert isinstance(feed, Tensors) and feed.batch_size == 5 and feed.shuffle is True
    assert feed.steps_per_epoch(8) == 2
    feed = as_feed(DataLoader(Rows(), batch_size=5), what="train")
    assert feed.shuffle is False
    assert as_feed(DataLoader(Rows(), batch_size=5, shuffle=True), what="train", shuffle=7).shuffle == 7
    feed = as_feed(DataLoader(Rows(), batch_size=5, sampler=SubsetRandomSampler([3, 5, 7])), what="train")
    assert isinstance(feed, Tensors) and sorted(flat(feed, 1)) == [3, 5, 7]


# Loaders


# A worker that runs none of our code ends with a warning of coverage's, which as an error would kill it.
@pytest.mark.filterwarnings("ignore:No data was collected", "ignore:Module thalweg was previously imported")
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_repeatable_and_differs_between_epochs(workers):
    feed = as_feed(DataLoader(Flips(), batch_size=4, shuffle=True, num_workers=workers), what="train")
    assert isinstance(feed, Loader)

    def inputs(seed, epoch):
        return torch.cat([batch.inputs for batch in feed.batches(4, seed=seed, epoch=epoch)])

    state = RandomState.capture()
    one = inputs(0, 0)
    after = torch.rand(2)
    state.restore()
    torch.rand(5)
    assert torch.equal(one, inputs(0, 0))
    state.restore()
    assert torch.equal(after, torch.rand(2))
    assert not torch.equal(one, inputs(0, 1)) and not torch.equal(one, inputs(1, 0))
    assert flat(feed, seed=0, epoch=3) == order(20, 0, 3).tolist()


def test_drawing_between_batches_changes_no_augmentation():
    feed = Loader(Flips())
    calm = [batch.inputs for batch in feed.batches(4, seed=0)]
    busy = []
    for batch in feed.batches(4, seed=0):
        busy.append(batch.inputs)
        torch.rand(9), random.random(), np.random.rand()
    assert all(torch.equal(a, b) for a, b in zip(calm, busy, strict=True))


def test_evaluation_passes_are_equal():
    feed = Loader(Flips())
    one, two = ([batch.inputs for batch in feed.batches(8)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)) and flat(feed) == list(range(20))


class OwnGenerator(Sampler):
    def __init__(self, rows):
        self.rows, self.rng, self.epoch = rows, np.random.default_rng(0), None

    def __iter__(self):
        return iter(self.rng.permutation(self.rows).tolist())

    def __len__(self):
        return self.rows

    def set_epoch(self, epoch):
        self.epoch = epoch


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"sampler": WeightedRandomSampler([1.0] * 20, 20)},
        lambda: {"sampler": WeightedRandomSampler([1.0] * 20, 20, generator=torch.Generator())},
        lambda: {"sampler": RandomSampler(Rows(), replacement=True)},
        lambda: {"sampler": OwnGenerator(20)},
        lambda: {"batch_sampler": BatchSampler(OwnGenerator(20), 4, False)},
        lambda: {"batch_sampler": BatchSampler(RandomSampler(Rows()), 4, False)},
    ],
)
def test_samplers_are_kept_and_seeded(make):
    arguments = make()
    extra = {} if "batch_sampler" in arguments else {"batch_size": 4}
    feed = as_feed(DataLoader(Rows(), **extra, **arguments), what="train")
    assert isinstance(feed, Loader) and feed.batch_size == 4
    orders = {(s, e): rows_of(feed, seed=s, epoch=e) for s in (0, 1) for e in (0, 1)}
    assert len({str(one) for one in orders.values()}) == 4
    torch.rand(3)
    assert rows_of(feed, seed=1, epoch=1) == orders[1, 1]
    assert feed.steps_per_epoch(4) == 5 == len(orders[0, 0])
    assert feed.fixed_batches == ("batch_sampler" in arguments)
    with pytest.raises(BadData, match="give validation data"):
        feed.split(4, 0)
    select, judge = feed.halves(0)
    assert not {str(rows) for rows in rows_of(select)} & {str(rows) for rows in rows_of(judge)}
    assert select.count() + judge.count() == 20


def double(items):
    return torch.stack([x for x, _ in items]) * 2, torch.tensor([y for _, y in items])


def test_collate_and_ready_made_batches():
    feed = as_feed(DataLoader(Rows(), batch_size=4, collate_fn=double), what="train")
    assert isinstance(feed, Loader) and next(feed.batches(4)).inputs[1, 0] == 2

    class Ready(IterableDataset):
        def __iter__(self):
            return iter([(X[:5], Y[:5]), (X[5:9], Y[5:9]), (X[9:], Y[9:])])

    feed = as_feed(DataLoader(Ready(), batch_size=None), what="train")
    assert feed.fixed_batches and [batch.rows for batch in feed.batches(4, seed=0)] == [5, 4, 11]
    assert feed.steps_per_epoch(4) == 3 and feed.count() == 20
    assert [half.count() for half in feed.halves(0)] == [16, 4]


def test_iterables_are_counted_buffered_and_halved_but_not_split():
    feed = Loader(Lines(21, noisy=True), shuffle=5)
    assert feed.rows is None and feed.steps_per_epoch(4) == 5
    rows = flat(feed, seed=0)
    assert len(rows) == 20 and rows != sorted(rows) and rows == flat(feed, seed=0) and rows != flat(feed, seed=1)
    assert flat(feed) == list(range(21))
    select, judge = feed.halves(0)
    assert flat(select) == list(range(0, 21, 2)) and flat(judge) == list(range(1, 21, 2))
    with pytest.raises(BadData, match="iterable data set cannot be split"):
        feed.split(4, 0)


def test_an_epoch_without_end(monkeypatch):
    class Endless(IterableDataset):
        def __iter__(self):
            return ((torch.rand(1), 0) for _ in itertools.count())

    monkeypatch.setattr("thalweg.loader.COUNT_LIMIT", 50)
    with pytest.raises(BadData, match="give steps="):
        Loader(Endless()).steps_per_epoch(2)
    with pytest.raises(BadData, match="do not end"):
        Loader(Endless()).count(limit=1000)


def test_a_failing_data_set_is_named():
    class Broken(Rows):
        def __getitem__(self, index):
            if index == 13:
                raise KeyError("thirteen")
            return super().__getitem__(index)

    with pytest.raises(BadTask, match="failed at batch 3: KeyError: 'thirteen'"):
        flat(Loader(Broken()))
    with pytest.raises(BadTask, match="'thirteen'"):
        as_feed(Broken(), what="train")

    class Endless(Dataset):
        def __getitem__(self, index):
            return index

    with pytest.raises(BadData, match="has no __len__"):
        as_feed(Endless(), what="train")
    with pytest.raises(BadData, match="empty"):
        as_feed(Rows(0), what="train")
    with pytest.raises(BadData, match="empty"):
        as_feed(Lines(0), what="train")


# Splits


@pytest.mark.parametrize("make", [lambda: Tensors(X, Y), lambda: Loader(Rows())])
def test_splits_are_disjoint_complete_and_ordered(make):
    rest, last = make().split(6, seed=1)
    a, b = flat(rest), flat(last)
    assert sorted(a + b) == list(range(20)) and len(b) == 6 and a == sorted(a) and b == sorted(b)
    assert b != list(range(14, 20)) and flat(make().split(6, seed=1)[1]) == b != flat(make().split(6, seed=2)[1])
    assert flat(make().split(6, None)[1]) == list(range(14, 20))
    select, judge = make().halves(0)
    assert sorted(flat(select) + flat(judge)) == list(range(20)) and select.rows == judge.rows == 10
    with pytest.raises(BadData, match="cannot be split"):
        make().split(20, 0)


def read(train, valid=None, **kwargs):
    notes = []
    settings = {"shuffle": True, "seed": 0, "transform": None, "device": CPU} | kwargs
    return read_all(train, valid, None, notes=notes, **settings), notes


def test_missing_validation_data_are_split_off():
    feeds, notes = read((X, Y))
    assert [feeds[name].rows for name in ("train", "select", "judge")] == [16, 2, 2]
    assert "4 of the 20 training rows" in notes[0] and "permutation" in notes[0]
    feeds, notes = read((X, Y), shuffle=False)
    assert flat(feeds["train"]) == list(range(16)) and "(the last rows)" in notes[0]
    big = torch.zeros(60_000, 1)
    assert read(big)[0]["train"].rows == 50_000
    with pytest.raises(BadData, match="too few"):
        read((X[:4], Y[:4]))
    with pytest.raises(BadData, match="cannot be halved"):
        read((X, Y), (X[:1], Y[:1]))
    with pytest.raises(BadData, match="give validation data"):
        read(Lines(noisy=True))


def test_transforms():
    feeds, _ = read((X, Y), (X, Y), transform=lambda x: x / 2)
    assert torch.equal(feeds["train"].inputs, X / 2) and feeds["train"].transform is None
    assert (
        sorted(feeds["select"].inputs[:, 0].tolist() + feeds["judge"].inputs[:, 0].tolist()) == X[:, 0].div(2).tolist()
    )
    feeds, _ = read((X, Y), (X, Y), transform=lambda x: x + torch.rand_like(x))
    one, two, other = (
        torch.cat([b.inputs for b in feeds["train"].batches(4, seed=0, epoch=e)]) for e in (0, 0, 1)
    )  # fmt: skip
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(next(feeds["train"].batches(4)).raw[1], Y[:4])
    feeds, _ = read(Flips(), Flips(), transform=lambda x: x * 0)
    assert all(not batch.inputs.any() for batch in feeds["train"].batches(4, seed=0))
    with pytest.raises(BadTask, match="number of rows"):
        read((X, Y), (X, Y), transform=lambda x: x[:2])
    with pytest.raises(BadTask, match="transform failed on train: AttributeError"):
        read((X, Y), (X, Y), transform=lambda x: x.nothing())
