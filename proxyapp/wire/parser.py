"""Heads to messages: llhttp (through httptools) for the field lines, and the checks it lacks.

Each head was cut out of its connection's bytes by `wire.heads`. Its start line is matched here,
because llhttp knows a fixed list of methods and versions; the field lines are shown to llhttp under
a plain start line of ours. So llhttp never runs on into a body or the next
pipelined request, whose start it can't report; bodies are taken apart by `wire.bodies`. A parser
object costs 0.3 us: each head gets a fresh one, and no state outlives a message.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TypeAlias, cast

import httptools

from proxyapp import errors
from proxyapp.wire import headers
from proxyapp.wire.headers import NO_FIELDS, Fields, RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import RequestHead, ResponseHead

# RFC 9112 section 3: one space each. A method is any token (RFC 9110 section 9.1); a target is
# visible ASCII, and what else it may be is for wire.target to say.
_REQUEST_LINE = re.compile(rb"(" + headers.TOKEN.pattern + rb") ([!-~]+) HTTP/1\.([0-9])\r\n")
_ALMOST_REQUEST_LINE = re.compile(
    headers.TOKEN.pattern + rb" ([^\x00-\x20\x7f]+) HTTP/([0-9])\.[0-9]\r\n"
)
# RFC 9112 section 4, and the lone common fault: no space after the code where the reason is empty.
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?\r\n")
_STATUS_SHOWN = b"HTTP/1.1 200 OK\r\n"
# They would frame or route the message, and came too late for that (RFC 9110 section 6.5.1).
_NOT_IN_TRAILERS = (b"transfer-encoding", b"content-length", b"host")


class _Nobody:
    """Listens to none of llhttp's callbacks: what it accepts we can take apart ourselves."""

    on_url = on_status = on_header = on_headers_complete = on_body = None
    on_message_begin = on_message_complete = on_chunk_header = on_chunk_complete = None


_NOBODY = _Nobody()


class _HeadParser:
    """Reads the heads of one connection.

    A client repeats its fields from request to request, and an origin while it is asked for the
    same. A field section that is the last one again gives the same Fields, so that they, and what
    others derive from them, cost nothing.
    """

    __slots__ = ("_fields", "_section", "limits")

    def __init__(self, limits: HeadLimits) -> None:
        self.limits = limits
        self._section = b""
        self._fields = NO_FIELDS

    def _remember(self, section: bytes, fields: Fields) -> Fields:
        if len(section) <= _LONGEST_REMEMBERED:
            self._section, self._fields = section, fields
        return fields


class RequestParser(_HeadParser):
    """Reads the request heads of one connection."""

    __slots__ = ()

    def parse(self, head: bytes) -> RequestHead:
        """Return the request in *head*, one whole head with its final empty line.

        Raises BadRequest, HeadTooLarge, UnknownVersion. Sections 3 and 5 of RFC 9112 and, for
        Host, section 3.2.
        """
        line = _REQUEST_LINE.match(head)
        if line is None:
            raise _request_line_fault(head)
        method, target, minor = line.groups()
        section = head[line.end() :]
        fields = self._fields if section == self._section else self._read(section)
        # RFC 9110 section 6.2: a higher minor version is read as the highest we know.
        if minor != b"0" and b"host" not in fields.combined:
            raise errors.BadRequest("no Host field")
        return RequestHead(method, target, 0 if minor == b"0" else 1, fields)

    def _read(self, section: bytes) -> Fields:
        fields = _read_fields(
            httptools.HttpRequestParser, b"POST / HTTP/1.1\r\n", section, self.limits
        )
        if b"host" in fields.repeated:
            raise errors.BadRequest("more than one Host field")
        return self._remember(section, fields)


class ResponseParser(_HeadParser):
    """Reads the response heads of one connection."""

    __slots__ = ()

    def parse(self, head: bytes) -> ResponseHead:
        """Return the response in *head*, one whole head with its final empty line.

        Raises BadRequest or HeadTooLarge, which the caller turns into the origin's fault.
        """
        end = head.find(b"\n") + 1
        status, reason, minor = _parse_status_line(head[:end])
        section = head[end:]
        fields = self._fields if section == self._section else self._read(section)
        return ResponseHead(status, reason, minor, fields)

    def _read(self, section: bytes) -> Fields:
        parser = httptools.HttpResponseParser
        return self._remember(section, _read_fields(parser, _STATUS_SHOWN, section, self.limits))


def _request_line_fault(head: bytes) -> errors.ClientFault:
    line = _ALMOST_REQUEST_LINE.match(head)
    if line is None:
        return errors.BadRequest("the request line isn't method, target and version")
    if line[2] != b"1":
        return errors.UnknownVersion("only HTTP/1.1 and HTTP/1.0 are spoken here")
    return errors.BadRequest("the request target has characters that must be percent-encoded")


# Bytes of a field section; ten thousand idle connections shall not each hold a long one.
_LONGEST_REMEMBERED = 2048


