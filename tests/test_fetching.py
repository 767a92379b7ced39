"""Promises of proxyapp.service.fetching: which requests are for the content proxy."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from twisted.internet.task import Clock

from proxyapp import config
from proxyapp.exchange import Reply, Request
from proxyapp.proxy.fetch import Guards
from proxyapp.rules.question import Decision
from proxyapp.server.doors import Door
from proxyapp.service.fetching import with_fetch
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Form, parse_target


class Nobody:
    """Answers nothing."""

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""


PLAIN = {form: Door("site", Nobody()) for form in Form}
GUARDS = Guards(lambda question: Decision(True, "", ""), lambda question, decision: None)


def doors_of(path: str) -> Mapping[Form, Door]:
    """Return the doors of a gateway called own.test whose content proxy is at *path*."""
    given = config.load(None, [f"fetch.path={path}"], {})
    return with_fetch(
        PLAIN, given, Nobody(), GUARDS, lambda origin: origin.host == "own.test", Clock(), lambda: 0
    )


def service_of(method: bytes, target: bytes, path: str = "/fetch") -> str:
    """Return whose service a request is; * in front of it says that another door was found."""
    head = RequestHead(method, target, 1, NO_FIELDS)
    asked = parse_target(method, target)
    door = doors_of(path)[asked.form]
    other = door.aside(head, asked) if door.aside is not None else None
    return door.service if other is None else f"*{other.service}"


@pytest.mark.parametrize(
    ("method", "target", "service"),
    [
        (b"GET", b"/", "site"),
        (b"GET", b"/fetch/", "site"),
        (b"GET", b"/fetches?url=x", "site"),
        (b"GET", b"/a/fetch?url=x", "site"),
        (b"GET", b"/%66etch?url=x", "site"),
        (b"GET", b"//fetch?url=x", "site"),
        (b"GET", b"http://a.test/fetch?url=x", "site"),
        (b"OPTIONS", b"*", "site"),
        (b"OPTIONS", b"/fetch", "*site"),
        (b"GET", b"/fetch", "*fetch"),
        (b"POST", b"/fetch?url=x", "*fetch"),
        (b"GET", b"http://own.test/fetch?url=x", "*fetch"),
    ],
)
def test_what_is_for_it(method: bytes, target: bytes, service: str) -> None:
    """Its exact path is, on this gateway; what a browser asks beforehand needs no leave."""
    assert service_of(method, target) == service


def test_another_path() -> None:
    """It is where the ini says, or nowhere."""
    assert service_of(b"GET", b"/a/get?url=x", "/a/get") == "*fetch"
    assert service_of(b"GET", b"/fetch?url=x", "/a/get") == "site"
    assert doors_of("") is PLAIN
