"""The server on real studies: its documents, the page itself, races, and what it costs where it is not asked for."""

import json
import shlex
import subprocess
import sys

from served import ask, document, ids, serving, start, study

import thalweg as tw
from thalweg.store import Store
from thalweg.web.app import STATIC, encoded


def test_the_documents_of_a_study(small):
    with serving(small.parent) as server:
        status, home = document(server, "/api/home")
        [entry] = home["studies"]
        assert status == 200 and home["live"] and entry["name"] == "s" and entry["has"]["verdict"]
        place = f"/api/study/{entry['id']}"
        assert document(server, place)[1]["progress"]["runs"] == entry["runs"] == 16
        assert document(server, f"{place}/verdict")[1]["finalists"]
        assert document(server, f"{place}/rates")[1]["groups"]
        records = [r for r in Store(small).records() if r["kind"] == "steps" and r["run"].startswith("final")]
        longest = sum(len(r["step"]) for r in records if r["run"] == records[0]["run"])
        status, curves = document(server, f"{place}/curves?columns=4000")
        assert status == 200 and max(len(c["x"]) for g in curves["groups"] for c in g["runs"]) == longest
        assert curves["cursor"] == (small / "trace.jsonl").stat().st_size and not curves["thinned"]
        few = document(server, f"{place}/curves?columns=2&from=1&to=20")[1]
        assert few["thinned"] and all(len(c["x"]) <= 10 for g in few["groups"] for c in g["runs"])
        for view in ("layers", "landscape", "findings", "shift"):
            status, said = document(server, f"{place}/{view}")
            assert status == 404 and said["error"]["hint"].startswith("thalweg ")
        for path in ("/api/study/nothing", f"{place}/else", "/api/else", "/api/jobs/else", "/else", "/assets/else.js"):
            assert document(server, path)[0] == 404


def test_the_page_itself_and_its_files(tmp_path):
    with serving(tmp_path) as server:
        status, headers, body = ask(server, "/")
        assert status == 200 and headers["content-type"].startswith("text/html")
        assert body == (STATIC / "index.html").read_bytes()
        file = next((STATIC / "assets").glob("*.js"))
        assert ask(server, f"/assets/{file.name}")[2] == file.read_bytes()
    with serving(tmp_path, static=tmp_path / "none") as server:
        assert document(server, "/")[1]["error"]["code"] == "bad-study"


def test_a_race_is_run_and_a_wrong_one_is_refused(tmp_path):
    with serving(tmp_path) as server:
        presets = document(server, "/api/playground")[1]["presets"]
        asked = {
            k: v for k, v in presets[0].items() if k in ("surface", "start", "steps", "noise", "clip", "seed", "racers")
        }
        status, found = document(server, "/api/playground/race", "POST", json.dumps(asked))
        assert status == 200 and len(found["racers"]) == len(asked["racers"])
        for wrong in ({}, asked | {"surface": "../x"}, asked | {"racers": []}, asked | {"steps": 10**9}):
            status, said = document(server, "/api/playground/race", "POST", json.dumps(wrong))
            assert status == 400 and said["error"]["hint"]


def test_a_study_that_appears_is_found_by_its_link(tmp_path):
    with serving(tmp_path) as server:
        assert ids(server) == {}
        study(tmp_path / "late", start("a"))
        id = ids(server)["late"]
    study(tmp_path / "other", start("a"))
    with serving(tmp_path) as server:  # the link of a page that was open before
        assert document(server, f"/api/study/{id}")[1]["name"] == "late"


def test_the_commands_of_what_is_missing_can_be_pasted(tmp_path):
    study(tmp_path / "a b; c", start("a"))
    with serving(tmp_path) as server:
        place = f"/api/study/{ids(server)['a b; c']}"
        for view in ("layers", "landscape", "findings", "shift"):
            words = shlex.split(document(server, f"{place}/{view}")[1]["error"]["hint"])
            assert words[0] == "thalweg" and words[2] == str(tmp_path / "a b; c")


def test_numbers_that_are_none_are_null():
    assert encoded({"a": [float("nan"), {"b": float("-inf")}, 1]}) == b'{"a":[null,{"b":null},1]}'


def test_the_page_costs_nothing_until_it_is_asked_for():
    code = "import sys, thalweg, thalweg.cli\nassert not {'starlette', 'uvicorn', 'torch', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, thalweg.web.serving, thalweg.web.documents.curves\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_study_of_a_loop_of_the_users_has_its_curves(tmp_path):
    def fit(recipe, seed, report):
        for k in range(1, 4):
            report(k, loss=1 / k + seed * 1e-3 + recipe.lr)

    tw.compare(fit, field=[tw.Recipe("sgd", lr=0.1)], budget="6 runs", quiet=True, folder=tmp_path / "s")
    with serving(tmp_path / "s") as server:
        place = f"/api/study/{ids(server)['s']}"
        curves = document(server, f"{place}/curves?y=select%20loss&phases=all")[1]
        assert {tuple(c["x"]) for g in curves["groups"] for c in g["runs"]} == {(1, 2, 3)}
