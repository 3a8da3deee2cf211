"""The live stream: no record is lost or told twice, whoever connects, drops and comes back, and a slow one holds nothing."""

import asyncio
import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import Reader, cookie, document, end, evaluation, ids, serving, start, steps, study

from thalweg.web.following import Follower
from thalweg.web.streams import Channel, batch

READERS, RECORDS = 20, 120


def told(documents):
    """The (run, step) of each step that batches tell, in order."""
    return [(run, step) for one in documents for run, columns in one["columns"].items() for step in columns["step"]]


def read_until(server, path, count, rng, drops):
    """The steps that one reader gets who drops now and then and comes back with the last id."""
    got, last = [], None
    while len(got) < count:
        reader = Reader(server, path, last)
        stay = rng.randint(1, 6) if drops > 0 else None
        drops -= 1
        for kind, data, id in reader:
            if kind == "batch":
                assert id.partition(".")[2] == str(data["cursor"])
                got += told([data])
                last = id
                stay = stay and stay - 1
                if len(got) >= count or stay == 0:
                    break
        reader.close()
    return got


def test_twenty_readers_who_drop_and_come_back_get_every_record_once(tmp_path):
    store = study(tmp_path / "s", start("a"), start("b"))
    found = [None] * READERS
    with serving(tmp_path / "s") as server:
        path = f"/api/study/{ids(server)['s']}/events?cursor=0"

        def read(k):
            found[k] = read_until(server, path, 2 * RECORDS * 5, random.Random(k), drops=k % 5)

        threads = [threading.Thread(target=read, args=(k,)) for k in range(READERS)]
        for thread in threads[: READERS // 2]:
            thread.start()
        for k in range(RECORDS):
            if k == RECORDS // 2:
                for thread in threads[READERS // 2 :]:
                    thread.start()
            store.append(steps("a", 1 + 5 * k, 5), steps("b", 1 + 5 * k, 5))
            time.sleep(0.02)
        for thread in threads:
            thread.join(60)
    for got in found:
        assert got is not None
        for run in "ab":
            assert [step for name, step in got if name == run] == list(range(1, 5 * RECORDS + 1))


def test_a_batch_says_what_the_records_say(tmp_path):
    told_before = {"run": "b", "kind": "evaluation"} | evaluation(1, 0.25)
    ended = [evaluation(1, 0.25), evaluation(2, 0.5)]
    records = [
        start("a"), steps("a", 1, 2), steps("a", 3, 2, loss=["nan", "inf"]), start("b", seed=3), told_before,
        end("a", status="diverged", where="loss", evaluations=[evaluation(4, "nan")]), end("b", evaluations=ended),
    ]  # fmt: skip
    store = study(tmp_path / "s", *records)
    follower = Follower(store.folder)
    follower.refresh()
    data, cursor = batch(follower, 0)
    found = json.loads(data, parse_constant=pytest.fail)
    assert cursor == found["cursor"] == (store.folder / "trace.jsonl").stat().st_size
    assert found["columns"] == {
        "a": {
            "step": [1, 2, 3, 4],
            "samples": [8, 16, 24, 32],
            "seconds": [0.125, 0.25, 0.375, 0.5],
            "loss": [1.0, 0.5, None, None],
            "lr": [0.1] * 4,
            "grad_norm": [2.5] * 4,
        }
    }
    about = {"entrant": "sgd", "phase": "final", "lr": 0.1, "steps": 4, "begun": True}
    assert found["runs"] == [
        about | {"run": "a", "seed": 0, "status": "diverged", "where": "loss"},
        about | {"run": "b", "seed": 0, "status": "finished", "where": None},
    ]
    assert found["evaluations"] == {"b": ended, "a": [evaluation(4, None)]}


def test_batches_of_any_size_tell_everything_once(tmp_path):
    again = [start("a"), steps("a", 1, 3), start("a"), *(steps("a", 1 + 4 * k, 4) for k in range(6)), end("a", step=24)]
    repeated = [start("a"), steps("a", 1, 4), end("a", status="stopped")]
    study(tmp_path / "s", *again, *repeated)
    follower = Follower(tmp_path / "s")
    follower.refresh()
    for limit in (1, 300, 1000, 10**6):
        cursor, found = 0, []
        while cursor < follower.cursor:
            data, cursor = batch(follower, cursor, limit)
            found.append(json.loads(data))
        assert told(found) == [("a", step) for step in range(1, 25)]
        said = [run for one in found for run in one["runs"]]
        assert sum(run["begun"] for run in said) == 1 and said[-1]["status"] == "finished"


def test_spans_that_are_no_numbers_give_valid_json(tmp_path):
    odd = [["</script>", 1], [{}, 1], [None, True], [1e999, 1], [10**400, 2], [1, 2, 3]]
    study(
        tmp_path / "s", start("a"), *(steps("a", 1 + 2 * k, 2, loss=loss) for k, loss in enumerate(odd[:3] + odd[4:]))
    )
    with (tmp_path / "s" / "trace.jsonl").open("a") as file:
        file.write(
            json.dumps(steps("a", 21, 2) | {"loss": [1, 2]}, separators=(",", ":")).replace("[1,2]", "[1e999,NaN]")
            + "\n"
        )
    follower = Follower(tmp_path / "s")
    follower.refresh()
    losses = json.loads(batch(follower, 0)[0], parse_constant=pytest.fail)["columns"]["a"]["loss"]
    assert all(v is None or isinstance(v, int | float) for v in losses) and len(losses) == 12
    assert "script" not in str(losses)


def test_a_reader_may_begin_at_any_line_and_nowhere_else(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2), steps("a", 3, 2))
    text = (store.folder / "trace.jsonl").read_bytes()
    second = text.index(b"\n", text.index(b"\n") + 1) + 1
    with serving(tmp_path / "s") as server:
        path = f"/api/study/{ids(server)['s']}/events"
        reader = Reader(server, f"{path}?cursor={second}")
        assert told([next(data for kind, data, _ in reader if kind == "batch")]) == [("a", 3), ("a", 4)]
        reader.close()
        reader = Reader(server, f"{path}?cursor=0", last=str(second))  # the last id says more than the address
        assert told([next(data for kind, data, _ in reader if kind == "batch")]) == [("a", 3), ("a", 4)]
        reader.close()
        for wrong in ("1", str(second + 1), str(len(text) + 1), "-1", "x", "1e3", "9" * 19, "../../etc/passwd", "٣"):
            status, said = document(server, f"{path}?cursor={wrong.encode().hex() if not wrong.isascii() else wrong}")
            assert status == 400 and said["error"]["code"] == "bad-option"


def test_a_reader_of_a_trace_that_was_replaced_begins_anew(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2))
    trace = store.folder / "trace.jsonl"
    with serving(tmp_path / "s") as server:
        path = f"/api/study/{ids(server)['s']}/events"
        reader = Reader(server, path)
        _, _, id = next(one for one in reader if one[0] == "batch")
        other = trace.read_text().replace('"a"', '"b"')  # lines begin at the same bytes
        trace.with_suffix(".new").write_text(other * 2)
        trace.with_suffix(".new").replace(trace)
        assert not [data for kind, data, _ in reader if kind == "batch"]  # and the stream ends
        reader.close()
        status, said = document(server, path, headers={"Last-Event-ID": id})
        assert status == 400 and "another file" in said["error"]["message"]
        reader = Reader(server, path)
        data, now = next((data, id) for kind, data, id in reader if kind == "batch")
        assert set(data["columns"]) == {"b"} and int(now.partition(".")[0]) == int(id.partition(".")[0]) + 1
        reader.close()


