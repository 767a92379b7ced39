"""Pages that the product writes itself, as HTML and as plain text; first of all its failures."""

from __future__ import annotations

import html
import re
from string import Template
from typing import NamedTuple

from proxyapp import errors
from proxyapp.rules.masking import masked
from proxyapp.rules.negotiation import preferred
from proxyapp.wire.headers import RawFields
from proxyapp.wire.writer import reason_for

_HTML, _TEXT = b"text/html", b"text/plain"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# Bytes of one piece of text, escapes included; keeps an error page below 4 KiB.
LONGEST_TEXT = 600
_HALF_ENTITY = re.compile(r"&[^;]*\Z")

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem }
h2 { font-size: 1.1rem; margin-bottom: 0 }
body { overflow-wrap: anywhere }
pre { white-space: pre-wrap; padding: .5rem; background: #8882 }
pre { user-select: all; -webkit-user-select: all }
img { max-width: 100% }
nav a { display: inline-block; padding: .3rem .6rem .3rem 0 }
</style>
<h1>$title</h1>
$blocks""")


# A page with more headings than this begins with links to them.
_FEW_HEADINGS = 6


class Picture(NamedTuple):
    """A picture from elsewhere: its absolute URL, and the words where it can't be loaded."""

    url: str
    instead: str


class Block(NamedTuple):
    """A part of a page as plain text: paragraphs, then lines shown exactly as they are.

    A picture after the paragraphs is for HTML only.
    """

    heading: str
    paragraphs: tuple[str, ...]
    lines: tuple[str, ...]
    picture: Picture | None = None

    def to_html(self, anchor: str) -> str:
        """Return the block as HTML; *anchor* is where links find it."""
        parts = [f"<p>{_escaped(paragraph)}</p>" for paragraph in self.paragraphs]
        if self.heading:
            parts.insert(0, f'<h2 id="{anchor}">{_escaped(self.heading)}</h2>')
        if self.picture is not None:
            url, instead = map(_escaped, self.picture)
            parts.append(f'<p><img src="{url}" alt="{instead}"></p>')
        if self.lines:
            # Nothing but the lines themselves: a tap marks them all, to be copied.
            parts.append("<pre>" + "\n".join(map(_escaped, self.lines)) + "</pre>")
        return "\n".join(parts)


class Page(NamedTuple):
    """A page as plain text; the outside world's words are made safe when it is rendered."""

    title: str
    blocks: tuple[Block, ...]

    def to_html(self) -> str:
        """Return the page as HTML, every text in it escaped."""
        anchored = [(f"part-{number}", block) for number, block in enumerate(self.blocks, 1)]
        links = [
            f'<a href="#{anchor}">{_escaped(block.heading)}</a>'
            for anchor, block in anchored
            if block.heading
        ]
        parts = [block.to_html(anchor) for anchor, block in anchored]
        if len(links) > _FEW_HEADINGS:
            parts.insert(0, "<nav>\n" + "\n".join(links) + "\n</nav>")
        return _PAGE.substitute(title=_escaped(self.title), blocks="\n".join(parts) + "\n")

    def to_text(self) -> str:
        """Return the page as plain text."""
        parts = [_clipped(_printable(self.title))]
        for block in self.blocks:
            texts = [block.heading, *block.paragraphs] if block.heading else block.paragraphs
            parts.append("\n".join(_clipped(_printable(text)) for text in texts))
            parts.append("\n".join("    " + _clipped(_printable(line)) for line in block.lines))
        return "\n\n".join(part for part in parts if part) + "\n"


def render(page: Page, accept: bytes | None) -> tuple[RawFields, bytes]:
    """Return the fields and the body of *page*: HTML for those who prefer it, else plain text."""
    media_type = preferred(accept, (_TEXT, _HTML))
    text = page.to_html() if media_type == _HTML else page.to_text()
    policy = _POLICY
    pictures = [block.picture.url for block in page.blocks if block.picture is not None]
    if pictures:
        policy += "; img-src " + " ".join(pictures)
    fields: RawFields = [
        (b"Content-Type", media_type + b"; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Security-Policy", policy.encode("ascii")),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    return fields, text.encode("utf-8")


def _printable(text: str) -> str:
    """Replace what could move a terminal's cursor, turn a line round, or not be encoded."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _clipped(text: str) -> str:
    encoded = text.encode("utf-8")
    if len(encoded) <= LONGEST_TEXT:
        return text
    return encoded[: LONGEST_TEXT - 3].decode("utf-8", "ignore") + "..."


def _escaped(text: str) -> str:
    escaped = html.escape(_printable(text))
    clipped = _clipped(escaped)
    return clipped if clipped == escaped else _HALF_ENTITY.sub("", clipped[:-3]) + "..."


# Failures.

# What to try: the nearest class up the tree has the words.
_ADVICE: dict[type[errors.ExchangeError], str] = {
    errors.ExchangeError: "The gateway's event log says more, at the time of this request.",
    errors.ClientFault: "Check the program that sent this request.",
    errors.BadRequest: "Check the address, and how the program that sent it is set up.",
    errors.NotFound: "Check the spelling of the address; upper and lower case differ.",
    errors.MethodNotAllowed: "Only the methods named in the Allow field of this answer work here.",
    errors.RequestTimeout: "Send the request again; if this happens often, look at the network.",
    errors.Conflict: "Look at what is there now, and go on from that.",
    errors.PreconditionFailed: "Load it again, and then repeat the request.",
    errors.BodyTooLarge: "Send less, or ask whoever looks after this gateway to raise the limit.",
    errors.TargetTooLong: "The limit is [limits] request_head in the configuration.",
    errors.Misdirected: "Check the port in the address: this one has another purpose.",
    errors.HeadTooLarge: "Delete the cookies of this site. The limits are [limits] request_head "
    "and headers in the configuration.",
    errors.UnsupportedCoding: "Send the body without Content-Encoding.",
    errors.RangeNotSatisfiable: "Load the file again from its beginning.",
    errors.UnknownTransferCoding: "Send the body with Content-Length, or chunked.",
    errors.UnknownVersion: "Use HTTP/1.1.",
    errors.Refused: "If this should be allowed, ask whoever looks after this gateway.",
    errors.Unauthorized: "Give your name and password; whoever looks after this gateway has them.",
    errors.ProxyAuthenticationRequired: "Give your name and password in the proxy settings.",
    errors.TooManyRequests: "Wait as long as the Retry-After field of this answer says.",
    errors.QuotaExhausted: "Wait until then, or ask whoever looks after this gateway.",
    errors.DestinationDenied: "If this address should be reached, add it to [access] destinations "
    "in the configuration.",
    errors.LoopDetected: "Check that the address isn't the gateway's own, and that no two proxies "
    "are set up to use each other.",
    errors.Overloaded: "Try again in a moment. If this happens often, raise the limits.",
    errors.InsufficientStorage: "Make room on the gateway's disk, and send it again.",
    errors.NameUnknown: "Check the spelling of the name, and that the gateway's DNS works.",
    errors.NameTimeout: "Check that the gateway's DNS servers can be reached.",
    errors.LineDown: "Try again when the line is back; the gateway finds out by itself. Until then "
    "it serves what is stored on it, and what is on the LAN.",
    errors.ParentFailed: "Whoever looks after this gateway finds the reason in its event log, and "
    "the other proxy in [upstream] proxy of its configuration.",
    errors.OriginUnreachable: "Check that the gateway's line is up and has a route there.",
    errors.ConnectRefused: "Check the port, and that the server runs.",
    errors.ConnectTimeout: "The server or the line may be down, or a firewall drops the packets.",
    errors.CertificateRejected: "Check the name, and the gateway's clock. A private authority's "
    "certificate goes into [proxy] tls_ca_file.",
    errors.TlsFailed: "Check that the server speaks TLS 1.2 or later on this port.",
    errors.BadResponse: "Check that the port speaks HTTP, and not HTTPS or something else.",
    errors.OriginFault: "Try again. If it stays so, the server or the line to it is in trouble.",
}


def error_page(
    error: errors.ExchangeError,
    accept: bytes | None,
    *,
    method: bytes,
    url: bytes,
    request_id: str | None,
) -> tuple[RawFields, bytes]:
    """Return the fields and the body of the page that tells a client of *error*.

    *method* and *url* are as asked; the fields don't include those of the error itself. A refusal
    begins with the words that its rule has for people, and names the rule.
    """
    phrase = reason_for(error.status).decode("ascii")
    advice = next(_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE)
    sentence = error.reason[:1].upper() + error.reason[1:] + "."
    # RFC 9110 section 8.6: the Content-Length for HEAD is that of the page GET would get.
    shown = b"GET" if method == b"HEAD" else method
    # A page gets photographed, and sent to others; see CVE-2025-62168.
    lines = [f"{_ascii(shown)} {_ascii(masked(url))}".strip()]
    paragraphs = [sentence, advice]
    if isinstance(error, errors.Refused) and error.rule:
        lines.append(f"Rule: {error.rule}")
    if isinstance(error, errors.Refused) and error.message:
        # In the ini it may have several lines.
        paragraphs.insert(0, " ".join(error.message.split()))
    if request_id:
        # Ours, and short; a bound all the same.
        lines.append(f"Request id: {request_id[:64]}")
    block = Block("", tuple(paragraphs), tuple(lines))
    return render(Page(f"{error.status} {phrase}".strip(), (block,)), accept)


def _ascii(value: bytes) -> str:
    return value[: LONGEST_TEXT + 1].decode("ascii", "backslashreplace")


# RFC 9209 section 2.3, and the registry it set up.
_REGISTERED = re.compile(
    """
    dns_(timeout|error)
    | destination_(not_found|unavailable|ip_prohibited|ip_unroutable)
    | connection_(refused|terminated|timeout|read_timeout|write_timeout|limit_reached)
    | tls_(protocol_error|certificate_error|alert_received)
    | http_(request_error|request_denied|upgrade_failed|protocol_error)
    | http_response_(incomplete|timeout|header_section_size|header_size|body_size)
    | http_response_(trailer_section_size|trailer_size|transfer_coding|content_coding)
    | proxy_(internal_response|internal_error|configuration_error|loop_detected)
    """,
    re.VERBOSE,
)
# RFC 8941 section 3.3.4.
_SF_TOKEN = re.compile(rb"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")


def proxy_status(error: errors.ExchangeError, name: bytes) -> bytes:
    """Return the Proxy-Status value in which the proxy *name* tells of *error* (RFC 9209).

    Empty, for no field at all, where the failure has no registered name.
    """
    if not _REGISTERED.fullmatch(error.token):
        return b""
    proxy = name if _SF_TOKEN.fullmatch(name) else _sf_string(_ascii(name))
    return b"%b; error=%b; details=%b" % (
        proxy,
        error.token.encode("ascii"),
        _sf_string(error.reason),
    )


def _sf_string(text: str) -> bytes:
    """Return *text* as a structured field's string (RFC 8941 section 3.3.3)."""
    plain = _clipped(_printable(text)).encode("ascii", "replace")
    return b'"%b"' % plain.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
