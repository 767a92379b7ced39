"""The request log: one exchange is one line, however it is written to look like two.

Each case names who got it wrong, by CVE, or the section that allows the bytes.
"""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import pytest

from tests.appliance import Running
from tests.conftest import StartAppliance
from tests.origin import Origin, Routes
from tests.security.attacks import SMUGGLED, ask, filled, rest_of, talk_to

START = b"GET http://{origin}/a HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n"
FORGED = b'127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /forged HTTP/1.1" 200 1'
SECRET = b"c2VjcmV0"

FORGERIES: list[tuple[str, bytes]] = [
    # Lines of their own.
    ("CWE-117", b"GET http://{origin}/a\n" + FORGED + b" HTTP/1.1\r\nHost: {origin}\r\n\r\n"),
    ("CWE-117", b"GET http://{origin}/a\r" + FORGED + b" HTTP/1.1\r\nHost: {origin}\r\n\r\n"),
    ("CWE-117", b"GET http://{origin}/%0d%0a%0A/forged HTTP/1.0\r\n\r\n"),
    ("CWE-117", b"GE\nT http://{origin}/forged HTTP/1.0\r\n\r\n"),
    ("CWE-117", START + b"User-Agent: a\n" + FORGED + b"\r\n\r\n"),
    ("CWE-117", START + b"User-Agent: a\r\n " + FORGED + b"\r\n\r\n"),
    ("CWE-117", START + b"Referer: a\r" + FORGED + b"\r\n\r\n"),
    ("CWE-117", START + b"User-Agent: a\xc2\x85b\xe2\x80\xa8c\xe2\x80\xa9d\r\n\r\n"),
    ("CWE-117", b"\n" + FORGED + b"\n\n"),
    # Fields of their own.
    ("CWE-117", START + b'User-Agent: a" 200 1 "-" "b\r\n\r\n'),
    ("CWE-117", START + b"User-Agent: a\\\r\nReferer: b\\\r\n\r\n"),
    ("CWE-117", START + b"Referer: a | b, c; d\te\r\n\r\n"),
    ("CWE-117", b'GET http://{origin}/a"b\\c|d,e HTTP/1.0\r\n\r\n'),
    ("CWE-117", b'"- http://{origin}/a HTTP/1.0\r\n\r\n'),
    ("CWE-117", b'GET http://{origin}/{"status":200,"user":"ann"} HTTP/1.0\r\n\r\n'),
    # Commands for the terminal that shows the log.
    ("CVE-2003-0083", START + b"User-Agent: a\x1b]0;b\x07\x1b[2J\r\n\r\n"),
    ("CVE-2013-1862", b"GET http://{origin}/a\x1b[31m HTTP/1.0\r\n\r\n"),
    ("CVE-2009-4487", b"GET http://{origin}/a%1b%5b2J HTTP/1.0\r\n\r\n"),
    ("CVE-2009-4492", START + b"Referer: \x9b2Ja\xff\r\n\r\n"),
    ("RFC 9110 9.1", b"G\x1b[2JT http://{origin}/a HTTP/1.0\r\n\r\n"),
    # Secrets.
    ("RFC 3986 7.5", b"GET http://user:" + SECRET + b"@{origin}/ HTTP/1.0\r\n\r\n"),
    ("RFC 3986 7.5", b"GET http://" + SECRET + b"@{origin}/ HTTP/1.0\r\n\r\n"),
    ("RFC 3986 7.5", b"CONNECT user:" + SECRET + b"@{origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n"),
    ("RFC 3986 7.5", b"GET /fetch?url=http://u:" + SECRET + b"@{origin}/ HTTP/1.0\r\n\r\n"),
    ("RFC 3986 7.5", b"GET /fetch?url=http%3A%2F%2Fu:" + SECRET + b"%40h/ HTTP/1.0\r\n\r\n"),
    ("RFC 3986 7.5", START + b"Referer: http://u:" + SECRET + b"@a.example/\r\n\r\n"),
    ("RFC 9110 11.6.2", START + b"Authorization: Basic " + SECRET + b"\r\n\r\n"),
    ("RFC 9110 11.7.1", START + b"Proxy-Authorization: Basic " + SECRET + b"\r\n\r\n"),
    ("RFC 6265 8.3", START + b"Cookie: a=" + SECRET + b"\r\n\r\n"),
    # Nobody's name is believed.
    ("CWE-117", START + b"Proxy-Authorization: Basic " + b64encode(b"a\n" + FORGED) + b"\r\n\r\n"),
    ("CWE-117", START + b"Proxy-Authorization: Basic " + b64encode(b'" 200 "\x1b:x') + b"\r\n\r\n"),
    ("CWE-117", START + b'Proxy-Authorization: Digest username="a\\"b\t"\r\n\r\n'),
]


