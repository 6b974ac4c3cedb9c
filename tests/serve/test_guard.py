"""Who gets an answer from `predlog serve`, and who does not."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

from predlog.records.codec import to_line
from tests import events
from tests.serve.serving import Server, serving

SECRET = b"only for those who have the token"


def written(folder: Path, *more: bytes) -> Path:
    """Write a run of three comparisons, each with a text that nobody else may see."""
    folder.mkdir(parents=True)
    said = [
        events.run(run=folder.name),
        *(events.comparison(step=step, context={"s": SECRET.decode()}) for step in range(3)),
    ]
    lines = [to_line({**event, "seq": seq}) for seq, event in enumerate(said)]
    (folder / "predictions.jsonl").write_bytes(b"".join([*lines, *more]))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `runs/exp`, `runs/a b/é%`, links that stay inside and lead out, and a run beside it."""
    top = tmp_path_factory.mktemp("places")
    written(top / "runs/exp")
    written(top / "runs/a b/é%")
    written(top / "outside")
    (top / "runs/latest").symlink_to("exp")
    (top / "runs/leaving").symlink_to(top / "outside")
    (top / "runs/of-links").mkdir()
    (top / "runs/of-links/predictions.jsonl").symlink_to(top / "outside/predictions.jsonl")
    (top / "runs/circle").symlink_to("circle")
    return top


@pytest.fixture(scope="module")
def server(places: Path) -> Iterator[Server]:
    with serving(places / "runs") as running:
        yield running


PARTS = ("", "events", "run/exp/", "run/exp/events", "run/exp/state", "run/exp/content", "run/nowhere/")


@pytest.mark.parametrize("token", ["", "wrong", "{token}x", "{most}", "{token}%00", "%2e", "{swapped}", "%C3%A9"])
def test_nothing_is_told_without_the_token(server: Server, token: str) -> None:
    """A request whose path does not begin with the whole token is refused, whatever it asks for."""
    own = server.path.strip("/")
    wrong = token.format(token=own, most=own[:-1], swapped=own.swapcase())
    for part in PARTS:
        for path in (f"/{wrong}/{part}", f"/{part}?token={own}"):
            answer = server.ask_whole(path)
            assert answer.status == 403
            assert SECRET not in answer.body
            assert own.encode() not in answer.body


def test_with_the_token_there_is_an_answer(server: Server) -> None:
    """The address that was printed is that of the list, and its links lead to the runs."""
    assert server.ask().status == 200
    assert b'href="run/exp/"' in server.ask().body
    assert b'href="run/a%20b/%C3%A9%25/"' in server.ask().body
    for path in ("run/exp/", "run/a%20b/%C3%A9%25/", "run/latest/"):
        answer = server.ask(path)
        assert answer.status == 200
        assert SECRET in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "run/../outside/", "run/%2e%2e/outside/", "run/%2E%2E%2Foutside/", "../../outside/",
        "run/exp/../../../outside/",
        "run//{top}/outside/", "run/%2F{top}/outside/", "run/exp/%2e%2e/exp/", "run/./exp/", "run/exp//", "run//exp/",
        "run/leaving/", "run/of-links/", "run/circle/", "run/exp%00/", "run/exp/%00", "run/exp\\..\\..\\outside/",
        "run/..%c0%af../outside/", "run/%252e%252e/outside/", "run/exp/predictions.jsonl", "run/exp/predictions.jsonl/",
        "run/" + "a" * 200_000 + "/", "run/" + "a/" * 100_000, "run/%ff/", "run/" + "../" * 40 + "etc/passwd",
        "etc/passwd",
        "runs/exp/", "run", "state", "content", "static/report.css", "run/exp/other",
    ],
)  # fmt: skip
def test_no_address_leads_out_of_the_folder(server: Server, places: Path, path: str) -> None:
    """What is not a run below the folder, with all links followed, is not found, in whatever way it is written."""
    answer = server.ask(path.format(top=places))
    assert answer.status == 404
    assert SECRET not in answer.body


def test_links_that_lead_out_are_not_listed(server: Server) -> None:
    """The list has no run that can't be opened because it is elsewhere."""
    assert b"leaving" not in server.ask().body


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("localhost:1", 200), ("LOCALHOST.", 200), ("[::1]:8484", 200), ("[0:0:0:0:0:0:0:1]", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example:80", 403), (" ", 403),
        ("192.168.0.7", 403), ("evil.example@localhost", 200), ("localhost@evil.example", 403), ("[::1", 403),
        ("a" * 5000, 403), ("\x1b[31m<b>", 403),
    ],
)  # fmt: skip
def test_the_host_is_checked(server: Server, host: str, status: int) -> None:
    """Only names of the loopback are answered, so that no other site can take this server for its own."""
    answer = server.ask(Host=host)
    assert answer.status == status
    if status == 403:
        assert b"does not answer" in answer.body
        assert len(answer.body) < 1000
        assert b"\x1b" not in answer.body


