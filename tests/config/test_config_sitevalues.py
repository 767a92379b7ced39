"""Values that only the site has: response fields, Cache-Control, patterns, mounts, the realm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.config import sitevalues
from proxyapp.config.values import Surroundings, WrongValue
from proxyapp.rules import sitefields

NOWHERE = Surroundings(None, {})


def reasons(parse: Callable[[str, Surroundings], object], text: str) -> tuple[str, ...]:
    """Return what *parse* complains about."""
    with pytest.raises(WrongValue) as caught:
        parse(text, NOWHERE)
    return caught.value.reasons


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("X-Frame-Options", "'X-Frame-Options' is no field; Name: value would be right"),
        ("X-Frame-Options = DENY", "is no field"),
        (": DENY", "'' is no field name; a token (RFC 9110) would be right"),
        ("X Frame: DENY", "'X Frame' is no field name"),
        ("X-Frame : DENY", "'X-Frame ' is no field name"),
        ("X-Fr\u00e4me: DENY", "is no field name"),
        ("X-Frame:", "X-Frame has no value"),
        ("X-A: b\x00c", "has a character that no field may have"),
        ("X-A: b\rX-B: c", "has a character that no field may have"),
        ("X-A: b\x7f", "has a character that no field may have"),
        ("X-A: gr\u00fcn", "printable ASCII would be right"),
    ],
)
def test_fields_refuse(text: str, complaint: str) -> None:
    """What no response may have is refused where it is written."""
    (reason,) = reasons(sitevalues.response_fields, text)
    assert complaint in reason


@pytest.mark.parametrize(
    "name",
    [
        *"Content-Length Transfer-Encoding Connection Keep-Alive Date ETag Content-Range".split(),
        *"content-type LAST-MODIFIED Accept-Ranges Content-Encoding Location Allow Vary".split(),
        *"WWW-Authenticate Proxy-Authenticate Upgrade Trailer TE Via Age Retry-After".split(),
    ],
)
def test_fields_of_our_own(name: str) -> None:
    """What the product makes itself can't be there twice, in no spelling."""
    (reason,) = reasons(sitevalues.response_fields, f"{name}: 1")
    assert reason == f"{name} is a field that proxyapp makes itself; leave it out"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Content-Length: 1", "Content-Length is a field that proxyapp makes itself"),
        ("Content-Type: text", "'text' is no media type; type/subtype, such as text/plain"),
        ("content-type: ;charset=utf-8", "is no media type"),
        ("Content-Type: text/plain, text/html", "is no media type"),
    ],
)
def test_fields_of_a_rule_refuse(text: str, complaint: str) -> None:
    """For some paths the type may be said, and nothing else of ours."""
    (reason,) = reasons(sitevalues.rule_fields, text)
    assert complaint in reason


@pytest.mark.parametrize("value", ["text/x-log", "text/plain; charset=latin1", "a/b ;c=d"])
def test_type_in_a_rule(value: str) -> None:
    """A media type with or without parameters is one."""
    assert sitevalues.rule_fields(f"Content-Type: {value}", NOWHERE) == (
        (b"Content-Type", value.encode("ascii")),
    )


def test_every_wrong_field_is_named() -> None:
    """One bad line doesn't hide the next."""
    assert len(reasons(sitevalues.response_fields, "X\nX-A: b\nDate: now\nX-B:")) == 3


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", ()),
        ("X-A:b", ((b"X-A", b"b"),)),
        (
            "Access-Control-Allow-Origin:  * \n\nLink: </a>; rel=x\nLink: </b>; rel=y, </c>",
            (
                (b"Access-Control-Allow-Origin", b"*"),
                (b"Link", b"</a>; rel=x"),
                (b"Link", b"</b>; rel=y, </c>"),
            ),
        ),
        ("Cache-Control: no-cache", ((b"Cache-Control", b"no-cache"),)),
        ("X-A: a: b\tc", ((b"X-A", b"a: b\tc"),)),
    ],
)
def test_fields_read(text: str, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """They come in order and as they were spelled; a name may be there twice."""
    assert sitevalues.response_fields(text, NOWHERE) == fields


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max-age 3600", "'max-age 3600' is no directive; no-store or max-age=3600 would be right"),
        ("max-age", "'max-age' is no directive"),
        ("Max-Age=", "'Max-Age=' is no directive"),
        ("max-age=3600; public", "is no directive"),
        ("public max-age=1", "is no directive"),
        ('no-cache="a', "is no directive"),
        ("no-store, max-age", "'max-age' is no directive"),
        ("no-store\x00", "has a character that no field may have"),
        ("\u00f6ffentlich", "printable ASCII would be right"),
    ],
)
def test_cache_control_refuses(text: str, complaint: str) -> None:
    """A directive that no cache would understand is refused."""
    assert complaint in reasons(sitevalues.cache_control, text)[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", b""),
        ("no-store", b"no-store"),
        ("public,max-age=86400 , immutable", b"public, max-age=86400, immutable"),
        ('private="set-cookie", stale-if-error=60', b'private="set-cookie", stale-if-error=60'),
    ],
)
def test_cache_control_reads(text: str, value: bytes) -> None:
    """Directives come with one comma between them."""
    assert sitevalues.cache_control(text, NOWHERE) == value


