"""reply: how the answer is framed for this client, gathered, and counted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from twisted.internet.interfaces import IPullProducer

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.rules.ranges import ByteRange
from proxyapp.server.reply import ClientReply
from proxyapp.wire.framing import NO_BODY, Framing, Kind
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse
from tests.server.conftest import Scene, Wire, hang_up

DATE = b"Date: Sun, 09 Sep 2001 01:46:40 GMT"
OK = OutgoingResponse(200, b"OK", [(b"X", b"y")])


def asking(version: bytes = b"1.1", *lines: bytes, method: bytes = b"GET") -> bytes:
    """Return a request."""
    start = method + b" http://h/ HTTP/" + version
    return b"\r\n".join([start, b"Host: h", *lines, b"", b""])


def converse(scene: Scene, request: bytes, *acts: object) -> tuple[list[bytes], bytes, Wire]:
    """Return the lines of the answer's head without its first field, its body, and the wire."""
    connection, wire = scene.connect()
    scene.script.acts += acts  # type: ignore[arg-type]
    connection.dataReceived(request)
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body, wire


# --- Whole answers ---


@pytest.mark.parametrize(
    ("request_", "status", "fields", "body"),
    [
        (asking(), 200, [b"Content-Length: 3", DATE], b"abc"),
        (asking(method=b"HEAD"), 200, [b"Content-Length: 3", DATE], b""),
        (asking(), 304, [DATE], b""),
        (asking(b"1.0"), 200, [b"Content-Length: 3", DATE, b"Connection: close"], b"abc"),
        (
            asking(b"1.0", b"Connection: Keep-Alive"),
            200,
            [b"Content-Length: 3", DATE, b"Connection: keep-alive"],
            b"abc",
        ),
        (
            asking(b"1.1", b"Connection: close"),
            200,
            [b"Content-Length: 3", DATE, b"Connection: close"],
            b"abc",
        ),
        (
            asking(b"1.1", b"Content-Length: 5", method=b"POST"),
            200,
            [b"Content-Length: 3", DATE, b"Connection: close"],
            b"abc",
        ),
    ],
)
def test_own_answers(
    scene: Scene, request_: bytes, status: int, fields: list[bytes], body: bytes
) -> None:
    """An answer of ours leaves in one write, with its length, a date, and how it ends."""

    async def act(request: Request, reply: Reply) -> None:
        reply.answer(OutgoingResponse(status, b"R", [(b"X", b"y")]), b"abc")

    lines, sent, wire = converse(scene, request_, act)
    assert lines == [b"HTTP/1.1 %d R" % status, b"X: y", *fields]
    assert (sent, wire.writes) == (body, 1)
    assert wire.ending == ("closed" if b"Connection: close" in fields else "")
    assert scene.records[0].sent == len(body)


# --- Streamed answers ---

LENGTH, CHUNKED, CLOSE = Framing(Kind.LENGTH, 4), Framing(Kind.CHUNKED), Framing(Kind.CLOSE)
CHUNKS = b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "how", "fields", "body"),
    [
        (asking(), LENGTH, [], b"abcd"),
        (asking(), CHUNKED, [b"Transfer-Encoding: chunked"], CHUNKS),
        (asking(), CLOSE, [b"Transfer-Encoding: chunked"], CHUNKS),
        (asking(b"1.0"), LENGTH, [b"Connection: close"], b"abcd"),
        (asking(b"1.0"), CHUNKED, [b"Connection: close"], b"abcd"),
        (asking(b"1.0", b"Connection: keep-alive"), CLOSE, [b"Connection: close"], b"abcd"),
        (asking(b"1.0", b"Connection: keep-alive"), LENGTH, [b"Connection: keep-alive"], b"abcd"),
        (asking(method=b"HEAD"), LENGTH, [], b""),
        (asking(method=b"HEAD"), CHUNKED, [], b""),
    ],
)
def test_streams(
    scene: Scene, request_: bytes, how: Framing, fields: list[bytes], body: bytes
) -> None:
    """A body is framed as this client can read it, and counted without its framing."""

    async def act(request: Request, reply: Reply) -> None:
        sink = reply.begin(OK, how)
        sink.write(b"ab")
        sink.flush()
        sink.write(b"cd")
        sink.finish(Fields([]))

    lines, sent, wire = converse(scene, request_, act)
    assert lines == [b"HTTP/1.1 200 OK", b"X: y", *fields]
    assert sent == body
    assert wire.ending == ("closed" if b"Connection: close" in fields else "")
    assert scene.records[0].sent == (4 if body else 0)


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_at_all(scene: Scene, status: int) -> None:
    """What has no body gets no framing, and the connection stays."""

    async def act(request: Request, reply: Reply) -> None:
        sink = reply.begin(OutgoingResponse(status, b"R", []), NO_BODY)
        sink.finish(Fields([]))

    lines, sent, wire = converse(scene, asking(), act)
    assert (lines, sent, wire.ending) == ([b"HTTP/1.1 %d R" % status], b"", "")


