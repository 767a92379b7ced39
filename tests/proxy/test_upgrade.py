"""Promises of proxyapp.proxy.upgrade."""

from __future__ import annotations

import pytest

from proxyapp import errors
from proxyapp.proxy.upgrade import TlsUpgrade
from proxyapp.wire.target import Origin
from tests.support import request_of

HEADER = b"x-real-protocol"
ALLOWED = TlsUpgrade(HEADER, lambda client: True)
FORBIDDEN = TlsUpgrade(HEADER, lambda client: False)


@pytest.mark.parametrize(
    ("target", "wanted", "origin"),
    [
        (b"http://a/", None, Origin("http", "a", 80)),
        (b"http://a/", b"http", Origin("http", "a", 80)),
        (b"http://a:81/", b"HTTP ", Origin("http", "a", 81)),
        (b"http://a/", b"https", Origin("https", "a", 443)),
        (b"http://a:80/", b"HTTPS", Origin("https", "a", 443)),
        (b"http://a:8443/", b" https ", Origin("https", "a", 8443)),
        (b"http://a:443/", b"https", Origin("https", "a", 443)),
        (b"https://a/", None, Origin("https", "a", 443)),
        (b"https://a:80/", None, Origin("https", "a", 80)),
        (b"https://a/", b"https", Origin("https", "a", 443)),
    ],
)
def test_origins(target: bytes, wanted: bytes | None, origin: Origin) -> None:
    """Every spelling of https leads to the same origin, and so to the same connections."""
    fields = [] if wanted is None else [(b"X-Real-Protocol", wanted)]
    assert ALLOWED.origin_for(request_of(target=target, fields=fields)) == origin


@pytest.mark.parametrize("wanted", [b"", b"ftp", b"https, http", b"https https", b"\xe9"])
def test_unknown_protocols(wanted: bytes) -> None:
    """A field that names neither is the client's mistake, and no guess is made."""
    asked = request_of(fields=[(b"X-Real-Protocol", wanted)])
    with pytest.raises(errors.BadRequest):
        ALLOWED.origin_for(asked)


def test_repeated_field() -> None:
    """Nor is one made between two fields."""
    asked = request_of(fields=[(b"X-Real-Protocol", b"https"), (b"x-real-protocol", b"http")])
    with pytest.raises(errors.BadRequest):
        ALLOWED.origin_for(asked)


@pytest.mark.parametrize(
    ("target", "fields"),
    [(b"http://a/", [(b"X-Real-Protocol", b"https")]), (b"https://a/", [])],
)
def test_clients_that_may_not(target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """Who isn't in tls_upgrade_clients is told which option that is."""
    with pytest.raises(errors.AccessDenied) as raised:
        FORBIDDEN.origin_for(request_of(target=target, fields=fields))
    assert "tls_upgrade_clients" in raised.value.reason


def test_plain_requests_need_no_permission() -> None:
    """Whoever asks for http gets http, with the field or without."""
    for fields in ([], [(b"X-Real-Protocol", b"http")]):
        assert FORBIDDEN.origin_for(request_of(fields=fields)).scheme == "http"


def test_clients_are_judged_by_address() -> None:
    """The judge is asked about the client's address."""
    asked: list[str] = []

    def may_upgrade(client: str) -> bool:
        asked.append(client)
        return True

    TlsUpgrade(HEADER, may_upgrade).origin_for(request_of(target=b"https://a/"))
    assert asked == ["192.0.2.1"]


def test_no_field() -> None:
    """Without a name for the field, no field asks for anything."""
    asked = request_of(fields=[(b"X-Real-Protocol", b"https"), (b"", b"https")])
    assert TlsUpgrade(b"", lambda client: True).origin_for(asked).scheme == "http"
