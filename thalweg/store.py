"""The store: one folder per study; its append-only trace is the truth, and nothing in it is ever unpickled."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from .errors import BadStudy
from .version import __version__

if TYPE_CHECKING:
    from torch import Tensor

try:
    import fcntl

    locks: Any = fcntl
except ImportError:  # where there are none, nothing says that a study is being written
    locks = None

FORMAT = 1
HOME = Path("thalweg-studies")  # where studies go whose folder is not named
RUNS = Path("thalweg-runs")  # where single runs go
SEVERAL = "studies.json"  # in the folder that holds the studies of several tasks
LOCK, CHANGING = "writing.lock", "changing.lock"
PATIENCE = 1.0  # seconds that a lock is waited for
RECENT = 60.0  # seconds for which a study without locks is running after its last record
_HELD: set[IO[bytes]] = set()  # open files whose locks are ours


def plain(value: Any) -> Any:
    """``value`` as JSON has it: non-finite numbers become the strings ``"nan"``, ``"inf"``, ``"-inf"``."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str):
        return plain(value.item())
    return str(value) if isinstance(value, Path) else value


def number(value: Any) -> float:
    """The inverse of `plain` for a number."""
    return float(value)


def _opened(folder: Path, name: str) -> BinaryIO:
    return (folder / name).open("rb")


