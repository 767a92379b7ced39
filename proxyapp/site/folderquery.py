"""What a client asks of a folder: as what, which page, in which order, and which names."""

from __future__ import annotations

import enum
import heapq
import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode

from proxyapp import errors
from proxyapp.rules.negotiation import preferred
from proxyapp.site.tree import Entry

# Entries on one page: some 200 KiB of HTML, which a phone lays out in a moment.
PAGE_LENGTH = 1000
_MOST_FIELDS = 32
_HTML, _JSON = b"text/html", b"application/json"
_NUMBER = re.compile("[0-9]+")
_RUN = 2000  # entries, sorted in 2 ms

# What decides, in this order; no two entries have the same name.
_Keyed: TypeAlias = tuple[bool, int, str, bytes, Entry]


class Form(enum.Enum):
    """What is made of a folder; the value is the query that asks for it."""

    HTML = "html"
    JSON = "json"
    ZIP = "zip"
    TAR = "tar"


class Sort(enum.Enum):
    """What orders the entries."""

    NAME = "name"
    SIZE = "size"
    DATE = "date"

    @property
    def is_descending(self) -> bool:
        """Is the largest wanted first, unless said otherwise?"""
        return self is not Sort.NAME


class FolderQuery(NamedTuple):
    """The query of a folder's URL, understood; *page* counts from 1."""

    form: Form
    sort: Sort
    is_descending: bool
    filter: str
    page: int

    def link(self, sort: Sort, is_descending: bool, page: int) -> str:
        """Return the query, with its `?`, of the same folder in another order or another page."""
        fields = [("sort", sort.value), ("order", "desc" if is_descending else "asc")]
        if self.filter:
            fields.append(("filter", self.filter))
        if page > 1:
            fields.append(("page", str(page)))
        return "?" + urlencode(fields)


def parse_query(query: bytes, accept: bytes | None) -> FolderQuery:
    """Read *query*, which may begin with `?`; raises BadRequest.

    Words that nobody here knows are left alone, and what has no sense stands for the default: a
    link from elsewhere shall lead to the folder all the same.
    """
    try:
        text = query.lstrip(b"?").decode("ascii", "replace")
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise errors.BadRequest("the query has too many fields") from error
    sort = next((sort for sort in Sort if sort.value == fields.get("sort")), Sort.NAME)
    order = fields.get("order")
    is_descending = order == "desc" if order in ("asc", "desc") else sort.is_descending
    page = fields.get("page", "")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 10 else 1
    return FolderQuery(
        _form(fields, accept), sort, is_descending, fields.get("filter", ""), max(1, number)
    )


def _form(fields: dict[str, str], accept: bytes | None) -> Form:
    for form in Form:
        if form.value in fields:
            return form
    return Form.JSON if preferred(accept, (_HTML, _JSON)) == _JSON else Form.HTML


def matching(entries: list[Entry], wanted: str) -> list[Entry]:
    """Return those of *entries* whose names have *wanted* in them, in upper or lower case."""
    folded = wanted.casefold()
    if not folded:
        return entries
    return [each for each in entries if folded in each.name.decode("utf-8", "replace").casefold()]


def ordered(entries: list[Entry], query: FolderQuery) -> Iterator[Entry]:
    """Yield *entries* as *query* wants them: folders first, equal ones by name.

    `file9` comes before `file10`, whatever the case of the letters. Only short runs are sorted at
    once, and then merged: a sort keeps the interpreter from every other thread to its end.
    """
    is_reversed = query.is_descending and query.sort is Sort.NAME
    sign = -1 if query.is_descending else 1
    runs = []
    for start in range(0, len(entries), _RUN):
        run = [_key(each, query.sort, sign, is_reversed) for each in entries[start : start + _RUN]]
        run.sort(reverse=is_reversed)
        runs.append(run)
    return (keyed[-1] for keyed in heapq.merge(*runs, reverse=is_reversed))


def _key(entry: Entry, sort: Sort, sign: int, is_reversed: bool) -> _Keyed:
    number = 0
    if sort is Sort.SIZE:
        number = sign * entry.size
    elif sort is Sort.DATE:
        number = sign * entry.modified
    is_late = entry.is_folder if is_reversed else not entry.is_folder
    return is_late, number, _natural(entry.name), entry.name, entry


def _natural(name: bytes) -> str:
    """Return what sorts like *name*, but numbers in it by their value."""
    folded = name.decode("utf-8", "replace").casefold()
    return _NUMBER.sub(_number, folded) if _NUMBER.search(folded) else folded


def _number(found: re.Match[str]) -> str:
    # A longer number is a larger one; its length stands where the digits would.
    digits = found[0].lstrip("0")
    return f"0{chr(len(digits))}{digits}"
