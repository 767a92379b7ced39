"""What the request log says of an exchange: one record is one line, in each format.

Most of a record came from outside, so a client could try to write lines or fields of its own. What
is written is therefore printable ASCII only: control characters, non-ASCII bytes, double quotes and
backslashes become `\\xHH`, and so does whatever ends the field in the format at hand. Secrets in
URLs are masked.
"""

from __future__ import annotations

import enum
import functools
import json
import re
from collections.abc import Callable, Mapping

from proxyapp.rules import logtimes
from proxyapp.rules.masking import masked
from proxyapp.rules.record import Record
from proxyapp.wire.repeated import Repeated

FormatLine = Callable[[Record], str]
Escape = Callable[[bytes], str]


def compile_format(text: str) -> FormatLine:
    """Turn [log] format into the function that writes a record's line, without line end.

    *text* is the name of a format, or a format string with `{name}` placeholders, where `{{` and
    `}}` are braces. Raises ValueError, with a message for the admin.
    """
    return NAMED_FORMATS.get(text) or _compile_string(text)


class Identified(enum.Enum):
    """Which lines of a format have a place for the request id."""

    NONE = "none"
    PAGES = "those of exchanges that ended in an error page"
    ALL = "all"


def identified(text: str) -> Identified:
    """Return which lines of *text*, a format that can be compiled, show the request id."""
    if text == "combined":
        return Identified.PAGES
    shows = text == "json" or (text not in NAMED_FORMATS and ("", "request_id") in _pieces(text))
    return Identified.ALL if shows else Identified.NONE


# --- Escaping ---


def _escaper(ends: str) -> Escape:
    """Make the function that writes a value such that no character of *ends* is in it."""
    safe = set(map(chr, range(0x20, 0x7F))) - set('"\\') - set(ends)
    safe_octets = "".join(sorted(safe)).encode("ascii")
    unsafe = re.compile(b"[^" + re.escape(safe_octets) + b"]")

    def escape(value: bytes) -> str:
        if not value:
            return "-"
        if value.translate(None, safe_octets):  # what is left of it; a search takes twice as long
            value = unsafe.sub(_as_hex, value)
        return value.decode("ascii")

    return escape


