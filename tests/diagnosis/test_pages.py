"""Every code has its page, and the index lists them as the table has them."""

import re
from pathlib import Path

import pytest

from thalweg.diagnosis.findings import CODES, FAMILIES

FOLDER = Path(__file__).parents[2] / "docs" / "findings"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md") if path.stem != "README"}
LATER = FAMILIES["shift"]  # families whose pages are not written yet
SECTIONS = ["What it means", "How it is measured", "When it is wrong", "What to do"]


def title(page: str) -> list[str]:
    """Code and phrase of a page's first line."""
    return page.split("\n", 1)[0].removeprefix("# ").split(": ", 1)


def test_every_code_has_a_page_and_every_page_a_code():
    assert len(CODES) == len(set(CODES)) and set(PAGES) == {*CODES} - {*LATER}


@pytest.mark.parametrize("code", PAGES)
def test_a_page_says_what_it_has_to(code):
    page = PAGES[code]
    assert title(page)[0] == code and title(page)[1]
    assert re.findall(r"^## (.+)$", page, re.M) == SECTIONS
    assert all(len(part.strip()) > 100 for part in re.split(r"^## .+$", page, flags=re.M)[1:])
    assert re.search(r"^Source: \S", page, re.M) and 25 <= page.count("\n") <= 50


def test_the_index_is_the_table():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = {
        family.lower(): re.findall(r"^\| \[(.+?)\]\((.+?)\.md\) \| (.+) \|$", part, re.M)
        for family, part in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", index, re.M)
    }
    wanted = {
        family.lower(): [(code, code, title(PAGES[code])[1]) for code in codes]
        for family, codes in FAMILIES.items()
        if codes != LATER
    }
    assert listed == wanted and list(listed) == list(wanted)
