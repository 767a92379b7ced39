"""What --explain and --against say is what the running proxy does, logs, and shows."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance import Running, command, environ, start
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes

RULES = """\
[rule watched]
action = report
methods = POST
[rule staff]
action = allow
users = ann
[rule closed]
action = deny
domains = 127.0.0.1
methods = DELETE, CONNECT
message = Not <today>.
[auth]
users = memory:ann:secret
required = no
[log]
format = json
"""
ANN = f"Proxy-Authorization: Basic {base64.b64encode(b'ann:secret').decode()}\r\n"
ASKED = [
    # method, user, status, rule in the log, reported
    ("GET", "", 200, "", ""),
    ("POST", "", 200, "", "[rule watched]"),
    ("DELETE", "", 407, "[rule closed]", ""),
    ("DELETE", "ann", 200, "", ""),
    ("CONNECT", "", 407, "[rule closed]", ""),
]


def ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with *arguments* on the ini that the appliance runs with."""
    (ini,) = folder.glob("*.ini")
    return subprocess.run(
        command("--config", str(ini), *arguments),
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Yield the product with RULES."""
    with start(tmp_path_factory.mktemp("ruled"), RULES) as started:
        yield started


@pytest.mark.parametrize(("method", "user", "status", "rule", "reported"), ASKED)
def test_explained_as_done(
    ruled: Running,
    connect: Connect,
    origin: Origin[Routes],
    method: str,
    user: str,
    status: int,
    rule: str,
    reported: str,
) -> None:
    """The answer to a question and the fate of that request agree, and so does the log."""
    is_tunnel = method == "CONNECT"
    target = origin.authority if is_tunnel else f"http://{origin.authority}/"
    lines = f"{method} {target} HTTP/1.1\r\nHost: {origin.authority}\r\n{ANN if user else ''}"
    before, talk = ruled.logged, connect(ruled.proxy)
    talk.send(f"{lines}\r\n".encode())
    answer = talk.response()
    port = talk.socket.getsockname()[1]
    line = json.loads(ruled.line_with(f'"client_port":{port},', before))
    asked = ask(ruled.log.parent, "--explain", f"{method} {target}" + (user and " --user ann"))
    assert (answer.status, line["rule"], line["reported"]) == (status, rule, reported)
    assert asked.returncode == (0 if status == 200 else 1), asked
    assert not rule or f"rule:     {rule}\n" in asked.stdout
    assert not reported or f"reported: {reported} " in asked.stdout


def test_a_message_and_an_id(start_appliance: StartAppliance, connect: Connect) -> None:
    """A refusal shows the words of its rule, escaped, and an id that the log has."""
    rules = RULES.replace("methods = DELETE, CONNECT\n", "").replace("users = ann\n", "ports = 1\n")
    with start_appliance(rules) as running:
        talk = connect(running.proxy)
        head = "GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\nAccept: text/html\r\n\r\n"
        talk.send(head.encode())
        page = talk.response()
        (line,) = [json.loads(each) for each in running.lines(1)]
    assert page.status == 403
    assert b"<p>Not &lt;today&gt;.</p>" in page.body
    assert b"Rule: [rule closed]\n" in page.body
    assert f"Request id: {line['request_id']}".encode() in page.body
    assert (line["rule"], line["error"]) == ("[rule closed]", "http_request_denied")


def test_its_own_log_changes_nothing(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A log judged by the very rules that wrote it holds no news, refusals included."""
    with start_appliance(RULES) as running:
        talk = connect(running.proxy)
        for method, target in (
            ("GET", f"http://{origin.authority}/"),
            ("POST", f"http://{origin.authority}/"),
            ("GET", "/"),
            ("GET", "/nothing"),
            ("OPTIONS", "*"),
            ("GET", f"http://127.0.0.1:{running.proxy}/"),
            ("DELETE", f"http://{origin.authority}/"),
        ):
            host = origin.authority if target in ("*", "/", "/nothing") else target[7:-1]
            talk.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            talk.response()
        running.lines(7)
        replayed = ask(running.log.parent, "--check", "--against", str(running.log))
    assert replayed.returncode == 0, replayed
    assert "7 lines" in replayed.stdout
    assert "newly denied: none\nnewly allowed: none" in replayed.stdout
    assert "allowed, and reported: 1 request\n" in replayed.stdout
