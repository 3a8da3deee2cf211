"""Files as data: idx images, .npz arrays, and tables in .csv."""

from __future__ import annotations

import csv
import gzip
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.data import Tensors
from thalweg.errors import BadData, unknown
from thalweg.order import split_rows

IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
NPZ_PAIRS = [("x", "y"), ("X", "y"), ("X", "Y"), ("inputs", "targets"), ("data", "target"), ("data", "targets"),
             ("images", "labels"), ("features", "labels"), ("x_train", "y_train")]  # fmt: skip
CSV_TARGETS = ("target", "label", "y")
MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


def read_file(source: str | Path, *, labeled: bool = True, target: str | None = None) -> tuple[Any, Any] | Table:
    """The data of a path: ``(inputs, targets)`` of idx images or an .npz file, or the `Table` of a .csv file.

    Args:
        source: ``images-idx3-ubyte[.gz]`` (labels beside it), ``file.npz``, ``file.csv``, ``"file.csv:column"``.
        labeled: whether labels have to be there; if not, ``targets`` may be None, and the cells of a target be empty.
        target: the target's column, where the source names none.

    Raises:
        BadData: no such file, or one that cannot be read.
    """
    text = str(source)
    name, _, column = text.rpartition(":") if ".csv:" in text.lower() else (text, "", "")
    path = Path(name).expanduser()
    if path.is_dir():
        files = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
        raise BadData(f"{path} is a folder", f"give a file; the folder holds: {files}")
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()][:8] if path.parent.is_dir() else []
        hint = f"the folder holds: {', '.join(sorted(near))}" if near else f"there is no folder {path.parent} either"
        raise BadData(f"no file {path}", hint)
    lower = path.name.lower()
    if lower.endswith(".csv"):
        return Table.read(path, column or target, labeled=labeled)
    if lower.endswith(".npz"):
        return read_npz(path, labeled=labeled)
    if "idx" in lower:
        return read_images(path, labeled=labeled)
    raise BadData(
        f"{path.name}: not a kind of file that can be read", "give .csv, .npz, or idx images (…-idx3-ubyte[.gz])"
    )


def read_idx(path: Path) -> np.ndarray:
    """The array of an idx file, gzipped or not.

    Raises:
        BadData: a damaged or truncated file, or not idx.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{path.name}: damaged or truncated gzip: {error}", "fetch the file again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or not data[3]:
        got = data[:4].hex() or "nothing"
        raise BadData(
            f"{path.name}: not an idx file (it starts with {got})", "idx starts with 0000, a type, a dimension count"
        )
    start, kind = 4 + 4 * data[3], np.dtype(IDX_TYPES[data[2]])
    shape = struct.unpack(f">{data[3]}I", data[4:start]) if len(data) >= start else ()
    expected = start + math.prod(shape) * kind.itemsize
    if not shape or len(data) != expected:
        raise BadData(
            f"{path.name}: {len(data)} bytes where shape {shape} needs {expected}: truncated", "fetch the file again"
        )
    return np.frombuffer(data, kind, offset=start).reshape(shape)


def read_images(path: Path, *, labeled: bool = True) -> tuple[Tensor, Tensor | None]:
    """Images in [0, 1] of shape (N, 1, H, W) and their labels (N,), of an idx file and the labels' file beside it."""
    images = read_idx(path)
    if images.ndim < 3:
        raise BadData(
            f"{path.name}: holds an array of shape {images.shape}, not images", "give the images' file (idx3)"
        )
    stem = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    beside = [path.with_name(stem + end) for end in (".gz", "")]
    found = next((file for file in beside if file.exists() and file.name != path.name), None)
    scaled = torch.from_numpy(images.astype(np.float32))
    scaled = scaled.div_(255) if images.dtype == np.uint8 else scaled
    scaled = scaled.unsqueeze(1) if scaled.ndim == 3 else scaled
    if found is None:
        if not labeled:
            return scaled, None
        raise BadData(f"{path.name}: no labels beside it", f"put {stem} or {stem}.gz into {path.parent}")
    labels = read_idx(found)
    if labels.ndim != 1 or len(labels) != len(images):
        raise BadData(f"{found.name}: {labels.shape} labels for {len(images)} images", "give one label an image")
    return scaled, torch.from_numpy(labels.astype(np.int64))


