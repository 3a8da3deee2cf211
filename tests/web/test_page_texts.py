"""The text of ``docs/findings`` that the package brings along; ``python tests/web/test_page_texts.py`` writes it anew."""

import json
import re
from importlib.resources import files
from pathlib import Path

from thalweg.web.documents.findings import page

DOCS = Path(__file__).resolve().parents[2] / "docs" / "findings"
PACKED = Path(__file__).resolve().parents[2] / "thalweg" / "web" / "pages.json"


def plain(markdown):
    """A page as paragraphs of plain text: no marks of headings and links, no line breaks within a paragraph."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)
    text = re.sub(r"^#+ ", "", text, flags=re.M)
    parts = [" ".join(part.split()) if not part.startswith(("```", "- ", "|")) else part for part in text.split("\n\n")]
    return "\n\n".join(part for part in parts if part)


def pages():
    return {
        path.stem: plain(path.read_text(encoding="utf-8"))
        for path in sorted(DOCS.glob("*.md"))
        if path.stem != "README"
    }


def test_the_package_holds_the_pages_of_the_documentation():
    assert json.loads(files("thalweg.web").joinpath("pages.json").read_text(encoding="utf-8")) == pages()
    assert len(pages()) > 40


def test_every_code_that_has_a_page_shows_it_as_plain_text():
    from thalweg.diagnosis import CODES

    assert {path.stem for path in DOCS.glob("*.md")} - {"README"} <= {*CODES}
    for code in pages():
        text = page(code)
        assert text.startswith(f"{code}: ") and "](" not in text and "\n#" not in text
    assert page("no-such-code") == ""


if __name__ == "__main__":
    PACKED.write_text(json.dumps(pages(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
