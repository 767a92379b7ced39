"""A way to ask a responder without a connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import pytest

from proxyapp import stream
from proxyapp.exchange import Client, Request, Responder, TakenOver
from proxyapp.net.sendfile import File
from proxyapp.rules.ranges import ByteRange
from proxyapp.rules.record import Record
from proxyapp.wire.framing import NO_BODY, Framing
from proxyapp.wire.headers import Fields, RawFields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import parse_target
from tests.site.foldersite import serve

__all__ = ["serve"]

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]


class RememberedReply:
    """A Reply that keeps its one answer; *calls* names the ways it was given."""

    def __init__(self, calls: list[str], local_host: str, local_port: int) -> None:
        self.local_host = local_host
        self.local_port = local_port
        self.record = Record()
        self.calls = calls
        self.head: OutgoingResponse | None = None
        self.body = b""

    @property
    def has_begun(self) -> bool:
        return self.head is not None

    def interim(self, head: OutgoingResponse) -> None:
        raise AssertionError("no site has anything to say in advance")

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        assert self.head is None
        self.calls.append("answer")
        self.head, self.body = head, body

    async def answer_pieces(
        self, head: OutgoingResponse, file: File, pieces: Sequence[bytes | ByteRange]
    ) -> None:
        assert self.head is None
        self.calls.append("answer_pieces")
        self.head = head
        for piece in pieces:
            if isinstance(piece, bytes):
                self.body += piece
            else:
                self.body += os.pread(file.descriptor, piece.size, piece.offset)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        raise AssertionError("the length of a file is known")

    def take_over(self, head: OutgoingResponse | None, receiver: stream.Receiver) -> TakenOver:
        raise AssertionError("a site stays with HTTP")


@pytest.fixture
def calls() -> list[str]:
    """Return the list in which `visit` notes how it was answered."""
    return []


@pytest.fixture
def visit(calls: list[str]) -> Visit:
    """Return what asks a responder once, and gives back the head and the body of its answer."""

    def ask(
        responder: Responder,
        target: bytes,
        *lines: tuple[bytes, bytes],
        method: bytes = b"GET",
        local: tuple[str, int] = ("192.168.7.1", 8080),
    ) -> tuple[OutgoingResponse, bytes]:
        fields: RawFields = list(lines)
        request = Request(
            head=RequestHead(method, target, 1, Fields(fields)),
            target=parse_target(method, target),
            client=Client("192.0.2.1", 50000),
            framing=NO_BODY,
            body=cast(stream.Body, None),
        )
        reply = RememberedReply(calls, *local)
        coroutine = responder.respond(request, reply)
        # Nothing a site does here waits for anything, so one step is the whole way.
        with pytest.raises(StopIteration):
            coroutine.__await__().__next__()
        assert reply.head is not None
        assert reply.record.service == "site"
        return reply.head, reply.body

    return ask
