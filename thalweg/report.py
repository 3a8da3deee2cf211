"""The report: the page as one file, with the studies' data inside; it opens from disk without a network."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from .errors import BadOption, BadStudy, Missing, ThalwegError
from .web.documents import catalogue, curves, findings, landscape, layers, rates, shift, verdict
from .web.documents.reading import head_of, intact
from .web.following import Follower
from .web.playground import playground

LIMIT = 5_000_000  # bytes of a report
COLUMNS, ENOUGH, FEWEST = 600, 80, 24  # of pixels that a curve is kept for
NOTHING = "'none'"
UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")  # a half of a letter cannot be written
PLACE = "<!--thalweg-data-->"
INLINE = re.compile(r"<(script|style)(?:\s[^>]*)?>(.*?)</\1>", re.S)
VIEWS = {
    "verdict": verdict.document,
    "rates": rates.document,
    "layers": layers.document,
    "landscape": landscape.document,
    "findings": findings.document,
    "shift": shift.document,
}


def report(studies: str | Path | Sequence[str | Path], path: str | Path = "report.html") -> Path:
    """Write studies as one file that a browser opens from disk: the views of the page, with all that was measured.

    Curves are kept in as much detail as five megabytes allow; their extremes always are. Of many runs some lines are
    left out, evenly in the order in which the runs began: bands and counts are of all, and the page says so.

    Args:
        studies: the folder of a study or of several, or several such folders.
        path: of the file.

    Returns:
        The file.

    Raises:
        BadStudy: there is no study, or the file cannot be written.
        BadOption: no folder is given.
        Missing: this installation has no page.
    """
    folders = [studies] if isinstance(studies, str | Path) else list(studies)
    if not folders:
        raise BadOption("report: no study is given", "thalweg report STUDY")
    known = catalogue.found(folders)
    if not known:
        raise BadStudy(f"{folders[0]} holds no study", "give the folder that thalweg compare printed")
    page = _template()
    heads: dict[str, Any] = {}
    for id, folder in known.items():
        with _no_obstacle(len(known)), intact(folder):
            heads[id] = _public(catalogue.head(folder, id))
    if not heads:
        raise BadStudy("none of these studies can be read", "give one to the report by itself: it says why")
    known = {id: known[id] for id in heads}
    text = filled(page, _packed(known, heads, LIMIT - len(page.encode()) - 10_000), title([*heads.values()]))
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadStudy(f"cannot write {path}: {error.strerror}", "give a file that you may write") from None
    return Path(path)


def title(entries: Sequence[dict[str, Any]]) -> str:
    """The title of a report; it says what is not finished."""
    said = [e["name"] + ("" if e["status"] == "complete" else f" ({e['status']})") for e in entries]
    return f"thalweg: {', '.join(said[:3])}" + (f" and {len(said) - 3} more" if len(said) > 3 else "")


def _public(head: dict[str, Any]) -> dict[str, Any]:
    """The head of a study without what tells of the machine: its folders and the command that was typed there."""
    environment = {name: value for name, value in head["environment"].items() if name != "command"}
    return head | {"environment": environment, "resume": "", "code": None, "goes_on": False}


def _no_obstacle(among: int) -> contextlib.AbstractContextManager[None]:
    """One study of several that cannot be read is left out."""
    return contextlib.suppress(BadStudy) if among > 1 else contextlib.nullcontext()


def _template() -> str:
    """The page without its data.

    Raises:
        Missing: it was not built.
    """
    try:
        page = files("thalweg.web").joinpath("static", "report.html").read_text(encoding="utf-8")
    except OSError:
        raise Missing("this thalweg has no page for reports", "install a released thalweg, or run make ui") from None
    if PLACE not in page:
        raise Missing("the page for reports has no place for data", "build it again: make ui")
    return page


def filled(page: str, data: str, name: str) -> str:
    """A page with its data, its title, and a policy under which only its own script and style count.

    Args:
        page: with `PLACE` in its head.
        data: JSON, as `packed` gives it.
        name: the title.

    Example:
        >>> page = f"<head>{PLACE}<style>p</style></head><script>1</script>"
        >>> done = filled(page, packed({"name": "</script><b>"}), "a & b")
        >>> "<b>" in done, "<title>a &amp; b</title>" in done, "script-src 'sha256-" in done
        (False, True, True)
    """
    own = {kind: [_digest(text) for name, text in INLINE.findall(page) if name == kind] for kind in ("script", "style")}
    allowed = {"default-src": [], "img-src": ["data:", "blob:"], "base-uri": [], "form-action": []}
    allowed |= {f"{kind}-src": digests for kind, digests in own.items()}
    policy = "; ".join(f"{name} {' '.join(values or [NOTHING])}" for name, values in allowed.items())
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}" />'
    before, after = page.split(PLACE, 1)
    before = re.sub(r"<title>.*?</title>\s*", "", before, flags=re.S)  # a script may write titles of its own
    start = re.search(r"<head[^>]*>", before)
    place = start.end() if start else 0
    told = html.escape(name.encode(errors="replace").decode())
    data = f'<title>{told}</title>\n<script type="application/json" id="thalweg-data">{data}</script>'
    return f"{before[:place]}\n{head}{before[place:]}{data}{after}"


def _digest(text: str) -> str:
    """How a policy names a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def packed(document: Any) -> str:
    r"""JSON that can stand inside a page: no text of it ends the element that it stands in.

    Example:
        >>> packed({"a": "</script>"})
        '{"a":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _packed(known: dict[str, Path], heads: dict[str, Any], room: int) -> str:
    """All documents as JSON; curves with as many columns, and then as many single runs, as there is room for.

    Raises:
        BadStudy: there is no room even for the coarsest.
    """
    studies = {id: _moved({"head": heads[id]} | _views(folder), _places(folder)) for id, folder in known.items()}
    document = {"home": catalogue.home([*known.values()], live=False), "playground": playground(known, live=False)}
    followers = {id: Follower(folder) for id, folder in known.items()}
    for folder, follower in zip(known.values(), followers.values(), strict=True):
        with contextlib.suppress(BadStudy), intact(folder):
            follower.refresh()
    columns, singles = COLUMNS, None
    of_entrants = [Counter(run.entrant for run in follower.runs.values()) for follower in followers.values()]
    most = max((count for each in of_entrants for count in each.values()), default=1)
    while True:
        drawn = {id: study | {"curves": _drawn(followers[id], columns, singles)} for id, study in studies.items()}
        text = packed(document | {"studies": drawn})
        size = len(text.encode())
        if size <= room:
            return text
        share = 0.9 * room / size
        if columns > ENOUGH:
            columns = max(int(columns * share), ENOUGH)
        elif singles is None or singles > 1:
            singles = max(int((singles or most) * share), 1)
        elif columns > FEWEST:
            columns = max(int(columns * share), FEWEST)
        else:
            raise BadStudy(f"these studies need {size / 1e6:.3g} MB even with coarse curves", "give fewer to a report")


def _places(folder: Path) -> list[str]:
    """The folders in which a study and the file of its task lie, the longest first."""
    code = catalogue.code_of(head_of(folder))
    paths = [folder.parent, *([] if code is None else [Path(code).parent])]
    known = [path for path in paths if path.is_absolute() and path != path.parent]
    return sorted((f"{path}{os.sep}" for path in known), key=len, reverse=True)


def _moved(value: Any, places: list[str]) -> Any:
    """A document in which files are named by their names alone."""
    if isinstance(value, dict):
        return {_moved(key, places): _moved(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, places) for inner in value] if any(map(_may_name, value)) else value
    if isinstance(value, str):
        for place in places:
            value = value.replace(place, "")
    return value


def _may_name(value: Any) -> bool:
    return isinstance(value, dict | list | str)


def _views(folder: Path) -> dict[str, Any]:
    """The documents that there are; None for what was not measured."""
    found: dict[str, Any] = {}
    for name, document in VIEWS.items():
        try:
            with intact(folder):
                found[name] = document(folder)
        except ThalwegError:
            found[name] = None
    return found


def _drawn(follower: Follower, columns: int, singles: int | None) -> dict[str, Any]:
    """The curves that can be read."""
    with contextlib.suppress(BadStudy), intact(follower.folder):
        return _curves(follower, columns, singles)
    return {}


def _curves(follower: Follower, columns: int, singles: int | None) -> dict[str, Any]:
    """Loss and metric of the finals over steps, samples and seconds, all else over steps, by ``x|y|phase``."""
    found: dict[str, Any] = {}
    if not follower.runs:
        return found
    first = curves.document(follower, columns=columns, singles=singles)
    metric = f"select {first['metric']}"
    asked = ["loss", *([metric] if metric in first["ys"] else [])]
    shown = [*asked, "grad_norm", "lr"]
    wanted = [(x, y, first["phase"]) for y in asked for x in curves.XS]
    wanted += [("step", y, first["phase"]) for y in shown if y not in asked]
    wanted += [("step", y, curves.ALL) for y in asked if first["phase"] != curves.ALL]
    for x, y, phase in wanted:
        found[f"{x}|{y}|{phase}"] = curves.document(follower, x, y, columns, phases=phase, singles=singles) | {
            "ys": shown,
            "phases": list(dict.fromkeys([first["phase"], curves.ALL])),
        }
    return found
