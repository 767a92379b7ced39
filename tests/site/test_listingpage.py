"""What stands on a folder's page."""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone

import pytest

from proxyapp.site.folderquery import parse_query
from proxyapp.site.listingpage import View, human_size, reference, to_html, to_json, visible
from proxyapp.site.tree import Entry

SECOND = 1_000_000_000
NOW = 1_000_000_000


def view_with(*entries: Entry, query: bytes = b"", path: tuple[bytes, ...] = ()) -> View:
    """Return the view of a small folder."""
    files = sum(not entry.is_folder for entry in entries)
    size = sum(entry.size for entry in entries)
    found = parse_query(query, None)
    return View(path, found, list(entries), 3, len(entries) - files, files, size, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\x00\x7f\x9b", "a\ufffdb\ufffd\ufffd\ufffd"),
        ("gpj\u202eexe\u2066\u200b", "gpj\ufffdexe\ufffd\ufffd"),
        ("\u2028\ud800", "\ufffd\ufffd"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("\u3000 \u00a0", "\u3000 \u00a0"),
    ],
)
def test_visible(text: str, expected: str) -> None:
    """What can't be seen, or turns the rest round, has a mark in its place; the rest stays."""
    assert visible(text) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (102_297, "99.9 KiB"),
        (102_350, "100 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_human_size(size: int, expected: str) -> None:
    """Sizes are told in a few digits."""
    assert human_size(size) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"javascript:alert(1)", "./javascript%3Aalert%281%29"),
        (b"//host", "./%2F%2Fhost"),
        (b"%41#?&\"'<", "./%2541%23%3F%26%22%27%3C"),
        (b" \r\n\xff", "./%20%0D%0A%FF"),
    ],
)
def test_reference(name: bytes, expected: str) -> None:
    """A link is the name, and nothing of it means anything else."""
    assert reference(Entry(name, False, 0, 0, False)) == expected
    assert reference(Entry(name, True, 0, 0, False)) == expected + "/"


def test_nothing_of_a_client_is_markup() -> None:
    """What the query says, and what folders are called, stands on the page as text."""
    attack = b"%22%3E%3Cscript%3E%27"
    view = view_with(query=b"?filter=" + attack, path=(b'"><script>', b"<script>"))
    page = to_html(view, UTC).decode()
    assert "<script" not in page
    assert 'value="&quot;&gt;&lt;script&gt;&#x27;"' in page


def test_dollars_are_text() -> None:
    """No name means anything to the template."""
    page = to_html(view_with(Entry(b"$rows ${title}", False, 0, 0, False)), UTC).decode()
    assert "<bdi>$rows ${title}</bdi>" in page


def test_dates() -> None:
    """A date is in the zone of the reader's gateway, with the exact moment for programs."""
    entry = Entry(b"a", False, 0, NOW * SECOND, False)
    page = to_html(view_with(entry), timezone(timedelta(hours=-7))).decode()
    assert '<time datetime="2001-09-08T18:46:40-07:00">2001-09-08 18:46</time>' in page


def test_dates_that_cannot_be() -> None:
    """Where no calendar has a date, there is none."""
    view = view_with(Entry(b"a", False, 0, 10**30, False))
    assert "<time" not in to_html(view, UTC).decode()
    assert json.loads(to_json(view))["entries"][0]["modified"] is None


def test_heads() -> None:
    """A click on a head sorts by it, and a second click the other way round."""
    page = to_html(view_with(query=b"?sort=size&filter=a%26b"), UTC).decode()
    by_size = "?sort=size&amp;order=asc&amp;filter=a%26b"
    by_name = "?sort=name&amp;order=asc&amp;filter=a%26b"
    assert f'aria-sort="descending" scope="col"><a href="{by_size}">Size ↓</a>' in page
    assert f'<th class="name" scope="col"><a href="{by_name}">Name</a>' in page
    assert '<input type="hidden" name="sort" value="size">' in page
    assert '<a href="./">Show all</a>' in page


def test_pages() -> None:
    """The first page has no previous one, the last no next one, and one page has neither."""
    first = to_html(view_with(query=b"?page=1"), UTC).decode()
    assert "<span>← Previous</span><span>Page 1 of 3</span>" in first
    assert '<a rel="next" href="?sort=name&amp;order=asc&amp;page=2">Next →</a>' in first
    assert "<span>Next →</span>" in to_html(view_with(query=b"?page=3"), UTC).decode()
    assert "<nav" not in to_html(view_with()._replace(pages=1), UTC).decode()


def test_top_and_below() -> None:
    """The top leads nowhere else; below it there is a way back to every folder above."""
    top = to_html(view_with(), UTC).decode()
    assert "../" not in top
    assert "<h1><bdi>Home</bdi></h1>" in top
    assert "Nothing here" in top
    below = to_html(view_with(path=(b"a", b"b", b"c")), UTC).decode()
    for link in ('"../"><bdi>b', '"../../"><bdi>a', '"../../../"><bdi>Home'):
        assert f"<a href={link}</bdi></a>" in below
    assert "<title>/a/b/c/</title>" in below


def test_summary() -> None:
    """One line says how much there is, and offers all of it."""
    entries = [Entry(b"a", True, 0, 0, False), Entry(b"b", False, 2048, 0, False)]
    page = to_html(view_with(*entries), UTC).decode()
    assert "1 folder, 1 file, 2.0 KiB<br>" in page
    for query in ("zip", "tar", "json"):
        assert f'href="?{query}">{query}</a>' in page
