"""The commands that start the server: their address, when the browser opens, and how they end."""

import http.client
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from served import COMPARE, SMALL, Reader, command, document, end, serving, start, steps, study, token_of

from thalweg.errors import BadOption, BadStudy
from thalweg.web.closing import FILES, PARTS
from thalweg.web.serving import can_open, listen, serve


def shown(*words, **options):
    """The command, and what it prints first."""
    process = subprocess.Popen(command("show", "--no-browser", *words), stdout=subprocess.PIPE, text=True, **options)
    return process, process.stdout.readline()


def test_show_prints_its_address_on_one_line_and_ends_with_ctrl_c(tmp_path):
    study(tmp_path / "thalweg-studies" / "s", start("a"), steps("a", 1, 2), end("a"))
    for words in ((), ("thalweg-studies",), ("thalweg-studies/s",)):
        process, line = shown(*words)
        port, token = token_of(line.strip())
        server = type("Known", (), {"port": port})
        headers = {"Cookie": f"thalweg-{port}={token}"}
        assert document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["name"] == "s"
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0 and process.stdout.read() == ""
        process.stdout.close()


def test_show_without_a_study_has_the_playground_and_finds_single_runs(tmp_path):
    process, line = shown()
    port, token = token_of(line.strip())
    server, headers = type("Known", (), {"port": port}), {"Cookie": f"thalweg-{port}={token}"}
    assert document(server, "/api/home", headers=headers, known=False)[1]["studies"] == []
    assert document(server, "/api/playground", headers=headers, known=False)[1]["presets"]
    study(tmp_path / "thalweg-runs" / "r", start("a"), steps("a", 1, 2), end("a"))
    assert document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["name"] == "r"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    process.stdout.close()


def test_show_as_json_takes_a_port_and_ends_though_somebody_reads(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with listen() as free:
        port = free.getsockname()[1]
    process, line = shown("s", "--json", "--port", str(port))
    told = json.loads(line)
    assert told["port"] == port == token_of(told["address"])[0]
    connection = Reader.__new__(Reader)
    server = type("Known", (), {"port": port})
    headers = {"Cookie": f"thalweg-{port}={token_of(told['address'])[1]}"}
    id = document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["id"]
    connection.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connection.request("GET", f"/api/study/{id}/events", headers=headers)
    connection.answer = connection.connection.getresponse()
    assert next(iter(connection))[0] == "batch"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    connection.close()
    process.stdout.close()


def test_show_of_nothing_is_wrong_use(tmp_path):
    with pytest.raises(BadStudy, match="nowhere"):
        serve(["nowhere"])
    with listen() as taken, pytest.raises(BadOption, match="cannot listen"):
        serve([tmp_path], port=taken.getsockname()[1])
    with pytest.raises(BadOption, match="65535"):
        serve([tmp_path], port=70_000)


def test_a_browser_without_a_window_is_not_opened(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "CI"):
        monkeypatch.delenv(name, raising=False)
    assert can_open() == (sys.platform != "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    assert can_open()
    monkeypatch.setenv("CI", "1")
    assert not can_open()


def test_a_comparison_with_its_page_says_where_and_ends_without_a_terminal(tmp_path):
    Path("small.py").write_text(SMALL)
    loud = [word for word in COMPARE if word != "--quiet"]
    done = subprocess.run(
        command(*loud, "--folder", "s", "--show", "--json"), capture_output=True, text=True, check=True
    )
    said = done.stderr.splitlines()
    assert said[0].startswith("page    http://127.0.0.1:") and said[-1] == "look    thalweg show s"
    assert json.loads(done.stdout)["study"] == "s"
    times = "it took more than|it would take more than|landscape: the time was over"  # a busy machine may need more
    late = re.findall(rf"^(\w+) left out: (?:{times})", done.stderr, re.M)
    assert len(late) == done.stderr.count("left out") and "Interrupted" not in done.stderr
    with serving(tmp_path / "s") as server:
        has = document(server, "/api/home")[1]["studies"][0]["has"]
    assert all(has[part] and (Path("s") / FILES[part]).exists() for part in PARTS if part.capitalize() not in late)


def test_at_a_terminal_the_page_stays_until_ctrl_c_and_the_browser_opens_on_the_study(tmp_path):
    Path("small.py").write_text(SMALL)
    opener = tmp_path / "open.sh"
    facts = f"nice > {tmp_path}/nice\nexec 3>&1\nreadlink /proc/$$/fd/3 > {tmp_path}/output\n"
    opener.write_text(
        f'#!/bin/sh\n{facts}echo "$1" > {tmp_path}/opened.part\nmv {tmp_path}/opened.part {tmp_path}/opened\n'
    )
    opener.chmod(0o755)
    master, slave = pty.openpty()
    where = {k: v for k, v in os.environ.items() if k != "CI"} | {"BROWSER": f"{opener} %s", "TERM": "xterm"}
    process = subprocess.Popen(
        command(*COMPARE, "--show"), stdout=slave, stderr=slave, env=where,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    os.close(slave)
    text = b""
    while b"until Ctrl-C" not in text:
        text += os.read(master, 4096)
    assert process.poll() is None
    while not (tmp_path / "opened").exists():
        time.sleep(0.01)
    assert int((tmp_path / "nice").read_text()) == os.nice(0)  # as the user's own; the server comes after training
    assert (tmp_path / "output").read_text().strip() in ("/dev/null", "")  # no /proc: nothing is known
    address = (tmp_path / "opened").read_text().strip()
    port, _, view = address.partition("/?token=")
    assert f"{port}/?token=".encode() in text and address.partition("#")[0].encode() not in text  # a token of its own
    assert port.startswith("http://127.0.0.1:") and view.endswith("/curves") and "#/small-001-" in view
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    os.close(master)
