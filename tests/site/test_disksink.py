"""site.disksink and site.intake: bodies on their way to a disk or into memory, and no further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyapp import errors
from proxyapp.exchange import Client, Request
from proxyapp.net.task import Task
from proxyapp.net.timers import Sweep
from proxyapp.site import intake
from proxyapp.site.disksink import HOLD, STALL_TIMEOUT, DiskSink
from proxyapp.site.threads import Strand
from proxyapp.stream import Body
from proxyapp.wire import bodies
from proxyapp.wire.framing import CHUNKED, Framing, Kind
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import parse_target
from tests.support import MemorySource, RecordedReply, Witness, connect

_T = TypeVar("_T")
PIECE = b"x" * (HOLD // 4)


class Disk:
    """A disk and its threads: what is written waits for `turn`; *error* is what it says instead."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.written: list[bytes] = []
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = Deferred()

        def run() -> None:
            try:
                result = job()
            except Exception:
                done.errback(Failure())
            else:
                done.callback(result)

        self.jobs.append(run)
        return done

    def write(self, pieces: Sequence[bytes]) -> None:
        """Take *pieces*."""
        if self.error is not None:
            raise self.error
        self.calls += 1
        self.written += pieces

    def turn(self) -> None:
        """Do what waits."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job()


class Upload:
    """A body of *how* on its way to a disk; *outcome* is how it ended, once it did."""

    def __init__(self, how: Framing = CHUNKED, limit: int = 0) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.disk = Disk()
        self.source = MemorySource(connect(self.clock, Witness()), self.sweep)
        self.source.silence_timeout = 10 * STALL_TIMEOUT
        self.body = Body(bodies.decoder_for(how), self.source)
        self.sink = DiskSink(Strand(self.disk), self.disk.write, limit, self.body.fail)
        self.outcome: list[Exception | None] = []
        self.task = Task(self._receive(), self.outcome.append)
        self.task.resume()

    async def _receive(self) -> None:
        try:
            await self.body.deliver(self.sink)
        finally:
            await self.sink.settle()

    def push(self, data: bytes) -> None:
        """Let *data* arrive as a chunk."""
        self.body.push(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """Let the last chunk arrive."""
        self.body.push(b"0\r\n\r\n")

    @property
    def is_reading(self) -> bool:
        """May the client send more?"""
        return self.source.far.is_reading


def test_everything_in_order() -> None:
    """What comes is written in order, all that came meanwhile in one call; then it is over."""
    upload = Upload()
    for data in (b"ab", b"cd", b"ef"):
        upload.push(data)
    upload.disk.turn()
    upload.push(b"gh")
    upload.end()
    assert not upload.outcome
    while upload.disk.jobs:
        upload.disk.turn()
    assert upload.outcome == [None]
    assert b"".join(upload.disk.written) == b"abcdefgh"
    assert upload.disk.calls == 3


def test_back_pressure() -> None:
    """A client is paused when enough waits for the disk, and goes on when that was written."""
    upload = Upload()
    for _ in range(3):
        upload.push(PIECE)
    assert upload.is_reading
    upload.push(PIECE)
    assert not upload.is_reading
    upload.disk.turn()  # the first piece; the other three are one call
    assert upload.is_reading
    upload.disk.turn()
    upload.end()
    assert upload.outcome == [None]


def test_paused_before_anybody_listens() -> None:
    """A body whose beginning alone is too much for the moment pauses its client at once."""
    upload = Upload(Framing(Kind.LENGTH, 9))
    paused = []

    class Producer:
        def pauseProducing(self) -> None:
            paused.append(True)

        def resumeProducing(self) -> None:
            paused.append(False)

        def stopProducing(self) -> None:
            raise AssertionError("nobody stops it")

    sink = DiskSink(Strand(upload.disk), upload.disk.write, 0, upload.body.fail)
    sink.write(b"x" * HOLD)
    sink.registerProducer(Producer(), True)  # type: ignore[arg-type]  # zope can't see it
    upload.disk.turn()
    assert paused == [True, False]
    upload.task.cancel()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.InsufficientStorage("full"), errors.InsufficientStorage),
        (ValueError("a mistake"), errors.InternalError),
    ],
)
def test_disk_fails(error: Exception, told: type[Exception]) -> None:
    """When the disk fails the client is read no further, and hears it in our words."""
    upload = Upload()
    upload.disk.error = error
    upload.push(b"abc")
    upload.disk.turn()
    upload.push(b"more")
    assert not upload.disk.jobs
    (outcome,) = upload.outcome
    assert isinstance(outcome, told)
    assert "mistake" not in str(outcome)


def test_disk_fails_at_the_end() -> None:
    """The error of the last write isn't lost, though the body came whole."""
    upload = Upload()
    upload.push(b"abc")
    upload.end()
    upload.disk.error = full = errors.InsufficientStorage("full")
    upload.disk.turn()
    assert upload.outcome == [full]


