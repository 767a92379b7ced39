"""What a folder without an index page answers: its list as a page or JSON, itself as an archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from urllib.parse import unquote_to_bytes

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.net.timers import Sweep
from proxyapp.rules.conditions import http_date
from proxyapp.site import archive, listingpage
from proxyapp.site.archive import Format, disposition
from proxyapp.site.confinement import OpenFile, Root, file_errors
from proxyapp.site.folderquery import PAGE_LENGTH, FolderQuery, Form, matching, ordered, parse_query
from proxyapp.site.listingpage import View
from proxyapp.site.members import Members
from proxyapp.site.pacing import Pace
from proxyapp.site.paths import Location
from proxyapp.site.places import Places
from proxyapp.site.representations import added, response
from proxyapp.site.threads import InThread
from proxyapp.site.tree import Entry, Segments, Tree
from proxyapp.wire.framing import UNTIL_CLOSE
from proxyapp.wire.headers import NO_FIELDS, RawFields

# What is read of one folder: some 60 MB while its page is made.
MOST_ENTRIES = 200_000
# Two, so that one huge folder doesn't hold up all the small ones.
SCANS, SCANS_WAITING = 2, 256
ARCHIVES = 4
_NAME_OF_ROOT = b"files"
_ARCHIVES = {Form.ZIP: archive.ZIP, Form.TAR: archive.TAR}
_COMMON: RawFields = [(b"Cache-Control", b"no-cache"), (b"X-Content-Type-Options", b"nosniff")]


class Listings:
    """Answers for the folders below *root*.

    *hidden* says whether names that begin with a dot are shown; what else isn't served isn't
    shown either. *seconds* is the time of day. *setup* is the path of the page about the proxy,
    which the top folder points to; empty for none.
    """

    def __init__(
        self,
        root: Root,
        hidden: bool,
        in_thread: InThread,
        sweep: Sweep,
        seconds: Callable[[], float],
        setup: str,
    ) -> None:
        self._setup = setup
        self._tree = Tree(root, hidden)
        self._in_thread = in_thread
        self._sweep = sweep
        self._seconds = seconds
        self._scans = Places(in_thread, SCANS, SCANS_WAITING, "too many folders are being read")
        self._archives = Places(in_thread, ARCHIVES, 0, "too many archives are being made")

    def __repr__(self) -> str:
        return f"<Listings, scans {self._scans!r}, archives {self._archives!r}>"

    async def respond(
        self,
        request: Request,
        reply: Reply,
        folder: OpenFile,
        location: Location,
        given: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Answer a GET or HEAD for the open *folder*, which *location* names.

        *given* are the fields that the configuration adds. The caller closes the folder afterwards.
        Raises BadRequest, NotFound (there is no such
        page), Overloaded, ClientGone and InternalError.
        """
        query = parse_query(location.query, request.head.fields.get(b"accept"))
        made = _ARCHIVES.get(query.form)
        if made is not None:
            await self._send_archive(request, reply, folder, location, made, given)
            return
        work = partial(self._page, location, query)
        body = await self._scans.run(folder.descriptor, work)
        fields = [*_COMMON, (b"Vary", b"Accept")]
        if query.form is Form.JSON:
            fields.append((b"Content-Type", b"application/json"))
        else:
            fields.append((b"Content-Type", b"text/html; charset=utf-8"))
            fields.append((b"Content-Security-Policy", listingpage.POLICY))
        reply.answer(response(200, added(fields, given)), body)

    def _page(
        self, location: Location, query: FolderQuery, folder: int, halt: threading.Event
    ) -> bytes:
        """In a thread: read the folder and return the page."""
        with file_errors():
            entries = self._tree.entries(folder, location.segments, halt)
            found = list(islice(entries, MOST_ENTRIES + 1))
        view = view_of(path_of(location), query, found[:MOST_ENTRIES], len(found) <= MOST_ENTRIES)
        if query.form is Form.JSON:
            return listingpage.to_json(view)
        return listingpage.to_html(view._replace(setup="" if view.path else self._setup), None)

    async def _send_archive(
        self,
        request: Request,
        reply: Reply,
        folder: OpenFile,
        location: Location,
        made: Format,
        given: Sequence[tuple[bytes, bytes]],
    ) -> None:
        name = path_of(location)[-1:] or (_NAME_OF_ROOT,)
        fields = [
            (b"Content-Type", made.media_type),
            (b"Content-Disposition", disposition(name[0], made)),
            *_COMMON,
            (b"Date", http_date(int(self._seconds()))),
        ]
        head = response(200, added(fields, given))
        reply.record.content_type = made.media_type
        if request.head.method == b"HEAD":
            reply.begin(head, UNTIL_CLOSE).finish(NO_FIELDS)
            return
        await self._archives.enter()
        halt = threading.Event()
        try:
            members = Members(self._tree, folder.descriptor, location.segments, name[0], halt)
        except BaseException:
            self._archives.leave()
            raise

        def end() -> None:
            members.close()
            self._archives.leave()

        sink = reply.begin(head, UNTIL_CLOSE)
        chunks = made.chunks(members)
        await Pace(sink, self._sweep, self._in_thread, chunks, halt, end).run()


def path_of(location: Location) -> Segments:
    """Return the decoded segments of *location* from the server's root on."""
    above = location.prefix.split(b"/")[1:]
    return (*map(unquote_to_bytes, above), *location.segments)


def view_of(path: Segments, query: FolderQuery, found: list[Entry], is_complete: bool) -> View:
    """Return what the page that *query* asks for shows of *found*; or NotFound behind the last."""
    matches = matching(found, query.filter)
    pages = max(1, -(-len(matches) // PAGE_LENGTH))
    if query.page > pages:
        raise errors.NotFound(f"the last page of this folder is page {pages}")
    first = (query.page - 1) * PAGE_LENGTH
    folders = sum(entry.is_folder for entry in matches)
    return View(
        path=path,
        query=query,
        entries=list(islice(ordered(matches, query), first, first + PAGE_LENGTH)),
        pages=pages,
        folders=folders,
        files=len(matches) - folders,
        size=sum(entry.size for entry in matches),
        is_complete=is_complete,
    )
