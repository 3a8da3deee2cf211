"""What the server refuses, each by a request of its own over a real connection."""

import json
import os
import pickle
import socket
import time

import pytest
from served import TOKEN, ask, document, head, ids, serving, start, steps, study

from thalweg.web.confinement import confined
from thalweg.web.security import POLICY, new_token

POSTS = ("/api/playground/race", "/api/study/{id}/try", "/api/study/{id}/resume")
GETS = (
    "/api/home",
    "/api/study/{id}",
    "/api/study/{id}/curves",
    "/api/study/{id}/events",
    "/api/playground",
    "/assets/a.js",
)
SECRET = "what nobody may see"


@pytest.fixture
def server(tmp_path):
    study(tmp_path / "studies" / "s", start("a"), steps("a", 1, 4))
    (tmp_path / "secret.json").write_text(json.dumps({"secret": SECRET}))
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>")
    (static / "assets" / "a.js").write_text("1")
    with serving(tmp_path / "studies", static=static) as server:
        yield server


def test_the_token_becomes_a_cookie_and_leaves_the_address(server):
    status, headers, _ = ask(server, f"/?token={TOKEN}", known=False)
    assert (status, headers["location"]) == (303, "/")
    assert headers["set-cookie"] == f"thalweg-{server.port}={TOKEN}; HttpOnly; SameSite=Lax; Path=/"
    assert ask(server, "/")[0] == 200 and ask(server, "/api/home")[0] == 200
    assert new_token() != new_token() and len(new_token()) >= 32


def test_the_browsers_address_opens_the_page_once(server):
    path = server.passing().partition(str(server.port))[2]
    assert TOKEN not in path and ask(server, path, known=False)[0] == 303
    assert ask(server, path, known=False)[0] == 401
    first, second = (server.passing().partition(str(server.port))[2] for _ in range(2))
    assert ask(server, first, known=False)[0] == 401 and ask(server, second, known=False)[0] == 303
    assert ask(server, "/?token=None", known=False)[0] == 401


FOREIGN = ['a={"x": "y"}', "foo[bar]=1", "é=é", 'a="b', "=", "thalweg-1=x", "a=1,b=2", "expires=Thu, 01 Jan"]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_the_cookies_of_others_do_not_hide_ours(server, foreign):
    own = f"thalweg-{server.port}={TOKEN}"
    for line in (f"{foreign}; {own}", f"{own}; {foreign}", f"thalweg-{server.port}=old; {foreign};{own}"):
        assert ask(server, "/api/home", headers={"Cookie": line.encode()}, known=False)[0] == 200


@pytest.mark.parametrize("path", ["/", *GETS])
def test_without_the_token_nothing_is_answered(server, path):
    path = path.replace("{id}", ids(server)["s"])
    cookies = [{}, {"Cookie": "thalweg-1=" + TOKEN}]
    cookies += [{"Cookie": f"thalweg-{server.port}={wrong}"} for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", "é")]
    for headers in cookies:
        status, _, body = ask(server, path, headers={k: v.encode() for k, v in headers.items()}, known=False)
        assert status == 401 and json.loads(body)["error"]["code"] == "no-token" and TOKEN.encode() not in body
    for wrong in ("", "x", TOKEN[:-1], f"{TOKEN}&token={TOKEN}", TOKEN.upper()):
        assert ask(server, f"/?token={wrong}", known=False)[0] == 401
    assert ask(server, f"/api/home?token={TOKEN}", known=False)[0] == 401  # the address opens the page only


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "0.0.0.0", "", "[::1]"]
)
def test_a_foreign_host_is_refused(server, host):
    for path in ("/", "/api/home", f"/?token={TOKEN}"):
        status, said = document(server, path, headers={"Host": host})
        assert status == 403 and said["error"]["code"] == "foreign-host"


def test_the_machines_own_names_are_hosts(server):
    for name in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert ask(server, "/api/home", headers={"Host": f"{name}:{server.port}"})[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1", "file://", ""]
)
def test_a_foreign_origin_is_refused(server, origin):
    own = {"Origin": origin.replace("{port}", str(server.port))}
    for path in ("/", "/api/home"):
        assert document(server, path, headers=own)[1]["error"]["code"] == "foreign-origin"
    for path in POSTS:
        path = path.replace("{id}", ids(server)["s"])
        status, said = document(server, path, "POST", "{}", own)
        assert status == 403 and said["error"]["code"] == "foreign-origin"


