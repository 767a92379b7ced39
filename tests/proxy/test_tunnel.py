"""Promises of proxyapp.proxy.tunnel: CONNECT, from the client's bytes to the line in the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxyapp import errors
from proxyapp.proxy.tunnel import TunnelCounts
from proxyapp.rules.record import Record
from tests.support import TUNNELS, MemoryTransport, Stage, script

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
LIMITS = replace(TUNNELS, max_per_client=2, max_total=3)


def connect(target: bytes = b"b.example:443", rest: bytes = b"") -> bytes:
    """Return a CONNECT, and what a hasty client sends behind it."""
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target) + rest


def tunnel(stage: Stage, host: str = "192.0.2.1") -> MemoryTransport:
    """Let a client open a tunnel; return it."""
    client = stage.client(host)
    client.says(connect())
    client.hears(ESTABLISHED)
    return client


def refused(stage: Stage, said: bytes, host: str = "192.0.2.1") -> tuple[bytes, Record]:
    """Let a client ask for a tunnel that it doesn't get; return the status and the record."""
    client = stage.client(host)
    client.says(said)
    return client.all_heard().split(b" ")[1], stage.records[-1]


def test_there_and_back() -> None:
    """A 200 without framing fields, and then bytes both ways; one line when it is over."""
    with script() as stage:
        client = tunnel(stage)
        client.says(b"\x16\x03hello")
        stage.origin.hears(b"\x16\x03hello")
        stage.origin.says(b"\x16\x03yes")
        client.hears(b"\x16\x03yes")
        assert stage.records == []
        client.closes()
        stage.turn()
        (record,) = stage.records
        assert (record.service, record.status, record.upstream) == ("tunnel", 200, "192.0.2.7:443")
        assert (record.sent, record.received, record.error) == (5, 7, "")
        assert stage.origin.is_gone


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        (b"b.example:443", "b.example", 443),
        (b"192.0.2.4:4984", "192.0.2.4", 4984),
        (b"[2001:db8::1]:443", "2001:db8::1", 443),
    ],
)
def test_targets(target: bytes, host: str, port: int) -> None:
    """Names and addresses of both kinds are dialled as they are."""
    with script() as stage:
        client = stage.client()
        client.says(connect(target))
        client.hears(ESTABLISHED)
        (asked,) = stage.dialler.asked
        assert (asked.host, asked.port) == (host, port)


def test_early_bytes() -> None:
    """Bytes sent with CONNECT, and while the origin is dialled, come first, and none is lost."""
    with script() as stage:
        stage.dialler.is_slow = True
        client = stage.client()
        client.says(connect(rest=b"first "))
        client.says(b"second ")
        stage.dialler.waiting.pop().callback(None)
        client.hears(ESTABLISHED)
        client.says(b"third")
        stage.origin.hears(b"first second third")


def test_more_early_bytes_than_are_held() -> None:
    """A client that sends a lot before the tunnel stands is paused, not lost."""
    with script() as stage:
        stage.dialler.is_slow = True
        client = stage.client()
        client.says(connect())
        client.says(b"x" * 70_000)
        assert not client.is_reading
        client.says(b"y" * 70_000)
        stage.dialler.waiting.pop().callback(None)
        stage.turn()
        client.hears(ESTABLISHED)
        stage.origin.hears(b"x" * 70_000 + b"y" * 70_000)


def test_early_half_close() -> None:
    """A client that has said everything before the tunnel stands still gets its answer."""
    with script() as stage:
        stage.dialler.is_slow = True
        client = stage.client()
        client.says(connect(rest=b"GET /"))
        client.ends()
        stage.dialler.waiting.pop().callback(None)
        stage.turn()
        stage.origin.hears(b"GET /")
        assert stage.origin.is_half_closed
        stage.origin.says(b"answer")
        stage.origin.ends()
        stage.turn()
        client.hears(ESTABLISHED + b"answer")
        assert client.is_gone
        assert len(stage.records) == 1


@pytest.mark.parametrize("whose", ["client", "origin"])
def test_half_close_crosses(whose: str) -> None:
    """The end of one side's input reaches the other one, which may go on."""
    with script() as stage:
        client = tunnel(stage)
        near, far = (client, stage.origin) if whose == "client" else (stage.origin, client)
        near.ends()
        stage.turn()
        assert far.is_half_closed
        far.says(b"still here")
        near.hears(b"still here")
        far.ends()
        stage.turn()
        assert near.is_gone
        assert far.is_gone