def test_other_names_are_allowed_on_demand(places: Path) -> None:
    """`--allow-host` adds names, for proxies; the others stay refused, and the message says what to do."""
    with serving("--allow-host", "Hub.example.org", places / "runs") as server:
        assert server.ask(Host="hub.example.org").status == 200
        assert server.ask(Host="hub.example.org:443").status == 200
        refused = server.ask(Host="other.example.org")
        assert refused.status == 403
        assert b"--allow-host other.example.org" in refused.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_it_can_only_be_read(server: Server, method: str) -> None:
    """Any method that is not for reading is refused, also the one that asks whether another site may read."""
    for part in PARTS:
        answer = server.ask(part, method, Origin="http://127.0.0.1")
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_head_alone(server: Server) -> None:
    """HEAD is answered as GET is, without a body; a stream ends at once."""
    for part in PARTS:
        answer = server.ask(part, "HEAD")
        assert answer.body == b""
        assert answer.status == (404 if "nowhere" in part else 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}, 200),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}, 200),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8484"}, 200),
    ],
)
def test_pages_of_other_sites_get_nothing(server: Server, headers: dict[str, str], status: int) -> None:
    """What a page of another site asks for, even if it knows the token, is refused; a person may follow a link."""
    for part in ("", "run/exp/state"):
        assert server.ask(part, **headers).status == status


@pytest.mark.parametrize("part", [*PARTS[:1], *PARTS[2:3], *PARTS[4:], "run/exp"])
def test_what_every_answer_says_to_browsers(server: Server, part: str) -> None:
    """No answer may be framed, sniffed, kept or taken by another site, and none tells where it was linked from."""
    for answer in (
        server.ask(part),
        server.ask_whole("/"),
        server.ask(part, "POST"),
        server.ask(part, Host="evil.example"),
    ):
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert policy.endswith("frame-ancestors 'none'")
        assert "unsafe-eval" not in policy
        assert "*" not in policy
        assert not {"set-cookie", "server", "access-control-allow-origin"} & {*headers}


def test_a_page_has_one_policy(server: Server) -> None:
    """The header of a page allows its own scripts, and what its head says, and only a connection to this server."""
    policy = server.ask("run/exp/").headers["content-security-policy"]
    assert "script-src 'sha256-" in policy
    assert "connect-src 'self'" in policy
    assert "trusted-types 'none'" in policy
    assert "http" not in policy


def test_an_address_without_its_end(server: Server) -> None:
    """The address of a folder without its slash leads to it, by an address that is right behind any prefix."""
    answer = server.ask_whole(server.path.rstrip("/"))
    assert (answer.status, answer.headers["location"]) == (307, f"{server.path.strip('/')}/")
    answer = server.ask("run/a%20b/%C3%A9%25")
    assert (answer.status, answer.headers["location"]) == (307, "./%C3%A9%25/")


@pytest.mark.slow
def test_what_is_left_out_is_said(places: Path, server: Server) -> None:
    """Where a strip leaves steps out, the page says so, and names serve's own option."""
    assert b"To stay fast" not in server.ask("run/exp/").body
    with serving("--most", "1", places / "runs") as short:
        page = short.ask("run/exp/").body.decode()
    assert " of 3 comparisons" in page
    assert "<code>predlog serve --most</code> sets another limit" in page


# --- the process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_it_ends_at_once(places: Path, number: int) -> None:
    """Ctrl-C and SIGTERM end it with status 0, also while pages listen, and it has written one line in all."""
    with serving(places / "runs") as server:
        open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for one, part in zip(open_ones, ("events", "run/exp/events", "run/latest/events"), strict=True):
            one.sendall(f"GET {server.path}{part} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert one.recv(15) == b"HTTP/1.1 200 OK"
        server.ask_whole("/nonsense")
        assert server.end(number) == (0, "", "")
        for one in open_ones:
            one.close()
    assert server.line.count("\n") == 1


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "predlog", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use_is_one_line(server: Server, places: Path) -> None:
    """If the port is taken, one line says so and what to do, and the status is 2."""
    ended = run("--port", str(server.port), places / "runs")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"predlog: 127.0.0.1 port {server.port} is in use; --port 0 takes a free one\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "does not exist"),
        (("--port", "65536", "."), "highest is 65535"),
        (("--host", "no.invalid", "."), "--host no.invalid"),
    ],
)
def test_what_can_not_be_served(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    """A folder, port or host that can't be used is named, and the status is 2."""
    ended = run(*arguments)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_token_that_is_kept(places: Path, tmp_path: Path) -> None:
    """With a file for it the token is the same after a restart; nobody else may read the file."""
    file = tmp_path / "token"
    with serving("--token-file", file, places / "runs") as first:
        path = first.path
    assert file.stat().st_mode & 0o777 == 0o600
    with serving("--token-file", file, places / "runs") as second:
        assert second.path == path
    file.chmod(0o644)
    assert "chmod 600" in run("--token-file", file, places / "runs").stderr
    os.truncate(file, 5)
    file.chmod(0o600)
    assert "no token" in run("--token-file", file, places / "runs").stderr


def test_each_server_has_its_own_token(server: Server, places: Path) -> None:
    """A token is long, random, and of one server only."""
    with serving(places / "runs") as other:
        assert other.path != server.path
        assert len(other.path.strip("/")) >= 32
        assert other.ask_whole(server.path).status == 403
