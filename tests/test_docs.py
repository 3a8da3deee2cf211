"""What the documents say is run: blocks and their printed output, commands, links, pictures, errors, docstrings.

``python tests/test_docs.py FILE...`` runs the blocks of documents and writes what they print into them; an output that
has ``...`` in it and still fits stays as it is.
"""

import contextlib
import doctest
import importlib
import io
import os
import re
import shlex
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import thalweg
from thalweg import cli, errors

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(file.relative_to(ROOT)) for file in FILES]
LANGUAGES = {"python", "text", "sh", "toml"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in (ROOT / "thalweg").rglob("*.py")
    if file.stem != "__main__"
)


@dataclass
class Block:
    """A fenced block: its language, first line, text, and where the output that follows it lies."""

    language: str
    line: int
    text: str
    output: tuple[int, int] | None = None


def blocks_of(text: str) -> list[Block]:
    """The blocks of a document; a ``text`` block right after a ``python`` block is its output."""
    blocks: list[Block] = []
    end = 0
    for match in FENCE.finditer(text):
        language, body = match.groups()
        if language == "text" and blocks and blocks[-1].language == "python" and not text[end : match.start()].strip():
            blocks[-1].output = match.span(2)
        blocks.append(Block(language, text.count("\n", 0, match.start(2)) + 1, body))
        end = match.end()
    return blocks


def played(path: Path, text: str):
    """Run the Python blocks of a document in order and in one namespace; yields each with what it printed."""
    namespace = {"__name__": "document"}
    for block in blocks_of(text):
        if block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, str(path), "exec")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                exec(code, namespace)
            yield block, "".join(line.rstrip() + "\n" for line in printed.getvalue().splitlines())


def fits(expected: str, printed: str) -> bool:
    """Whether an output is as expected; ``...`` stands for anything within a line, alone on a line for any lines."""
    lines = (
        "(?:.*\n)*?" if x == "..." else re.escape(x).replace(r"\.\.\.", ".*") + "\n" for x in expected.splitlines()
    )
    return re.fullmatch("".join(lines), printed) is not None


def slugs(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_there_is_something_to_run():
    count = {
        name: sum(b.language == "python" for b in blocks_of(file.read_text()))
        for name, file in zip(NAMES, FILES, strict=True)
    }
    assert count["README.md"] and count["docs/guides/subject.md"] >= 20 and len(NAMES) >= 10
    for name, file in zip(NAMES, FILES, strict=True):
        text = file.read_text(encoding="utf-8")
        assert count[name] == len(re.findall(r"^```\s*py", text, re.M)), f"{name}: a Python block that is not run"
        assert text.count("```") == 2 * len(blocks_of(text)), f"{name}: a fence that is not closed or indented"
        assert {b.language for b in blocks_of(text)} <= LANGUAGES, name


@pytest.mark.parametrize("name", NAMES)
def test_blocks_print_what_is_shown(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for block, printed in played(ROOT / name, text):
        if block.output:
            expected = text[slice(*block.output)]
            assert fits(expected, printed), f"{name}:{block.line} printed\n{printed}\ninstead of\n{expected}"


def test_an_output_that_differs_is_found():
    assert fits("a 1\n", "a 1\n") and not fits("a 1\n", "a 2\n") and not fits("a 1\n", "a 1\nb\n")
    assert fits("in ... s\n", "in 3.2 s\n") and not fits("in ... s\n", "in 3.2\nb s\n")
    assert fits("a\n...\nz\n", "a\nb\nc\nz\n") and not fits("a\n...\n", "b\nc\n") and fits("...\nz\n", "a\nz\n")


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_recipes_are_understood(name):
    for block in blocks_of((ROOT / name).read_text(encoding="utf-8")):
        if block.language == "toml":
            assert thalweg.Recipe.from_toml(block.text)
        for line in block.text.splitlines() if block.language == "sh" else ():
            words = shlex.split(line, comments=True)
            words = words[words.index("thalweg") + 1 :] if "thalweg" in words else []
            if words and not words[0].startswith("-"):
                words = words[: next((i for i, word in enumerate(words) if word in "|>"), len(words))]
                cli.app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures_exist(name):
    file = ROOT / name
    for link in ("".join(pair) for pair in LINK.findall(FENCE.sub("", file.read_text(encoding="utf-8")))):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = file.parent / path if path else file
            assert target.exists(), f"{name}: no {link}"
            assert not anchor or anchor in slugs(target), f"{name}: no heading for {link}"


def test_every_document_is_reached_from_the_readme():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        file = todo.pop().resolve()
        if file.suffix == ".md" and file not in reached:
            reached.add(file)
            links = ("".join(pair).partition("#")[0] for pair in LINK.findall(file.read_text(encoding="utf-8")))
            todo += [file.parent / link for link in links if link and "://" not in link]
    assert set(FILES) <= reached


def test_every_error_has_its_section():
    codes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ThalwegError)
    }
    codes = codes - {"error"} | {"interrupted"}
    assert len(codes) >= 6 and codes == slugs(ROOT / "docs/errors.md") - {"errors"}


def test_the_readme_has_the_two_commands():
    text, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    for command in ("demo", "test"):
        assert re.search(rf"^make {command}\b", text, re.M) and re.search(rf"^{command}:", makefile, re.M)


def test_there_are_docstrings_to_run():
    assert len(MODULES) > 40
    found = [
        d for module in MODULES for d in doctest.DocTestFinder().find(importlib.import_module(module)) if d.examples
    ]
    assert len(found) > 50


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module, tmp_path):
    found = doctest.DocTestFinder().find(importlib.import_module(module), extraglobs={"tmp": tmp_path})
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    for example in found:
        if example.examples:
            runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


def write(path: Path) -> None:
    """Put what the blocks of a document print into it."""
    text = path.read_text(encoding="utf-8")
    results = [(block, printed) for block, printed in played(path, text) if block.output]
    for block, printed in reversed(results):
        start, end = block.output
        if not fits(text[start:end], printed):
            print(f"{path}:{block.line}\n{text[start:end]}->\n{printed}")
            text = text[:start] + printed + text[end:]
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    documents = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.pop("THALWEG_DATA", None)
        for document in documents:
            write(document)
