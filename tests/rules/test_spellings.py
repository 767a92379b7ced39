"""Promises of proxyapp.rules.upgrade: what each spelling means, and what none of them means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules.domains import Domains
from proxyapp.rules.upgrade import Spelling, Spellings, secured
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Form, Origin, Target, parse_target

SPELLINGS = Spellings(b"x-real-protocol", Domains([b"l.example", b".d.example", b"192.0.2.9"]))
HTTPS = Fields([(b"X-Real-Protocol", b"https")])
HTTP = Fields([(b"X-Real-Protocol", b"HTTP ")])


def meant(url: bytes, fields: Fields = NO_FIELDS) -> Target:
    """Return what a GET of *url* means."""
    return SPELLINGS.canonical(parse_target(b"GET", url), fields)


# --- What is no spelling ---


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (b"http://a.example/", NO_FIELDS),
        (b"http://a.example/", HTTP),
        (b"http://xl.example/", NO_FIELDS),
        (b"http://l.example.org/", NO_FIELDS),
        (b"http://https/", NO_FIELDS),
        (b"http://https/a//b", NO_FIELDS),
        (b"http://HTTPS?//a.example/", NO_FIELDS),
        (b"http://https:443///a.example/", NO_FIELDS),
        (b"http://https:8080///a.example/", NO_FIELDS),
        (b"http://https.example///a.example/", NO_FIELDS),
        (b"http://http///a.example/", NO_FIELDS),
        (b"http://a.example///HTTPS///b.example/", NO_FIELDS),
        (b"https://a.example/", NO_FIELDS),
        (b"https://a.example/", HTTPS),
        (b"https://a.example/", HTTP),
        (b"https://l.example:80/", NO_FIELDS),
        (b"https://https///a.example/", NO_FIELDS),
        (b"/a", HTTPS),
        (b"///HTTPS///a.example/", NO_FIELDS),
    ],
)
def test_what_stays(url: bytes, fields: Fields) -> None:
    """What asks for http, or is https already, is left as it is: it's the same object."""
    target = parse_target(b"GET", url)
    assert SPELLINGS.canonical(target, fields) is target


def test_tunnels_stay() -> None:
    """CONNECT is TLS from end to end, whatever is listed or asked for in a field."""
    target = parse_target(b"CONNECT", b"l.example:80")
    assert SPELLINGS.canonical(target, HTTPS) is target


@pytest.mark.parametrize("wanted", [b"", b"ftp", b"https, http", b"https https", b"\xe9", b"tls"])
def test_unknown_protocols(wanted: bytes) -> None:
    """A field that names neither is the client's mistake, and no guess is made."""
    for url in (b"http://a.example/", b"https://a.example/", b"http://HTTPS///a.example/"):
        with pytest.raises(errors.BadRequest):
            meant(url, Fields([(b"X-Real-Protocol", wanted)]))


def test_repeated_field() -> None:
    """Nor is one made between two fields."""
    with pytest.raises(errors.BadRequest):
        meant(b"http://a.example/", Fields([(b"X-Real-Protocol", b"https")] * 2))


@pytest.mark.parametrize(
    "url",
    [
        b"http://HTTPS///",
        b"http://HTTPS////",
        b"http://HTTPS///?a.example/",
        b"http://HTTPS///user:pass@a.example/",
        b"http://HTTPS///127.1/",
        b"http://HTTPS///0x7f.1/",
        b"http://HTTPS///a.example:0/",
        b"http://HTTPS///a.example:65536/",
        b"http://HTTPS///a%2eexample/",
        b"http://HTTPS///[::1%25lo]/",
        b"http://HTTPS///-a.example/",
        b"http://HTTPS///a..example/",
    ],
)
def test_prefix_before_no_host(url: bytes) -> None:
    """What stands behind the prefix is read as strictly as any authority."""
    with pytest.raises(errors.BadRequest):
        meant(url)


# --- What each means ---


