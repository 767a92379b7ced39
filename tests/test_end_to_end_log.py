"""The request log from outside: a line for everything, in every format, whatever happens."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.appliance import Running, wait_for
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, Routes, exactly, fixed, shout, silent, switching
from tests.talk import Talk


def get(origin: Origin[Routes], path: str, *lines: str) -> bytes:
    """Return a request for *path* at *origin*."""
    start = f"GET http://{origin.authority}{path} HTTP/1.1"
    return "\r\n".join([start, f"Host: {origin.authority}", *lines, "", ""]).encode("latin-1")


def port_of(talk: Talk) -> int:
    """Return the port that the client connected from."""
    port: int = talk.socket.getsockname()[1]
    return port


# --- One line for everything ---


def test_one_line_for_each_exchange(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """Answers, failures, the site's own: a line each."""
    origin.served.on(b"/none", exactly(b"", is_last=True))
    with start_appliance() as running:
        talk = connect(running.proxy)
        talk.send(get(origin, "/ok"), get(origin, "/none"))
        talk.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /no HTTP/1.1\r\nHost: h\r\n\r\n")
        talk.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [talk.response().status for _ in range(5)] == [200, 502, 200, 404, 204]
        lines = [json.loads(line) for line in running.lines(5)]
    expected = [("proxy", 200), ("proxy", 502), ("site", 200), ("site", 404), ("proxy", 204)]
    assert [(line["service"], line["status"]) for line in lines] == expected
    assert all(line["client_host"] == "127.0.0.1" for line in lines)