def parse_request(head: bytes, limits: HeadLimits) -> RequestHead:
    """Return the request in *head*; see RequestParser."""
    return RequestParser(limits).parse(head)


def parse_response(head: bytes, limits: HeadLimits) -> ResponseHead:
    """Return the response in *head*; see ResponseParser."""
    return ResponseParser(limits).parse(head)


# There are few different ones, and all are short: the longest kept are as long as a head may be,
# but an origin that answers with such is rare.
@functools.lru_cache(maxsize=128)
def _parse_status_line(line: bytes) -> tuple[int, bytes, int]:
    parts = _STATUS_LINE.fullmatch(line)
    if parts is None:
        raise errors.BadRequest("the status line isn't version, code and reason")
    minor, status, reason = parts.groups()
    return int(status), reason or b"", 0 if minor == b"0" else 1


def parse_trailers(section: bytes, limits: HeadLimits) -> Fields:
    """Return the fields of a trailer *section*, its final empty line included (section 7.1.2).

    Raises BadRequest: too many of them are a broken body, not a head too large.
    """
    try:
        fields = _read_fields(httptools.HttpResponseParser, _STATUS_SHOWN, section, limits)
    except errors.HeadTooLarge:
        raise errors.BadRequest(f"more than {limits.fields} trailer fields") from None
    for name in _NOT_IN_TRAILERS:
        if name in fields:
            raise errors.BadRequest("a trailer field that would frame or route the message")
    return fields


# Clients and origins send the same lines over and over, and one that llhttp has accepted needs no
# second look. What is long or secret isn't kept, nor what llhttp judges together with other lines
# (it judges repeated ones, too); a full memory, a few MB, is emptied rather than managed.
_ACCEPTED: dict[bytes, tuple[bytes, bytes]] = {}
_MOST_ACCEPTED = 8192
_LONGEST_ACCEPTED = 128
_NOT_KEPT = frozenset(
    (b"", *b"cookie set-cookie authorization proxy-authorization transfer-encoding".split())
)


_Llhttp: TypeAlias = httptools.HttpRequestParser | httptools.HttpResponseParser


def _read_fields(
    make_parser: Callable[[object], _Llhttp], start_line: bytes, section: bytes, limits: HeadLimits
) -> Fields:
    """Return the fields in *section*, field lines and the final empty line, checked by llhttp."""
    lines = section.split(b"\r\n")
    is_whole = lines[-2:] == [b"", b""]
    del lines[-2:]
    entries = list(map(_ACCEPTED.get, lines))
    fields = None if None in entries else Fields(cast(RawFields, entries), lines)
    if fields is None or fields.repeated or not is_whole:
        _ask_llhttp(make_parser(_NOBODY), start_line + section)
        if not is_whole or b"" in lines:
            raise errors.BadRequest("the head doesn't end in its only empty line")
        fields = Fields(list(map(_accept, lines)), lines)
    if len(lines) > limits.fields:
        raise errors.HeadTooLarge(f"the head has more than {limits.fields} fields")
    return fields


def _ask_llhttp(parser: _Llhttp, shown: bytes) -> None:
    try:
        parser.feed_data(shown)
    except httptools.HttpParserUpgrade:
        pass  # an Upgrade field: llhttp stops behind the head, where nothing is left anyway
    except httptools.HttpParserError:
        raise _fault(shown) from None


def _accept(line: bytes) -> tuple[bytes, bytes]:
    """Take *line* apart, and remember it."""
    known = _ACCEPTED.get(line)
    if known is not None:
        return known
    entry = headers.take_apart(line)
    if len(line) <= _LONGEST_ACCEPTED and entry[0] not in _NOT_KEPT:
        if len(_ACCEPTED) >= _MOST_ACCEPTED:
            _ACCEPTED.clear()
        _ACCEPTED[line] = entry
    return entry


def _fault(shown: bytes) -> errors.BadRequest:
    """Say what llhttp disliked in our own words, as exactly as a look at the bytes allows."""
    names = set()
    for line in shown.split(b"\r\n")[1:-2]:
        name, colon, value = line.partition(b":")
        if b"\r" in line or b"\n" in line:
            return errors.BadRequest("a bare CR or LF inside a line")
        if line[:1] in (b" ", b"\t"):
            return errors.BadRequest("a folded field line")
        if not colon or not headers.is_token(name):
            return errors.BadRequest("a field line isn't name: value")
        if headers.UNSAFE_IN_VALUE.search(value):
            return errors.BadRequest("a control character in a field value")
        names.add(name.lower())
    if b"content-length" in names:
        return errors.BadRequest("Content-Length repeated, malformed, or beside Transfer-Encoding")
    if b"transfer-encoding" in names:
        return errors.BadRequest("Transfer-Encoding doesn't end in one chunked")
    return errors.BadRequest("the message isn't valid HTTP/1")