def test_origin_speaks_first() -> None:
    """What the origin says before the client knows of the tunnel waits for the 200."""
    with script() as stage:
        client = tunnel(stage)
        stage.origin.says(b"220 ready")
        client.hears(b"220 ready")


@pytest.mark.parametrize("whose", ["client", "origin"])
def test_counts_when_it_breaks(whose: str) -> None:
    """Bytes are counted in the log however the tunnel ends."""
    with script() as stage:
        client = tunnel(stage)
        client.says(b"12345")
        stage.origin.says(b"123")
        (client if whose == "client" else stage.origin).resets()
        stage.turn()
        assert (stage.records[0].sent, stage.records[0].received) == (3, 5)
        client.hears(b"123")
        stage.origin.hears(b"12345")
        assert client.is_gone
        assert stage.origin.is_gone


def test_idle_timeout() -> None:
    """A tunnel without a byte either way is cut, and logged with its counts."""
    with script(tunnels=replace(TUNNELS, idle_timeout=40.0)) as stage:
        client = tunnel(stage)
        stage.wait(35)
        client.says(b"ping")
        stage.origin.hears(b"ping")
        stage.wait(35)
        assert not client.is_gone
        stage.wait(16)
        assert client.is_aborted
        assert stage.origin.is_aborted
        assert (stage.records[0].status, stage.records[0].received) == (200, 4)


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_connect_with_a_body(line: bytes) -> None:
    """CONNECT that announces a body is refused: nobody knows where the tunnel would begin."""
    with script() as stage:
        said = connect().replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")
        assert refused(stage, said)[0] == b"400"


def test_connect_with_an_empty_body() -> None:
    """Content-Length 0 says what is true anyway."""
    with script() as stage:
        client = stage.client()
        client.says(connect().replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n") + b"hi")
        client.hears(ESTABLISHED)
        stage.origin.hears(b"hi")


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (errors.DestinationDenied("not there"), b"403"),
        (errors.LoopDetected("that is us"), b"508"),
        (errors.NameUnknown("no such name"), b"502"),
        (errors.ConnectRefused("refused"), b"502"),
        (errors.ConnectTimeout("no answer"), b"504"),
    ],
)
def test_failed_dials(refusal: errors.ExchangeError, status: bytes) -> None:
    """What goes wrong before the tunnel stands is told in HTTP, and the client may try again."""
    with script() as stage:
        stage.dialler.refusals = [refusal]
        client = stage.client()
        client.says(connect())
        assert client.all_heard().startswith(b"HTTP/1.1 " + status)
        assert (stage.records[-1].error, stage.records[-1].reason) == (
            refusal.token,
            refusal.reason,
        )
        assert stage.tunnel.counts.open == 0
        client.says(connect())
        client.hears(ESTABLISHED)


def test_limits() -> None:
    """One client too many, or one tunnel too many for a client: 503, until one ends."""
    with script(tunnels=LIMITS) as stage:
        first = tunnel(stage)
        tunnel(stage)
        status, record = refused(stage, connect())
        assert status == b"503"
        assert "this client" in record.reason
        tunnel(stage, "192.0.2.2")
        status, record = refused(stage, connect(), "192.0.2.3")
        assert status == b"503"
        assert "too many tunnels" in record.reason
        first.closes()
        stage.turn()
        tunnel(stage, "192.0.2.3")
        assert stage.tunnel.counts.open == 3


def test_client_leaves_while_dialling() -> None:
    """A client that leaves takes its place among the tunnels, and the dial, with it."""
    with script(tunnels=replace(TUNNELS, max_per_client=1)) as stage:
        stage.dialler.is_slow = True
        client = stage.client()
        client.says(connect())
        assert stage.tunnel.counts.open == 1
        client.resets()
        assert stage.tunnel.counts.open == 0
        assert stage.dialler.waiting.pop().called
        assert stage.records[0].status == 499


def test_counts() -> None:
    """One too many is turned away and not counted; who leaves is forgotten altogether."""
    counts = TunnelCounts(LIMITS)
    for client in ("a", "a", "b"):
        counts.enter(client)
    for client in ("a", "b", "c"):
        with pytest.raises(errors.Overloaded):
            counts.enter(client)
    assert counts.open == 3
    for client in ("a", "b", "a"):
        counts.leave(client)
    assert counts.open == 0
    for _ in range(1000):
        counts.enter("a")
        counts.leave("a")
