"""What is asked of a folder, and the order that makes of its entries."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.site.folderquery import Form, Sort, matching, ordered, parse_query
from proxyapp.site.tree import Entry


def file(name: bytes, size: int = 0, modified: int = 0) -> Entry:
    """Return a file."""
    return Entry(name, False, size, modified, False)


def folder(name: bytes, modified: int = 0) -> Entry:
    """Return a folder."""
    return Entry(name, True, 0, modified, False)


def names(entries: list[Entry], query: bytes) -> list[bytes]:
    """Return the names of *entries* in the order of *query*, whatever theirs was."""
    random.Random(1).shuffle(entries)
    return [entry.name for entry in ordered(entries, parse_query(query, None))]


def test_too_many_fields() -> None:
    """A query that is a bag of fields isn't read."""
    with pytest.raises(errors.BadRequest):
        parse_query(b"?" + b"&".join([b"sort=name"] * 33), None)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"?page=1e3", (Sort.NAME, False, "", 1)),
        (b"?page=" + b"9" * 5000, (Sort.NAME, False, "", 1)),
        (b"?page=%C2%B2", (Sort.NAME, False, "", 1)),
        (b"?sort=&order=", (Sort.NAME, False, "", 1)),
        (b"?sort=SIZE", (Sort.NAME, False, "", 1)),
        (b"", (Sort.NAME, False, "", 1)),
        (b"?order=desc", (Sort.NAME, True, "", 1)),
        (b"?sort=size", (Sort.SIZE, True, "", 1)),
        (b"?sort=date&order=asc&page=7", (Sort.DATE, False, "", 7)),
        (b"?filter=a+b%26%C3%A9", (Sort.NAME, False, "a b&\u00e9", 1)),
    ],
)
def test_query(query: bytes, expected: tuple[Sort, bool, str, int]) -> None:
    """What has a sense is taken, the rest stands for the default."""
    form, *rest = parse_query(query, None)
    assert form is Form.HTML
    assert tuple(rest) == expected


@given(st.text(), st.sampled_from(Sort), st.booleans(), st.integers(1, 10**8))
def test_links_lead_back(text: str, sort: Sort, is_descending: bool, page: int) -> None:
    """What a link says is understood as it was meant."""
    filtered = parse_query(b"", None)._replace(filter=text.encode("utf-8", "replace").decode())
    link = filtered.link(sort, is_descending, page).encode("ascii")
    assert parse_query(link, None) == (Form.HTML, sort, is_descending, filtered.filter, page)


def test_natural_order() -> None:
    """Numbers count by value, upper and lower case are the same, and folders come first."""
    folders = [b"z", b"Z10"]
    files = [b"0", b"00", b"1", b"a", b"B", b"c", b"f9.txt", b"F10.txt", b"f010.txt", b"f11"]
    files += [b"f" + b"9" * 250, "\u00e4".encode(), b"\xff"]
    assert names([*map(folder, folders), *map(file, files)], b"") == folders + files


def test_descending_names() -> None:
    """Folders stay in front when the names are turned round."""
    entries = [folder(b"a"), folder(b"b"), file(b"1"), file(b"2")]
    assert names(entries, b"?order=desc") == [b"b", b"a", b"2", b"1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"?sort=size", [b"x", b"y", b"big", b"a", b"b", b"none"]),
        (b"?sort=size&order=asc", [b"x", b"y", b"none", b"a", b"b", b"big"]),
        (b"?sort=date", [b"y", b"x", b"b", b"none", b"a", b"big"]),
        (b"?sort=date&order=asc", [b"x", b"y", b"a", b"big", b"none", b"b"]),
    ],
)
def test_other_orders(query: bytes, expected: list[bytes]) -> None:
    """Equal sizes and dates are in the order of the names, folders in front."""
    entries = [
        *(folder(b"x", 1), folder(b"y", 2), file(b"big", 9, 1), file(b"a", 5, 1)),
        *(file(b"b", 5, 3), file(b"none", 0, 2)),
    ]
    assert names(entries, query) == expected


@given(st.lists(st.binary(min_size=1, max_size=4), unique=True), st.sampled_from(Sort))
def test_runs(found: list[bytes], sort: Sort) -> None:
    """That the sort works in short runs can't be seen."""
    entries = [Entry(name, name[0] % 2 == 0, len(name), name[-1], False) for name in found]
    with pytest.MonkeyPatch.context() as patch:
        query = parse_query(b"?order=desc&sort=" + sort.value.encode(), None)
        whole = list(ordered(entries, query))
        patch.setattr("proxyapp.site.folderquery._RUN", 2)
        assert list(ordered(entries, query)) == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [("zz", []), ("GR\u00dcSSE", [b"gr\xc3\xbc\xc3\x9fe"]), ("", [b"a", b"gr\xc3\xbc\xc3\x9fe"])],
)
def test_matching(text: str, expected: list[bytes]) -> None:
    """A part of a name is enough, whatever its case."""
    entries = [file(b"a"), file("gr\u00fc\u00dfe".encode())]
    assert [entry.name for entry in matching(entries, text)] == expected
