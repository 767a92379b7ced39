"""The channel: messages and descriptors between two processes, and what a worker reads first."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no types
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel, capturedLogs

from proxyapp.net.reactor import ApplianceReactor
from proxyapp.net.shared import make_memory
from proxyapp.workers import events, inherited
from proxyapp.workers.channel import Channel, open_channel
from proxyapp.workers.events import EventSender, log_event
from proxyapp.workers.inherited import VARIABLE, NoMaster
from proxyapp.workers.messages import BadMessage, Message, to_line
from tests.conftest import LoggedErrors

awaiting = pytest_twisted.ensureDeferred


class End:
    """One end of a channel, and what it has heard."""

    def __init__(self, reactor: ApplianceReactor, end: socket.socket) -> None:
        self.heard: list[Message] = []
        self.descriptors: list[list[int]] = []
        self.lost: Deferred[None] = Deferred()
        self._expected: Deferred[None] | None = None
        self.channel = Channel(self._hear, lambda: self.lost.callback(None))
        open_channel(reactor, end, self.channel)

    def _hear(self, message: Message) -> None:
        self.heard.append(message)
        wanted = message.count("count") if "count" in message.fields else 0
        self.descriptors.append(self.channel.take_descriptors(wanted))
        if message.word == "last" and self._expected is not None:
            self._expected.callback(None)

    def all(self) -> Deferred[None]:
        """Fire when the last message is here."""
        self._expected = Deferred()
        return self._expected


@pytest.fixture
def ends(reactor: ApplianceReactor) -> Iterator[tuple[End, End]]:
    """Yield both ends of a channel."""
    one, other = socket.socketpair()
    first, second = End(reactor, one), End(reactor, other)
    yield first, second
    first.channel.close()
    for end in (first, second):
        pytest_twisted.blockon(end.lost)


@awaiting
async def test_messages(ends: tuple[End, End]) -> None:
    """They arrive in order, however long they are."""
    here, there = ends
    arrived = there.all()
    here.channel.say("first", text="x" * 1_000_000)
    here.channel.say("last", number=1)
    await arrived
    assert [message.word for message in there.heard] == ["first", "last"]
    assert len(there.heard[0].text("text")) == 1_000_000


@awaiting
async def test_descriptors(ends: tuple[End, End]) -> None:
    """Descriptors come with their message, and stand for the same things."""
    here, there = ends
    read_end, write_end = os.pipe()
    arrived = there.all()
    here.channel.say("none")
    here.channel.hand("one", [read_end], count=1)
    here.channel.hand("one", [write_end], count=1)
    here.channel.say("last")
    await arrived
    assert [len(found) for found in there.descriptors] == [0, 1, 1, 0]
    (their_read_end,), (their_write_end,) = there.descriptors[1:3]
    os.write(their_write_end, b"hello")
    assert os.read(read_end, 9) == b"hello"
    assert not os.get_inheritable(their_read_end)
    for descriptor in (read_end, write_end, their_read_end, their_write_end):
        os.close(descriptor)


@awaiting
async def test_nonsense(ends: tuple[End, End], logged_errors: LoggedErrors) -> None:
    """A line that is no message is passed over, and the event log has it."""
    here, there = ends
    arrived = there.all()
    here.channel.transport.write(b"nonsense\n")
    here.channel.say("last")
    await arrived
    assert [message.word for message in there.heard] == ["last"]
    assert len(logged_errors.flush(BadMessage)) == 1


@awaiting
async def test_after_the_end(ends: tuple[End, End]) -> None:
    """Who speaks to nobody does no harm."""
    here, there = ends
    there.channel.close()
    await here.lost
    here.channel.say("late")
    here.lost, there.lost = Deferred(), Deferred()
    here.lost.callback(None)
    there.lost.callback(None)


# --- What a worker gets first ---


def hello(**fields: object) -> bytes:
    """Return the master's first line."""
    return to_line("hello", {"number": 1, "row": 2, "secret": "00ff", "ini": None, **fields})  # type: ignore[arg-type,dict-item]


