"""The page under load: readers of a live study, the server's memory, what a slow reader costs a training, a large study.

A writer appends to a study as a comparison does; so many readers follow its stream, drop now and then and come back with
the last id: every step must arrive at each of them once. A slow reader takes a few bytes a second while a process trains
with its page beside it, in turn with the same training whose page nobody reads. A study of 200 curves of 10 000 points is
opened by a server that has not seen it: from the first request to the end of the curves.
``python benchmarks/streams.py [--json] [--quick] [--full]``: 20 readers for 2 minutes; ``--full`` 100 for 5.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import Row, arguments, median, report

from thalweg.store import Store

RUNS = 4  # that are written side by side
STEPS = 20  # of a record
PAUSE = 0.1  # seconds between two records of a run
MEGABYTES, SLOWER, OPENING = 300.0, 0.01, 2.0
TRAIN = """
import sys, time
import torch
import thalweg as tw
from torch import nn
torch.set_num_threads(1)
g = torch.Generator().manual_seed(0)
x = torch.randn(20000, 64, generator=g)
y = (x[:, 0] > 0).long()
net = lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 2))
task = tw.Task(model=net, train=(x, y), batch_size=64, steps=int(sys.argv[2]), name="load")
tw.train(task, tw.Recipe("sgd", lr=0.01), folder=sys.argv[1] + "/warm", quiet=True)
for k in range(int(sys.argv[3])):
    sys.stdin.readline()
    began = time.perf_counter()
    tw.train(task, tw.Recipe("sgd", lr=0.01), folder=f"{sys.argv[1]}/run-{k}", quiet=True)
    print(time.perf_counter() - began, flush=True)
