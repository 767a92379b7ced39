"""Promises of proxyapp.site.fetchpage; test_end_to_end_fetch looks at the page in Chromium."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from twisted.internet.task import Clock

from proxyapp import errors
from proxyapp.net.task import Task
from proxyapp.site.fetchpage import FetchPage
from tests.support import MemoryTransport, RecordedReply, request_of


def ask(method: bytes) -> tuple[RecordedReply, Exception | None]:
    """Ask for the page; return the reply, and the error if there was one."""
    reply = RecordedReply(MemoryTransport(Clock()))
    ends: list[Exception | None] = []
    Task(FetchPage().respond(request_of(method, b"/fetch/"), reply), ends.append).resume()
    return reply, ends[0]


def fields(reply: RecordedReply) -> dict[bytes, bytes]:
    """Return the fields of the answer."""
    assert reply.head is not None
    return dict(reply.head.fields)


def test_it_needs_nothing_from_elsewhere() -> None:
    """What the page needs is in it, and its policy forbids all else."""
    reply, error = ask(b"GET")
    assert error is None
    assert reply.record.service == "site"
    page = reply.body.decode()
    assert not re.search(r"\b(src|href|action)\s*=|@import|url\(", page)
    policy = fields(reply)[b"Content-Security-Policy"].decode().split("; ")
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert not any("unsafe" in part or "http" in part for part in policy)


@pytest.mark.parametrize("element", ["script", "style"])
def test_the_policy_allows_just_what_is_there(element: str) -> None:
    """The hash is that of the one element."""
    reply, _ = ask(b"GET")
    (text,) = re.findall(f"<{element}>(.*?)</{element}>", reply.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = fields(reply)[b"Content-Security-Policy"].decode()
    assert f"{element}-src 'sha256-{digest}'" in policy


def test_methods() -> None:
    """It can be read, and says so."""
    assert isinstance(ask(b"POST")[1], errors.MethodNotAllowed)
    reply, _ = ask(b"OPTIONS")
    assert fields(reply) == {b"Allow": b"GET, HEAD, OPTIONS"}
    assert fields(ask(b"HEAD")[0])[b"Content-Type"] == b"text/html; charset=utf-8"
