"""The reader of traces against the store's own reading, record by record."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import end, evaluation, start, steps, study

import thalweg as tw
from thalweg.run import COLUMNS
from thalweg.store import Store
from thalweg.web.following import Follower
from thalweg.web.lines import scan

LOSSES = ["nan", 0.5, "inf", "-inf"]


def columns(records):
    """What a trace says of each run's steps, read plainly."""
    found = {}
    for record in records:
        if record["kind"] == "steps":
            own = found.setdefault(record.get("run", "run"), {name: [] for name in COLUMNS})
            for name in COLUMNS:
                own[name] += [float(v) for v in record[name]]
    return found


def same(follower, records):
    known = columns(records)
    assert {name for name, run in follower.runs.items() if len(run)} == set(known)
    for name, own in known.items():
        for column in COLUMNS:
            np.testing.assert_array_equal(follower.runs[name].column(column), own[column])


def records_of(count):
    for k in range(count):
        run = f"final-{k % 3}"
        if k < 3:
            yield start(run, seed=k)
        yield steps(run, 1 + 7 * (k // 3), 7, at=k / 10)


@given(st.lists(st.integers(1, 400), max_size=40), st.integers(0, 30))
def test_whatever_the_pieces_in_which_it_is_written_every_record_is_read_once(tmp_path_factory, sizes, count):
    folder = tmp_path_factory.mktemp("study")
    records = list(records_of(count))
    text = b"".join(json.dumps(r, separators=(",", ":")).encode() + b"\n" for r in records)
    follower, at = Follower(folder), 0
    assert follower.refresh() is False
    for size in [*sizes, len(text)]:
        with (folder / "trace.jsonl").open("ab") as file:
            file.write(text[at : at + size])
        at += size
        follower.refresh()
        whole = text[:at].rfind(b"\n") + 1  # what was begun is left for later
        assert follower.cursor == whole
        same(follower, [json.loads(line) for line in text[:whole].splitlines()])
    assert follower.refresh() is False and follower.damaged == 0


def test_a_real_run_and_a_real_study(toy, tmp_path):
    recipe = tw.Recipe("sgd", lr=0.05)
    run = tw.train(toy, recipe, folder=tmp_path / "run", quiet=True)
    follower = Follower(tmp_path / "run")
    follower.refresh()
    alone = follower.runs["run"]
    same(follower, Store(tmp_path / "run").records())
    assert (alone.status, alone.end, alone.entrant, alone.lr) == ("finished", run.outcome.step, "sgd", 0.05)
    assert alone.evaluations == run.trace.evaluations
    tw.compare(toy, field=["sgd"], budget="8 runs", quiet=True, folder=tmp_path / "study")
    follower = Follower(tmp_path / "study")
    follower.refresh()
    records = list(Store(tmp_path / "study").records())
    same(follower, records)
    ends = {r["run"]: r for r in records if r["kind"] == "end"}
    assert {n: (r.status, r.evaluations, r.samples) for n, r in follower.runs.items()} == {
        n: (r["outcome"]["status"], r["evaluations"], r["samples"]) for n, r in ends.items()
    }
    assert follower.progress()["runs"] == len(ends) == 8 and follower.progress()["running"] == 0
    assert follower.progress()["samples"] == sum(r["samples"] for r in ends.values())
    assert follower.seconds == max(r["at"] for r in records)


def test_numbers_that_are_none_stay_none(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 4, loss=LOSSES))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    np.testing.assert_array_equal(follower.runs["a"].column("loss"), [math.nan, 0.5, math.inf, -math.inf])


def test_columns_grow_after_they_were_asked_for(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    before = follower.runs["a"].column("loss")
    assert before.tolist() == [1.0, 0.5]
    store.append(steps("a", 3, 2))
    assert follower.refresh() and follower.runs["a"].column("loss").tolist() == [1.0, 0.5, 1 / 3, 0.25]
    assert before.tolist() == [1.0, 0.5]


def test_a_run_that_was_begun_again_has_its_steps_once(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 3), start("a"), steps("a", 1, 2), end("a", step=2))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    assert follower.runs["a"].column("step").tolist() == [1, 2] and follower.runs["a"].status == "finished"


def test_a_run_that_had_ended_and_is_done_again_stays_as_it_was(tmp_path):
    first = [start("a"), steps("a", 1, 4), end("a", evaluations=[evaluation(4, 0.9)])]
    study(tmp_path / "s", *first, start("a"), steps("a", 1, 2), end("a", status="stopped", step=2))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    run = follower.runs["a"]
    assert run.column("step").tolist() == [1, 2, 3, 4] and run.status == "finished"
    assert run.evaluations == [evaluation(4, 0.9)]


def test_a_run_that_was_stopped_may_go_on(tmp_path):
    stopped = [start("a"), steps("a", 1, 2), end("a", status="stopped", step=2)]
    study(tmp_path / "s", *stopped, start("a"), steps("a", 1, 4), end("a"))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    assert follower.runs["a"].column("step").tolist() == [1, 2, 3, 4] and follower.runs["a"].status == "finished"


def test_evaluations_of_a_loop_of_the_users_are_told_once(tmp_path):
    told = [{"run": "a", "kind": "evaluation"} | evaluation(k, k / 10) for k in (1, 2)]
    study(tmp_path / "s", start("a"), *told)
    follower = Follower(tmp_path / "s")
    follower.refresh()
    assert follower.runs["a"].evaluations == [evaluation(1, 0.1), evaluation(2, 0.2)]
    judged = [evaluation(k, k / 10, split) for split in ("select", "judge") for k in (1, 2)]
    Store(tmp_path / "s").append(end("a", evaluations=judged))
    follower.refresh()
    assert follower.runs["a"].evaluations == judged and follower.runs["a"].reported == 2


DAMAGED = [
    b"not json",
    b'{"kind":"steps","step":[1,2],"samples":[1',
    b'{"run":"a"}',
    b"[1,2]",
    b"\xff\xfe",
    b"[" * 5000,
    b'{"kind":3}',
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_passed_over(tmp_path, line):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with (tmp_path / "s" / "trace.jsonl").open("ab") as file:
        file.write(line + b"\n")
    store.append(steps("a", 3, 2))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    assert follower.damaged == 1 and follower.runs["a"].column("step").tolist() == [1, 2, 3, 4]


def test_numbers_that_cannot_be_read_are_none_and_hide_no_others(tmp_path):
    odd = steps("a", 3, 2, loss=["what", {}])
    study(tmp_path / "s", start("a"), steps("a", 1, 2), odd, steps("a", 5, 1, loss=[1.0, 2.0]), steps("a", 6, 1))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    found = follower.runs["a"].column("loss")
    np.testing.assert_array_equal(found, [1.0, 0.5, math.nan, math.nan, math.nan, 1 / 6])
    assert follower.runs["a"].column("step").tolist() == [1, 2, 3, 4, 5, 6]


def test_another_writers_order_and_spaces_are_read(tmp_path):
    record = dict(reversed(steps("ä", 1, 2).items()))
    line = json.dumps(record).encode() + b"\n"
    (tmp_path / "trace.jsonl").write_bytes(line)
    follower = Follower(tmp_path)
    follower.refresh()
    same(follower, [record])
    assert [type(x).__name__ for x in scan(line, 0)] == ["Steps"]


def test_a_trace_that_was_replaced_is_read_from_its_beginning(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 4), steps("a", 5, 4))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    (tmp_path / "s" / "trace.jsonl").unlink()
    store.append(start("b"), steps("b", 1, 1))
    follower.refresh()
    assert list(follower.runs) == ["b"] and follower.runs["b"].column("step").tolist() == [1]


def test_a_trace_that_was_replaced_within_the_same_file_is_another(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 4))
    follower = Follower(tmp_path / "s")
    follower.refresh()
    path = store.folder / "trace.jsonl"
    store.append(steps("a", 5, 4))
    follower.refresh()
    assert follower.epoch == 0
    new = path.read_text().replace('"a"', '"b"')
    path.write_text(new + new.splitlines(keepends=True)[-1])  # longer, and the same file to the file system
    follower.refresh()
    assert list(follower.runs) == ["b"] and follower.epoch == 1


def test_what_a_kill_left_is_cut_off_and_read_anew(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with store.folder.joinpath("trace.jsonl").open("ab") as file:
        file.write(b'{"run":"a","kind":"steps","step":[3')
    follower = Follower(store.folder)
    follower.refresh()
    store.mend()
    store.append(steps("a", 3, 1))
    follower.refresh()
    assert follower.runs["a"].column("step").tolist() == [1, 2, 3] and follower.damaged == 0
