"""What an unsafe request makes invalid (RFC 9111 section 4.4)."""

from __future__ import annotations

from urllib.parse import urldefrag, urljoin

from proxyapp import errors
from proxyapp.wire.messages import RequestHead, ResponseHead
from proxyapp.wire.target import Origin, parse_target

# The registered methods that are safe (RFC 9110 section 16.1.1). All others may change something.
_SAFE = frozenset(b"GET HEAD OPTIONS TRACE CONNECT PROPFIND REPORT SEARCH QUERY PRI".split())
_NAMING = (b"location", b"content-location")


def invalidated(
    request: RequestHead, origin: Origin, path: bytes, response: ResponseHead
) -> list[tuple[Origin, bytes]]:
    """Return origin and path of each resource that *request* for *origin* and *path* changed.

    An answer that isn't 2xx or 3xx says that nothing was changed. What Location and
    Content-Location name goes too, of the same origin only.
    """
    if request.method in _SAFE or not 200 <= response.status < 400:
        return []
    changed = [(origin, path)]
    for name in _NAMING:
        for reference in response.fields.values(name):
            named = resolved(origin, path, reference)
            if named is not None and named[0] == origin and named not in changed:
                changed.append(named)
    return changed


def resolved(origin: Origin, path: bytes, reference: bytes) -> tuple[Origin, bytes] | None:
    """Return what *reference* means in a response from *origin* and *path*, None if nothing.

    It is a URI reference (RFC 3986 section 5.2); only http and https URLs mean something.
    """
    base = b"%b://%b%b" % (origin.scheme.encode("ascii"), origin.authority, path)
    try:
        joined = urljoin(base.decode("latin-1"), reference.decode("latin-1"))
        target = parse_target(b"GET", urldefrag(joined).url.encode("latin-1"))
    except (errors.BadRequest, ValueError):
        return None
    return None if target.origin is None else (target.origin, target.path)
