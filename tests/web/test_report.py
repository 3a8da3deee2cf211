"""The one-file report: all documents inside, within five megabytes, and nothing in it can run that is not the page's own."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from contract import wrong
from studies import interrupted

from thalweg import report as reporting
from thalweg.cli import main
from thalweg.errors import BadOption, BadStudy, Missing
from thalweg.report import LIMIT, report
from thalweg.web.documents import curves, landscape, verdict
from thalweg.web.following import Follower

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028&amp;"


class Elements(HTMLParser):
    """The elements of a page, with the text of scripts and styles."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data


def opened(path):
    page = path.read_text(encoding="utf-8")
    elements = Elements(page).found
    [data] = [text for tag, own, text in elements if tag == "script" and own.get("id") == "thalweg-data"]
    return page, elements, json.loads(data.strip())


@pytest.fixture(scope="module")
def written(study, alone, tmp_path_factory):
    return report([study.folder, alone], tmp_path_factory.mktemp("report") / "report.html")


def test_the_report_holds_every_document(written, study):
    _, _, data = opened(written)
    assert (
        not wrong(data["home"], "Home") and not data["home"]["live"] and set(data) == {"home", "studies", "playground"}
    )
    assert {entry["name"] for entry in data["home"]["studies"]} == {"a study", "alone"}
    for entry in data["home"]["studies"]:
        own = data["studies"][entry["id"]]
        assert not wrong(own, "PackedStudy")
        assert own["head"]["id"] == entry["id"] and "step|loss|" in next(iter(own["curves"]))
        for view in ("verdict", "layers", "landscape", "findings", "shift"):
            assert (own[view] is not None) == entry["has"][view]
    mine = next(data["studies"][e["id"]] for e in data["home"]["studies"] if e["name"] == "a study")
    known = json.loads(json.dumps(verdict.document(study.folder)).replace(f"{study.folder.parent}/", ""))
    assert mine["verdict"] == known
    assert mine["landscape"] == json.loads(json.dumps(landscape.document(study.folder)))
    follower = Follower(study.folder)
    follower.refresh()
    drawn = curves.document(follower, columns=600)
    assert mine["curves"]["step|loss|finals"]["groups"] == json.loads(json.dumps(drawn["groups"]))
    assert {"samples|loss|finals", "seconds|select accuracy|finals", "step|loss|all"} <= set(mine["curves"])


def test_nothing_in_it_tells_of_the_machines_folders(written, study, alone):
    page, _, data = opened(written)
    assert str(study.folder) not in page and str(alone) not in page and str(study.folder.parent) not in page
    heads = [own["head"] for own in data["studies"].values()]
    assert all(head["environment"]["torch"] and "command" not in head["environment"] for head in heads)
    assert not any(head["resume"] or head["code"] for head in heads)


def test_the_presets_come_with_their_races(written):
    _, _, data = opened(written)
    presets = data["playground"]["presets"]
    assert len(presets) >= 9 and all(preset["result"]["racers"] for preset in presets)


