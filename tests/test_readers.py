"""Files as data: idx, npz and csv, and their errors."""

import gzip
import struct

import numpy as np
import pytest
import torch

from thalweg.data import Tensors
from thalweg.errors import BadData
from thalweg.readers import Encoder, Table, read_file, read_idx
from thalweg.sources import as_feed, read_all

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 28, 28)).astype(np.uint8)
LABELS = np.arange(12).astype(np.uint8)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(params=["", ".gz"])
def images(request, tmp_path):
    squeeze = gzip.compress if request.param else bytes
    (tmp_path / f"train-images-idx3-ubyte{request.param}").write_bytes(squeeze(idx(IMAGES)))
    (tmp_path / f"train-labels-idx1-ubyte{request.param}").write_bytes(squeeze(idx(LABELS)))
    return tmp_path / f"train-images-idx3-ubyte{request.param}"


def test_idx_images_with_the_labels_beside(images):
    feed = as_feed(str(images), what="train")
    assert isinstance(feed, Tensors) and feed.inputs.shape == (12, 1, 28, 28) and feed.inputs.dtype == torch.float32
    assert torch.equal(feed.inputs[:, 0], torch.from_numpy(IMAGES).float() / 255)
    assert feed.targets.tolist() == list(range(12)) and feed.targets.dtype == torch.int64


def test_damaged_idx_files(images, tmp_path):
    whole = images.read_bytes()
    images.write_bytes(whole[:-50])
    with pytest.raises(BadData, match="truncated"):
        read_file(images)
    images.write_bytes(b"PK" + whole[2:])
    with pytest.raises(BadData, match=r"not an idx file|damaged"):
        read_file(images)
    images.write_bytes(b"")
    with pytest.raises(BadData, match=r"not an idx file|damaged"):
        read_file(images)
    wrong = tmp_path / "wrong-idx1"
    wrong.write_bytes(struct.pack(">HBB", 0, 8, 3) + b"\0\0")
    with pytest.raises(BadData, match="truncated"):
        read_idx(wrong)


def test_idx_without_fitting_labels(images, tmp_path):
    labels = images.with_name(images.name.replace("images-idx3", "labels-idx1"))
    with pytest.raises(BadData, match="not images"):
        read_file(labels)
    labels.unlink()
    with pytest.raises(BadData, match="no labels beside it"):
        read_file(images)
    labels.with_name("train-labels-idx1-ubyte").write_bytes(idx(LABELS[:5]))
    with pytest.raises(BadData, match="labels for 12 images"):
        read_file(images)


@pytest.mark.parametrize("kind", [">i2", ">i4", ">f4", ">f8"])
def test_idx_types(tmp_path, kind):
    code = {">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}[kind]
    array = np.arange(6).reshape(2, 3).astype(kind)
    path = tmp_path / "numbers-idx2"
    path.write_bytes(struct.pack(">HBB2I", 0, code, 2, 2, 3) + array.tobytes())
    assert np.array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    "names", [("x", "y"), ("X", "Y"), ("inputs", "targets"), ("data", "target"), ("images", "labels")]
)
def test_npz(tmp_path, names):
    np.savez(tmp_path / "set.npz", **{names[0]: np.eye(4), names[1]: np.arange(4)})
    feed = as_feed(tmp_path / "set.npz", what="train")
    assert feed.inputs.dtype == torch.float32 and feed.targets.tolist() == [0, 1, 2, 3]


