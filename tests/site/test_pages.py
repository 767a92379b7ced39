"""Pages the product writes: what they say, and that nobody can write in them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.site.pages import (
    LONGEST_TEXT,
    Block,
    Page,
    WelcomeSite,
    error_page,
    proxy_status,
    render,
    welcome_page,
)
from proxyapp.wire.messages import OutgoingResponse

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]

HTML, TEXT = b"text/html", b"text/plain"
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOSTILE = "<script>alert('1')</script>\"&$title"
TAGS = {"doctype", "html", "meta", "title", "style", "h1", "h2", "p", "pre"}
MOST = 3 * 1024


def leaves(kind: type[errors.ExchangeError]) -> Iterator[type[errors.ExchangeError]]:
    """Return *kind* and everything below it in the tree."""
    yield kind
    for child in kind.__subclasses__():
        yield from leaves(child)


EVERY_ERROR = list(leaves(errors.ExchangeError))


def failure(
    error: errors.ExchangeError,
    accept: bytes | None = HTML,
    method: bytes = b"GET",
    url: bytes = b"http://example.com/",
    request_id: str | None = "k3x",
) -> str:
    """Return the text of an error page."""
    _, body = error_page(error, accept, method=method, url=url, request_id=request_id)
    return body.decode("utf-8")


def tags_in(page: str) -> set[str]:
    """Return the names of all that a browser would take for a tag."""
    return {tag.strip("</!").split()[0].lower() for tag in re.findall(r"<[^ \n>]*", page)}


# Failures.


@pytest.mark.parametrize("kind", EVERY_ERROR)
@pytest.mark.parametrize("accept", [None, HTML])
def test_a_failure_says_what_where_and_what_to_do(
    kind: type[errors.ExchangeError], accept: bytes | None
) -> None:
    """Status, reason, advice, method, URL and request id are on every page."""
    page = failure(kind("the name has no address"), accept)
    assert str(kind.status) in page
    for text in ("The name has no address.", "GET http://example.com/", "Request id: k3x"):
        assert text in page
    assert len(page.encode()) < MOST
    advice = page.partition("The name has no address.")[2].strip("</p>\n")
    assert re.match(r"[A-Z][^<>]{10,}\.", advice)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, TEXT),
        (b"", TEXT),
        (b"*/*", TEXT),
        (b"application/json", TEXT),
        (b"text/plain, text/html", TEXT),
        (b"text/html;q=0.1, text/plain", TEXT),
        (BROWSER, HTML),
        (HTML, HTML),
    ],
)
def test_browsers_get_html_and_tools_plain_text(accept: bytes | None, media_type: bytes) -> None:
    """The type follows Accept, and the page is kept from caches, sniffers and scripts."""
    fields, body = error_page(
        errors.NotFound("no"), accept, method=b"GET", url=b"/", request_id=None
    )
    assert fields == [
        (b"Content-Type", media_type + b"; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    assert body.startswith(b"<!DOCTYPE html>") == (media_type == HTML)


def test_the_fields_of_pages_are_not_shared() -> None:
    """A caller that adds to the fields of one page doesn't change the next one."""
    fields, _ = render(Page("", ()), None)
    fields.append((b"X", b"y"))
    assert (b"X", b"y") not in render(Page("", ()), None)[0]


def test_a_page_in_plain_text() -> None:
    """The whole text of one failure, as curl shows it."""
    assert failure(errors.NameUnknown("the name has no address"), None, request_id=None) == (
        "502 Bad Gateway\n\n"
        "The name has no address.\n"
        "Check the spelling of the name, and that the gateway's DNS works.\n\n"
        "    GET http://example.com/\n"
    )


def test_a_page_is_readable_on_a_phone() -> None:
    """HTML says its language, encoding and width."""
    page = failure(errors.NotFound("no"))
    for part in ('lang="en"', '<meta charset="utf-8">', 'content="width=device-width'):
        assert part in page


def test_an_error_without_a_reason_still_has_a_page() -> None:
    """Empty words break nothing."""
    assert "500" in failure(errors.InternalError(""), None, b"", b"", None)


