"""What /fetch is asked for: its query taken apart, and redirects resolved; one URL as a Target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urljoin

import idna

from proxyapp import errors
from proxyapp.rules.masking import masked
from proxyapp.wire import headers
from proxyapp.wire.target import Form, Target, parse_target

_MINUTE = 60.0
# Also known where nothing has to be signed, so that links outlive the key.
_NAMES = (b"url", b"cache", b"type", b"expires", b"signature")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_UNSENT = re.compile(rb"[^\x21-\x7e]")
_AUTHORITY = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)")
_MAX_DIGITS = 12
_PARAMETERS_OF_TYPE = {b"charset"}


@dataclass(frozen=True, slots=True)
class FetchQuery:
    """What is wanted: *url* is the one to fetch as it was given, *target* what it means.

    *ttl* is cache=MINUTES in seconds, None where there is none. *content_type* is empty where the
    origin's own is wanted. *expires*, in seconds since the epoch, and *signature* are None and
    empty where they are missing.
    """

    url: bytes
    target: Target
    ttl: float | None
    content_type: bytes
    expires: int | None
    signature: bytes


def parse_query(query: bytes) -> FetchQuery:
    """Take the *query* of /fetch apart; raises BadRequest with what is wrong with it.

    Values are encoded as forms encode them (application/x-www-form-urlencoded).
    """
    given = _parameters(query)
    url = given.get(b"url", b"")
    if not url:
        raise errors.BadRequest("the parameter url is missing: url= and a percent-encoded URL")
    try:
        target = target_of(url)
    except errors.BadRequest as error:
        raise errors.BadRequest(f"url can't be fetched: {error.reason}") from error
    cache, expires = _number(given, b"cache"), _number(given, b"expires")
    return FetchQuery(
        url,
        target,
        None if cache is None else cache * _MINUTE,
        _content_type(given.get(b"type")),
        expires,
        given.get(b"signature", b""),
    )


def _parameters(query: bytes) -> dict[bytes, bytes]:
    given: dict[bytes, bytes] = {}
    for pair in filter(None, query.split(b"&")):
        name, _, value = pair.partition(b"=")
        if name not in _NAMES:
            shown = masked(name)[:40].decode("ascii", "backslashreplace")
            known = b", ".join(_NAMES).decode("ascii")
            raise errors.BadRequest(
                f"{shown!r} is no parameter ({known} are); a & inside url is written %26"
            )
        if name in given:
            raise errors.BadRequest(f"the parameter {name.decode('ascii')} is there twice")
        if _BAD_ESCAPE.search(value):
            reason = "has a % that two hexadecimal digits don't follow"
            raise errors.BadRequest(f"the parameter {name.decode('ascii')} {reason}")
        given[name] = unquote_to_bytes(value.replace(b"+", b" "))
    return given


def _number(given: dict[bytes, bytes], name: bytes) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        unit = "minutes" if name == b"cache" else "seconds since 1970"
        raise errors.BadRequest(f"{name.decode('ascii')} isn't a whole number of {unit}")
    return int(value)


def _content_type(value: bytes | None) -> bytes:
    """Return *value* as it will stand in Content-Type; raises BadRequest."""
    if value is None:
        return b""
    media_type, parameters = headers.split_parameters(value)
    main, slash, sub = media_type.lower().partition(b"/")
    is_known = parameters.keys() <= _PARAMETERS_OF_TYPE
    parts = (main, sub, *parameters.values())
    if not slash or not is_known or not all(map(headers.is_token, parts)):
        right = "such as text/plain or text/plain; charset=utf-8"
        raise errors.BadRequest(f"type isn't a media type, {right}")
    return b"%b/%b" % (main, sub) + b"".join(b"; charset=" + each for each in parameters.values())


# URLs.


def target_of(url: bytes) -> Target:
    """Return what an absolute http or https *url* names; raises BadRequest.

    As a browser would, it leaves out the fragment, takes names in any script (RFC 5891), and
    encodes what may not be sent (RFC 3986 section 2.1).
    """
    url = url.strip(b" \t").partition(b"#")[0]
    if _CONTROL.search(url):
        raise errors.BadRequest("it has control characters in it")
    found = _AUTHORITY.match(url)
    if found is None:
        raise errors.BadRequest("it isn't of the form http://host/path or https://host/path")
    authority = found[2] if found[2].isascii() else _ascii_authority(found[2])
    rest = _UNSENT.sub(lambda match: b"%%%02X" % match[0][0], url[found.end() :])
    target = parse_target(b"GET", found[1] + authority + rest)
    if target.form is not Form.ABSOLUTE or target.origin is None:
        raise errors.BadRequest("it isn't an absolute URL")
    return target


def _ascii_authority(authority: bytes) -> bytes:
    host, colon, port = authority.partition(b":")
    try:
        return idna.encode(host.decode("utf-8"), uts46=True) + colon + port
    except (idna.IDNAError, UnicodeDecodeError):
        raise errors.BadRequest("its host isn't a host name") from None


def redirected(target: Target, location: bytes) -> Target:
    """Return what *location*, in the answer for *target*, refers to; raises BadResponse.

    RFC 9110 section 10.2.2 and RFC 3986 section 5.
    """
    try:
        # Latin-1 carries every byte there and back.
        joined = urljoin(target.url.decode("latin-1"), location.decode("latin-1"))
        return target_of(joined.encode("latin-1"))
    except errors.BadRequest as error:
        reason = f"the origin redirects to a URL that can't be fetched: {error.reason}"
        raise errors.BadResponse(reason) from error
    except ValueError:
        raise errors.BadResponse("the origin redirects to what isn't a URL") from None