def _as_hex(match: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % match[0][0]


_quoted = _escaper("")
_word = _escaper(" ")


def _octets(text: str | None) -> bytes:
    return text.encode("utf-8", "backslashreplace") if text else b""


# --- Parts of lines ---


def _shown(record: Record) -> bytes:
    """What the client is called: its name, or else its address."""
    return _octets(record.client_name or record.client_host)


def _client(record: Record, escape: Escape) -> str:
    """Name or address, and port; a Unix socket has neither."""
    host = escape(_shown(record))
    if not record.client_host:
        return host
    return f"[{host}]:{record.client_port}" if ":" in host else f"{host}:{record.client_port}"


def _request(record: Record, escape: Escape) -> str:
    """The request line; a head that couldn't be read has none."""
    asked = record.asked
    method, target = asked.method, asked.target
    if not method and not target:
        return "-"
    shown = _url(target) if escape is _word else escape(masked(target))
    return f"{escape(method)} {shown} HTTP/1.{asked.minor}"


_URLS: Repeated[str] = Repeated()


def _url(url: bytes) -> str:
    """Return *url* as a word, without its secrets."""
    known = _URLS.known.get(url)
    return _URLS.note(url, _word(masked(url))) if known is None else known


def _fetched(record: Record) -> bytes:
    return masked(record.url or record.asked.target)


# The fields that are text, as json and format strings know them.
_TEXTS: Mapping[str, Callable[[Record], bytes]] = {
    "client_host": lambda record: _octets(record.client_host),
    "user": lambda record: _octets(record.user),
    "service": lambda record: _octets(record.service),
    "method": lambda record: record.asked.method,
    "target": lambda record: masked(record.asked.target),
    "url": _fetched,
    "referer": lambda record: masked(record.asked.fields.get(b"referer") or b""),
    "user_agent": lambda record: record.asked.fields.get(b"user-agent") or b"",
    "content_type": lambda record: record.content_type,
    "upstream": lambda record: _octets(record.upstream),
    "reuse": lambda record: _octets(record.reuse),
    "tls": lambda record: _octets(record.tls),
    "cache": lambda record: _octets(record.cache),
    "error": lambda record: _octets(record.error),
    "reason": lambda record: _octets(record.reason),
    "rule": lambda record: _octets(record.rule),
    "reported": lambda record: _octets(record.reported),
    "request_id": lambda record: _octets(record.request_id),
}


# --- Named formats ---


@functools.lru_cache(maxsize=1024)
def _host(host: str) -> str:
    return _word(_octets(host))


def _common(record: Record) -> str:
    """Apache's `%h %l %u %t "%r" %>s %b`, with an identity that is never asked for."""
    host = _host(record.client_name or record.client_host)
    user = "-" if record.user is None else _word(_octets(record.user))
    return (
        f"{host} - {user} [{logtimes.second(int(record.started)).common}]"
        f' "{_request(record, _word)}" {record.status or "-"} {record.sent or "-"}'
    )


def _combined(record: Record) -> str:
    """Apache's common and `"%{Referer}i" "%{User-agent}i"`; behind it an id that a page showed."""
    said = record.asked.fields.combined
    referer, agent = said.get(b"referer"), said.get(b"user-agent", b"")
    shown = _quoted(masked(referer)) if referer else "-"
    line = f'{_common(record)} "{shown}" "{_quoted(agent)}"'
    return f'{line} "{_quoted(_octets(record.request_id))}"' if record.request_id else line


_DENIALS = frozenset(("http_request_denied", "destination_ip_prohibited", "proxy_loop_detected"))
_CLIENT_GONE = 499
_BY_SERVICE = {"proxy": "TCP_MISS", "fetch": "TCP_MISS", "tunnel": "TCP_TUNNEL"}
_BY_CACHE = {
    "hit": "TCP_HIT",
    "miss": "TCP_MISS",
    "stale": "TCP_STALE_HIT",
    "revalidated": "TCP_REFRESH_UNMODIFIED",
    "collapsed": "TCP_CF_HIT",
}


def _squid_code(record: Record) -> str:
    """Squid's result code, as far as it has a word for what happened here."""
    if record.error in _DENIALS:
        return "TCP_DENIED"
    code = _BY_CACHE.get(record.cache) or _BY_SERVICE.get(record.service, "NONE_NONE")
    return f"{code}_ABORTED" if record.status == _CLIENT_GONE else code


def _squid(record: Record) -> str:
    """Squid's native access.log, whose time is that of the end (%ts.%03tu ... %mt)."""
    peer = _word(_octets(record.upstream.rpartition(":")[0].strip("[]")))
    content_type = _word(record.content_type.partition(b";")[0].strip())
    return (
        f"{record.started + record.duration:.3f} {int(record.duration * 1000):6d}"
        f" {_word(_shown(record))} {_squid_code(record)}/{record.status:03d}"
        f" {record.sent} {_word(record.asked.method or b'NONE')}"
        f" {_word(_fetched(record) or b'error:invalid-request')} {_word(_octets(record.user))}"
        f" {'HIER_NONE' if peer == '-' else 'HIER_DIRECT'}/{peer} {content_type}"
    )


def _pool(record: Record) -> str:
    """Time, client, method, real URL, status, length, seconds, URL as asked."""
    return (
        f"{logtimes.rfc3339(record.started)} {_client(record, _word)} {_word(record.asked.method)}"
        f" {_url(_fetched(record))} {record.status or '-'} {record.sent}"
        f" {record.duration:.6f} {_word(masked(record.asked.target))}"
    )


_encode_json = json.JSONEncoder(separators=(",", ":")).encode


def _json(record: Record) -> str:
    """One object a line, all fields; bytes that aren't UTF-8 as `\\xHH`, no user as null."""
    fields: dict[str, str | int | float | None] = {
        "time": logtimes.rfc3339(record.started),
        "epoch": round(record.started, 3),
        "duration": round(record.duration, 6),
        "client_port": record.client_port,
        "status": record.status,
        "sent": record.sent,
        "received": record.received,
        "version": f"HTTP/1.{record.asked.minor}",
    }
    for name, octets in _TEXTS.items():
        fields[name] = octets(record).decode("utf-8", "backslashreplace")
    fields["user"] = None if record.user is None else fields["user"]
    if record.client_name:
        fields["client_name"] = record.client_name
    return _encode_json(fields)


NAMED_FORMATS: Mapping[str, FormatLine] = {
    "combined": _combined,
    "common": _common,
    "squid": _squid,
    "pool": _pool,
    "json": _json,
}

# --- Format strings ---


def _escaped(octets: Callable[[Record], bytes]) -> Callable[[Record, Escape], str]:
    return lambda record, escape: escape(octets(record))


PLACEHOLDERS: Mapping[str, Callable[[Record, Escape], str]] = {
    **{name: _escaped(octets) for name, octets in _TEXTS.items()},
    "time": lambda record, escape: logtimes.rfc3339(record.started),
    "time_common": lambda record, escape: logtimes.second(int(record.started)).common,
    "date": lambda record, escape: logtimes.rfc3339(record.started)[:10],
    "clock": lambda record, escape: logtimes.rfc3339(record.started)[11:19],
    "zone": lambda record, escape: logtimes.second(int(record.started)).offset,
    "epoch": lambda record, escape: f"{record.started:.3f}",
    "duration": lambda record, escape: f"{record.duration:.6f}",
    "milliseconds": lambda record, escape: str(int(record.duration * 1000)),
    "client": _client,
    "client_name": _escaped(_shown),
    "client_port": lambda record, escape: str(record.client_port),
    "request": _request,
    "version": lambda record, escape: f"HTTP/1.{record.asked.minor}",
    "status": lambda record, escape: str(record.status or "-"),
    "sent": lambda record, escape: str(record.sent),
    "received": lambda record, escape: str(record.received),
}

# In these a colon is no news, so `{client_host}:{client_port}` leaves it as it is.
_ADDRESSES = frozenset(("client", "client_host", "client_name", "upstream"))
_TOKEN = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<stray>[{}])|(?P<text>[^{}]+)")


