"""Which part of the site answers a path: the gateway's own pages, what is mounted, or the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

from proxyapp.exchange import Reply, Request, Responder
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.writer import reason_for

_READING = frozenset({b"GET", b"HEAD"})


class SitePaths:
    """Picks by the path, decoded once: an *exact* one, else the longest of *mounts*, else *root*.

    All paths here begin with a slash and don't end in one, as they stand in a URL. A mount
    matches whole segments, and what is mounted gets the request as it came, with the mount's path
    still in front: what was decoded here is decoded by nobody else again.
    """

    def __init__(
        self,
        exact: Mapping[bytes, Responder],
        mounts: Sequence[tuple[bytes, Responder]],
        root: Responder,
    ) -> None:
        self._exact = {_segments(path): responder for path, responder in exact.items()}
        longest_first = sorted(mounts, key=lambda mount: -len(_segments(mount[0])))
        self._mounts = [(_segments(path), path, responder) for path, responder in longest_first]
        self._root = root
        # Nearly every request is for a file; its first segment says so.
        self._first = {path[0] for path in self._exact} | {path[0] for path, _, _ in self._mounts}

    def __repr__(self) -> str:
        mounts = ", ".join(path.decode("ascii", "backslashreplace") for _, path, _ in self._mounts)
        return f"<SitePaths {len(self._exact)} exact, mounts {mounts or 'none'}>"

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        path, mark, query = request.target.path.partition(b"?")
        segments = _segments(path)
        if segments[0] in self._first:
            exact = self._exact.get(segments)
            if exact is not None:
                await exact.respond(request, reply)
                return
            for mounted, at, responder in self._mounts:
                if segments[: len(mounted)] != mounted:
                    continue
                if len(segments) == len(mounted):
                    _redirect(request, reply, at + b"/" + mark + query)
                else:
                    await responder.respond(request, reply)
                return
        await self._root.respond(request, reply)


def _segments(path: bytes) -> tuple[bytes, ...]:
    if b"%" not in path:
        return tuple(path[1:].split(b"/"))
    # A slash that is escaped parts nothing.
    return tuple(unquote_to_bytes(segment) for segment in path[1:].split(b"/"))


def _redirect(request: Request, reply: Reply, url: bytes) -> None:
    """Send the client to the folder, or its relative links would lead astray."""
    reply.record.service = "site"
    # 308 keeps the method and the body of a form or an upload (RFC 9110 section 15.4.9).
    status = 301 if request.head.method in _READING else 308
    reply.answer(OutgoingResponse(status, reason_for(status), [(b"Location", url)]), b"")
