import json
import math
import os
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg import store as storing
from thalweg.errors import BadStudy
from thalweg.run import Trace
from thalweg.store import Store, environment, load_weights, plain


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "study")
    store.create({"asked": {}})
    return store


def test_records_come_back_and_an_unfinished_last_line_is_left_out(store):
    store.append({"run": "a", "loss": [0.1, math.nan, math.inf]})
    store.append({"run": "b"})
    path = store.folder / "trace.jsonl"
    with path.open("ab") as file:
        file.write(b'{"run": "c", "lo')
    assert [r["run"] for r in store.records()] == ["a", "b"]
    store.mend()
    store.append({"run": "d"})
    assert [r["run"] for r in store.records()] == ["a", "b", "d"]
    assert next(store.records())["loss"] == [0.1, "nan", "inf"]


def test_a_kill_at_any_byte_loses_at_most_the_last_line(store):
    for i in range(5):
        store.append({"run": i, "text": "line\nbreak é"})
    path = store.folder / "trace.jsonl"
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        store.mend()
        assert [r["run"] for r in store.records()] == list(range(data[:cut].count(b"\n")))


def test_damage_in_the_middle_names_the_line(store):
    for i in range(3):
        store.append({"run": i})
    path = store.folder / "trace.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"run":1', b'"run":'))
    with pytest.raises(BadStudy, match=r"trace.jsonl:2 is damaged"):
        list(store.records())


def test_documents_are_replaced_whole(store):
    store.write("verdict.json", {"a": 1})
    store.write("verdict.json", {"a": float("nan")})
    assert store.read("verdict.json") == {"a": "nan"}
    assert not list(store.folder.glob("*.part"))
    (store.folder / "verdict.json").write_text("{")
    with pytest.raises(BadStudy, match="cannot read"):
        store.read("verdict.json")
    (store.folder / "verdict.json").write_text("[]")
    with pytest.raises(BadStudy, match="no study document"):
        store.read("verdict.json")


def test_two_who_write_a_document_do_not_write_into_one_another(store, monkeypatch):
    inner = json.dump

    def interrupted(document, file, **options):
        if document == {"a": 1}:
            monkeypatch.setattr(json, "dump", inner)
            monkeypatch.setattr(os, "getpid", lambda: -1)  # another process writes in between
            store.write("findings.json", {"b": 2, "long": "x" * 100})
        inner(document, file, **options)

    monkeypatch.setattr(json, "dump", interrupted)
    store.write("findings.json", {"a": 1})
    assert store.read("findings.json") == {"a": 1} and not list(store.folder.glob("*.part"))


@pytest.mark.skipif(storing.locks is None, reason="no locks on this system")
def test_who_asks_whether_a_study_is_written_is_in_nobodys_way(store):
    with (store.folder / storing.LOCK).open("ab") as asking:
        storing.locks.flock(asking, storing.locks.LOCK_SH)
        threading.Timer(0.1, lambda: storing.locks.flock(asking, storing.locks.LOCK_UN)).start()
        release = store.hold()
    assert store.held()
    with pytest.raises(BadStudy, match="another process"):
        store.hold()
    release()
    assert not store.held()


def test_without_locks_a_study_runs_while_it_grows(store, monkeypatch):
    monkeypatch.setattr(storing, "locks", None)
    assert not store.held()
    store.append({"run": "a"})
    assert store.held()
    path = store.folder / "trace.jsonl"
    os.utime(path, (path.stat().st_mtime - 61,) * 2)
    assert not store.held()


def test_who_changes_a_document_waits_for_who_does(store):
    store.write("n.json", {"n": 0})

    def add():
        for _ in range(50):
            with store.changing():
                store.write("n.json", {"n": store.read("n.json")["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("n.json") == {"n": 200}


def test_folders_that_cannot_be_used(tmp_path, store):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(BadStudy, match="not empty"):
        Store(tmp_path / "other").create({})
    with pytest.raises(BadStudy, match="cannot write"):
        Store(tmp_path / "other" / "file").create({})
    with pytest.raises(BadStudy, match="cannot write"):
        Store("/proc/thalweg").create({})
    with pytest.raises(BadStudy, match="holds no study"):
        Store(tmp_path / "nowhere").head()
    (store.folder / "study.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(BadStudy, match="format 99"):
        store.head()


def test_a_folder_whose_making_was_killed_is_no_obstacle(tmp_path):
    (tmp_path / "s" / "models").mkdir(parents=True)
    (tmp_path / "s" / "study.12-34.part").write_text('{"format": ')
    (tmp_path / "s" / "study.part").write_text('{"format": ')
    store = Store(tmp_path / "s")
    store.create({"asked": {}})
    assert store.head()["asked"] == {}


def test_weights_come_back_with_their_ties_and_dtypes(store):
    shared = torch.randn(3, 4)
    weights = {
        "a": shared,
        "b": shared,
        "c": shared.T,
        "n": torch.tensor(3),
        "h": torch.ones(2, dtype=torch.bfloat16),
        "e": torch.empty(0),
    }
    path = store.save_weights("m", weights)
    again = load_weights(path)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[k], weights[k]) and again[k].dtype == weights[k].dtype for k in weights)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BadStudy, match="cannot read weights"):
        load_weights(path)
    with pytest.raises(BadStudy, match="cannot read weights"):
        load_weights(store.folder / "none.safetensors")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=10,
)


@given(json_values)
def test_everything_plain_is_json(value):
    json.dumps(plain(value), allow_nan=False)


def test_the_trace_in_columns_and_back():
    trace = Trace()
    for i in range(5):
        for name, value in {
            "step": i,
            "samples": 16 * i,
            "seconds": 0.1 * i,
            "loss": 1 / (i + 1),
            "lr": 0.3,
            "grad_norm": 2.0,
        }.items():
            getattr(trace, name).append(value)
    again = Trace()
    again.extend(trace.columns(0))
    assert again.loss == pytest.approx(trace.loss, rel=1e-8) and again.step == trace.step
    assert trace.columns(3)["step"] == [3, 4]


def test_float32_losses_keep_their_bits_in_the_trace():
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0)).tolist()
    trace = Trace(list(range(1000)), list(range(1000)), [0.0] * 1000, values, [0.1] * 1000, [1.0] * 1000)
    stored = json.loads(json.dumps(trace.columns()))["loss"]
    assert torch.equal(torch.tensor(stored, dtype=torch.float32), torch.tensor(values, dtype=torch.float32))


def test_the_environment_names_the_versions():
    assert environment()["torch"] == str(torch.__version__)