@pytest.fixture
def memory() -> Iterator[None]:
    """Have shared memory where a worker finds it."""
    made, kept = make_memory(), os.dup(inherited.MEMORY)
    os.dup2(made.descriptor, inherited.MEMORY)
    yield
    os.dup2(kept, inherited.MEMORY)
    os.close(kept)
    os.close(made.descriptor)
    made.close()


def inherit(sent: bytes) -> tuple[inherited.Inherited, bytes]:
    """Return what a worker reads of *sent*, and what it leaves."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        environ = {VARIABLE: str(theirs.detach())}
        part = inherited.inherited(environ)
        assert environ == {}, "nobody else shall take itself for a worker"
        return part, part.channel.recv(100)


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(("ini", "found"), [(None, None), ("[a]\n\xe9", b"[a]\n\xe9")])
def test_first_word(ini: str | None, found: bytes | None) -> None:
    """It is read to the byte: what follows is for who speaks later."""
    part, rest = inherit(hello(ini=ini) + b"rest")
    assert (part.number, part.row, part.secret, part.ini) == (1, 2, b"\x00\xff", found)
    assert rest == b"rest"
    part.channel.close()
    part.memory.close()


@pytest.mark.parametrize("sent", [b"", b"[", b"nonsense\n", hello(number="x"), hello(secret="x")])
def test_no_master(sent: bytes) -> None:
    """Who isn't started by a master says so."""
    with pytest.raises(NoMaster):
        inherit(sent)
    with pytest.raises(NoMaster):
        inherited.inherited({VARIABLE: "x"})


@pytest.mark.usefixtures("memory")
def test_giving_up() -> None:
    """A worker can say why it ends before it has a reactor; nobody needs to listen."""
    ours, theirs = socket.socketpair()
    ours.sendall(hello())
    part = inherited.inherited({VARIABLE: str(theirs.detach())})
    part.give_up(["one", "two"])
    assert ours.recv(100) == to_line("mistaken", {"mistakes": ["one", "two"]})
    ours.close()
    part.give_up(["three"])
    part.channel.close()
    part.memory.close()


# --- The event log of a worker ---


class Said:
    """Stands in for a channel."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def say(self, word: str, level: str, text: str) -> None:
        """See Channel."""
        assert word == "event"
        self.said.append((level, text))


def test_events_wait() -> None:
    """What is logged before there is a channel is sent when there is one; only ours, and faults."""
    sender, said = EventSender(), Said()
    ours = Logger(namespace="proxyapp.x", observer=sender)
    twisteds = Logger(namespace="twisted.x", observer=sender)
    ours.info("hello {who}", who="world")
    twisteds.info("chatter")
    twisteds.warn("careful")
    assert said.said == []
    sender.open(said)  # type: ignore[arg-type]  # as far as it's used
    ours.error("bad")
    try:
        raise ValueError("a reason")
    except ValueError:
        ours.failure("failed")
    assert said.said[:3] == [("info", "hello world"), ("warn", "careful"), ("error", "bad")]
    level, text = said.said[3]
    assert level == "critical"
    assert "ValueError: a reason" in text


def test_events_are_logged() -> None:
    """The master logs them as they are, and by whom."""
    with capturedLogs() as logged:
        log_event(Message("event", {"level": "warn", "text": "50% {odd}"}), "worker 2 (9)")
    (event,) = logged
    assert event["log_level"] is LogLevel.warn
    assert (event["text"], event["log_system"]) == ("50% {odd}", "worker 2 (9)")
    with pytest.raises(BadMessage):
        log_event(Message("event", {"level": "loud", "text": "x"}), "x")


def test_observer() -> None:
    """twistd gets the one that the worker opens."""
    assert events.observer() is events.observer()
