"""A folder's page: as HTML that needs no script and fits a phone, and as JSON."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from string import Template
from typing import NamedTuple
from urllib.parse import quote

from proxyapp.site.folderquery import FolderQuery, Sort
from proxyapp.site.tree import Entry, Segments

# Besides the pages' own field: the filter is a form, and no name may change where links lead.
POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    b" frame-ancestors 'self'"
)
# Which emoji and which letter is meant depends on them; the other invisible characters only hide.
_JOINERS = "\u200c\u200d"
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1rem auto; padding: 0 1rem }
h1 { font-size: 1.25rem; overflow-wrap: anywhere }
a { text-decoration: none }
a:hover, a:focus { text-decoration: underline }
form { display: flex; gap: .5rem; flex-wrap: wrap; align-items: center; margin: 1rem 0 }
input, button { font: inherit; padding: .25rem .75rem }
input { flex: 1; min-width: 8rem }
table { width: 100%; border-collapse: collapse }
th { text-align: left; font-weight: 600 }
th, td { padding: .4rem .5rem; border-bottom: 1px solid #8884; vertical-align: top }
td a { white-space: pre-wrap; overflow-wrap: anywhere }
tr.folder a { font-weight: 600 }
.size, .date { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
tbody .size, tbody .date, p { opacity: .8 }
nav.pages { display: flex; justify-content: space-between; margin: 1rem 0 }
@media (min-width: 40.01rem) { th.name { width: 100% } }
@media (max-width: 40rem) {
  tr { display: grid; grid-template-columns: auto 1fr; border-bottom: 1px solid #8884 }
  thead tr { grid-template-columns: 1fr auto auto }
  th, td { border: 0; padding: .1rem .25rem }
  thead th { padding: .4rem .5rem .4rem .25rem }
  td:empty { display: none }
  tbody .name { grid-column: 1 / 3; padding-top: .5rem }
  tbody .size, tbody .date { font-size: .85rem; padding-bottom: .5rem }
  tbody .size { text-align: left }
  tbody .date { grid-column: 2 }
}
</style>
<h1>$crumbs</h1>
<form method="get" role="search">
<input type="search" name="filter" value="$filter" placeholder="Part of a name" \
aria-label="Part of a name">
<input type="hidden" name="sort" value="$sort"><input type="hidden" name="order" value="$order">
<button>Filter</button>$clear
</form>
<table>
<thead><tr>$heads</tr></thead>
<tbody>
$rows</tbody>
</table>
$pages<p>$summary<br>All of it as <a rel="nofollow" href="?zip">zip</a> · \
<a rel="nofollow" href="?tar">tar</a>, the list as <a href="?json">json</a>$setup</p>
""")


class View(NamedTuple):
    """What one page shows: *entries* are its own, the numbers those of everything that matches.

    *path* is that of the folder from the server's root on. *size* is in bytes, of the files in the
    folder itself. Without *is_complete* the folder holds more than was read of it. *setup* is the
    path of the page about the proxy, empty where that isn't for this folder.
    """

    path: Segments
    query: FolderQuery
    entries: list[Entry]
    pages: int
    folders: int
    files: int
    size: int
    is_complete: bool
    setup: str = ""


# HTML.


def to_html(view: View, zone: tzinfo | None) -> bytes:
    """Return *view* as an HTML page, times as in *zone*; None is the machine's own."""
    query = view.query
    text = _PAGE.substitute(
        title=html.escape(_path(view.path)),
        crumbs=" / ".join(_crumbs(view.path)),
        filter=html.escape(visible(query.filter)),
        sort=query.sort.value,
        order="desc" if query.is_descending else "asc",
        clear=' <a href="./">Show all</a>' if query.filter else "",
        heads="".join(_head(sort, query) for sort in Sort),
        rows="".join(_rows(view, zone)),
        pages=_page_links(view),
        summary=_summary(view),
        setup=f'<br><a href="{view.setup}">Use the proxy</a>' if view.setup else "",
    )
    return text.encode("utf-8")


def visible(text: str) -> str:
    """Return *text* with a mark in place of what can't be seen, or turns the line round."""
    if text.isprintable():
        return text
    return "".join(
        "\ufffd" if unicodedata.category(each) in _INVISIBLE and each not in _JOINERS else each
        for each in text
    )