def test_one_line_for_each_end(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """Tunnels, upgrades, what can't be parsed: a line each; an unused connection has none."""
    origin.served.on(b"/switch", switching)
    with Origin(shout) as far, start_appliance() as running:
        talks = {name: connect(running.proxy) for name in ("tunnel", "switch", "broken", "unused")}
        talks["unused"].close()
        talks["tunnel"].send(f"CONNECT {far.authority} HTTP/1.0\r\n\r\n".encode())
        talks["switch"].send(get(origin, "/switch", "Connection: upgrade", "Upgrade: loud"))
        talks["broken"].send(b"what?\r\n\r\n")
        for number, name in enumerate(("tunnel", "switch", "broken"), 1):
            talks[name].response(b"CONNECT")
            talks[name].close()
            running.lines(number)
        lines = [json.loads(line) for line in running.lines(3)]
    ends = sorted((line["service"], line["status"]) for line in lines)
    assert ends == [("-", 400), ("proxy", 101), ("tunnel", 200)]


def test_what_a_line_knows(running: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Sizes, times, both ends and what the client said about itself."""
    origin.served.on(b"/known", fixed(b"12345", b"Content-Type: text/x-five"))
    before, talk = running.logged, connect(running.proxy)
    lines = ("Content-Length: 3", "User-Agent: me", "Referer: http://u:p@r/")
    talk.send(get(origin, "/known", *lines), b"abc")
    talk.response()
    line = json.loads(running.line_with(f'"client_port":{port_of(talk)},', before))
    assert (line["sent"], line["received"], line["status"]) == (5, 3, 200)
    assert (line["user_agent"], line["referer"]) == ("me", "http://***@r/")
    assert (line["upstream"], line["reuse"]) == (origin.authority, "new")
    assert line["content_type"] == "text/x-five"
    assert 0 <= line["duration"] < 10


def test_no_line_can_be_forged(running: Running, connect: Connect, origin: Origin[Routes]) -> None:
    """Quotes, control characters and foreign bytes are escaped."""
    before, talk = running.logged, connect(running.proxy)
    agent = 'a" 200 \\ \xff\t"b'
    talk.send(get(origin, "/f%0aorged", f"User-Agent: {agent}"))
    talk.response()
    line = running.line_with(f'"client_port":{port_of(talk)},', before)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["user_agent"].startswith('a" 200 ')


# --- Formats ---

LOCAL = r"127\.0\.0\.1"
TIME = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
URL = r"http://127\.0\.0\.1:\d+/a\?b=c"
FORMATS = {
    "common": rf'{LOCAL} - - {TIME} "GET {URL} HTTP/1\.1" 200 5',
    "combined": rf'{LOCAL} - - {TIME} "GET {URL} HTTP/1\.1" 200 5 "-" "agent/1"',
    "squid": rf"\d+\.\d{{3}} +\d+ {LOCAL} TCP_MISS/200 5 GET {URL} - HIER_DIRECT/{LOCAL} -",
    "pool": rf"\d{{4}}-\S+[+-]\d\d:\d\d {LOCAL}:\d+ GET {URL} 200 5 \d+\.\d{{6}} {URL}",
    "{status} {method} <{user_agent}>": r"200 GET <agent/1>",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], name: str
) -> None:
    """Each named format, and a format string, has its layout."""
    with start_appliance(f"[log]\nformat = {name}\n") as running:
        talk = connect(running.proxy)
        talk.send(get(origin, "/a?b=c", "User-Agent: agent/1"))
        talk.response()
        (line,) = running.lines(1)
    assert re.fullmatch(FORMATS[name], line), line


# --- What a page and a line have in common ---


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_a_refusal_is_found_in_the_log(
    start_appliance: StartAppliance, connect: Connect, accept: str
) -> None:
    """The page names the rule, and an id that one line of the log has, with the same rule."""
    with start_appliance("[access]\ndestinations = public\n") as running:
        talk = connect(running.proxy)
        head = f"GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\nAccept: {accept}\r\n\r\n"
        talk.send(head.encode(), b"what?\r\n\r\n")
        refused, unreadable = (talk.response() for _ in range(2))
        lines = [json.loads(line) for line in running.lines(2)]
    assert (refused.status, unreadable.status) == (403, 400)
    assert b"Rule: [access] destinations\n" in refused.body
    assert lines[0]["rule"] == "[access] destinations"
    for answer, line in zip((refused, unreadable), lines, strict=True):
        assert f"Request id: {line['request_id']}".encode() in answer.body
        assert re.fullmatch("[0-9a-z]{10}", line["request_id"])


def test_no_id_where_the_log_has_none(start_appliance: StartAppliance, connect: Connect) -> None:
    """In a format without a place for ids, nobody is sent looking for one."""
    with start_appliance("[log]\nformat = common\n") as running:
        talk = connect(running.site)
        talk.send(b"GET /no HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"Request id" not in talk.response().body


def test_standard_output(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """`-` is standard output, where lines stand among the events."""
    with start_appliance("[log]\nrequests = -\nformat = common\n") as running:
        talk = connect(running.proxy)
        talk.send(get(origin, "/seen"))
        talk.response()
        wait_for(lambda: any("/seen HTTP/1.1" in line for line in running.said), "line")


# --- Files ---


def test_reopened_on_a_signal(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes], tmp_path: Path
) -> None:
    """SIGUSR1 after a rename leaves the old file whole and goes on in a new one."""
    with start_appliance() as running:
        talk = connect(running.proxy)
        talk.send(get(origin, "/before"))
        talk.response()
        rotated = running.log.rename(tmp_path / "rotated.log")
        running.send_signal(signal.SIGUSR1)
        wait_for(running.log.exists, "new file")
        talk.send(get(origin, "/after"))
        talk.response()
        assert "/after" in running.lines(1)[0]
        assert [line for line in running.lines(1, rotated) if "/before" in line]
        assert running.process.poll() is None


def test_flushed_at_exit(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """SIGTERM right behind an answer loses neither its line nor those of what it cuts off."""
    origin.served.on(b"/slow", silent)
    brief = "[proxyapp]\ndrain_timeout = 1s\n[tunnel]\ndrain_timeout = 1s\n"
    with Origin(shout) as far, start_appliance(brief) as running:
        tunnel, slow, quick = (connect(running.proxy) for _ in range(3))
        tunnel.send(f"CONNECT {far.authority} HTTP/1.1\r\nHost: {far.authority}\r\n\r\n".encode())
        tunnel.response(b"CONNECT")
        slow.send(get(origin, "/slow"))
        wait_for(lambda: origin.served.visits, "visit")
        quick.send(get(origin, "/quick"))
        quick.response()
        running.stop()
        lines = running.log.read_text().splitlines()
    assert [bool([line for line in lines if word in line]) for word in ("/quick", "/slow")] == [
        True,
        True,
    ]
    assert len([line for line in lines if '"service":"tunnel"' in line]) == 1
    assert len(lines) == 3


def test_a_full_disk_stops_nothing(
    start_appliance: StartAppliance, connect: Connect, origin: Origin[Routes]
) -> None:
    """A log that can't be written is an event, and requests are answered all the same."""
    with start_appliance("[log]\nrequests = /dev/full\n") as running:
        talk = connect(running.proxy)
        talk.send(get(origin, "/"))
        assert talk.response().status == 200
        wait_for(lambda: any("can't be written" in line for line in running.said), "event")
        talk.send(get(origin, "/"))
        assert talk.response().status == 200
