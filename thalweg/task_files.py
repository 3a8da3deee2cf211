"""Tasks of files: ``path/to/file.py:name``, and the recipe that stands beside one."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.errors import BadTask, unknown

if TYPE_CHECKING:
    from thalweg.recipe import Recipe
    from thalweg.task import Task


def load(where: str) -> Task:
    """The task of ``"path/to/file.py:name"``, or a built-in one by its name.

    The file is imported with its folder on the path; ``name`` (default: ``task``) is a `Task` or a function without
    arguments that gives one.

    Raises:
        BadTask: no such file or name, the file fails, or the name is not a task.
        BadOption: no built-in task of this name.

    Example:
        >>> load("digits").name
        'digits'
    """
    return load_with_recipe(where)[0]


def load_with_recipe(where: str) -> tuple[Task, Recipe | None]:
    """As `load`, and what the file calls ``recipe``, if that is one.

    Example:
        >>> load_with_recipe("digits")[1] is None
        True
    """
    from thalweg.recipe import Recipe
    from thalweg.task import Task

    if ".py" not in where:
        from thalweg import tasks

        built_in = tasks.load(where)
        built_in._memory["source"] = where
        return built_in, None
    path, name = _place(where)
    names = _run_file(path)
    if name not in names:
        error = unknown(path.name, "name", name, [key for key in names if not key.startswith("_")] or ["nothing"])
        raise BadTask(error.message, error.hint)
    found = names[name]
    if not isinstance(found, Task) and callable(found) and not isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            raise _blame_file(path, error) from error
    if not isinstance(found, Task):
        raise BadTask(
            f"{path.name}: {name} is a {type(found).__name__}, not a Task", "let it be a Task or a function giving one"
        )
    found._memory["source"] = f"{path}:{name}"
    recipe = names.get("recipe")
    return found, recipe if isinstance(recipe, Recipe) else None


def is_script(where: str) -> bool:
    """Whether a file is a program rather than a task: none is named, and nothing at its top is called ``task``.

    Raises:
        BadTask: there is no such file, or it is no Python.
    """
    if not where.endswith(".py"):
        return False
    path, name = _place(where)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise _blame_file(path, error) from error
    own = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    inside = [part for node in own for part in ast.walk(node)]
    bound = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    return name not in bound | imported


def _place(where: str) -> tuple[Path, str]:
    text, _, name = where.rpartition(":") if not where.endswith(".py") else (where, "", "task")
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise BadTask(f"no file {path}", "give path/to/file.py:name, or the name of a built-in task")
    return path, name


def _run_file(path: Path) -> dict[str, Any]:
    name = f"thalweg_task_{path.stem}_{hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadTask(f"{path} cannot be imported", "give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes of the file can then be pickled for workers
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _blame_file(path, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return vars(module)


def _blame_file(path: Path, error: BaseException) -> BadTask:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    text = traceback.format_exception_only(error)[-1].strip()
    return BadTask(f"{path.name} failed at line {line or '?'}: {text}", f"run it by hand: python {path}")