def read_npz(path: Path, *, labeled: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """Inputs and targets of an .npz file, by their usual names."""
    try:
        with np.load(path, allow_pickle=False) as file:
            pair = next((pair for pair in NPZ_PAIRS if set(pair) <= set(file.files)), None)
            alone = next((x for x, _ in NPZ_PAIRS if x in file.files), None)
            if pair is None and alone is not None and not labeled:
                return file[alone], None
            if pair is None:
                raise BadData(
                    f"{path.name}: holds {', '.join(file.files) or 'nothing'}, none of the known pairs of names",
                    "name the arrays " + ", ".join(f"{a}/{b}" for a, b in NPZ_PAIRS[:5]),
                )
            return file[pair[0]], file[pair[1]]
    except BadData:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadData(
            f"{path.name}: cannot be read: {error}", "write it with numpy.savez; objects are not loaded"
        ) from error


@dataclass(frozen=True)
class Table:
    """The cells of a .csv file: columns of text, the target's apart; `Encoder` makes numbers of them.

    Of a table without labels the target's cells are empty.
    """

    name: str
    columns: dict[str, np.ndarray]
    target: np.ndarray
    target_name: str

    @classmethod
    def read(cls, path: Path, column: str | None, *, labeled: bool = True) -> Table:
        """Read a file whose first line names the columns; ``column`` is the target (default: target, label or y)."""
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadData(
                f"{path.name}: not a csv file in UTF-8: {error}", "save it as comma-separated UTF-8"
            ) from error
        if len(rows) < 2:
            raise BadData(f"{path.name}: the data are empty", "give a line of column names and at least one row")
        header, body = rows[0], rows[1:]
        wrong = next((line for line, row in enumerate(body, 2) if len(row) != len(header)), None)
        if wrong is not None:
            got = len(body[wrong - 2])
            raise BadData(f"{path.name}: row {wrong} has {got} cells, the header {len(header)}", "repair that row")
        target = column or next((name for name in CSV_TARGETS if name in header), None)
        if not labeled and target not in header:
            cells = np.array(body, dtype=object).T
            return cls(path.name, dict(zip(header, cells, strict=True)), np.full(len(body), "", object), target or "")
        if target is None:
            raise BadData(
                f"{path.name}: no column named {', '.join(CSV_TARGETS)}; columns: {', '.join(header)}",
                f"name the target: '{path.name}:{header[-1]}'",
            )
        if target not in header:
            near = unknown(path.name, "column", target, header)
            raise BadData(near.message, near.hint)
        cells = np.array(body, dtype=object).T
        columns = {name: cells[place] for place, name in enumerate(header) if name != target}
        if not columns:
            raise BadData(f"{path.name}: no column beside the target", "give at least one feature")
        return cls(path.name, columns, cells[header.index(target)], target)

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: Tensor) -> Table:
        """The rows of an index tensor."""
        index = rows.numpy()
        return Table(self.name, {k: v[index] for k, v in self.columns.items()}, self.target[index], self.target_name)

    def split(self, last: int, seed: int | None) -> tuple[Table, Table]:
        """As `Feed.split`."""
        first, second = split_rows(len(self), last, seed)
        return self.take(first), self.take(second)


def _missing(cells: np.ndarray) -> np.ndarray:
    return np.array([cell.lower() in MISSING for cell in cells])


def _numbers(cells: np.ndarray) -> np.ndarray | None:
    """float64 with NaN for missing cells, or None where one is text."""
    try:
        return np.array([math.nan if cell.lower() in MISSING else float(cell) for cell in cells])
    except ValueError:
        return None


