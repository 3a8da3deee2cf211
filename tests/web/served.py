"""What the tests of the page share: a study written by hand, and a server of it in a thread."""

import asyncio
import contextlib
import http.client
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from thalweg.cli import main
from thalweg.store import Store
from thalweg.web.app import STATIC, Page
from thalweg.web.serving import Server, listen

RECIPE = {"optimizer": "sgd", "lr": 0.1}
TOKEN = "a-token-of-the-tests"
SMALL = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(400, 4, generator=g)
y = (x[:, 0] + 0.3 * torch.randn(400, generator=g) > 0).long()


def net():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


task = tw.Task(model=net, train=(x, y), batch_size=8, epochs=2, name="small")
"""
COMPARE = ["compare", "small.py:task", "--field", "sgd", "--budget", "16 runs", "--executor", "sequential", "--quiet"]


@pytest.fixture
def small(tmp_path):
    """A study of a task in a file, complete."""
    Path("small.py").write_text(SMALL)
    assert main([*COMPARE, "--folder", "s"]) == 0
    return tmp_path / "s"


def head(name="toy", **more):
    asked = {
        "task": name,
        "fingerprint": "0" * 32,
        "baseline": None,
        "field": [["adamw at 1e-3", {"optimizer": "adamw", "lr": 1e-3}], ["sgd", {"optimizer": "sgd"}]],
        "axes": {},
        "budget": "6 runs",
        "effort": "quick",
        "seeds": None,
        "delta": None,
    }
    return {"format": 1, "asked": asked, "source": name, "environment": {"thalweg": "0"}, "complete": False} | more


def start(run, seed=0, entrant="sgd", steps=4, **more):
    about = {"phase": "final", "entrant": entrant, "recipe": RECIPE, "seed": seed, "steps": steps}
    return {"run": run, "kind": "start"} | about | more


def steps(run, first, count, loss=None, **more):
    at = list(range(first, first + count))
    own = {} if run is None else {"run": run}
    return own | {
        "kind": "steps",
        "step": at,
        "samples": [8 * k for k in at],
        "seconds": [k / 8 for k in at],
        "loss": [1 / k for k in at] if loss is None else loss,
        "lr": [0.1] * count,
        "grad_norm": [2.5] * count,
    } | more  # fmt: skip


def end(run, status="finished", step=4, evaluations=(), where=None, **more):
    outcome = {"status": status, "step": step, "where": where, "reason": where and f"{where} is not finite"}
    about = start(run) | {"kind": "end", "outcome": outcome, "evaluations": list(evaluations), "steps_done": step}
    return about | {"samples": 8 * step, "seconds": step / 8, "model": None} | more


def evaluation(step, value, split="select"):
    return {"step": step, "samples": 8 * step, "seconds": step / 8, "split": split, "accuracy": value}


def study(folder, *records, **more):
    """A study's folder with these records."""
    store = Store(folder)
    (folder / "models").mkdir(parents=True)
    store.write("study.json", head(**more))
    store.append(*records)
    return store


@contextlib.contextmanager
def serving(*folders, static=None, patience=10.0):
    """A server in a thread; gives it."""
    server = Server(Page(folders, static=static or STATIC, patience=patience), TOKEN, listen())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield server
    finally:
        server.end()
        thread.join(120)
        assert not thread.is_alive()


def cookie(server, token=TOKEN):
    return {"Cookie": f"thalweg-{server.port}={token}"}


def ask(server, path, method="GET", body=None, headers=None, known=True):
    """Status, headers and body of an answer; ``known``: with the token's cookie, and from the page itself."""
    own = cookie(server) if known else {}
    if known and method == "POST":
        own |= {"Origin": f"http://127.0.0.1:{server.port}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        chunked = "Transfer-Encoding" in (headers or {})
        connection.request(method, path, body, own | (headers or {}), encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def document(server, path, *args, **options):
    """Status and document of an answer."""
    status, _, body = ask(server, path, *args, **options)
    return status, json.loads(body)


def ids(server):
    """The studies that the page lists, by name."""
    return {entry["name"]: entry["id"] for entry in document(server, "/api/home")[1]["studies"]}


class Reader:
    """A reader of a stream of events."""

    def __init__(self, server, path, last=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        self.connection.request("GET", path, headers=cookie(server) | ({"Last-Event-ID": last} if last else {}))
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.getheader("content-type") == "text/event-stream"

    def __iter__(self):
        """(kind, document, id) of each event."""
        found = {}
        for line in self.answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
            elif "data" in found:
                yield found["event"], json.loads(found["data"]), found.get("id")
                found = {}

    def close(self):
        with contextlib.suppress(OSError):
            self.answer.close()
            self.connection.close()


def command(*words):
    return [sys.executable, "-m", "thalweg", *words]


def token_of(address):
    parts = urlsplit(address)
    return parts.port, parts.query.removeprefix("token=")


def finished(coroutine):
    """The result of a coroutine, run in a thread of its own: a browser's test may keep a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