def test_a_post_says_where_it_comes_from(server):
    headers = {"Cookie": f"thalweg-{server.port}={TOKEN}", "Content-Type": "application/json"}
    for path in POSTS:
        path = path.replace("{id}", ids(server)["s"])
        assert document(server, path, "POST", "{}", headers, known=False)[1]["error"]["code"] == "foreign-origin"


OUT = ["../secret.json", "..%2fsecret.json", "..%2f..%2fsecret.json", "%2e%2e/secret.json", "/etc/passwd", "%2fetc%2fpasswd",
       "....//secret.json", "..\\secret.json", "..%5csecret.json", "s%00", "file:///etc/passwd", "~", "%ff"]  # fmt: skip


@pytest.mark.parametrize("out", OUT)
def test_paths_in_every_parameter_lead_nowhere(server, tmp_path, out):
    id = ids(server)["s"]
    whole = str(tmp_path / "secret.json")
    for text in (out, whole, whole.replace("/", "%2f")):
        places = [
            f"/api/study/{text}",
            f"/api/study/{text}/verdict",
            f"/api/study/{text}/events",
            f"/api/study/{id}/{text}",
        ]
        places += [f"/assets/{text}", f"/{text}", f"/api/jobs/{text}", f"/api/jobs/{text}/events", f"/api/{text}"]
        for path in places:
            if path.isascii():
                status, _, body = ask(server, path.replace("\\", "%5c"))
                assert status in (400, 404), path
                assert SECRET.encode() not in body and b"root:" not in body
        for name in ("x", "y", "columns", "from", "to", "phases"):
            status, said = document(server, f"/api/study/{id}/curves?{name}={text}".replace("\\", "%5c"))
            assert status == 400, name
            assert SECRET not in str(said)
        status, _, body = ask(server, f"/api/study/{id}/events?cursor={text}".replace("\\", "%5c"))
        assert status == 400 and SECRET.encode() not in body
        for body in ({"finding": text}, {"surface": text}, {"finding": 0, "folder": text}):
            for path in POSTS[:2]:
                status, said = document(server, path.replace("{id}", id), "POST", json.dumps(body))
                assert status in (400, 404) and SECRET not in str(said)


LINKS = {
    "trace.jsonl": "a file outside",
    "verdict.json": "a file outside",
    "study.json": "a file outside",
    "models": "a folder outside",
    "models/best.safetensors": "a file outside",
}


@pytest.mark.parametrize("name", LINKS)
def test_a_study_with_a_link_that_leads_out_is_not_listed(server, tmp_path, name):
    bad = tmp_path / "studies" / "bad"
    study(bad, start("a"))
    assert set(ids(server)) == {"s", "bad"} and confined(bad)
    id = ids(server)["bad"]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "study.json").write_text(json.dumps(head(secret=SECRET)))
    place = bad / name
    if name == "models":
        place.rmdir()
    elif place.exists():
        place.unlink()
    place.symlink_to(outside if name == "models" else outside / "study.json")
    assert document(server, f"/api/study/{id}")[0] == 404  # known before, and looked at again
    assert not confined(bad) and set(ids(server)) == {"s"}
    for view in ("", "/verdict", "/curves", "/events", "/layers"):
        status, _, body = ask(server, f"/api/study/{id}{view}")
        assert status == 404 and SECRET.encode() not in body


def test_a_folder_that_is_a_link_is_not_listed_and_a_link_that_stays_inside_is_fine(server, tmp_path):
    study(tmp_path / "outside", start("a"))
    (tmp_path / "studies" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "studies" / "s" / "models" / "last").symlink_to(tmp_path / "studies" / "s" / "study.json")
    assert set(ids(server)) == {"s"}


def test_a_pipe_in_place_of_a_file_is_not_waited_for(server, tmp_path):
    study(tmp_path / "studies" / "bad")
    (tmp_path / "studies" / "bad" / "trace.jsonl").unlink()
    os.mkfifo(tmp_path / "studies" / "bad" / "trace.jsonl")
    assert set(ids(server)) == {"s"}


HTML = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>&amp;\u2028'