def test_hostile_words_are_shown_as_words() -> None:
    """Markup from outside is escaped, once, and no placeholder in it is filled in."""
    page = failure(errors.BadRequest(HOSTILE), method=HOSTILE.encode(), url=HOSTILE.encode())
    assert tags_in(page) == TAGS - {"h2"}
    assert html.escape(HOSTILE) in page
    assert "$title" in page


@given(
    reason=st.text(max_size=2000),
    method=st.binary(max_size=300),
    url=st.one_of(st.binary(max_size=3000), st.text("<>&\"'", min_size=500).map(str.encode)),
    request_id=st.one_of(st.none(), st.text(max_size=200)),
)
def test_nobody_writes_html_in_a_page(
    reason: str, method: bytes, url: bytes, request_id: str | None
) -> None:
    """Whatever comes from outside, the tags are ours, entities are whole, the page stays small."""
    page = failure(errors.BadRequest(reason), HTML, method, url, request_id)
    assert tags_in(page) == TAGS - {"h2"}
    assert page.count("<") == failure(errors.BadRequest("x")).count("<")
    assert not re.search(r"&(?!(amp|lt|gt|quot|#x27);)", page)
    assert len(page.encode("utf-8")) < MOST


@given(reason=st.text(max_size=2000), url=st.binary(max_size=3000))
def test_nobody_moves_the_cursor_in_plain_text(reason: str, url: bytes) -> None:
    """Plain text has no control characters but ours, and no reversed writing."""
    page = failure(errors.BadRequest(reason), None, b"GET", url)
    assert all(character.isprintable() for character in page.replace("\n", ""))
    assert page.count("\n") == 7
    assert len(page.encode("utf-8")) < MOST


@pytest.mark.parametrize("length", range(LONGEST_TEXT - 8, LONGEST_TEXT + 9))
def test_a_long_text_is_cut_between_characters(length: int) -> None:
    """No entity and no UTF-8 sequence is cut in two, wherever the limit falls."""
    for end in ("&", "\u00e4", "\U0001f600", "<"):
        page = Page("t", (Block("", ("x" * length + end * 5,), ()),))
        paragraph = re.search("<p>(.*)</p>", page.to_html())
        assert paragraph is not None
        assert len(paragraph[1].encode()) <= LONGEST_TEXT
        assert "\ufffd" not in paragraph[1]
        assert not re.search("&(?!amp;|lt;)", paragraph[1])
        assert len(page.to_text().encode()) <= LONGEST_TEXT + 10


# Proxy-Status.


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_of_ours_has_a_registered_name(kind: type[errors.ExchangeError]) -> None:
    """The tokens of the error tree are those of RFC 9209."""
    expected = b'gw; error=%b; details="why"' % kind.token.encode()
    assert proxy_status(kind("why"), b"gw") == expected


def test_an_unregistered_name_gives_no_field() -> None:
    """A token that RFC 9209 doesn't know isn't sent."""

    class Strange(errors.OriginFault):
        token = "strange_error"

    assert proxy_status(Strange("why"), b"gw") == b""


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (b"", b'""'),
        (b"1box", b'"1box"'),
        (b"[::1]", b'"[::1]"'),
        (b'a"; error=x', b'"a\\"; error=x"'),
        (b"a\r\nb", b'"a??b"'),
        (b"\xc3\xa4", b'"\\\\xc3\\\\xa4"'),
        (b"gw.lan", b"gw.lan"),
        (b"gw:3128", b"gw:3128"),
    ],
)
def test_the_proxy_is_named_by_a_token_or_a_string(name: bytes, written: bytes) -> None:
    """What isn't a token of structured fields is quoted (RFC 8941 section 3.3)."""
    assert proxy_status(errors.BadRequest("x"), name).partition(b"; error=http")[0] == written