def test_head_and_first_piece_leave_together(scene: Scene) -> None:
    """Until a pause everything is one write; behind it each piece leaves at once."""
    writes: list[int] = []

    async def act(request: Request, reply: Reply) -> None:
        sink = reply.begin(OK, LENGTH)
        for piece in (b"a", b"b"):
            sink.write(piece)
            writes.append(wires[0].writes)
        sink.flush()
        writes.append(wires[0].writes)
        sink.write(b"cd")
        writes.append(wires[0].writes)
        sink.finish(Fields([]))

    connection, wire = scene.connect()
    wires = [wire]
    scene.script.acts.append(act)
    connection.dataReceived(asking())
    assert writes == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("version", "how", "is_raw"),
    [
        (b"1.1", LENGTH, True),
        (b"1.1", CHUNKED, False),
        (b"1.0", CLOSE, True),
        (b"1.1", NO_BODY, False),
    ],
)
def test_what_may_be_spliced(scene: Scene, version: bytes, how: Framing, is_raw: bool) -> None:
    """Only bytes that leave as they came may go past us; they are counted all the same."""
    seen: list[bool] = []

    async def act(request: Request, reply: Reply) -> None:
        sink = reply.begin(OK, how)
        seen.append(sink.is_raw)
        assert sink.stall_timeout == scene.around.limits.write_timeout
        assert isinstance(sink.stalled(), errors.WriteTimeout)
        sink.passed(1000)
        sink.finish(Fields([]))

    converse(scene, asking(version), act)
    assert seen == [is_raw]
    assert scene.records[0].sent == 1000


def test_trailers(scene: Scene) -> None:
    """Trailer fields go behind the last chunk, but for those that may not stand there."""

    async def act(request: Request, reply: Reply) -> None:
        sink = reply.begin(OK, CHUNKED)
        sink.finish(Fields([(b"X-Sum", b"1"), (b"Content-Length", b"3")]))

    _, body, _ = converse(scene, asking(), act)
    assert body == b"0\r\nX-Sum: 1\r\n\r\n"


# --- Interim answers and what leaves HTTP ---