def human_size(size: int) -> str:
    """Return *size* in bytes as people read it: in powers of 1024, with three digits or so."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _UNITS:
        value /= 1024
        if value < 999.5 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"


def _text(name: bytes) -> str:
    return visible(name.decode("utf-8", "replace"))


def _path(segments: Segments) -> str:
    return "/" + "".join(_text(segment) + "/" for segment in segments)


def _crumbs(segments: Segments) -> Iterator[str]:
    """Yield a link for each folder on the way here; all relative, wherever the site is mounted."""
    names = ["Home", *map(_text, segments)]
    for above, name in zip(range(len(segments), -1, -1), names, strict=True):
        label = f"<bdi>{html.escape(name)}</bdi>"
        yield f'<a href="{"../" * above}">{label}</a>' if above else label


def _head(sort: Sort, query: FolderQuery) -> str:
    is_current = sort is query.sort
    is_descending = not query.is_descending if is_current else sort.is_descending
    link = html.escape(query.link(sort, is_descending, 1))
    mark, state = "", ""
    if is_current:
        mark = " ↓" if query.is_descending else " ↑"
        state = f' aria-sort="{"descending" if query.is_descending else "ascending"}"'
    label = sort.value.capitalize()
    return f'<th class="{sort.value}"{state} scope="col"><a href="{link}">{label}{mark}</a></th>'


def _rows(view: View, zone: tzinfo | None) -> Iterator[str]:
    if view.path:
        yield (
            '<tr class="folder"><td class="name"><a href="../">../</a></td>'
            '<td class="size"></td><td class="date"></td></tr>\n'
        )
    if not view.entries:
        yield '<tr><td class="name" colspan="3">Nothing here</td></tr>\n'
    for entry in view.entries:
        end, kind = ("/", ' class="folder"') if entry.is_folder else ("", "")
        size = "" if entry.is_folder else human_size(entry.size)
        exact = f' title="{entry.size:,} bytes"' if entry.size >= 1024 else ""
        yield (
            f'<tr{kind}><td class="name"><a href="{reference(entry)}">'
            f"<bdi>{html.escape(_text(entry.name))}</bdi>{end}</a></td>"
            f'<td class="size"{exact}>{size}</td>'
            f'<td class="date">{_date(entry.modified, zone)}</td></tr>\n'
        )


def reference(entry: Entry) -> str:
    """Return the reference to *entry* from its folder: `./` keeps a name from being a scheme."""
    return "./" + quote(entry.name, safe="") + ("/" if entry.is_folder else "")


def _time(nanoseconds: int, zone: tzinfo | None) -> datetime | None:
    """Return the moment as in *zone*; None where no calendar has it."""
    try:
        return (_EPOCH + timedelta(seconds=nanoseconds // 1_000_000_000)).astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return None


def _date(nanoseconds: int, zone: tzinfo | None) -> str:
    time = _time(nanoseconds, zone)
    if time is None:
        return ""
    return f'<time datetime="{time.isoformat()}">{time:%Y-%m-%d %H:%M}</time>'


def _page_links(view: View) -> str:
    if view.pages < 2:
        return ""
    query = view.query

    def link(number: int, words: str, relation: str) -> str:
        if not 1 <= number <= view.pages:
            return f"<span>{words}</span>"
        href = html.escape(query.link(query.sort, query.is_descending, number))
        return f'<a rel="{relation}" href="{href}">{words}</a>'

    parts = [
        link(query.page - 1, "← Previous", "prev"),
        f"<span>Page {query.page:,} of {view.pages:,}</span>",
        link(query.page + 1, "Next →", "next"),
    ]
    return '<nav class="pages">' + "".join(parts) + "</nav>\n"


def _summary(view: View) -> str:
    folders = f"{view.folders:,} folder{'' if view.folders == 1 else 's'}"
    files = f"{view.files:,} file{'' if view.files == 1 else 's'}"
    words = f"{folders}, {files}, {human_size(view.size)}"
    if view.query.filter:
        words += f" with “{html.escape(visible(view.query.filter))}” in their names"
    if not view.is_complete:
        words += ". The folder holds more than can be shown here"
    return words


# JSON.


def to_json(view: View) -> bytes:
    """Return *view* as JSON; a name that isn't UTF-8 is told exactly by its entry's `url` alone."""
    document = {
        "path": "/" + "".join(each.decode("utf-8", "replace") + "/" for each in view.path),
        "page": view.query.page,
        "pages": view.pages,
        "total": view.folders + view.files,
        "size": view.size,
        "complete": view.is_complete,
        "entries": [_entry(entry) for entry in view.entries],
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def _entry(entry: Entry) -> dict[str, str | int | None]:
    time = _time(entry.modified, UTC)
    return {
        "name": entry.name.decode("utf-8", "replace"),
        "type": "folder" if entry.is_folder else "file",
        "size": None if entry.is_folder else entry.size,
        "modified": None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "url": reference(entry),
    }
