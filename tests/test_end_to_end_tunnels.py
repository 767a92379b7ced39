"""CONNECT from outside: bytes both ways, and every way in which a tunnel ends."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.appliance import Running
from tests.conftest import Connect, StartAppliance
from tests.origin import Origin, shout
from tests.talk import Response, Talk


def connecting(authority: str, *lines: bytes) -> bytes:
    """Return the request for a tunnel."""
    target = authority.encode("ascii")
    head = [b"CONNECT " + target + b" HTTP/1.1", b"Host: " + target, *lines, b"", b""]
    return b"\r\n".join(head)


def open_tunnel(talk: Talk, authority: str) -> Response:
    """Ask for a tunnel, and return the answer."""
    talk.send(connecting(authority))
    return talk.response(b"CONNECT")


@pytest.fixture
def talk(running: Running, connect: Connect) -> Talk:
    """Return a connection to the proxy."""
    return connect(running.proxy)


# --- Bytes ---


def test_success_has_no_framing(talk: Talk) -> None:
    """The 200 says nothing about a body (RFC 9110 section 9.3.6), and bytes follow at once."""
    with Origin(shout) as far:
        answer = open_tunnel(talk, far.authority)
        assert answer.head.raw == b"HTTP/1.1 200 Connection established\r\n\r\n"
        talk.send(b"hello")
        assert talk.exactly(5) == b"HELLO"
        talk.close()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_without_host(talk: Talk, version: bytes) -> None:
    """HTTP/1.0 needs no Host to ask for a tunnel."""
    with Origin(shout) as far:
        request = connecting(far.authority).replace(b"HTTP/1.1", b"HTTP/" + version)
        talk.send(request)
        assert talk.response(b"CONNECT").status == 200
        talk.close()


def test_bytes_sent_with_the_request(talk: Talk) -> None:
    """What comes with CONNECT, or before the answer, is the tunnel's."""
    with Origin(shout) as far:
        talk.send(connecting(far.authority), b"with it, ")
        talk.send(b"and behind")
        assert talk.response(b"CONNECT").status == 200
        assert talk.exactly(19) == b"WITH IT, AND BEHIND"
        talk.close()


def test_many_bytes_sent_with_the_request(talk: Talk) -> None:
    """More of them than a head may have are held up, and not lost."""
    early = b"e" * 1_000_000
    with Origin(lambda far: far.send(b"%d" % len(far.exactly(1_000_000)))) as far:
        talk.send(connecting(far.authority), early)
        assert talk.response(b"CONNECT").status == 200
        assert talk.rest() == b"1000000"


def test_origin_speaks_first(talk: Talk) -> None:
    """A greeting comes behind the 200, however early the origin sent it."""
    with Origin(lambda far: far.send(b"220 ready\r\n")) as far:
        talk.send(connecting(far.authority))
        assert talk.response(b"CONNECT").head.start.startswith(b"HTTP/1.1 200")
        assert talk.rest() == b"220 ready\r\n"


def test_ipv6(talk: Talk) -> None:
    """An IPv6 address stands in brackets."""
    if not socket.has_ipv6 or not _has_loopback_ipv6():
        pytest.skip("this machine has no IPv6")
    with Origin(shout, "::1") as far:
        assert far.authority.startswith("[::1]:")
        assert open_tunnel(talk, far.authority).status == 200
        talk.send(b"six")
        assert talk.exactly(3) == b"SIX"
        talk.close()


def _has_loopback_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


# --- Ends ---


@pytest.mark.parametrize("size", [5, 3_000_000], ids=["copied", "spliced"])
def test_half_close_crosses_to_the_origin(talk: Talk, size: int) -> None:
    """The client's end of input reaches the origin, whose answer still comes back whole."""

    def count(far: Talk) -> None:
        far.send(b"%d " % len(far.rest()), b"t" * size)

    with Origin(count) as far:
        open_tunnel(talk, far.authority)
        talk.send(b"x" * size)
        talk.half_close()
        assert talk.rest() == b"%d " % size + b"t" * size


@pytest.mark.parametrize("size", [5, 3_000_000], ids=["copied", "spliced"])
def test_half_close_crosses_to_the_client(talk: Talk, size: int) -> None:
    """The origin's end of input reaches the client, which still may send."""
    heard: list[int] = []

    def speak(far: Talk) -> None:
        far.send(b"t" * size)
        far.half_close()
        heard.append(len(far.rest()))

    with Origin(speak) as far:
        open_tunnel(talk, far.authority)
        assert talk.rest() == b"t" * size
        talk.send(b"x" * size)
        talk.half_close()
        far.wait_until_idle()
    assert heard == [size]


