"""The documents of what was measured: landscape, findings, shift, layers; and files that are not what they should be."""

import json
import shutil

import numpy as np
import pytest
from contract import wrong
from studies import ends_of, interrupted, rounded

import thalweg as tw
from thalweg.errors import BadStudy
from thalweg.store import Store
from thalweg.web.documents import findings, landscape, layers, shift, verdict


def test_the_landscape_is_that_of_the_arrays(study):
    document = landscape.document(study.folder)
    with np.load(study.folder / "landscape.npz") as arrays:
        for plane in document["planes"]:
            values = arrays[f"{plane['kind']}|losses"]
            assert len(plane["values"]) == len(plane["x"]) * len(plane["y"])
            j, i = 2, 5
            assert plane["values"][j * len(plane["x"]) + i] == rounded(values[j, i])
        line, random = document["slices"]
        assert line["values"] == [rounded(v) for v in arrays["line|losses"]]
        # a slice that is called as a plane has arrays of its own
        assert random["values"] == [rounded(v) for v in arrays["random slice|losses"]] and len(random["x"]) == 7
    assert {path["run"] for path in document["planes"][0]["paths"]} <= {f.name for f in study.finalists}
    assert [p["step"] for p in document["planes"][0]["paths"][0]["points"]] == sorted(
        p["step"] for p in document["planes"][0]["paths"][0]["points"]
    )


def test_arrays_that_are_no_numbers_are_refused(study, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study.folder, folder)
    (folder / "landscape.npz").write_bytes(b"not an archive")
    with pytest.raises(BadStudy, match="cannot read"):
        landscape.document(folder)
    np.savez(folder / "landscape.npz", **{"pca|losses": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(BadStudy, match="cannot read"):
        landscape.document(folder)


def test_links_out_of_a_study_are_refused(study, tmp_path):
    folder = interrupted(tmp_path / "linked")
    for name in ("verdict.json", "layers.json", "findings.json"):
        (folder / name).symlink_to(study.folder / name)
    for document in (verdict.document, layers.document, findings.document):
        with pytest.raises(BadStudy, match="out of the study"):
            document(folder)


def test_the_findings_have_pages_and_what_can_be_tried(study):
    document = findings.document(study.folder)
    kept = json.loads((study.folder / "findings.json").read_text())
    assert [f["code"] for f in document["findings"]] == [f["code"] for f in kept["findings"]]
    for finding in document["findings"]:
        assert finding["page"].startswith(finding["code"])
        for one in finding["remedy"]["diff"] if finding["remedy"] else []:
            assert one["before"] != one["after"]


def test_the_shift_shows_both_surfaces_over_one_plane(study):
    document = shift.document(study.folder)
    kept = json.loads((study.folder / "shift.json").read_text())
    old, new = document["planes"]["old"], document["planes"]["new"]
    assert (old["x"], old["y"]) == (new["x"], new["y"]) and old["values"] != new["values"]
    p, q = 4, 9
    assert new["values"][q * len(new["x"]) + p] == rounded(kept["surface"]["plane"]["incoming_pq"][p][q])
    assert document["rows"] == kept["rows"] and document["kind"] is not None


def test_initialization_against_normalization(crossed):
    document = layers.document(crossed.folder)
    assert not wrong(document, "Layers") and document["steps"] == []
    assert document["notes"][0].endswith(f"thalweg layers {crossed.folder}")
    table = document["experiments"]
    assert (table["row"], table["rows"]) == ("init", ["torch", "he_normal"])
    assert (table["column"], table["columns"]) == ("norm", ["keep", "layer"])
    scores = {}
    for end in ends_of(crossed.folder):
        if end["phase"] == "final":
            last = [e for e in end["evaluations"] if e["split"] == "judge"][-1]
            at = (end["recipe"].get("init", "torch"), end["recipe"].get("norm", "keep"), end["entrant"])
            scores.setdefault(at, []).append(last["accuracy"])
    best = {}
    for (init, norm, _), values in scores.items():
        best[init, norm] = max(best.get((init, norm), -1.0), float(np.mean(values)))
    for (init, norm), mean in best.items():
        i, j = table["rows"].index(init), table["columns"].index(norm)
        assert table["values"][i][j] == rounded(mean) and table["n"][i][j] == table["of"][i][j] == 2


def test_a_cell_tells_how_many_of_its_seeds_diverged(crossed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(crossed.folder, folder)
    before = layers.document(folder)["experiments"]
    records = list(Store(folder).records())
    (folder / "trace.jsonl").unlink()
    finals = [record for record in records if record["kind"] == "end" and record["phase"] == "final"]
    first = {record["entrant"]: record["run"] for record in reversed(finals)}
    for record in records:
        if record["kind"] == "end" and record["run"] in first.values():
            record["outcome"]["status"] = "diverged"
        Store(folder).append(record)
    after = layers.document(folder)["experiments"]
    assert not wrong(layers.document(folder), "Layers") and after["of"] == before["of"]
    assert before["n"] == [[2, 2], [2, 2]] and after["n"] == [[1, 1], [1, 1]]


def test_a_landscape_says_what_lies_between_solutions_and_around_one(study, tmp_path):
    options = {"planes": ["random"], "slices": [], "resolution": 3, "rows": 30, "runs": 2, "folder": tmp_path}
    found = tw.landscape(study, connect=True, walls=True, convex=3, quiet=True, **options)
    document = landscape.document(tmp_path)
    assert not wrong(document, "Landscape")
    assert [one["kind"] for one in document["connections"]] == ["line", "matched line", "curve"]
    parts = (found.matched.sentence, found.walls.sentence, found.convexity.sentence, found.escapes.sentence)
    assert len(document["sentences"]) == 4
    assert all(part in said for part, said in zip(parts, document["sentences"], strict=True))
    whole = json.loads((tmp_path / "landscape.json").read_text())
    del whole["matched"]["sentence"]  # as it was written once
    (tmp_path / "landscape.json").write_text(json.dumps(whole))
    assert landscape.document(tmp_path)["sentences"] == document["sentences"][1:]
