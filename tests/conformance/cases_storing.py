"""Cases of what may be stored, and what of it: directives, credentials, fields, interim answers."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import (
    Case,
    Comes,
    Step,
    anew,
    never_reused,
    reused,
    stored,
)

_DAY = "Cache-Control: max-age=100000"
_HOUR = "Cache-Control: max-age=3600"
_LONG = ("Cache-Control: max-age=10000", "Expires: <+10000>")


def _kept_beside(id_: str, refused: str) -> Case:
    """What is stored and fresh goes on being used, whatever the origin says by now."""
    between = Step(Comes.ANYWHERE, says=(refused, "A: 2"))
    return Case(id_, (stored(*_LONG, "A: 1"), between, reused(has=("A: 1",))))


DIRECTIVES = [
    never_reused("cc-resp-private-shared", "Cache-Control: private, max-age=3600"),
    never_reused("cc-resp-no-store", "Cache-Control: no-store"),
    never_reused("cc-resp-no-store-case-insensitive", "Cache-Control: No-StOrE"),
    never_reused(
        "cc-resp-no-store-fresh",
        "Cache-Control: max-age=10000, no-store",
        "Expires: <+10000>",
    ),
    never_reused("cc-resp-no-cache", "Cache-Control: max-age=10000, no-cache", "Expires: <+10000>"),
    never_reused(
        "cc-resp-no-cache-case-insensitive",
        "Cache-Control: max-age=10000, No-CaChE",
        "Expires: <+10000>",
    ),
    _kept_beside("cc-resp-no-store-old-new", "Cache-Control: no-store"),
    _kept_beside("cc-resp-no-store-old-max-age", "Cache-Control: no-store, max-age=0"),
    Case(
        "status-599-must-understand",
        (stored("Cache-Control: max-age=3600, no-store, must-understand", status=599), anew()),
    ),
]

CREDENTIALS = [
    Case(
        "other-authorization",
        (
            replace(stored(_DAY, asks=("Authorization: FOO",)), reaches=("Authorization: FOO",)),
            anew(),
        ),
    )
]

# RFC 9111 section 3.1: everything but what belongs to one hop or to the proxy.

_STORED_FIELDS = {
    "Test-Header": "a word",
    "X-Test-Header": "another word",
    "Content-Foo": "foo",
    "X-Content-Foo": "x-foo",
    "Content-Encoding": "unheard-of",
    "Content-Location": "/bar",
    "Content-MD5": "N7UdGUp1E+RbVvZSTy1R8g==",
    "Content-Range": "nonsense in a 200",
    "Content-Security-Policy": "default-src 'self' cdn.example",
    "Content-Type": "text/plain;charset=utf-8",
    "Clear-Site-Data": '"cookies"',
    "ETag": '"ghijkl"',
    "Expires": "Mon, 11 Jan 2038 11:11:11 GMT",
    "Public-Key-Pins": "pins",
    "Set-Cookie": "a=c",
    "Set-Cookie2": "a=c",
    "X-Frame-Options": "sameorigin",
    "X-XSS-Protection": "1; mode=block",
}
_UNSTORED_FIELDS = {
    "Keep-Alive": "timeout=5",
    "Proxy-Authenticate": "Basic realm=here",
    "Proxy-Authentication-Info": "info",
    "Proxy-Authorization": "Basic YTpi",
    "Proxy-Connection": "keep-alive",
    "TE": "trailers",
    "Transfer-Encoding": "unknown",
    "Upgrade": "something/1",
}


def _kept(name: str, value: str) -> Case:
    line = f"{name}: {value}"
    return Case(f"headers-store-{name}", (stored(line, _HOUR), reused(has=(line,))))


def _dropped(name: str, value: str) -> Case:
    line = f"{name}: {value}"
    return Case(f"headers-store-{name}", (stored(line, _HOUR), reused(lacks=(line,))))


FIELDS = [
    *(_kept(name, value) for name, value in _STORED_FIELDS.items()),
    *(_dropped(name, value) for name, value in _UNSTORED_FIELDS.items()),
    Case("headers-store-Cache-Control", (stored(_HOUR), reused(has=(_HOUR,)))),
    Case(
        "headers-store-Content-Length",
        (stored(_HOUR), reused(has=("Content-Length: 10",))),
        body="0123456789",
    ),
    _dropped("Connection", "some-option"),
    Case(
        "headers-omit-headers-listed-in-Connection",
        (
            stored(_DAY, "Connection: a, b", "a: 1", "b: 2", "c: 3"),
            reused(has=("c: 3",), lacks=("a", "b")),
        ),
    ),
]

_LINK = "Link: </styles.css>; rel=preload; as=style"
INTERIM = [
    Case(
        "interim-not-cached",
        (replace(stored(_DAY), hints=(_LINK,)), reused(lacks=("Link",))),
    )
]

QUERIES = [
    Case(
        "query-args-different",
        (
            replace(stored(_DAY), query="test=one"),
            replace(anew(), query="test=other"),
        ),
    )
]

# RFC 9111 sections 5.2.2.4 and 5.2.2.7: fields for the one client whose request they answer.

LISTED = [
    Case(
        f"headers-listed-in-{directive}",
        (
            replace(
                stored(f'Cache-Control: max-age=3600, {directive}="a, b"', "a: 1", "b: 2", "c: 3"),
                has=("a: 1", "b: 2"),
            ),
            reused(has=("c: 3",), lacks=("a", "b")),
        ),
    )
    for directive in ("no-cache", "private")
]

REQUIRED = [*DIRECTIVES, *CREDENTIALS, *FIELDS, *INTERIM, *QUERIES]