def test_only_the_pages_own_script_and_style_count(written):
    page, elements, _ = opened(written)
    [policy] = [own["content"] for tag, own, _ in elements if own.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(part.split(" ", 1) for part in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy and "http" not in policy
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        texts = re.findall(rf"<{tag}(?: type=\"module\")?>(.*?)</{tag}>", page, re.S)
        digests = [f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts]
        assert digests and rules[name].split() == digests
    # the policy stands before everything that it is to hold for
    assert page.index("Content-Security-Policy") < min(page.index("<script"), page.index("<style"))
    assert not [own for _, own, _ in elements if str(own.get("src", own.get("href", ""))).startswith(("http", "/"))]


def test_planted_markup_stays_text(tmp_path):
    folder = interrupted(tmp_path / "evil study")
    head = json.loads((folder / "study.json").read_text())
    head["asked"] |= {"task": EVIL, "budget": EVIL, "effort": EVIL, "field": [[EVIL, {"optimizer": EVIL}]]}
    head["environment"] = {EVIL: EVIL, "command": EVIL}
    head["executor"] = {EVIL: [EVIL]}
    (folder / "study.json").write_text(json.dumps(head))
    trace = folder / "trace.jsonl"
    trace.write_text(
        trace.read_text().replace('"sgd"', json.dumps(EVIL)).replace('"where":null', f'"where":{json.dumps(EVIL)}')
    )
    findings = {"code": EVIL, "severity": "error", "where": EVIL, "sentence": EVIL, "confidence": 1, "outcome": None,
                "evidence": {EVIL: {"value": 1, "threshold": None, "error": None}}, "can_try": False,
                "remedy": {"kind": "code", "text": EVIL}, "diff": [{"field": EVIL, "before": EVIL, "after": EVIL}]}  # fmt: skip
    kept = {"title": EVIL, "recipe": EVIL, "findings": [findings], "measured": [EVIL],
            "not_measured": [{"what": EVIL, "why": EVIL}], "cost": {"gradient_evaluations": 0, "seconds": 0}}  # fmt: skip
    (folder / "findings.json").write_text(json.dumps(kept))
    page, elements, data = opened(report(folder, tmp_path / "evil.html"))
    [own] = data["studies"].values()
    assert own["head"]["task"] == own["findings"]["title"] == EVIL
    assert own["curves"]["step|loss|finals"]["groups"][0]["name"] == EVIL
    _, plain, _ = opened(report(interrupted(tmp_path / "plain"), tmp_path / "plain.html"))
    assert [tag for tag, *_ in elements] == [tag for tag, *_ in plain]  # nothing became an element
    assert "alert(1)</script>" not in page


def test_an_unfinished_study_says_so(tmp_path, capsys):
    folder = interrupted(tmp_path / "half")
    assert main(["report", str(folder), "-o", "half.html"]) == 0
    assert "not finished (interrupted)" in capsys.readouterr().out
    page, _, data = opened(tmp_path / "half.html")
    assert data["home"]["studies"][0]["status"] == "interrupted" and not data["home"]["studies"][0]["has"]["verdict"]
    assert "<title>thalweg: half (interrupted)</title>" in page


def test_a_large_study_fits_by_coarser_curves(tmp_path):
    rng = np.random.default_rng(0)
    folder = interrupted(tmp_path / "large", runs=200, points=2000, rows=lambda k: rng.normal(size=2000).tolist())
    path = report(folder, tmp_path / "large.html")
    assert path.stat().st_size <= LIMIT
    _, _, data = opened(path)
    [own] = data["studies"].values()
    drawn = own["curves"]["step|loss|finals"]
    assert drawn["n"] == 201 and drawn["thinned"] and not wrong(drawn, "Curves")
    follower = Follower(folder)
    follower.refresh()
    for curve in drawn["groups"][0]["runs"][:5]:
        losses = follower.runs[curve["run"]].column("loss")
        assert min(curve["y"]) == pytest.approx(losses.min(), rel=1e-5)
        assert max(curve["y"]) == pytest.approx(losses.max(), rel=1e-5)


@pytest.mark.parametrize("lost", [0, 3, 1])
def test_a_study_of_thousands_of_runs_keeps_every_band_and_some_lines(tmp_path, lost):
    """With none that diverged, a third, and all."""
    rng, runs = np.random.default_rng(0), 3000 if lost == 1 else 1000
    ends = {"rows": lambda k: rng.normal(size=100).tolist(), "lost": lambda k: lost > 0 and k % lost == 0}
    folder = interrupted(tmp_path / "many", runs=runs, points=100, **ends)
    path = report(folder, tmp_path / "many.html")
    assert path.stat().st_size <= LIMIT
    _, _, data = opened(path)
    [own] = data["studies"].values()
    follower = Follower(folder)
    follower.refresh()
    for drawn in own["curves"].values():
        assert not wrong(drawn, "Curves") and drawn["n"] == runs + 1
        [group] = drawn["groups"]
        crosses = len(group["runs"]) - (group["n"] - group["left_out"])
        assert group["n"] == runs + 1 and 0 < len(group["runs"]) - crosses < runs
        assert group["diverged"] == (len(range(0, runs, lost)) if lost else 0) and (crosses > 0) == (lost > 0)
        whole = curves.document(follower, drawn["x"], drawn["y"], reporting.ENOUGH, phases=drawn["phase"])
        [every] = whole["groups"]
        assert (group["band"] is None) == (every["band"] is None)
        assert not group["band"] or group["band"]["n"] == every["band"]["n"] >= runs - group["diverged"]
        assert not group["band"] or group["band"]["mid"][-1] == every["band"]["mid"][-1]


def test_the_command_says_what_it_wrote(study, tmp_path, capsys):
    assert main(["report", str(study.folder), "--output", str(tmp_path / "r.html"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == (tmp_path / "r.html").stat().st_size and said["studies"][0]["name"] == "a study"
    assert study.report(tmp_path / "again.html") == tmp_path / "again.html"
    assert opened(tmp_path / "again.html")[2]["studies"] == opened(tmp_path / "r.html")[2]["studies"]


def test_the_guide_lists_the_keys_that_programs_read(study, tmp_path, capsys):
    guide = Path(__file__).parents[2] / "docs" / "guides" / "page.md"
    rows = re.findall(r"^\| `thalweg (\w+)` \| (.*) \|$", guide.read_text(encoding="utf-8"), re.M)
    listed = {command: set(re.findall(r"`([a-z_]+)`", keys)) for command, keys in rows}
    assert main(["report", str(study.folder), "--output", str(tmp_path / "r.html"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert listed["report"] == {*said, *said["studies"][0], "complete", "running", "interrupted"}
    assert main(["layers", str(study.folder), "--looks", "3", "--quiet", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    inner = {*said["layers"][0], *said["quantities"][0]}
    assert listed["layers"] == {*said, *inner, "finished", "diverged", "stopped"}
    assert listed["show"] == {"address", "port"}  # as test_show_as_json_takes_a_port reads it


def test_what_is_refused(study, tmp_path, monkeypatch):
    with pytest.raises(BadStudy, match="holds no study"):
        report(tmp_path)
    with pytest.raises(BadOption):
        report([])
    with pytest.raises(BadStudy, match="cannot write"):
        report(study.folder, tmp_path / "no" / "folder.html")
    monkeypatch.setattr(reporting, "PLACE", "<!--elsewhere-->")
    with pytest.raises(Missing, match="no place"):
        report(study.folder, tmp_path / "r.html")


def test_a_script_that_writes_elements_stays_as_it_was_hashed():
    script = "const svg = `<title>${name}</title><style>p</style>`"
    page = f'<head><title>x</title>{reporting.PLACE}</head><script type="module">{script}</script>'
    done = reporting.filled(page, "{}", "name")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f">{script}</script>" in done and f"script-src 'sha256-{digest}'; style-src 'none'" in done


def test_titles_before_the_data_are_replaced_and_those_after_it_stay():
    page = f"<head><title>x</title>{reporting.PLACE}</head><script>`<title>y</title>`</script>"
    done = reporting.filled(page, "{}", "name")
    assert re.findall("<title>.*?</title>", done) == ["<title>name</title>", "<title>y</title>"]
    done = reporting.filled(page.replace("<title>x</title>", ""), "{}", "name")  # as the script was hashed
    assert re.findall("<title>.*?</title>", done) == ["<title>name</title>", "<title>y</title>"]


def test_a_title_is_escaped():
    done = reporting.filled(f"<head><title>x</title>{reporting.PLACE}</head>", "{}", EVIL)
    assert f"<title>{html.escape(EVIL)}</title>" in done and "<title>x" not in done