@pytest.mark.parametrize("text", ["", "/a**", "/" + "x" * 300])
def test_patterns_refuse(text: str) -> None:
    """What the rules can't match with is refused, with their words."""
    assert "is no pattern: " in reasons(sitevalues.path_pattern, text)[0]


@pytest.mark.parametrize("text", ["*.js", "/assets/**", "**", "/b\u00fcro/?.pdf"])
def test_patterns_read(text: str) -> None:
    """What is read here, the rules can match with."""
    assert sitefields.SiteRule(sitevalues.path_pattern(text, NOWHERE), ()).pattern == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("files", "'files' is not absolute; '/files' would be right"),
        ("", "is not absolute"),
        ("http://a/files", "is not absolute"),
        ("/", "is the site itself; [site] root says what is there"),
        ("//", "is the site itself"),
        ("/files/", "is not in its shortest form; /files would be right"),
        ("//files", "/files would be right"),
        ("/a//b", "/a/b would be right"),
        ("/./a", "/a would be right"),
        ("/a/../b", "/a/b would be right"),
        ("/..", "is the site itself"),
        ("/a?b", "has a character that is no part of a name"),
        ("/a#b", "has a character that is no part of a name"),
        ("/a%20b", "has a character that is no part of a name"),
        ("/a\\b", "has a character that is no part of a name"),
        ("/a/*", "has a character that is no part of a name"),
        ("/a\x00", "has a character that is no part of a name"),
        ("/" + "a" * 255, "more than 255 bytes"),
        ("/wpad.dat", "/wpad.dat belongs to [autoconfig]; use another path"),
        ("/proxy.pac", "belongs to [autoconfig]"),
        ("/setup", "belongs to [autoconfig]"),
    ],
)
def test_mount_paths_refuse(text: str, complaint: str) -> None:
    """A path has one spelling, and isn't another's."""
    assert complaint in reasons(sitevalues.mount_path, text)[0]


@pytest.mark.parametrize("text", ["/files", "/a/b.c/d", "/Meine B\u00fccher", "/setups", "/.well"])
def test_mount_paths_read(text: str) -> None:
    """They come as they were written."""
    assert sitevalues.mount_path(text, NOWHERE) == text


@given(st.text(max_size=30).map("/".__add__))
def test_mount_paths_are_normal(text: str) -> None:
    """No path that is taken has an empty segment or a dot segment."""
    try:
        found = sitevalues.mount_path(text, NOWHERE)
    except WrongValue:
        return
    assert not {"", ".", ".."}.intersection(found[1:].split("/"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("twisted.web.demo", "'twisted.web.demo' is no class; module:Class would be right"),
        ("twisted.web.demo.Test", "is no class"),
        (":Test", "is no class"),
        ("twisted.web.demo:", "is no class"),
        ("twisted.web.demo:Test()", "is no class"),
        ("twisted..web:Test", "is no class"),
        ("../x:Test", "is no class"),
        ("nowhere_at_all.web:Test", "there is no module nowhere_at_all; install it"),
    ],
)
def test_resources_refuse(text: str, complaint: str) -> None:
    """A name that can't be a class, or whose package isn't there, is refused."""
    assert complaint in reasons(sitevalues.resource_name, text)[0]


def test_resources_read() -> None:
    """They come as they were written, and nothing is imported."""
    name = "twisted.web.demo:Test"
    assert sitevalues.resource_name(name, NOWHERE) == name
    assert sitevalues.resource_name("twisted.nothing:Here", NOWHERE)
    assert sitevalues.resource_name("", NOWHERE) == ""


@pytest.mark.parametrize("text", ["", "a\nb", "a\tb", "k\u00fcche", "x" * 129])
def test_realms_refuse(text: str) -> None:
    """Browsers show the realm, some of them in another encoding."""
    assert "1 to 128 printable ASCII characters" in reasons(sitevalues.realm, text)[0]


def test_realms_read() -> None:
    """Quotes are taken: the challenge hides them."""
    assert sitevalues.realm('the "lab"', NOWHERE) == 'the "lab"'