def test_bad_npz(tmp_path):
    np.savez(tmp_path / "set.npz", a=np.eye(4))
    with pytest.raises(BadData, match="none of the known pairs"):
        read_file(tmp_path / "set.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object), y=np.zeros(1))
    with pytest.raises(BadData, match="cannot be read"):
        read_file(tmp_path / "objects.npz")
    (tmp_path / "no.npz").write_bytes(b"nothing")
    with pytest.raises(BadData, match="cannot be read"):
        read_file(tmp_path / "no.npz")


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "real.csv").write_text("x,y\n1,2\n")
    with pytest.raises(BadData, match=r"no file .*rael.csv[\s\S]*holds: real.csv"):
        read_file(tmp_path / "rael.csv")
    with pytest.raises(BadData, match="there is no folder"):
        read_file(tmp_path / "none" / "real.csv")
    with pytest.raises(BadData, match=r"is a folder[\s\S]*real.csv"):
        read_file(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(BadData, match="not a kind of file"):
        read_file(tmp_path / "picture.png")


CSV = """size,colour,age,price
1,red,3,10
2,blue,,20
3,red,5,30
4,green,7,40
"""


def table(tmp_path, text=CSV, column="price"):
    path = tmp_path / "things.csv"
    path.write_text(text)
    return read_file(f"{path}:{column}" if column else path)


def test_csv_numbers_text_and_gaps(tmp_path):
    encoder = Encoder(table(tmp_path))
    assert encoder.names == ["size", "colour=blue", "colour=green", "colour=red", "age", "age missing"]
    feed = encoder.apply(table(tmp_path))
    x = feed.inputs.double()
    assert torch.allclose(x[:, 0].mean(), torch.tensor(0.0).double(), atol=1e-7)
    assert torch.allclose(x[:, 0].std(correction=0), torch.tensor(1.0).double(), atol=1e-6)
    assert x[:, 1:4].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert x[1, 4] == 0 and x[:, 5].tolist() == [0, 1, 0, 0]
    assert feed.targets.tolist() == [10, 20, 30, 40] and feed.targets.dtype == torch.float32
    scaled = Encoder(table(tmp_path), standardize_target=True).apply(table(tmp_path)).targets
    assert abs(float(scaled.mean())) < 1e-6 and float(scaled.std(correction=0)) == pytest.approx(1)


def test_csv_statistics_are_those_of_the_training_rows(tmp_path):
    whole = table(tmp_path)
    encoder = Encoder(whole.take(torch.tensor([0, 2])))
    assert encoder.names == ["size", "colour=red", "age"]
    x = encoder.apply(whole).inputs
    assert x[:, 0].tolist() == [-1, 0, 1, 2] and x[:, 1].tolist() == [1, 0, 1, 0] and x[1, 2] == 0


def test_csv_is_split_before_it_is_encoded(tmp_path):
    lines = ["x,label"] + [f"{i}.5,{'even' if i % 2 == 0 else 'odd'}" for i in range(100)]
    path = tmp_path / "numbers.csv"
    path.write_text("\n".join(lines))
    feeds = read_all(path, None, path, shuffle=True, seed=0, transform=None, device=torch.device("cpu"), notes=[])
    assert [feeds[name].rows for name in ("train", "select", "judge", "test")] == [80, 10, 10, 100]
    assert float(feeds["train"].inputs.mean()) == pytest.approx(0, abs=1e-6)
    assert abs(float(feeds["select"].inputs.mean())) > 1e-3
    assert feeds["train"].shuffle is True and feeds["train"].targets.dtype == torch.int64
    assert set(feeds["train"].targets.tolist()) == {0, 1}


def test_default_targets_and_constant_columns(tmp_path):
    read = table(tmp_path, "a,label\n5,yes\n5,no\n", column=None)
    assert read.target_name == "label"
    feed = Encoder(read).apply(read)
    assert feed.targets.tolist() == [1, 0] and feed.inputs.tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        (CSV, None, "name the target: 'things.csv:price'"),
        (CSV, "prise", "did you mean 'price'"),
        ("a,y\n", None, "empty"),
        ("", None, "empty"),
        ("a,y\n1,2\n1\n", None, "row 3 has 1 cells, the header 2"),
        ("y\n1\n", None, "no column beside the target"),
    ],
)
def test_bad_csv(tmp_path, text, column, words):
    with pytest.raises(BadData, match=words):
        table(tmp_path, text, column)


def test_csv_parts_that_do_not_fit(tmp_path):
    first = table(tmp_path)
    encoder = Encoder(first)
    with pytest.raises(BadData, match="'colour' of the training data is missing"):
        encoder.apply(table(tmp_path, "size,age,price\n1,2,3\n"))
    with pytest.raises(BadData, match="'size' holds text"):
        encoder.apply(table(tmp_path, CSV.replace("\n1,", "\nbig,")))
    with pytest.raises(BadData, match=r"1 targets \(price\) are missing, the first in row 1"):
        Encoder(table(tmp_path, CSV.replace(",20", ",")))
    with pytest.raises(BadData, match="the target holds text"):
        encoder.apply(table(tmp_path, CSV.replace(",20", ",dear")))
    words = table(tmp_path, "a,y\n1,cat\n2,dog\n", column=None)
    with pytest.raises(BadData, match="class 'cow' does not occur"):
        Encoder(words).apply(table(tmp_path, "a,y\n1,cow\n", column=None))
    with pytest.raises(BadData, match="training data are none"):
        read_all((torch.zeros(9, 1), torch.zeros(9)), first, None, shuffle=True, seed=0, transform=None,
                 device=torch.device("cpu"), notes=[])  # fmt: skip
    (tmp_path / "latin.csv").write_bytes("a,y\n\xe9,1\n".encode("latin-1"))
    with pytest.raises(BadData, match="UTF-8"):
        Table.read(tmp_path / "latin.csv", None)