class Encoder:
    """Numbers of a table's cells, with statistics of the training rows only.

    Numeric columns are standardized; their missing cells are filled by the mean, and where the training rows miss some,
    a 0/1 column marks them. Text columns become one 0/1 column a category of the training rows.

    Args:
        table: the training rows.
        standardize_target: whether a numeric target is standardized too.
    """

    def __init__(self, table: Table, *, standardize_target: bool = False) -> None:
        self.names: list[str] = []
        self.target_name = table.target_name
        self._plan: dict[str, tuple[float, float, bool] | list[str]] = {}
        for name, cells in table.columns.items():
            numbers = _numbers(cells)
            if numbers is None:
                self._plan[name] = sorted({str(cell) for cell in cells[~_missing(cells)]})
                self.names += [f"{name}={category}" for category in self._plan[name]]
                continue
            gaps = np.isnan(numbers)
            seen = numbers[~gaps] if not gaps.all() else np.zeros(1)
            self._plan[name] = (float(seen.mean()), float(seen.std()) or 1.0, bool(gaps.any()))
            self.names += [name, f"{name} missing"] if gaps.any() else [name]
        _check_target(table)
        target = _numbers(table.target)
        self.classes: list[str] | None = None if target is not None else sorted({str(cell) for cell in table.target})
        self.centre, self.scale = 0.0, 1.0
        if target is not None and standardize_target:
            self.centre, self.scale = float(target.mean()), float(target.std()) or 1.0

    def apply(self, table: Table, what: str = "data", *, known: bool = True) -> Tensors:
        """Inputs (N, F) and targets: class numbers (N,) of a text target, float32 (N,) of a numeric one.

        Args:
            table: with the columns of the training rows.
            what: the name of the data, for messages.
            known: whether every row must have a label that the training rows have; if not, new classes get the numbers
                after those, and a table whose target is empty gives no targets.

        Raises:
            BadData: a missing column, text among numbers, a missing target, or a class that the training rows lack.
        """
        parts: list[np.ndarray] = []
        for name, plan in self._plan.items():
            if name not in table.columns:
                raise BadData(f"{table.name}: column {name!r} of the training data is missing", "give the same columns")
            cells = table.columns[name]
            if isinstance(plan, list):
                parts += [(cells == category).astype(np.float64) for category in plan]
                continue
            numbers = _numbers(cells)
            if numbers is None:
                raise BadData(f"{table.name}: column {name!r} holds text, numbers in training", "repair those cells")
            mean, deviation, marked = plan
            gaps = np.isnan(numbers)
            parts.append((np.where(gaps, mean, numbers) - mean) / deviation)
            parts += [gaps.astype(np.float64)] if marked else []
        inputs = torch.from_numpy(np.stack(parts, 1).astype(np.float32))
        targets = None if not known and bool(_missing(table.target).all()) else self._targets(table, known)
        feed = Tensors(inputs, targets, what=what)
        feed.encoder = self
        return feed

    def decode(self, inputs: Tensor) -> tuple[np.ndarray, list[str]]:
        """The table's columns in their own units (N, c), NaN where a cell is marked as missing, and their names.

        A text column gives one 0/1 column a category. Numbers went through float32: they agree to 7 digits.
        """
        encoded = inputs.detach().cpu().double().numpy()
        parts: list[np.ndarray] = []
        names: list[str] = []
        at = 0
        for name, plan in self._plan.items():
            if isinstance(plan, list):
                parts += list(encoded[:, at : at + len(plan)].T)
                names += [f"{name}={category}" for category in plan]
                at += len(plan)
                continue
            mean, deviation, marked = plan
            column = encoded[:, at] * deviation + mean
            parts.append(np.where(encoded[:, at + 1] > 0.5, np.nan, column) if marked else column)
            names.append(name)
            at += 1 + marked
        return np.stack(parts, 1), names

    def gaps(self, table: Table) -> np.ndarray:
        """Which cells are missing, (N, c) as `decode`'s columns."""
        found: list[np.ndarray] = []
        for name, plan in self._plan.items():
            found += [_missing(table.columns[name])] * (len(plan) if isinstance(plan, list) else 1)
        return np.stack(found, 1)

    def _targets(self, table: Table, known: bool) -> Tensor:
        _check_target(table)
        if self.classes is not None:
            place = {name: number for number, name in enumerate(self.classes)}
            if not known:
                fresh = sorted({str(cell) for cell in table.target} - place.keys())
                place |= {name: len(place) + k for k, name in enumerate(fresh)}
            strange = next((str(cell) for cell in table.target if cell not in place), None)
            if strange is not None:
                raise BadData(
                    f"{table.name}: class {strange!r} does not occur in the training rows", "give it training rows"
                )
            return torch.tensor([place[cell] for cell in table.target])
        numbers = _numbers(table.target)
        if numbers is None:
            raise BadData(f"{table.name}: the target holds text, numbers in training", "repair those cells")
        return torch.from_numpy(((numbers - self.centre) / self.scale).astype(np.float32))


def _check_target(table: Table) -> None:
    gaps = _missing(table.target)
    if gaps.any():
        raise BadData(
            f"{table.name}: {int(gaps.sum())} targets ({table.target_name}) are missing, "
            f"the first in row {int(gaps.argmax())}",
            "remove those rows",
        )