class Store:
    """A study's folder.

    ``study.json`` (what was asked: task fingerprint, plan, environment, command), ``trace.jsonl`` (one record a line,
    appended as runs go), ``verdict.json``, ``recipe.toml``, ``models/*.safetensors``.

    Args:
        folder: the study's folder; made by `create`.
        opened: what opens its documents; it may refuse to.
    """

    def __init__(self, folder: str | Path, opened: Callable[[Path, str], BinaryIO] = _opened) -> None:
        self.folder, self._opened = Path(folder), opened

    @property
    def models(self) -> Path:
        """The folder of the trained weights."""
        return self.folder / "models"

    def exists(self) -> bool:
        """Whether a study lies here."""
        return (self.folder / "study.json").exists()

    def create(self, head: dict[str, Any]) -> None:
        """Make the folder and write ``study.json``.

        Raises:
            BadStudy: the folder cannot be written, or holds something else.
        """
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise NotADirectoryError(20, "it is a file")
            begun = [self.models, *self.folder.glob("study.*part")]  # what a kill while the folder was made leaves
            if self.folder.exists() and not set(begun).issuperset(self.folder.iterdir()):
                raise BadStudy(f"{self.folder} is not empty and holds no study", "give a new folder")
            self.models.mkdir(parents=True, exist_ok=True)
            self.write("study.json", {"format": FORMAT} | head)
        except OSError as error:
            raise BadStudy(
                f"cannot write a study to {self.folder}: {error.strerror}", "give a folder that you may write to"
            ) from None

    def hold(self) -> Callable[[], None]:
        """Say that runs are being written here, until what is returned is called or this process ends, however it ends.

        Raises:
            BadStudy: another process writes here.
        """
        if locks is None:
            return lambda: None
        file, until = (self.folder / LOCK).open("ab"), time.monotonic() + PATIENCE
        while True:
            try:
                locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:  # who asks whether it is held holds it, too, for a moment
                    time.sleep(PATIENCE / 50)
                    continue
                file.close()
                raise BadStudy(f"{self.folder} is being written by another process", "wait for it, or end it") from None
            except OSError:  # a file system without locks
                pass
            break
        _HELD.add(file)

        def release() -> None:
            _HELD.discard(file)
            file.close()

        return release

    def held(self) -> bool:
        """Whether a process writes runs here now; where there are no locks, whether something was written just now."""
        if locks is None:
            return self._fresh()
        try:
            with (self.folder / LOCK).open("rb") as file:
                locks.flock(file, locks.LOCK_SH | locks.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        except OSError:
            return self._fresh()
        return False

    def _fresh(self) -> bool:
        try:
            return time.time() - (self.folder / "trace.jsonl").stat().st_mtime < RECENT
        except OSError:
            return False

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """For who reads a document, changes it and writes it again: others who do wait meanwhile, where there are locks.

        Example:
            >>> store = Store(tmp)
            >>> with store.changing():
            ...     store.write("notes.json", {"n": 1 + (store.read("notes.json") or {"n": 0})["n"]}).name
            'notes.json'
        """
        with (self.folder / CHANGING).open("ab") as file:
            if locks is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    locks.flock(file, locks.LOCK_EX)
            yield

    def discard(self) -> None:
        """Remove the folder, with what `create` made in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name: str, document: dict[str, Any]) -> Path:
        """Replace a JSON document in one go: a reader sees the old one or the new one, whoever else writes it too."""
        path = self.folder / name
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                json.dump(plain(document), file, indent=1, allow_nan=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:  # a disk that is full keeps the old one, and no half of the new one
            part.unlink(missing_ok=True)
            raise
        return path

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON document of the folder, or None when it is not there.

        Raises:
            BadStudy: it is not readable as JSON.
        """
        path = self.folder / name
        try:
            with self._opened(self.folder, name) as file:
                document = json.loads(file.read().decode())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            raise BadStudy(f"cannot read {path}: {error}", "give another folder, or remove this one") from None
        if not isinstance(document, dict):
            raise BadStudy(f"{path} is no study document", "give the folder of a study")
        return document

    def head(self) -> dict[str, Any]:
        """``study.json``.

        Raises:
            BadStudy: no study here, or one of a later format.
        """
        head = self.read("study.json")
        if head is None:
            raise BadStudy(f"{self.folder} holds no study", "give the folder that thalweg compare printed")
        if head.get("format") != FORMAT:
            raise BadStudy(
                f"{self.folder} has format {head.get('format')!r}, this thalweg reads {FORMAT}",
                "use the thalweg that wrote it",
            )
        return head

    def append(self, *records: dict[str, Any]) -> None:
        """Add lines to the trace in one write; they are with the operating system when this returns."""
        path = self.folder / "trace.jsonl"
        lines = [json.dumps(plain(record), separators=(",", ":"), allow_nan=False) + "\n" for record in records]
        with path.open("ab") as file:
            file.write("".join(lines).encode())

    def mend(self) -> None:
        """Cut off a last line that a kill left unfinished."""
        path = self.folder / "trace.jsonl"
        if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)

    def records(self) -> Iterator[dict[str, Any]]:
        """The trace's records in order; an unfinished last line is left out.

        Raises:
            BadStudy: a line in the middle is damaged.
        """
        path = self.folder / "trace.jsonl"
        if not path.exists():
            return
        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise BadStudy(f"{path}:{number} is damaged", "remove that line; its run is then done again") from None

    def save_weights(self, name: str, weights: dict[str, Tensor]) -> Path:
        """Write parameters and buffers to ``models/NAME.safetensors``; tied ones once."""
        from safetensors.torch import save_file

        self.models.mkdir(exist_ok=True)
        path = self.models / f"{name}.safetensors"
        part = path.with_suffix(".part")
        seen: dict[tuple[int, tuple[int, ...]], str] = {}
        unique: dict[str, Tensor] = {}
        tied: dict[str, str] = {}
        for key, tensor in weights.items():
            place = (tensor.data_ptr(), tuple(tensor.shape))
            if tensor.numel() and place in seen:
                tied[key] = seen[place]
            else:
                seen[place] = key
                unique[key] = tensor.detach().cpu().contiguous().clone()
        save_file(unique, part, metadata={"tied": json.dumps(tied)})
        part.replace(path)
        return path


def _forget() -> None:
    """A forked worker lets go of its parent's locks, so that they end with the parent."""
    for file in _HELD:
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights that `Store.save_weights` wrote.

    Raises:
        BadStudy: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
            tied = json.loads((file.metadata() or {}).get("tied", "{}"))
    except (OSError, SafetensorError) as error:
        raise BadStudy(f"cannot read weights from {path}: {error}", "run the study again") from None
    return weights | {key: weights[other] for key, other in tied.items()}


def environment() -> dict[str, Any]:
    """What a run was made with: versions, machine, threads, command."""
    import numpy
    import torch

    return {
        "thalweg": __version__,
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "command": shlex.join(sys.argv),
    }


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