@pytest.mark.parametrize("is_whole", [True, False])
def test_too_long(is_whole: bool) -> None:
    """A body that turns out longer than the limit ends there."""
    upload = Upload(limit=5)
    upload.push(b"abc")
    upload.push(b"def")
    if is_whole:
        upload.end()
    while upload.disk.jobs:
        upload.disk.turn()
    (outcome,) = upload.outcome
    assert isinstance(outcome, errors.BodyTooLarge)
    assert b"".join(upload.disk.written) == b"abc"


def test_cut_body_is_written_as_far_as_it_came() -> None:
    """What came before the connection broke reaches the disk before anybody hears of the end."""
    upload = Upload()
    upload.push(b"abc")
    upload.push(b"def")
    upload.body.end_input()
    assert not upload.outcome
    while upload.disk.jobs:
        upload.disk.turn()
    assert isinstance(upload.outcome[0], errors.ResponseIncomplete)
    assert b"".join(upload.disk.written) == b"abcdef"


def test_stalled_disk() -> None:
    """A disk that takes nothing for a minute ends the upload."""
    upload = Upload()
    for _ in range(4):
        upload.push(PIECE)
    for _ in range(int(STALL_TIMEOUT * 2)):
        upload.clock.advance(1)
    upload.disk.turn()
    upload.disk.turn()
    assert isinstance(upload.outcome[0], errors.InternalError)


# Intake.


def asked(body: Body, how: Framing, *fields: tuple[bytes, bytes]) -> Request:
    """Return a request with *body*."""
    raw: RawFields = list(fields)
    head = RequestHead(b"POST", b"/", 1, Fields(raw))
    return Request(head, parse_target(b"POST", b"/"), Client("192.0.2.1", 1), how, body)


class Small:
    """A body read whole into memory."""

    def __init__(self, how: Framing, *fields: tuple[bytes, bytes], early: bytes = b"") -> None:
        clock = Clock()
        source = MemorySource(connect(clock, Witness()), Sweep(clock))
        self.body = Body(bodies.decoder_for(how), source)
        if early:
            self.body.push(early)
        self.reply = RecordedReply(connect(clock, Witness()))
        self.content = b""
        self.outcome: list[Exception | None] = []
        Task(self._read(asked(self.body, how, *fields)), self.outcome.append).resume()

    async def _read(self, request: Request) -> None:
        self.content = await intake.read_whole(request, self.reply, 10, "this test")


EXPECT = (b"Expect", b"100-Continue")


@pytest.mark.parametrize(
    ("how", "early", "fields", "count"),
    [
        (Framing(Kind.LENGTH, 4), b"", [EXPECT], 1),
        (CHUNKED, b"", [EXPECT], 1),
        (Framing(Kind.LENGTH, 4), b"", [], 0),
        (Framing(Kind.LENGTH, 4), b"", [(b"Expect", b"200-maybe")], 0),
        (Framing(Kind.LENGTH, 4), b"a", [EXPECT], 0),
        (Framing(Kind.LENGTH, 0), b"", [EXPECT], 0),
        (Framing(Kind.LENGTH, 11), b"", [EXPECT], 0),
    ],
)
def test_100_continue(
    how: Framing, early: bytes, fields: list[tuple[bytes, bytes]], count: int
) -> None:
    """Who waits for it and has to be read gets one; others none, nor those who are refused."""
    small = Small(how, *fields, early=early)
    assert [head.status for head in small.reply.interims] == [100] * count


def test_small_body_whole() -> None:
    """A small body comes whole, however it was cut."""
    small = Small(CHUNKED)
    small.body.push(b"2\r\nab\r\n")
    small.body.push(b"3\r\ncde\r\n0\r\n\r\n")
    assert small.outcome == [None]
    assert small.content == b"abcde"


@pytest.mark.parametrize("early", [b"", b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"])
def test_small_body_too_long(early: bytes) -> None:
    """One that is longer than allowed is refused, when it came in one go as well."""
    small = Small(CHUNKED, early=early)
    if not early:
        small.body.push(b"b\r\n" + b"x" * 11 + b"\r\n")
    assert isinstance(small.outcome[0], errors.BodyTooLarge)