def test_planted_html_is_text_in_json(tmp_path):
    records = [start("a", entrant=HTML, phase=HTML), steps("a", 1, 2)]
    store = study(tmp_path / "s", *records, name=HTML, source=HTML, effort=HTML)
    store.write("findings.json", {"title": HTML, "findings": [], "measured": [HTML], "not_measured": [], "cost": {}})
    with serving(tmp_path / "s") as server:
        for path in ("/api/home", "/api/study/{id}", "/api/study/{id}/curves", "/api/study/{id}/findings"):
            status, headers, body = ask(server, path.replace("{id}", ids(server)["s"]))
            assert headers["content-type"] == "application/json" and headers["x-content-type-options"] == "nosniff"
            if status == 200:
                assert HTML in json.dumps(json.loads(body), ensure_ascii=False).replace('\\"', '"')
        assert document(server, f"/api/study/{ids(server)['s']}")[1]["task"] == HTML


class Planted:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "models/best.safetensors", "verdict.json", "trace.jsonl", "landscape.npz"]
)
def test_a_pickle_is_never_executed(tmp_path, name):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    (tmp_path / "s" / name).write_bytes(pickle.dumps(Planted()))
    with serving(tmp_path / "s") as server:
        found = ids(server)
        for id in found.values():
            for view in ("", "/verdict", "/curves", "/landscape", "/layers", "/findings", "/rates", "/shift"):
                assert ask(server, f"/api/study/{id}{view}")[0] in (200, 400, 404)
    assert not (tmp_path / "executed").exists()


def test_what_is_too_large_is_refused(server):
    path = "/api/playground/race"
    status, said = document(server, path, "POST", b" " * (64 * 1024 + 1))
    assert status == 413 and said["error"]["code"] == "too-large"
    status, said = document(server, path, "POST", iter([b" " * 1000] * 70), {"Transfer-Encoding": "chunked"})
    assert status == 413
    assert document(server, path, "POST", "{}", {"Content-Length": "99999999999"})[0] == 413
    assert ask(server, "/api/home?" + "x" * 20_000)[0] in (400, 413)
    assert ask(server, "/api/home", headers={"X": "x" * 20_000})[0] in (400, 413)


MALFORMED = ["", "x", "[]", "1", "null", '"x"', "{", '{"a":NaN}', "[" * 60_000, b"\xff\xfe{}", '{"a":1}{"a":1}']


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_malformed_is_refused(server, body):
    for path in POSTS:
        status, said = document(server, path.replace("{id}", ids(server)["s"]), "POST", body)
        assert status == 400 and said["error"]["hint"]


def test_only_json_is_read_and_only_known_methods_are_answered(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert document(server, POSTS[0], "POST", "{}", {"Content-Type": kind})[0] == 400
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"):
        assert ask(server, "/api/home", method)[0] == 405
    assert ask(server, "/api/home", "POST", "{}")[0] == 405 and ask(server, POSTS[0])[0] in (404, 405)


@pytest.mark.parametrize(
    "text", [b"\0\1\2\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"]
)
def test_what_is_no_http_is_refused(server, text):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(text + b"\n" * 20_000)
        answer = connection.recv(1000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert ask(server, "/api/home")[0] == 200


def test_requests_that_do_not_arrive_are_ended(tmp_path):
    study(tmp_path / "s", start("a"))
    with serving(tmp_path / "s", patience=0.3) as server:
        whole = f"POST /api/playground/race HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        whole += f"Cookie: thalweg-{server.port}={TOKEN}\r\n"
        whole += (
            f"Origin: http://127.0.0.1:{server.port}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        )
        for said in ("", "GET /api/ho", whole[:-2], whole + "{"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(said.encode())
                answer = connection.recv(4096)  # b"" where the connection was closed
            assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0], said
        drip = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with pytest.raises(OSError):  # a byte now and then does not help
            for _ in range(2000):
                drip.sendall(b"G")
                time.sleep(0.01)
        drip.close()
        assert ask(server, "/api/home")[0] == 200


def test_every_answer_tells_the_browser_what_it_may(server):
    for path, known in (("/", True), ("/api/home", True), ("/api/nothing", True), ("/", False), ("/assets/a.js", True)):
        _, headers, _ = ask(server, path, known=known)
        assert headers["content-security-policy"] == POLICY and "unsafe" not in POLICY
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers and "server" not in headers
        kept = headers["cache-control"]
        assert ("immutable" in kept) if path.startswith("/assets") else kept == "no-store"