@given(st.text(max_size=2000))
def test_details_are_one_ascii_string(reason: str) -> None:
    """Quotes and backslashes are escaped, nothing ends the line, and the length is bounded."""
    value = proxy_status(errors.BadRequest(reason), b"gw")
    details = value.removeprefix(b"gw; error=http_request_error; details=")
    assert re.fullmatch(rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"', details)
    assert len(details) <= 2 * LONGEST_TEXT + 2


# The welcome page.


@pytest.mark.parametrize("target", [b"/x", b"//", b"/index.html", b"/favicon.ico", b"/..", b"*"])
def test_the_welcome_page_is_the_only_one(visit: Visit, target: bytes) -> None:
    """Every path but / is a 404."""
    method = b"OPTIONS" if target == b"*" else b"GET"
    with pytest.raises(errors.NotFound):
        visit(WelcomeSite((3128,)), target, method=method)


def test_the_welcome_page_can_only_be_read(visit: Visit) -> None:
    """Other methods are told which ones there are."""
    with pytest.raises(errors.MethodNotAllowed) as caught:
        visit(WelcomeSite((3128,)), b"/", method=b"POST")
    assert caught.value.fields == ((b"Allow", b"GET, HEAD"),)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("accept", [BROWSER, b"*/*"])
def test_the_welcome_page_says_how_to_use_the_proxy(
    visit: Visit, accept: bytes, method: bytes
) -> None:
    """Shell, curl, apt, pip and browser, with the address the client used and the proxy's port."""
    lines = ((b"Host", b"gateway.lan:8080"), (b"Accept", accept))
    head, body = visit(WelcomeSite((3128,)), b"/?from=bookmark", *lines, method=method)
    assert (head.status, head.reason) == (200, b"OK")
    text = html.unescape(body.decode())
    for line in (
        "export http_proxy=http://gateway.lan:3128 https_proxy=http://gateway.lan:3128",
        "curl -x http://gateway.lan:3128 https://example.com/",
        'Acquire::http::Proxy "http://gateway.lan:3128/";',
        "pip install --proxy http://gateway.lan:3128 NAME",
        "Host gateway.lan",
        "Port 3128",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("lines", "target", "shown"),
    [
        ((), b"/", "http://ADDRESS-OF-THIS-GATEWAY:3128"),
        (((b"Host", b""),), b"/", "http://ADDRESS-OF-THIS-GATEWAY:3128"),
        (((b"Host", b"a b"),), b"/", "http://ADDRESS-OF-THIS-GATEWAY:3128"),
        (((b"Host", b"x:99999"),), b"/", "http://ADDRESS-OF-THIS-GATEWAY:3128"),
        (((b"Host", b"[fd00::1]:8080"),), b"/", "http://[fd00::1]:3128"),
        (((b"Host", b"192.0.2.7"),), b"/", "http://192.0.2.7:3128"),
        (((b"Host", b"other"),), b"http://gateway:8080/", "http://gateway:3128"),
    ],
)
def test_the_address_is_the_one_the_client_used(
    visit: Visit, lines: tuple[tuple[bytes, bytes], ...], target: bytes, shown: str
) -> None:
    """The target's host goes before Host; without either there is a placeholder."""
    _, body = visit(WelcomeSite((3128,)), target, *lines)
    assert f"curl -x {shown} " in body.decode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.text("<>&\"'/:a").map(str.encode)))
def test_a_host_field_writes_nothing_in_the_page(visit: Visit, host: bytes) -> None:
    """Whatever Host says, the tags are ours."""
    _, body = visit(WelcomeSite((3128,)), b"/", (b"Host", host), (b"Accept", HTML))
    assert tags_in(body.decode()) == TAGS


def test_all_proxy_ports_are_named() -> None:
    """The first port is recommended, and the others are mentioned."""
    text = welcome_page("gw", (3128, 8888, 6666)).to_text()
    assert "port 3128" in text
    assert "8888, 6666" in text
    assert "curl -x http://gw:3128 " in text


def test_without_a_proxy_nothing_is_promised() -> None:
    """Where no proxy listens, the page doesn't say how to use it."""
    text = welcome_page("gw", ()).to_text()
    assert "curl" not in text
    assert "[site] root" in text
