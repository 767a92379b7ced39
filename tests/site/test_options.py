"""options: OPTIONS * for either port, and what the site's port says of the proxy's work."""

from __future__ import annotations

from typing import cast

import pytest

from proxyapp import errors, stream
from proxyapp.exchange import Client, Reply, Request, Responder
from proxyapp.rules.record import Record
from proxyapp.site.options import MisdirectedSite, ServerOptions
from proxyapp.wire.framing import NO_BODY
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import OutgoingResponse, RequestHead
from proxyapp.wire.target import parse_target

OWN_PORT = 8080


class Answered:
    """A reply on our port 8080 that keeps what it is told."""

    local_port = OWN_PORT

    def __init__(self) -> None:
        self.record = Record()
        self.heads: list[OutgoingResponse] = []
        self.bodies: list[bytes] = []

    def answer(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply."""
        self.heads.append(head)
        self.bodies.append(body)


class Files:
    """Stands for the static site."""

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.answer(OutgoingResponse(200, b"OK", []), b"file " + request.target.path)


def is_own(host: str) -> bool:
    """Is *host* a name of ours?"""
    return host in ("h", "::1")


def ask(responder: Responder, method: bytes, target: bytes) -> Answered:
    """Return what *responder* says; it waits for nothing."""
    head = RequestHead(method, target, 1, Fields([]))
    body = cast(stream.Body, None)
    request = Request(head, parse_target(method, target), Client("c", 1), NO_BODY, body)
    answered = Answered()
    coroutine = responder.respond(request, cast(Reply, answered))
    with pytest.raises(StopIteration):
        coroutine.__await__().__next__()
    return answered


@pytest.mark.parametrize("methods", [b"GET, HEAD", b"CONNECT, GET"])
def test_server_options(methods: bytes) -> None:
    """OPTIONS * gets 204 and the methods that it was made with."""
    answered = ask(ServerOptions(methods), b"OPTIONS", b"*")
    assert answered.heads == [OutgoingResponse(204, b"No Content", [(b"Allow", methods)])]
    assert answered.bodies == [b""]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"http://h/"),
        (b"GET", b"http://h:80/"),
        (b"GET", b"http://h:3128/"),
        (b"GET", b"https://h:8080/"),
        (b"GET", b"http://example.com:8080/"),
        (b"GET", b"http://h.example.com:8080/"),
        (b"CONNECT", b"h:8080"),
        (b"CONNECT", b"h:443"),
    ],
)
def test_misdirected(method: bytes, target: bytes) -> None:
    """What is the proxy's work is sent to the proxy's port, by name."""
    with pytest.raises(errors.Misdirected) as caught:
        ask(MisdirectedSite(Files(), [3128, 3129], is_own), method, target)
    assert caught.value.status == 421
    assert caught.value.reason == "this port serves files; the proxy is on port 3128 or 3129"


def test_misdirected_without_a_proxy() -> None:
    """Where there is no proxy, none is named."""
    with pytest.raises(errors.Misdirected) as caught:
        ask(MisdirectedSite(Files(), [], is_own), b"GET", b"http://h/")
    assert caught.value.reason == "this port serves files; the proxy is elsewhere"


@pytest.mark.parametrize("target", [b"http://h:8080/a?b", b"HTTP://[::1]:8080/a?b"])
def test_absolute_url_of_the_site_itself(target: bytes) -> None:
    """A URL of the port it arrived on is answered as a path (RFC 9112 section 3.2.2)."""
    answered = ask(MisdirectedSite(Files(), [3128], is_own), b"GET", target)
    assert answered.bodies == [b"file /a?b"]