def test_reset_crosses(talk: Talk, running: Running) -> None:
    """A broken end breaks the other one, too."""
    before = running.logged
    with Origin(lambda far: far.reset() if far.exactly(1) else None) as far:
        open_tunnel(talk, far.authority)
        talk.send(b"x")
        with pytest.raises((ConnectionResetError, EOFError)):
            talk.exactly(1)
        assert '"service":"tunnel"' in running.line_with(far.authority, before)


def test_idle_timeout(start_appliance: StartAppliance, connect: Connect) -> None:
    """A tunnel in which nothing moves is ended; one that moves isn't."""
    with Origin(shout) as far, start_appliance("[tunnel]\nidle_timeout = 1s\n") as running:
        talk = connect(running.proxy)
        open_tunnel(talk, far.authority)
        for _ in range(6):
            time.sleep(0.25)  # traffic that outlives the time-out
            talk.send(b"on")
            assert talk.exactly(2) == b"ON"
        with pytest.raises((ConnectionResetError, EOFError)):
            talk.exactly(1)
        assert far.authority in running.lines(1)[0]


def test_counts_in_the_log(talk: Talk, running: Running) -> None:
    """One line when it ends, with the bytes of either way."""
    before = running.logged
    with Origin(lambda far: far.send(far.exactly(3), b"0123456789")) as far:
        talk.send(connecting(far.authority), b"ab")
        talk.response(b"CONNECT")
        talk.send(b"c")
        assert talk.rest() == b"abc0123456789"
        talk.close()
        line = json.loads(running.line_with(far.authority, before))
    assert (line["status"], line["sent"], line["received"]) == (200, 13, 3)
    assert (line["service"], line["method"]) == ("tunnel", "CONNECT")
    assert (line["target"], line["upstream"]) == (far.authority, far.authority)
    assert line["client_port"] > 0


def test_no_descriptor_is_left(running: Running, connect: Connect) -> None:
    """Tunnels of every length and end leave none behind."""
    with Origin(shout) as far:
        talks = []
        for size in (0, 1, 300_000) * 30:
            talk = connect(running.proxy)
            open_tunnel(talk, far.authority)
            talk.send(b"x" * size)
            assert talk.exactly(size) == b"X" * size
            talks.append(talk)
        for number, talk in enumerate(talks):
            (talk.close, talk.reset, talk.half_close)[number % 3]()
        far.wait_until_idle()
    running.wait_for_sockets(most=14)


# --- Refusals ---


def test_ports(start_appliance: StartAppliance, connect: Connect) -> None:
    """Only the ports of [tunnel] ports may be reached, and a refusal says so."""
    with Origin(shout) as far, start_appliance("[tunnel]\nports = 443\n") as running:
        talk = connect(running.proxy)
        answer = open_tunnel(talk, far.authority)
        assert answer.status == 403
        assert b"http_request_denied" in answer.head.one(b"proxy-status")
        assert f"{far.port}".encode() in answer.body
        assert '"status":403' in running.lines(1)[0]
        assert far.connections == 0


def test_a_refusal_keeps_the_connection(talk: Talk, running: Running) -> None:
    """After a refusal the client may ask for something else on the same connection."""
    with Origin(shout) as far, socket.create_server(("127.0.0.1", 0)) as unheard:
        closed = unheard.getsockname()[1]
        unheard.close()
        answer = open_tunnel(talk, f"127.0.0.1:{closed}")
        assert answer.status == 502
        assert b"connection_refused" in answer.head.one(b"proxy-status")
        assert open_tunnel(talk, far.authority).status == 200
        talk.close()


def test_to_ourselves(talk: Talk, running: Running) -> None:
    """A tunnel to our own port is a loop."""
    answer = open_tunnel(talk, f"127.0.0.1:{running.proxy}")
    assert answer.status == 508
    assert b"proxy_loop_detected" in answer.head.one(b"proxy-status")


@pytest.mark.parametrize(
    "target", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "[::1:443", "u@h:443", "http://h/", "/"]
)
def test_wrong_targets(talk: Talk, target: str) -> None:
    """CONNECT needs host:port, and nothing else."""
    talk.send(b"CONNECT ", target.encode("ascii"), b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert talk.response().status == 400


@pytest.mark.parametrize("limit", ["max_per_client", "max_total"])
def test_limits(start_appliance: StartAppliance, connect: Connect, limit: str) -> None:
    """One tunnel too many is told to wait; when another one ends there is room."""
    with Origin(shout) as far, start_appliance(f"[tunnel]\n{limit} = 1\n") as running:
        first, second = connect(running.proxy), connect(running.proxy)
        assert open_tunnel(first, far.authority).status == 200
        answer = open_tunnel(second, far.authority)
        assert answer.status == 503
        assert b"connection_limit_reached" in answer.head.one(b"proxy-status")
        first.close()
        running.lines(2)
        assert open_tunnel(second, far.authority).status == 200
        second.close()
