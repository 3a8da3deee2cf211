"""Triton kernels without a GPU: in Triton's interpreter, and compiled. Each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="extra: gpu, which Triton has for Linux only")


def run(script, folder):
    """What a script prints, warnings being errors; every cache is new."""
    script = Path(__file__).parent / script
    environment = {**os.environ, "THALWEG_CACHE": str(folder / "thalweg"), "TRITON_CACHE_DIR": str(folder / "triton")}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_rule_in_the_interpreter_against_its_oracle(tmp_path):
    out = run("triton_interpreted.py", tmp_path)
    assert out.endswith("checks, 0 wrong\n"), out


def test_every_rule_compiles_to_exact_unfused_vector_code(tmp_path):
    out = run("triton_compiled.py", tmp_path)
    assert out.endswith("kernels, 0 wrong\n"), out