@pytest.mark.parametrize(("version", "count"), [(b"1.1", 2), (b"1.0", 0)])
def test_interim(scene: Scene, version: bytes, count: int) -> None:
    """1xx goes out at once, to those who can read it, and never behind the final head."""
    hint = OutgoingResponse(103, b"Early Hints", [(b"Link", b"</>")])

    async def act(request: Request, reply: Reply) -> None:
        reply.interim(hint)
        reply.interim(hint)
        assert not reply.has_begun
        reply.answer(OK, b"")
        assert reply.has_begun
        reply.interim(hint)

    connection, wire = scene.connect()
    scene.script.acts.append(act)
    connection.dataReceived(asking(version))
    assert wire.sent.count(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n") == count
    assert wire.sent.count(b"HTTP/1.1 200 OK") == 1


class Ear:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def received(self, data: bytes) -> None:
        self.heard.append(data)

    def input_ended(self) -> None:
        self.heard.append("end")

    def lost(self, is_clean: bool) -> None:
        self.heard.append(is_clean)


def test_taking_over(scene: Scene) -> None:
    """The head goes out without framing; early bytes are handed over, later ones are received."""
    ear = Ear()
    taken: list[bytes] = []

    async def act(request: Request, reply: Reply) -> None:
        connection = reply.take_over(OutgoingResponse(101, b"S", [(b"Upgrade", b"x")]), ear)
        taken.append(connection.early)

    connection, wire = scene.connect()
    scene.script.acts.append(act)
    connection.dataReceived(asking() + b"early")
    assert wire.sent == b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n"
    connection.dataReceived(b"late")
    connection.readConnectionLost()
    hang_up(connection, wire, is_clean=False)
    assert taken == [b"early"]
    assert ear.heard == [b"late", "end", False]
    assert scene.statuses == [101]


# --- Files ---


class Opened(NamedTuple):
    """See sendfile.File."""

    descriptor: int
    status: os.stat_result

    def close(self) -> None:
        os.close(self.descriptor)


def opened(path: Path, content: bytes) -> Opened:
    """Make a file and open it."""
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    return Opened(descriptor, os.fstat(descriptor))


def copy_out(wire: Wire) -> None:
    """Ask the producer on *wire* for all it has, as a transport does."""
    while wire.producer is not None:
        cast(IPullProducer, wire.producer).resumeProducing()


@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_file(scene: Scene, tmp_path: Path, size: int) -> None:
    """A piece of a file is the body, with its length; HEAD gets the length alone."""
    file = opened(tmp_path / "file", b"-" + b"f" * size + b"-")

    async def act(request: Request, reply: Reply) -> None:
        await reply.answer_pieces(OK, file, [ByteRange(1, size)] if size else [])

    connection, wire = scene.connect()
    scene.script.acts += [act, act]
    connection.dataReceived(asking())
    copy_out(wire)
    head, _, body = wire.take().partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: %d\r\n" % size in head
    assert body == b"f" * size
    connection.dataReceived(asking(method=b"HEAD"))
    assert wire.take().endswith(DATE + b"\r\n\r\n")
    file.close()
    assert [record.sent for record in scene.records] == [size, 0]


def test_file_that_shrinks(scene: Scene, tmp_path: Path) -> None:
    """A file that turns out shorter than was said cuts the connection."""
    file = opened(tmp_path / "file", b"f" * 10)

    async def act(request: Request, reply: Reply) -> None:
        await reply.answer_pieces(OK, file, [ByteRange(0, 20)])

    connection, wire = scene.connect()
    scene.script.acts.append(act)
    connection.dataReceived(asking())
    copy_out(wire)
    file.close()
    assert wire.ending == "aborted"
    (record,) = scene.records
    assert (record.status, record.sent, record.error) == (200, 10, "proxy_internal_error")


PIECES = [b"<", ByteRange(2, 3), b"><", ByteRange(100_000, 90_000), b">", b"!"]


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([], b""),
        ([b"a", b"b"], b"ab"),
        ([ByteRange(0, 4)], b"0123"),
        ([b"<", ByteRange(2, 3)], b"<234"),
        ([ByteRange(2, 3), b">"], b"234>"),
        ([ByteRange(8, 1), ByteRange(0, 2)], b"801"),
        (PIECES, b"<234><" + b"0123456789" * 9000 + b">!"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_pieces(
    scene: Scene,
    tmp_path: Path,
    pieces: list[bytes | ByteRange],
    body: bytes,
    method: bytes,
) -> None:
    """Bytes and parts of a file leave in their order, under their whole length; HEAD has none."""
    file = opened(tmp_path / "file", b"0123456789" * 20_000)

    async def act(request: Request, reply: Reply) -> None:
        await reply.answer_pieces(OK, file, pieces)

    connection, wire = scene.connect()
    scene.script.acts.append(act)
    connection.dataReceived(asking(method=method))
    copy_out(wire)
    file.close()
    head, _, sent = wire.take().partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert sent == (body if method == b"GET" else b"")
    assert [record.sent for record in scene.records] == [len(sent)]
    assert not wire.ending


@pytest.mark.parametrize("at", [0, 1, 2])
def test_file_that_changes(scene: Scene, tmp_path: Path, at: int) -> None:
    """A file that is written to cuts the connection, in whichever piece that is noticed."""
    file = opened(tmp_path / "file", b"f" * 300_000)
    os.utime(tmp_path / "file", (1, 1))
    file = file._replace(status=os.fstat(file.descriptor))
    size = 70_000

    async def act(request: Request, reply: Reply) -> None:
        await reply.answer_pieces(OK, file, [ByteRange(n * size, size) for n in range(3)])

    connection, wire = scene.connect()
    scene.script.acts.append(act)
    connection.dataReceived(asking())
    for _ in range(3 * at):  # two steps with bytes, and one that finds the end
        cast(IPullProducer, wire.producer).resumeProducing()
    (tmp_path / "file").write_bytes(b"g" * 300_000)
    copy_out(wire)
    file.close()
    assert wire.ending == "aborted"
    (record,) = scene.records
    assert record.reason == "the file changed while it was sent"
    assert at * size <= record.sent < (at + 1) * size


def test_state_report(scene: Scene) -> None:
    """The representation says how far the answer is, and the reply knows our end."""
    seen: list[str] = []

    async def act(request: Request, reply: Reply) -> None:
        assert isinstance(reply, ClientReply)
        seen.append(repr(reply))
        reply.answer(OK, b"abc")
        seen.append(repr(reply))
        assert (reply.local_host, reply.local_port) == ("192.0.2.1", 3128)

    converse(scene, asking(), act)
    assert seen == ["<ClientReply 0, 0 bytes sent>", "<ClientReply 200, 3 bytes sent>"]