def provoke(running: Running, origin: Origin[Routes]) -> None:
    """Send every forgery on a connection of its own."""
    for _, attack in FORGERIES:
        with talk_to(running.proxy) as talk, suppress(ConnectionError):
            talk.send(filled(attack, origin))
            talk.socket.shutdown(socket.SHUT_WR)
            rest_of(talk)


@pytest.mark.parametrize("name", ["combined", "common", "squid", "pool", "json", "own"])
def test_one_exchange_is_one_line(
    start_appliance: StartAppliance, origin: Origin[Routes], name: str
) -> None:
    """Each line is one exchange, in printable ASCII, without a field or a word too many."""
    own = '{client_host} {method} "{target}" | {url} | "{referer}" "{user_agent}" {user} {reason}'
    ini = f"[log]\nformat = {own if name == 'own' else name}\n"
    with start_appliance(ini) as running:
        provoke(running, origin)
        lines = running.lines(len(FORGERIES))
        running.stop()
        said = "\n".join(running.said)
    raw = running.log.read_bytes()
    assert raw.count(b"\n") == len(lines) == len(FORGERIES)
    assert all(0x20 <= octet < 0x7F or octet == 0x0A for octet in raw)
    assert SECRET not in raw
    assert SECRET.decode() not in said
    for line in lines:
        check_shape(name, line)


# A combined line of an error page ends with the id that the page shows.
QUOTES = {"combined": (6, 8), "common": (2,), "own": (6,)}
WORDS = {"squid": 10, "pool": 8}


def check_shape(name: str, line: str) -> None:
    """Make sure that *line* has as many fields as its format, and starts as a line of ours does."""
    if name == "json":
        found = json.loads(line)
        assert found["user"] is None
        assert found["client_host"] == "127.0.0.1"
    elif name in QUOTES:
        assert line.startswith("127.0.0.1 ")
        assert line.count('"') in QUOTES[name], line
    else:
        assert len(line.split()) == WORDS[name], line


NAMES = [
    b"ann\n" + FORGED,
    b"ann\x00",
    b'ann" 200',
    b"ann\x1b[2J",
    b"ann\r",
    b"\xc3\xa4nn",
    b" ann",
]


def test_names_that_nobody_has(
    start_appliance: StartAppliance, origin: Origin[Routes], tmp_path: Path
) -> None:
    """CWE-117: a name stands in the log once its password was right, and no sooner."""
    (tmp_path / "users").write_text("ann:c2VjcmV0\n")
    with start_appliance(f"[auth]\nusers = file:{tmp_path}/users\n") as running:
        for name in [b"ann", *NAMES]:
            given = b"Proxy-Authorization: Basic " + b64encode(name + b":" + SECRET) + b"\r\n\r\n"
            with talk_to(running.proxy) as talk:
                talk.send(filled(START + given, origin))
                assert talk.response().status in ((200,) if name == b"ann" else (407, 429))
        lines = [json.loads(line) for line in running.lines(1 + len(NAMES))]
    assert [line["user"] for line in lines] == ["ann"] + [None] * len(NAMES)
    assert SECRET not in running.log.read_bytes()
    assert not [visit for visit in origin.served.visits if SECRET in visit.head.raw]


def test_early_bytes_behind_a_challenge(
    start_appliance: StartAppliance, origin: Origin[Routes], tmp_path: Path
) -> None:
    """RFC 9110 section 11.7: what came along with a CONNECT that needs a password is no request."""
    (tmp_path / "users").write_text("ann:c2VjcmV0\n")
    with start_appliance(f"[auth]\nusers = file:{tmp_path}/users\n") as running:
        connect = b"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n"
        answer = ask(running.proxy, filled(connect + SMUGGLED, origin))
        assert (answer.status, len(answer.head.all(b"Proxy-Authenticate")) > 0) == (407, True)
    assert origin.connections == 0