def test_documents_and_status_are_told_when_they_change(tmp_path):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with serving(tmp_path / "s") as server:
        reader = Reader(server, f"/api/study/{ids(server)['s']}/events?cursor=0")
        events = iter(reader)
        kinds = {}
        while kinds.keys() != {"batch", "status"}:
            kind, data, _ = next(events)
            kinds[kind] = data
        assert kinds["status"]["progress"]["runs"] == 1 and kinds["status"]["progress"]["running"] == 1
        store.write("findings.json", {"findings": []})
        assert next(data for kind, data, _ in events if kind == "documents") == {"changed": ["findings"]}
        store.append(end("a", step=2))
        assert next(data for kind, data, _ in events if kind == "batch")["runs"][0]["status"] == "finished"
        assert next(data for kind, data, _ in events if kind == "status")["progress"]["running"] == 0
        reader.close()


def test_who_does_not_read_holds_no_memory_and_no_one_up(tmp_path):
    store = study(tmp_path / "s", start("a"))
    with serving(tmp_path / "s") as server:
        path = f"/api/study/{ids(server)['s']}/events?cursor=0"
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        said = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {cookie(server)['Cookie']}\r\n\r\n"
        slow.sendall(said.encode())
        for k in range(100):  # some 10 MB, more than the sockets between the two take
            store.append(*(steps("a", 1 + 1000 * (2 * k + j), 1000) for j in range(2)))
        assert len(read_until(server, path, 200_000, random.Random(0), 0)) == 200_000
        channel = server.page.channels[next(iter(server.page.channels))]
        assert channel.readers >= 1 and len(channel._batches) <= 8
        waiting = [len(c.transport._buffer) for c in server.server_state.connections]  # bytes held for each reader
        assert 0 < sum(waiting) < 2_000_000
        text = b""
        while text.count(b'"cursor"') < 3:
            text += slow.recv(1 << 16)
        slow.close()


def test_the_last_reader_ends_the_looking(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with serving(tmp_path / "s") as server:
        reader = Reader(server, f"/api/study/{ids(server)['s']}/events")
        [channel] = server.page.channels.values()
        assert next(iter(reader))[0] == "batch" and isinstance(channel, Channel) and channel.readers == 1
        reader.close()
        deadline = time.monotonic() + 20
        while channel.readers and time.monotonic() < deadline:
            time.sleep(0.01)
        assert channel.readers == 0 and channel._task is None


@pytest.mark.parametrize("turns", range(5))
def test_a_reader_who_leaves_as_something_changes_has_left(tmp_path, turns):
    """Whatever the turn of the loop between the two, the ending is not taken for the change."""
    study(tmp_path / "s", start("a"))

    async def read(channel):
        async for _ in channel.events(channel.follower.cursor):
            pass

    async def leave():
        channel = Channel(tmp_path / "s", lambda folder: "running")
        task = asyncio.create_task(read(channel))
        for _ in range(10):
            await asyncio.sleep(0)
        before, channel.changed = channel.changed, asyncio.Event()
        before.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        ended = task.cancelled()
        channel.close()
        return ended

    with ThreadPoolExecutor(1) as other:  # the browser's tests keep a loop in this thread
        assert other.submit(asyncio.run, leave()).result()