"""


class Served:
    """``thalweg show`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "thalweg", "show", str(folder), "--no-browser", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.port, self.cookie = told["port"], f"thalweg-{told['port']}={told['address'].partition('token=')[2]}"

    def get(self, path: str, last: str = "") -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """A request, answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        own = {"Cookie": self.cookie} | ({"Last-Event-ID": last} if last else {})
        connection.request("GET", path, headers=own)
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {answer.read()!r}")
        return connection, answer

    def document(self, path: str) -> Any:
        """What is answered."""
        connection, answer = self.get(path)
        found = json.loads(answer.read())
        connection.close()
        return found

    def study(self, name: str) -> str:
        """The place of a study, once it is there."""
        while True:
            for entry in self.document("/api/home")["studies"]:
                if entry["name"] == name:
                    return f"/api/study/{entry['id']}"
            time.sleep(0.05)

    def megabytes(self) -> float:
        """The most memory that it has held."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def start(run: str, seed: int, steps: int) -> dict[str, Any]:
    recipe = {"optimizer": "adamw", "lr": 0.001}
    about = {"phase": "final", "entrant": f"adamw#{seed % 10}", "recipe": recipe, "seed": seed, "steps": steps}
    return {"run": run, "kind": "start", **about, "at": 0.0}


def steps(run: str, first: int, count: int, loss: Any) -> dict[str, Any]:
    at = np.arange(first, first + count)
    columns = {"samples": at * 64, "seconds": at * 1.25e-3, "loss": loss, "lr": 1e-3 / at, "grad_norm": 1 + loss / 3}
    rounded = {name: [float(f"{v:.9g}") for v in values] for name, values in columns.items() if name != "samples"}
    return {
        "run": run,
        "kind": "steps",
        "step": at.tolist(),
        "samples": columns["samples"].tolist(),
        **rounded,
        "at": 1.0,
    }


def study(folder: Path, runs: int) -> Store:
    asked = {"task": "load", "field": [[f"adamw#{k}", {"optimizer": "adamw"}] for k in range(10)], "budget": "no limit"}
    store = Store(folder)
    store.create({"asked": asked | {"effort": "quick"}, "source": None, "environment": {}, "complete": False})
    store.append(*(start(f"final-{k}", k, 10_000) for k in range(runs)))
    return store


def follow(
    served: Served, place: str, ending: threading.Event, total: list[int], got: dict[str, list[int]], seed: int
) -> None:
    """Read as a page does, and drop now and then, until all is there that was written."""
    rng, last = random.Random(seed), ""
    while True:
        connection, answer = served.get(f"{place}/events?cursor=0", last)
        leave = time.monotonic() + rng.uniform(2, 20)
        for line in answer:
            if line.startswith(b"id: "):
                last = line[4:].decode().strip()
            elif line.startswith(b'data: {"cursor"'):
                for run, columns in json.loads(line[6:])["columns"].items():
                    got.setdefault(run, []).extend(columns["step"])
            elif line == b"\n" and time.monotonic() > leave:
                break
            if ending.is_set() and sum(map(len, got.values())) >= total[0]:
                connection.close()
                return
        answer.close()
        connection.close()


def live(folder: Path, readers: int, seconds: float) -> list[Row]:
    """Records that were lost or came twice, and the server's memory."""
    store = study(folder / "live", RUNS)
    served = Served(folder)
    place, ending, total = served.study("live"), threading.Event(), [0]
    found: list[dict[str, list[int]]] = [{} for _ in range(readers)]
    threads = [
        threading.Thread(target=follow, args=(served, place, ending, total, got, k), daemon=True)
        for k, got in enumerate(found)
    ]
    for thread in threads:
        thread.start()
    began, first, rng = time.monotonic(), 1, np.random.default_rng(0)
    while time.monotonic() - began < seconds:
        store.append(*(steps(f"final-{k}", first, STEPS, rng.random(STEPS)) for k in range(RUNS)))
        first += STEPS
        time.sleep(PAUSE)
    total[0] = RUNS * (first - 1)
    ending.set()
    store.append(*(steps(f"final-{k}", first, 1, np.ones(1)) for k in range(RUNS)))  # wakes who waits
    for thread in threads:
        thread.join(120)
    wrong = 0
    for got in found:
        for k in range(RUNS):
            own, whole = got.get(f"final-{k}", []), range(1, first)
            wrong += len(whole) - len(set(own) & set(whole)) + len(own) - len(set(own))
    memory = served.megabytes()
    served.close()
    what = f"{readers} readers of a live study for {seconds:.0f} s"
    return [
        Row(what=f"steps lost or told twice, {what}", ours=wrong, n=readers * total[0], bar=0, holds=wrong == 0),
        Row(what=f"server's memory in MB, {what}", ours=memory, n=1, bar=MEGABYTES, holds=memory <= MEGABYTES),
    ]


def slow_reader(served: Served, place: str, ending: threading.Event) -> None:
    """Take a few bytes a second of a study's stream."""
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        said = f"GET {place}/events HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nCookie: {served.cookie}\r\n\r\n"
        connection.sendall(said.encode())
        while not ending.wait(0.2):
            connection.recv(256)


def slowdown(folder: Path, rounds: int, updates: int) -> Row:
    """The median share by which a training is slower while one reads its stream slowly; training and server compete."""
    (folder / "training").mkdir()
    command = [sys.executable, "-c", TRAIN, str(folder / "training"), str(updates), str(2 * rounds)]
    training = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert training.stdin is not None and training.stdout is not None
    served = Served(folder / "training")
    served.study("warm")
    times: dict[bool, list[float]] = {True: [], False: []}
    for k in range(2 * rounds):
        read, ending = (k + k // 2) % 2 == 0, threading.Event()  # with, without, without, with
        training.stdin.write("\n")
        training.stdin.flush()
        thread = threading.Thread(
            target=lambda k=k, e=ending: slow_reader(served, served.study(f"run-{k}"), e), daemon=True
        )
        if read:
            thread.start()
        times[read].append(float(training.stdout.readline()))
        ending.set()
        if read:
            thread.join()
    training.wait()
    served.close()
    slower = median([a / b - 1 for a, b in zip(times[True], times[False], strict=True)])
    what = f"share by which a slow reader slows a training of {median(times[False]):.1f} s"
    return Row(what=what, ours=slower, n=rounds, bar=SLOWER, holds=slower <= SLOWER)


def opening(folder: Path, curves: int, points: int, rounds: int) -> Row:
    """Seconds until the curves of a large study that the server has not seen are there."""
    store = study(folder / "large", curves)
    rng = np.random.default_rng(0)
    for first in range(1, points + 1, 100):
        noise = rng.random((curves, 100))
        shape = np.exp(-np.arange(first, first + 100) / (points / 3))
        store.append(*(steps(f"final-{k}", first, 100, shape + noise[k] / 10) for k in range(curves)))
    seconds = []
    for _ in range(rounds):
        served = Served(folder / "large")
        while True:  # the server is up
            try:
                socket.create_connection(("127.0.0.1", served.port)).close()
                break
            except OSError:
                time.sleep(0.01)
        began = time.perf_counter()
        place = f"/api/study/{served.document('/api/home')['studies'][0]['id']}"
        served.document(place)
        drawn = served.document(f"{place}/curves?x=step&y=loss&columns=800&phases=finals")
        seconds.append(time.perf_counter() - began)
        if sum(len(group["runs"]) for group in drawn["groups"]) != curves:
            raise SystemExit("the curves are not all there")
        served.close()
    taken = median(seconds)
    size = (store.folder / "trace.jsonl").stat().st_size >> 20
    what = f"seconds until {curves} curves of {points} points are there, in a study of {size} MB"
    return Row(what=what, ours=taken, n=rounds, bar=OPENING, holds=taken <= OPENING)


def main() -> None:
    full = "--full" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--full"]
    options = arguments(__doc__)
    readers, seconds = (100, 300.0) if full else (20, 10.0 if options.quick else 120.0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = live(folder / "studies", readers, seconds)
        rows.append(opening(folder / "one", 200, 1000 if options.quick else 10_000, 1 if options.quick else 5))
        rows.append(slowdown(folder, 2 if options.quick else 15, 1000 if options.quick else 10_000))
    report(options, rows)


if __name__ == "__main__":
    main()
