import os
import stat
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from thalweg import optim
from thalweg.engine import cache, cpu

STEP = """
import sys, torch
from thalweg import optim
p = torch.nn.Parameter(torch.ones(100))
p.grad = torch.full_like(p, 0.5)
opt = optim.RAdam([p], lr=0.25)
opt.step()
print(p[0].item(), "numba" in sys.modules)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, and no kernel in memory."""
    place = tmp_path / "kernels"
    monkeypatch.setenv("THALWEG_CACHE", str(place))
    monkeypatch.setattr(cache, "_WARNED", [])
    _forget()
    yield place
    _forget()


def _forget():
    cpu.compiled.cache_clear()
    for name in [name for name in sys.modules if name.startswith(f"{cache.NAME}.")]:
        del sys.modules[name]


def step():
    """A step of plain gradient descent with a kernel that is looked up anew."""
    _forget()
    p = torch.nn.Parameter(torch.ones(20))
    p.grad = torch.full_like(p, 0.5)
    optim.SGD([p], lr=0.5).step()
    assert p.tolist() == [0.75] * 20


def compilations(monkeypatch):
    """Counts how often Numba compiles."""
    calls = []
    own = cache.in_memory
    monkeypatch.setattr(cache, "in_memory", lambda *args: calls.append(args[0]) or own(*args))
    return calls


def test_the_folder_is_the_users_alone(folder):
    umask = os.umask(0)
    try:
        step()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
    assert not list(folder.glob("*.tmp")) and len(list(folder.iterdir())) == 1


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("THALWEG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.folder() == Path("/somewhere/thalweg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path.home() / ".cache" / "thalweg"


def test_a_second_process_compiles_nothing(folder):
    run = [sys.executable, "-W", "error", "-c", STEP]
    for numba in ("True", "False"):  # the second takes the code from the folder and has no need of Numba
        out = subprocess.run(run, capture_output=True, text=True, check=True, env=os.environ, timeout=60).stdout
        assert out.split() == ["0.875", numba]


def test_the_kept_code_is_used(folder, monkeypatch):
    calls = compilations(monkeypatch)
    step()
    step()
    assert len(calls) == 1


def test_several_processes_at_once(folder):
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", STEP], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100) for process in processes]
    assert [out.split()[0] for out, _ in outputs] == [b"0.875"] * 2, outputs
    assert len(list(folder.iterdir())) == 1


def test_several_threads_at_once(folder, monkeypatch):
    calls, barrier = compilations(monkeypatch), threading.Barrier(4)

    def one(seed):
        p = torch.nn.Parameter(torch.ones(20))
        p.grad = torch.full_like(p, 0.5)
        barrier.wait()
        optim.SGD([p], lr=0.5).step()
        return p.tolist() == [0.75] * 20

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [True] * 4
    assert len(calls) == 1


def damaged(kind, data):
    return {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "one byte less": data[:-1],
        "garbage": os.urandom(len(data)),
        "one bit": data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        "text": b"no code\n",
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "truncated", "one byte less", "garbage", "one bit", "text"])
def test_a_damaged_file_is_made_again(folder, kind, monkeypatch):
    calls = compilations(monkeypatch)
    step()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damaged(kind, whole))
    step()
    assert len(calls) == 2 and list(folder.iterdir()) == [file] and len(file.read_bytes()) > len(whole) // 2
    step()
    assert len(calls) == 2


def warned_once(action):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
        action()
    (warning,) = caught
    assert "kernels are compiled anew in every process" in str(warning.message)
    assert "hint: set THALWEG_CACHE" in str(warning.message)


def test_a_folder_that_cannot_be_made(folder):
    folder.write_text("a file stands here")
    warned_once(step)


def test_a_folder_under_a_file(folder, monkeypatch):
    folder.write_text("a file stands here")
    monkeypatch.setenv("THALWEG_CACHE", str(folder / "deeper"))
    warned_once(step)


def test_a_full_disk(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.tempfile, "mkstemp", full)
    warned_once(step)
    assert not list(folder.iterdir())


def test_a_disk_that_fills_up_while_a_kernel_is_written(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.Path, "replace", full)
    warned_once(step)
    assert not list(folder.iterdir())


def test_a_folder_that_everybody_may_write_to_is_not_used(folder):
    folder.mkdir()
    folder.chmod(0o777)
    warned_once(step)
    assert not list(folder.iterdir())


def test_a_user_without_home(folder, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("THALWEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache.Path, "home", homeless)
    warned_once(step)


def test_a_module_has_its_source_in_the_folder(folder):
    text = "def double(x):\n    return 2 * x\n"
    module = cache.load("doubling", text, lambda module: module.double(1))
    assert module.double(4) == 8 and (folder / "doubling.py").read_text() == text
    assert cache.load("doubling", text, bool) is module
    _forget()
    (folder / "doubling.py").write_text("garbage(")
    assert cache.load("doubling", text, bool).double(4) == 8 and (folder / "doubling.py").read_text() == text


def test_a_module_that_fails_its_check_is_not_registered(folder):
    with pytest.raises(ZeroDivisionError):
        cache.load("failing", "x = 0\n", lambda module: 1 / module.x)
    assert f"{cache.NAME}.failing" not in sys.modules


def test_the_key_follows_everything_that_counts():
    assert cache.key("a") == cache.key("a") != cache.key("b")
    assert cache.key("a", "1") != cache.key("a", "2")


def test_numba_is_loaded_without_scipys_linear_algebra_and_has_it_afterwards(tmp_path):
    code = """
    import sys, torch
    from thalweg import optim
    p = torch.nn.Parameter(torch.randn(5)); p.grad = torch.ones(5)
    optim.AdamW([p]).step()
    assert "numba" in sys.modules and "scipy.linalg" not in sys.modules and "scipy.linalg.cython_blas" not in sys.modules
    import numpy as np
    from numba import njit
    solve = njit(lambda a: np.linalg.solve(a, np.ones(3)) @ np.eye(3))
    assert solve(2 * np.eye(3)).tolist() == [0.5] * 3
    import scipy.linalg
    assert scipy.linalg.solve(np.eye(2), np.ones(2)).tolist() == [1, 1]
    """
    where = {**os.environ, "THALWEG_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
