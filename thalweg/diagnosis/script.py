"""A training script as it is, run under watch for some steps: what is wrong with its loop."""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from .. import errors
from .events import optimizers_made
from .findings import Finding
from .watching import Watch

SHARE = 0.5  # of the time, that looking may take: the script is run for it


class Enough(BaseException):
    """So many steps were seen: ends the script, past every ``except Exception`` of its own."""


def run_script(path: str | Path, *, steps: int = 200, seconds: float = 60.0) -> tuple[list[Finding], list[str], int]:
    """Run a training script under watch, as ``python path`` would, and stop it after some steps.

    Its optimizers are noticed when they are made and its networks when they are called. What it prints goes to standard
    error. What it writes to files, it writes.

    Args:
        path: the script.
        steps: of its optimizers, after which it is stopped.
        seconds: after which it is stopped at the next step.

    Returns:
        What was found, what could not be seen, and how many steps were made.

    Raises:
        BadTask: there is no such script, or it fails by itself before its first step.
    """
    script = Path(path)
    if not script.is_file():
        raise errors.BadTask(f"there is no script {path}", "give the path of a Python file")
    watch = _Watch(steps, seconds)
    before = (sys.argv, list(sys.path))
    sys.argv = [str(script)]
    sys.path.insert(0, str(script.resolve().parent))
    trouble: str | None = None
    try:
        with contextlib.redirect_stdout(sys.stderr), torch.enable_grad(), watch, watch.noticing():
            try:
                runpy.run_path(str(script), run_name="__main__")
            except (Enough, SystemExit):
                pass
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
    finally:
        sys.argv, sys.path[:] = before
    made = sum(record.steps for record in watch.records)
    if trouble is not None and not made:
        raise errors.BadTask(f"{path} failed before its first step: {trouble}", "run it by itself first")
    said = [f"The script failed after {made} steps: {trouble}"] if trouble is not None else []
    return watch.findings, [*said, *watch.not_seen], made


class _Watch(Watch):
    """A watch that finds the optimizers and the networks itself, and ends the script."""

    def __init__(self, steps: int, seconds: float) -> None:
        super().__init__((), (), SHARE)
        self._limit, self._until = steps, perf_counter() + seconds
        self._called: dict[int, nn.Module] = {}
        self._steps = 0

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """While the script runs: which optimizers it makes, and which networks it calls."""
        handle = register_module_forward_pre_hook(self._notice)
        try:
            with optimizers_made(self.follow):
                yield
        finally:
            handle.remove()

    def _notice(self, module: nn.Module, inputs: Any) -> None:
        self._called.setdefault(id(module), module)

    def name_parameters(self) -> None:
        """The networks are the outermost modules that were called and have parameters."""
        inner = {id(child) for module in self._called.values() for child in module.modules() if child is not module}
        outer = [module for key, module in self._called.items() if key not in inner]
        self.models = [module for module in outer if any(True for _ in module.parameters())]
        super().name_parameters()

    def close_step(self, step: int) -> None:
        """A step is over; perhaps the last."""
        super().close_step(step)
        self._steps += 1
        if self._steps >= self._limit or perf_counter() > self._until:
            raise Enough
