"""Pages the product writes: what they say, and that nobody can write in them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.site.pages import (
    LONGEST_TEXT,
    Block,
    Page,
    Picture,
    error_page,
    proxy_status,
    render,
)
from proxyapp.wire.messages import OutgoingResponse

Visit: TypeAlias = Callable[..., tuple[OutgoingResponse, bytes]]

HTML, TEXT = b"text/html", b"text/plain"
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOSTILE = "<script>alert('1')</script>\"&$title"
TAGS = {"doctype", "html", "meta", "title", "style", "h1", "h2", "p", "pre"}
MOST = 4 * 1024


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


# What a rule says.


def test_a_refusal_in_plain_text() -> None:
    """The rule's own words come first, whatever lines they had; its name and the id are below."""
    refused = errors.AccessDenied(
        "why", rule="[rule kids]", message="Homework first.\n  Then play."
    )
    assert failure(refused, None) == (
        "403 Forbidden\n\n"
        "Homework first. Then play.\n"
        "Why.\n"
        "If this should be allowed, ask whoever looks after this gateway.\n\n"
        "    GET http://example.com/\n"
        "    Rule: [rule kids]\n"
        "    Request id: k3x\n"
    )


@pytest.mark.parametrize("accept", [None, BROWSER])
@pytest.mark.parametrize("kind", list(leaves(errors.Refused)))
def test_every_refusal_names_its_rule(kind: type[errors.Refused], accept: bytes | None) -> None:
    """Rule and message are on the page of each kind; without them there's no empty line."""
    page = failure(kind("why", rule="[rule kids]", message="Homework first."), accept)
    assert "Homework first." in page
    assert "Rule: [rule kids]" in page
    page = failure(kind("why"), accept)
    assert "Rule" not in page
    assert "<p></p>" not in page


@given(rule=st.text(max_size=900), message=st.text(max_size=2000), reason=st.text(max_size=2000))
def test_the_words_of_a_rule_are_words(rule: str, message: str, reason: str) -> None:
    """Neither a message nor a name of the ini is markup, and the page stays small."""
    refused = errors.AccessDenied(reason, rule="r" + rule, message="m" + message + HOSTILE)
    page = failure(refused, HTML, b"GET", b"<>" * 400)
    assert tags_in(page) == TAGS - {"h2"}
    plain = errors.AccessDenied("x", rule="r", message="m")
    assert page.count("<") == failure(plain).count("<")
    assert len(page.encode("utf-8")) < MOST
    text = failure(refused, None)
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert text.count("\n") == 9


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


# Parts of longer pages.


@pytest.mark.parametrize(("headings", "links"), [(0, 0), (1, 0), (6, 0), (7, 7), (30, 30)])
def test_a_long_page_begins_with_links(headings: int, links: int) -> None:
    """Past a screenful, every heading is one tap away; parts without one have no link."""
    blocks = [Block(f"H<{number}>", ("p",), ("l",)) for number in range(headings)]
    page = Page("t", (Block("", ("first",), ()), *blocks)).to_html()
    found = re.findall(r'<a href="#([a-z0-9-]+)">H&lt;\d+&gt;</a>', page)
    assert len(found) == links
    if links:
        assert found == re.findall(r'<h2 id="([a-z0-9-]+)">', page)


def test_a_picture_is_the_one_thing_loaded() -> None:
    """The policy names it, its words are escaped, and plain text does without."""
    picture = Picture("http://pictures.example/a.svg", HOSTILE)
    page = Page("t", (Block("", (), ("line",), picture),))
    fields, body = render(page, HTML)
    policy = b"default-src 'none'; style-src 'unsafe-inline'; img-src http://pictures.example/a.svg"
    assert dict(fields)[b"Content-Security-Policy"] == policy
    assert f'<img src="{picture.url}" alt="{html.escape(HOSTILE)}">' in body.decode()
    assert b"pictures" not in render(page, TEXT)[1]


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
