"""Every page that the product writes itself: failures, and the welcome of a site without files."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from string import Template
from typing import NamedTuple

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.rules.negotiation import preferred
from proxyapp.wire.headers import RawFields
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.target import Origin, parse_authority
from proxyapp.wire.writer import reason_for

_HTML, _TEXT = b"text/html", b"text/plain"
_FIELDS: RawFields = [
    (b"Cache-Control", b"no-store"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"X-Content-Type-Options", b"nosniff"),
]
# Bytes of one piece of text, escapes included; keeps an error page below 3 KiB.
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
pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .5rem; background: #8882 }
</style>
<h1>$title</h1>
$blocks""")


class Block(NamedTuple):
    """A part of a page as plain text: paragraphs, then lines shown exactly as they are."""

    heading: str
    paragraphs: tuple[str, ...]
    lines: tuple[str, ...]


class Page(NamedTuple):
    """A page as plain text; the outside world's words are made safe when it is rendered."""

    title: str
    blocks: tuple[Block, ...]

    def to_html(self) -> str:
        """Return the page as HTML, every text in it escaped."""
        parts = []
        for block in self.blocks:
            if block.heading:
                parts.append(f"<h2>{_escaped(block.heading)}</h2>")
            parts += [f"<p>{_escaped(paragraph)}</p>" for paragraph in block.paragraphs]
            if block.lines:
                parts.append("<pre>" + "\n".join(map(_escaped, block.lines)) + "</pre>")
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
    return [(b"Content-Type", media_type + b"; charset=utf-8"), *_FIELDS], text.encode("utf-8")


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
    errors.BadRequest: "Check the address, and that the program is set up for an HTTP proxy.",
    errors.NotFound: "Check the spelling of the address; upper and lower case differ.",
    errors.MethodNotAllowed: "Only the methods named in the Allow field of this answer work here.",
    errors.RequestTimeout: "Send the request again; if this happens often, look at the network.",
    errors.BodyTooLarge: "The limit is [limits] body in the configuration.",
    errors.TargetTooLong: "The limit is [limits] request_head in the configuration.",
    errors.Misdirected: "Check the port in the address: this one has another purpose.",
    errors.HeadTooLarge: "Delete the cookies of this site. The limits are [limits] request_head "
    "and headers in the configuration.",
    errors.RangeNotSatisfiable: "Load the file again from its beginning.",
    errors.UnknownTransferCoding: "Send the body with Content-Length, or chunked.",
    errors.UnknownVersion: "Use HTTP/1.1.",
    errors.Refused: "If this should be allowed, ask whoever looks after this gateway.",
    errors.DestinationDenied: "If this address should be reached, add it to [access] destinations "
    "in the configuration.",
    errors.LoopDetected: "Check that the address isn't the gateway's own, and that no two proxies "
    "are set up to use each other.",
    errors.Overloaded: "Try again in a moment. If this happens often, raise the limits.",
    errors.NameUnknown: "Check the spelling of the name, and that the gateway's DNS works.",
    errors.NameTimeout: "Check that the gateway's DNS servers can be reached.",
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

    *method* and *url* are as asked; the fields don't include those of the error itself.
    """
    phrase = reason_for(error.status).decode("ascii")
    advice = next(_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE)
    sentence = error.reason[:1].upper() + error.reason[1:] + "."
    lines = [f"{_ascii(method)} {_ascii(url)}".strip()]
    if request_id:
        # Ours, and short; a bound all the same.
        lines.append(f"Request id: {request_id[:64]}")
    block = Block("", (sentence, advice), tuple(lines))
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


# The welcome page.

_ALLOW = (b"Allow", b"GET, HEAD")
# Stands for our address where the client didn't say by which one it reached us (HTTP/1.0).
_UNKNOWN_HOST = "ADDRESS-OF-THIS-GATEWAY"


class WelcomeSite:
    """The site where no files are configured: one page that says how to use the proxy.

    *proxy_ports* are those the proxy listens on, the one to recommend first.
    """

    def __init__(self, proxy_ports: Sequence[int]) -> None:
        self._proxy_ports = proxy_ports

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.record.service = "site"
        path, _, _ = request.target.path.partition(b"?")
        if path != b"/":
            raise errors.NotFound("no files are served here, only a welcome page at /")
        if request.head.method not in (b"GET", b"HEAD"):
            raise errors.MethodNotAllowed("the welcome page can only be read", (_ALLOW,))
        page = welcome_page(_host_asked(request), self._proxy_ports)
        fields, body = render(page, request.head.fields.get(b"accept"))
        reply.answer(OutgoingResponse(200, b"OK", fields), body)


def _host_asked(request: Request) -> str:
    """Return the host by which the client reached us, as it stands in a URL."""
    origin = request.target.origin or _origin_of(request.head.fields.get(b"host"))
    if origin is None:
        return _UNKNOWN_HOST
    return f"[{origin.host}]" if ":" in origin.host else origin.host


def _origin_of(host: bytes | None) -> Origin | None:
    try:
        return parse_authority("http", host) if host else None
    except errors.BadRequest:
        return None


def welcome_page(host: str, proxy_ports: Sequence[int]) -> Page:
    """Return the page that says how to use the proxy at *host*."""
    files = Block("Files", ("To serve files here, name their folder in [site] root.",), ())
    if not proxy_ports:
        return Page("proxyapp", (Block("", ("It runs, without a proxy.",), ()), files))
    port, *others = proxy_ports
    proxy = f"http://{host}:{port}"
    also = f" So do the ports {', '.join(map(str, others))}." if others else ""
    welcome = f"This gateway's proxy for HTTP and HTTPS listens on port {port}.{also}"
    blocks = (
        Block("", (welcome,), (proxy,)),
        Block(
            "Shell",
            (),
            (
                f"export http_proxy={proxy} https_proxy={proxy}",
                f"export no_proxy=localhost,127.0.0.1,{host}",
            ),
        ),
        Block("curl", (), (f"curl -x {proxy} https://example.com/",)),
        Block(
            "apt",
            ("In /etc/apt/apt.conf.d/80proxy:",),
            (f'Acquire::http::Proxy "{proxy}/";', f'Acquire::https::Proxy "{proxy}/";'),
        ),
        Block(
            "pip", (), (f"pip install --proxy {proxy} NAME", f"pip config set global.proxy {proxy}")
        ),
        Block(
            "Browser, phone, tablet",
            ("In the proxy settings choose manual, for HTTP and for HTTPS:",),
            (f"Host {host}", f"Port {port}"),
        ),
        files,
    )
    return Page("proxyapp", blocks)