@pytest.mark.parametrize(
    ("url", "fields", "authority", "path"),
    [
        (b"http://HTTPS///a.example/b?c", NO_FIELDS, b"a.example", b"/b?c"),
        (b"http://https///A.example", NO_FIELDS, b"a.example", b"/"),
        (b"http://Https///a.example?b=//c", NO_FIELDS, b"a.example", b"/?b=//c"),
        (b"HTTP://HTTPS:80//a.example:443/b", NO_FIELDS, b"a.example", b"/b"),
        (b"http://HTTPS.:080////a.example:8443//b", NO_FIELDS, b"a.example:8443", b"//b"),
        (b"http://HTTPS///a.example:80/", NO_FIELDS, b"a.example:80", b"/"),
        (b"http://HTTPS///[2001:DB8:0::1]/", NO_FIELDS, b"[2001:db8::1]", b"/"),
        (b"http://HTTPS///HTTPS///b.example/", NO_FIELDS, b"https", b"///b.example/"),
        (b"http://HTTPS///a.example/", HTTP, b"a.example", b"/"),
        (b"http://HTTPS///l.example/", HTTPS, b"l.example", b"/"),
        (b"http://a.example/", HTTPS, b"a.example", b"/"),
        (b"http://a.example:80/x", HTTPS, b"a.example", b"/x"),
        (b"http://a.example:443/", HTTPS, b"a.example", b"/"),
        (b"http://a.example:8443/", HTTPS, b"a.example:8443", b"/"),
        (b"http://https/x", HTTPS, b"https", b"/x"),
        (b"http://L.example./", NO_FIELDS, b"l.example", b"/"),
        (b"http://l.example:8080/", HTTP, b"l.example:8080", b"/"),
        (b"http://d.example/", NO_FIELDS, b"d.example", b"/"),
        (b"http://a.b.d.example/", NO_FIELDS, b"a.b.d.example", b"/"),
        (b"http://192.0.2.9/", NO_FIELDS, b"192.0.2.9", b"/"),
        (b"http://[::ffff:192.0.2.9]/", NO_FIELDS, b"[::ffff:c000:209]", b"/"),
    ],
)
def test_what_is_meant(url: bytes, fields: Fields, authority: bytes, path: bytes) -> None:
    """Each spelling becomes the target that the https URL would have been."""
    found = meant(url, fields)
    assert found == parse_target(b"GET", b"https://" + authority + path)
    assert found.url == b"https://" + authority + path


def test_the_whole_server() -> None:
    """OPTIONS for a whole server stays one."""
    target = SPELLINGS.canonical(parse_target(b"OPTIONS", b"http://l.example"), NO_FIELDS)
    assert (target.path, target.url) == (b"*", b"https://l.example")


def test_no_field_is_configured() -> None:
    """Without a name for the field, no field asks for anything."""
    target = parse_target(b"GET", b"http://a.example/")
    fields = Fields([(b"X-Real-Protocol", b"https"), (b"", b"https")])
    assert Spellings(b"", None).canonical(target, fields) is target


@pytest.mark.parametrize(
    ("origin", "leaves"),
    [
        (Origin("http", "a.example", 80), True),
        (Origin("http", "https", 8080), True),
        (Origin("https", "l.example", 443), True),
        (Origin("http", "https", 80), False),
        (Origin("http", "l.example", 8080), False),
    ],
)
def test_what_the_origin_alone_tells(origin: Origin, leaves: bool) -> None:
    """Of most origins it's known without a look at the rest of the target."""
    assert SPELLINGS.leaves(origin) is leaves


@pytest.mark.parametrize(
    ("url", "fields", "spelling"),
    [
        (b"HTTPS://l.example/", HTTPS, Spelling.URL),
        (b"http://HTTPS.:80//l.example/", HTTPS, Spelling.PREFIX),
        (b"http://l.example/", HTTPS, Spelling.LISTED),
        (b"http://a.example/", HTTPS, Spelling.FIELD),
        (b"http://https/", HTTPS, Spelling.FIELD),
    ],
)
def test_spellings(url: bytes, fields: Fields, spelling: Spelling) -> None:
    """What a head says tells how it was spelled; what needs no field comes before the field."""
    origin = meant(url, fields).origin
    assert origin is not None
    assert SPELLINGS.spelling(RequestHead(b"GET", url, 1, fields), origin) is spelling


_hosts = st.sampled_from(["a.example", "l.example", "https", "192.0.2.9", "[2001:db8::1]"])
_ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
_paths = st.text("/aHTPS:?.", max_size=12).map(lambda text: "/" + text)


@given(host=_hosts, port=_ports, path=_paths)
def test_once_is_enough(host: str, port: str, path: str) -> None:
    """What is meant means just that: nothing is upgraded twice, and nothing but https comes out."""
    for url in (f"http://{host}{port}{path}", f"http://HTTPS///{host}{port}{path}"):
        try:
            found = meant(url.encode(), HTTPS)
        except errors.BadRequest:
            continue
        assert found.form is Form.ABSOLUTE
        assert found.origin is not None
        assert found.origin.scheme == "https"
        assert SPELLINGS.canonical(found, HTTPS) is found
        assert parse_target(b"GET", found.url) == found


@given(port=st.integers(1, 65535))
def test_ports(port: int) -> None:
    """Port 80 becomes 443, any other stays."""
    upgraded, authority = secured(Origin("http", "a", port))
    assert upgraded == Origin("https", "a", 443 if port == 80 else port)
    assert authority == upgraded.authority
