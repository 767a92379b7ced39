"""The part of the table of options that is about the content proxy: [fetch]."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.config import sitevalues, values
from proxyapp.config.domainlists import domains
from proxyapp.config.lists import words
from proxyapp.config.option import option
from proxyapp.config.values import DAYS, GIB, Surroundings, WrongValue, shown
from proxyapp.rules.domains import Domains
from proxyapp.wire import headers, target

# A page's origin is scheme://host, with a port where it isn't the scheme's own (RFC 6454).
_PAGE = re.compile(r"(https?)://([^/?#@]+)")
# RFC 2104 section 3: a shorter key than the hash's output is weaker than the hash.
_SHORTEST_KEY = 16
_TYPES = (
    "application/json, application/octet-stream, application/pdf, application/xml, audio/*,"
    " font/*, image/*, text/csv, text/plain, text/xml, video/*"
)


def fetch_path(text: str, surroundings: Surroundings) -> str:
    """Read the path of the content proxy; the empty text turns it off."""
    return sitevalues.mount_path(text, surroundings) if text else ""


def media_types(text: str, _: Surroundings) -> frozenset[bytes]:
    """Read media types, `type/*` and `*`, in any case."""
    return frozenset(_media_type(word) for word in words(text))


def _media_type(word: str) -> bytes:
    name = word.lower().encode("utf-8")
    main, slash, sub = name.partition(b"/")
    is_type = bool(slash) and headers.is_token(main) and headers.is_token(sub)
    if name != b"*" and (not is_type or main == b"*"):
        raise WrongValue(f"{shown(word)} is no media type; text/plain, image/* or * is right")
    return name


def page_origins(text: str, _: Surroundings) -> frozenset[bytes]:
    """Read origins of pages, or `*`; the empty text is none."""
    return frozenset(_page_origin(word) for word in words(text))


def _page_origin(word: str) -> bytes:
    if word == "*":
        return b"*"
    found = _PAGE.fullmatch(word.lower())
    try:
        if found is None:
            raise errors.BadRequest("no origin")
        origin = target.parse_authority(found[1], found[2].encode("ascii", "replace"))
    except errors.BadRequest as error:
        right = "https://app.example, without a path, or * would be right"
        raise WrongValue(f"{shown(word)} is no origin of pages; {right}") from error
    return b"%b://%b" % (origin.scheme.encode("ascii"), origin.authority)


def sign_key(text: str, _: Surroundings) -> bytes:
    """Read the key of signed URLs; the empty text asks for no signature."""
    key = text.encode("utf-8")
    if key and len(key) < _SHORTEST_KEY:
        raise WrongValue(f"is too short; {_SHORTEST_KEY} random characters or more would be right")
    return key


@dataclass(frozen=True, slots=True)
class Fetch:
    """The content proxy; an empty *path* turns it off. *max_size* in bytes, *max_cache* in seconds.

    *allow* None is no host, and *deny* None none either. *sign_key* is empty for none.
    """

    path: str = option(
        fetch_path,
        "/fetch",
        "Where the content proxy is, on the site and the proxy; empty turns it off.",
    )
    allow: Domains | None = option(
        domains,
        "*",
        "Hosts to fetch from, beside what [access] and rules say: names, .domains, @PATH; * is"
        " every host, and empty is none.",
    )
    deny: Domains | None = option(domains, "", "Hosts never to fetch from, also among those.")
    max_size: int = option(
        values.size(0, 1024 * 1024 * GIB),
        "1GiB",
        "Longest content that is fetched, 413 beyond; 0 is unlimited.",
    )
    max_cache: float = option(
        values.duration(0, 365 * DAYS), "1d", "Longest time that cache=MINUTES may ask for."
    )
    types: frozenset[bytes] = option(
        media_types,
        _TYPES,
        "Media types that type=TYPE may ask for, as type/subtype or type/* (which leaves out those"
        " that end in +xml); * is all, also text/html.",
    )
    cors: frozenset[bytes] = option(
        page_origins,
        "*",
        "Whose pages may read what is fetched: origins such as https://app.example; * is every"
        " page, and empty is none but the gateway's own.",
    )
    sign_key: bytes = option(
        sign_key,
        "",
        "Key that URLs have to be signed with, see docs/fetch.md; empty asks for no signature.",
        is_secret=True,
    )