def _compile_string(text: str) -> FormatLine:
    pieces = _pieces(text)
    parts = [
        (literal, PLACEHOLDERS.get(name, _nothing), _escaper(_ends(pieces, index)))
        for index, (literal, name) in enumerate(pieces)
    ]
    return lambda record: "".join([text + render(record, escape) for text, render, escape in parts])


def _nothing(record: Record, escape: Escape) -> str:
    return ""


def _pieces(text: str) -> list[tuple[str, str]]:
    """Take a format string apart into (literal, "") and ("", placeholder)."""
    if not text.replace("\t", " ").isprintable():
        raise ValueError("a log format is one line without control characters")
    pieces: list[tuple[str, str]] = []
    for token in _TOKEN.finditer(text):
        name = token["name"]
        if token["stray"]:
            raise ValueError(
                f"unbalanced {token['stray']} in the log format; a brace is {{{{ or }}}}"
            )
        if name is not None and name not in PLACEHOLDERS:
            raise ValueError(f"unknown {{{name}}} in the log format; known: {_known()}")
        pieces.append(((token["brace"] or "")[:1] or token["text"] or "", name or ""))
    if not any(name for _, name in pieces):
        formats = ", ".join(NAMED_FORMATS)
        raise ValueError(
            f"neither a named log format ({formats}) nor one with {{name}} placeholders: {_known()}"
        )
    return pieces


def _known() -> str:
    return " ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))


def _ends(pieces: list[tuple[str, str]], index: int) -> str:
    """Which characters the value of the placeholder at *index* must not have.

    The one that follows it, so that a reader knows where it ends; and outside of double quotes
    blanks and the separators that the format uses.
    """
    name = pieces[index][1]
    literals = [literal for literal, _ in pieces]
    ends = literals[index + 1][:1] if index + 1 < len(literals) else ""
    if "".join(literals[:index]).count('"') % 2 == 0:
        ends += " " + "".join(set(",;|") & set("".join(literals)))
    if name == "request":
        ends += " "
    if name in _ADDRESSES:
        ends = ends.replace(":", "")
    return "".join(end for end in ends if end.isascii() and not end.isalnum())
