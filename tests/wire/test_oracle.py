"""The same bytes through our parser and through h11: they agree, or the difference has a name.

Each table below is complete for the messages it is tried on: a disagreement between the two that
isn't in it fails the tests, and so does one in it that has gone away. Most of this file is those
tables; the code before them turns what either parser says into a value that can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import h11
import pytest

from proxyapp import errors
from proxyapp.wire import bodies, framing, parser, target
from proxyapp.wire.framing import Framing
from proxyapp.wire.headers import RawFields
from proxyapp.wire.heads import HeadLimits, HeadReader
from proxyapp.wire.messages import RequestHead, ResponseHead

LIMITS = HeadLimits(size=8 * 1024, fields=32)


class Message(NamedTuple):
    """What a parser made of some bytes: the start line, the fields, the body, the rest."""

    start: tuple[bytes, bytes] | tuple[int, bytes]
    fields: RawFields
    body: bytes
    trailers: RawFields
    rest: bytes


class Refusal(NamedTuple):
    """Why a parser made nothing of them.

    A message that isn't complete has no status, and a bad response has always the same.
    """

    status: int
    reason: str


UNFINISHED = Refusal(0, "unfinished")
Verdict = Message | Refusal


class Disagreement(NamedTuple):
    """One kind of bytes that the two parsers see differently; *ours* and *h11s* are reasons."""

    name: str
    data: bytes
    ours: str
    h11s: str
    why: str


ACCEPTED = "accepted"
LAST = h11.EndOfMessage | h11.InformationalResponse


# Ours.


def our_request(data: bytes, step: int = 1 << 20) -> Verdict:
    """Read *data*, *step* bytes at a time, as server.py does."""

    def read(head: bytes) -> tuple[RequestHead, Framing]:
        request = parser.parse_request(head, LIMITS)
        asked = target.parse_target(request.method, request.target)
        target.check_host(asked, request.fields)
        return request, framing.request_framing(request)

    return ours(data, step, read)


def our_response(data: bytes, step: int = 1 << 20, method: bytes = b"GET") -> Verdict:
    """Read *data* as the answer to *method*, and then the end of the connection."""

    def read(head: bytes) -> tuple[ResponseHead, Framing]:
        response = parser.parse_response(head, LIMITS)
        return response, framing.response_framing(response, method)

    return as_gateway(ours(data, step, read))


def as_gateway(verdict: Verdict) -> Verdict:
    """Return *verdict* with the status that a client is told of a bad response."""
    if isinstance(verdict, Message) or verdict == UNFINISHED:
        return verdict
    return verdict._replace(status=502)


def ours(
    data: bytes, step: int, read: Callable[[bytes], tuple[RequestHead | ResponseHead, Framing]]
) -> Verdict:
    """Cut the head out of *data*, *read* it, and decode its body."""
    reader = HeadReader(LIMITS)
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    head = None
    try:
        while pieces and head is None:
            reader.feed(pieces.pop(0))
            head = reader.next_head()
        if head is None:
            return UNFINISHED
        message, body = read(head)
        decoder = bodies.decoder_for(body)
        decoded = [decoder.decode(piece) for piece in [reader.take_rest(), *pieces]]
    except errors.ExchangeError as error:
        return Refusal(error.status, error.reason)
    if not decoder.complete and not (isinstance(message, ResponseHead) and decoder.end()):
        return UNFINISHED
    if isinstance(message, RequestHead):
        start: tuple[object, bytes] = message.method, message.target
    else:
        start = message.status, message.reason
    whole, rest = (b"".join(parts) for parts in zip(*decoded, strict=True))
    return Message(start, message.fields.raw, whole, decoder.trailers.raw, rest)


# h11's.


def h11_request(data: bytes) -> Verdict:
    """Give *data* to h11 in the server's role."""
    return h11s(h11.Connection(h11.SERVER, LIMITS.size), data)


def h11_response(data: bytes, method: bytes = b"GET") -> Verdict:
    """Give *data*, and then the end of the connection, to h11 as the answer to *method*."""
    connection = h11.Connection(h11.CLIENT, LIMITS.size)
    fields = [(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"x")]
    connection.send(h11.Request(method=method, target=b"a:1", headers=fields))
    connection.send(h11.EndOfMessage())
    return as_gateway(h11s(connection, data))


def h11s(connection: h11.Connection, data: bytes) -> Verdict:
    """Read one message from *data*; a 1xx response is one as well, and what opens a tunnel."""
    try:
        events = list(events_of(connection, data))
    except h11.RemoteProtocolError as error:
        reason = str(error).split(":")[0]
        cut = reason.startswith("peer ")
        return UNFINISHED if cut else Refusal(error.error_status_hint, reason)
    if events[-1] is h11.NEED_DATA:
        return UNFINISHED
    head = events[0]
    if isinstance(head, h11.Request):
        start: tuple[bytes, bytes] | tuple[int, bytes] = head.method, head.target
    else:
        assert isinstance(head, h11.Response | h11.InformationalResponse)
        start = head.status_code, head.reason
    body = b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))
    ends = [event for event in events if isinstance(event, h11.EndOfMessage)]
    trailers = raw_of(ends[0].headers) if ends else []
    return Message(start, raw_of(head.headers), body, trailers, connection.trailing_data[0])


def events_of(
    connection: h11.Connection, data: bytes
) -> Iterator[h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]]:
    """Yield what h11 makes of *data*, up to the end of a message, or until it needs more.

    Inside the body of a response the connection ends.
    """
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        yield event
        if event is h11.NEED_DATA:
            if connection.our_role is h11.SERVER or connection.their_state is not h11.SEND_BODY:
                return
            connection.receive_data(b"")
        elif event is h11.PAUSED or isinstance(event, LAST):
            return


def raw_of(fields: h11._headers.Headers) -> RawFields:
    """Return the fields of an h11 event in the spelling they came in."""
    return [(bytes(name), bytes(value)) for name, value in fields.raw_items()]


# What is compared.

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
NEXT = b"GET /next HTTP/1.1\r\n"

# Each of these is tried as it is, and with every byte of it changed, doubled, or left out.
REQUESTS = [
    b"GET http://a.b/c?d HTTP/1.1\r\nHost: a.b\r\nAccept: x, y\r\n\r\n",
    b"POST /up HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"PUT /up HTTP/1.1\r\nhost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
    b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nServer: x y\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 404 Not \xe9\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"a\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\nuntil close",
    b'HTTP/1.1 304 Not Modified\r\nEtag: "x"\r\nContent-Length: 10\r\n\r\n',
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
]
TELLING = b'\x00\x01\t\n\r\x1f "#%,/:;@A[\\0x\x7f\x80\xff'


def mutants(base: bytes) -> Iterator[bytes]:
    """Yield *base*, and what one wrong byte makes of it."""
    yield base
    for i in range(len(base)):
        yield base[:i] + base[i + 1 :]
        yield base[: i + 1] + base[i:]
        for byte in TELLING:
            yield base[:i] + bytes([byte]) + base[i + 1 :]
            yield base[:i] + bytes([byte]) + base[i:]


def signature(our: Verdict, their: Verdict) -> tuple[str, str] | None:
    """Return the two reasons where the verdicts differ, None where they agree."""
    if isinstance(our, Refusal) and isinstance(their, Refusal):
        return None if our.status == their.status else (our.reason, their.reason)
    if our == their:
        return None
    if isinstance(our, Message) and isinstance(their, Message):
        return f"{our}", f"{their}"
    return (
        ACCEPTED if isinstance(our, Message) else our.reason,
        ACCEPTED if isinstance(their, Message) else their.reason,
    )


# Why we refuse what h11 takes. Everybody between the client and the origin must read a message the
# same way; h11 speaks for one end, where being lenient harms nobody else.
BARE_LF = "h11 takes LF for CRLF (RFC 9112 section 2.2 allows it); smugglers live on such readers"
CONTROL = "h11 refuses only NUL, CR, LF, VT and FF; RFC 9110 section 5.5 rules out all CTLs"
TARGET = "h11 doesn't look into the target"
TOO_MUCH = "h11's limit holds only for heads that haven't arrived whole; ours is one limit always"
CODING = "400 where the end of a request can't be known (RFC 9112 section 6.3); h11 says 501"
TWO_LENGTHS = "RFC 9112 section 6.3 lets a recipient choose, and no honest sender does this"
NOT_HTTP = "refused with its first line; h11 waits for an empty line"

BAD_TARGET = "the request target has characters that must be percent-encoded"
BAD_NAME = "the target's host isn't a host name"
BAD_HOST = "the Host field isn't host[:port]"
BAD_CODING = "Transfer-Encoding doesn't end in one chunked"
BAD_LENGTH = "Content-Length repeated, malformed, or beside Transfer-Encoding"
BAD_SIZE = "a chunk size isn't a hexadecimal number of sane length"
BAD_LINE = "a chunk-size line is too long or ends in a bare LF"
LF_AT_END = "a line ends in a bare LF"
LF_INSIDE = "a bare CR or LF inside a line"
CTL = "a control character in a field value"
FOLD = "a folded field line"
TE_1_0 = "Transfer-Encoding in an HTTP/1.0 message"
NO_START = "the message doesn't begin with an HTTP start line"
ONLY_CHUNKED = "Only Transfer-Encoding"

BAD_TARGETS = [
    ("# in the target", b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n", BAD_TARGET),
    (
        "target of no form",
        b"GET a.b HTTP/1.1\r\nHost: a\r\n\r\n",
        "the request target is neither a path nor an absolute URL",
    ),
    (
        "* without OPTIONS",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "only OPTIONS may ask for *",
    ),
    (
        "another scheme",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "only http and https URLs can be fetched",
    ),
    (
        "user name in the target",
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "the URL holds a user name; credentials don't belong in a URL",
    ),
    (
        "port out of range",
        b"GET http://a:99999/ HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "the port in the target isn't between 1 and 65535",
    ),
    ("host that is none", b"GET http://a%62/ HTTP/1.1\r\nHost: a%62\r\n\r\n", BAD_NAME),
    (
        "number for an address",
        b"GET http://127.1/ HTTP/1.1\r\nHost: 127.1\r\n\r\n",
        "the target's host isn't an IPv4 address",
    ),
    (
        "open bracket",
        b"GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "the IPv6 address in the target isn't closed by ]",
    ),
    (
        "zone of an address",
        b"CONNECT [fe80::1%eth0]:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "an IPv6 address with a zone means something on one host only",
    ),
    (
        "brackets around no address",
        b"CONNECT [a]:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "the target's host isn't an IPv6 address",
    ),
    (
        "CONNECT without a port",
        b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT needs host:port",
    ),
]
REQUEST_DISAGREEMENTS = [
    Disagreement(
        "empty line before the request line",
        b"\r\n" + GET + b"\r\n",
        ACCEPTED,
        "no request line received",
        "RFC 9112 section 2.2: a server SHOULD ignore at least one",
    ),
    Disagreement(
        "another major version",
        b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
        "only HTTP/1.1 and HTTP/1.0 are spoken here",
        ACCEPTED,
        "h11 leaves the version to its user",
    ),
    Disagreement(
        "LF behind the request line",
        b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        "the request line isn't method, target and version",
        ACCEPTED,
        BARE_LF,
    ),
    Disagreement("LF in every line", b"GET / HTTP/1.1\nHost: a\n\n", LF_AT_END, ACCEPTED, BARE_LF),
    Disagreement("LF behind a field", GET + b"A: b\nC: d\r\n\r\n", LF_INSIDE, ACCEPTED, BARE_LF),
    Disagreement("LF in an open head", GET + b"A: b\n", LF_AT_END, "unfinished", BARE_LF),
    Disagreement(
        "LF that hides a length",
        POST + b"Content-Length: 30\nA: b\r\n\r\nabc",
        LF_INSIDE,
        "unfinished",
        BARE_LF,
    ),
    Disagreement(
        "LF behind a bad coding",
        POST + b"Transfer-Encoding: x\nA: b\r\n\r\n",
        LF_INSIDE,
        ONLY_CHUNKED,
        BARE_LF,
    ),
    Disagreement(
        "folded line",
        GET + b"A: b\r\n c\r\n\r\n",
        FOLD,
        ACCEPTED,
        "section 5.2: a server must refuse or unfold it",
    ),
    Disagreement("control character", GET + b"A: \x01\r\n\r\n", CTL, ACCEPTED, CONTROL),
    Disagreement(
        "control character in a coding",
        POST + b"Transfer-Encoding: \x01chunked\r\n\r\n",
        CTL,
        ONLY_CHUNKED,
        "both refuse it, with 400 and 501",
    ),
    *(Disagreement(name, data, ours, ACCEPTED, TARGET) for name, data, ours in BAD_TARGETS),
    Disagreement(
        "Host that is none",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        BAD_HOST,
        ACCEPTED,
        "h11 looks only at its characters; RFC 9112 section 3.2 demands 400",
    ),
    Disagreement(
        "Host of another origin",
        b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "Host and the request target name different origins",
        ACCEPTED,
        "h11 doesn't compare; RFC 9112 section 3.2 demands that they agree",
    ),
    Disagreement(
        "same length twice",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        BAD_LENGTH,
        ACCEPTED,
        TWO_LENGTHS,
    ),
    Disagreement(
        "same length twice in one line",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        BAD_LENGTH,
        ACCEPTED,
        TWO_LENGTHS,
    ),
    Disagreement(
        "length and chunked",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BAD_LENGTH,
        ACCEPTED,
        "section 6.1: a server may refuse it, or must close behind it; h11 goes by chunked",
    ),
    Disagreement(
        "length with many zeros",
        POST + b"Content-Length: 00000000000000000003\r\n\r\nabc",
        "Content-Length isn't one plain number",
        ACCEPTED,
        "nineteen digits hold every length there is",
    ),
    Disagreement(
        "absurd length",
        POST + b"Content-Length: 1152921504606846976\r\n\r\n",
        "Content-Length isn't one plain number",
        "unfinished",
        "2^60 bytes; h11 waits for them",
    ),
    Disagreement(
        "chunked in HTTP/1.0",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        TE_1_0,
        ACCEPTED,
        "section 6.1: its framing is faulty",
    ),
    Disagreement(
        "unknown coding",
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        BAD_CODING,
        ONLY_CHUNKED,
        CODING,
    ),
    Disagreement(
        "chunked twice",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BAD_CODING,
        "multiple Transfer-Encoding headers",
        CODING,
    ),
    Disagreement(
        "tab behind chunked",
        POST + b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
        BAD_CODING,
        ACCEPTED,
        "llhttp takes a space there and no tab; nobody honest sends either",
    ),
    Disagreement(
        "CONNECT with a body",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc",
        "CONNECT with a body",
        ACCEPTED,
        "RFC 9110 section 9.3.6: there is none, and its bytes would enter the tunnel",
    ),
    Disagreement(
        "large head",
        GET + b"A: " + b"x" * LIMITS.size + b"\r\n\r\n",
        f"the head is longer than {LIMITS.size} bytes",
        ACCEPTED,
        TOO_MUCH,
    ),
    Disagreement(
        "large target",
        b"GET /" + b"x" * LIMITS.size + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        "the start line is longer than a whole head may be",
        ACCEPTED,
        TOO_MUCH,
    ),
    Disagreement(
        "many fields",
        GET + b"A: b\r\n" * LIMITS.fields + b"\r\n",
        f"the head has more than {LIMITS.fields} fields",
        ACCEPTED,
        "h11 doesn't count them",
    ),
    Disagreement("HTTP/0.9", b"GET /\r\n", NO_START, "unfinished", NOT_HTTP),
    Disagreement(
        "blank behind a chunk size",
        CHUNKED + b"3 ;x\r\nabc\r\n0\r\n\r\n",
        ACCEPTED,
        "illegal chunk header",
        "section 7.1.1 has BWS there (h11 takes it only at the end of the line)",
    ),
    Disagreement(
        "chunk size with many zeros",
        CHUNKED + b"0" * 20 + b"3\r\nabc\r\n0\r\n\r\n",
        ACCEPTED,
        "illegal chunk header",
        "section 7.1 has no limit; ours is the length of the line, and of the number in it",
    ),
    Disagreement(
        "absurd chunk size",
        CHUNKED + b"1" * 20 + b"\r\nabc",
        BAD_SIZE,
        "unfinished",
        "section 7.1: recipients must anticipate numbers too large; h11's have no end",
    ),
    Disagreement(
        "control character in a chunk extension",
        CHUNKED + b"3;\x00\r\nabc\r\n0\r\n\r\n",
        BAD_SIZE,
        ACCEPTED,
        "no grammar has it",
    ),
    Disagreement(
        "long chunk extension",
        CHUNKED + b"3;" + b"x" * 300 + b"\r\nabc\r\n0\r\n\r\n",
        BAD_LINE,
        ACCEPTED,
        "section 7.1.1: a recipient ought to limit them",
    ),
    Disagreement(
        "fat chunk extensions",
        CHUNKED + (b"1;" + b"x" * 200 + b"\r\nx\r\n") * 400 + b"0\r\n\r\n",
        "more chunk framing than data",
        ACCEPTED,
        "section 7.1.1 again: many of them are as bad as one",
    ),
    Disagreement(
        "length among the trailers",
        CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
        "a trailer field that would frame or route the message",
        ACCEPTED,
        "RFC 9110 section 6.5.1 forbids it; h11 hands it on",
    ),
]

RESPONSE_DISAGREEMENTS = [
    Disagreement(
        "empty line before the status line",
        b"\r\n" + OK + b"\r\n",
        ACCEPTED,
        "no response line received",
        "some origins end a body with one too many; it can't be taken for anything else",
    ),
    Disagreement(
        "another major version",
        b"HTTP/2.0 200 OK\r\n\r\n",
        "the status line isn't version, code and reason",
        ACCEPTED,
        "h11 leaves the version to its user; DEL in a reason ends here too, as in a field",
    ),
    Disagreement("LF in every line", b"HTTP/1.1 200 OK\n\n", LF_AT_END, ACCEPTED, BARE_LF),
    Disagreement("LF behind a field", OK + b"A: b\nC: d\r\n\r\n", LF_INSIDE, ACCEPTED, BARE_LF),
    Disagreement("LF in an open head", OK + b"A: b\n", LF_AT_END, "unfinished", BARE_LF),
    Disagreement(
        "folded line",
        OK + b"A: b\r\n c\r\n\r\n",
        FOLD,
        ACCEPTED,
        "section 5.2: a proxy must discard it with 502, or unfold it",
    ),
    Disagreement("control character", OK + b"A: \x01\r\n\r\n", CTL, ACCEPTED, CONTROL),
    Disagreement(
        "chunked in HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        TE_1_0,
        ACCEPTED,
        "section 6.1: its framing is faulty",
    ),
    Disagreement(
        "length and chunked",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BAD_LENGTH,
        ACCEPTED,
        "section 6.3: it might be response splitting and ought to be handled as an error",
    ),
    Disagreement(
        "same length twice",
        OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        BAD_LENGTH,
        ACCEPTED,
        TWO_LENGTHS,
    ),
    Disagreement("not HTTP at all", b"SSH-2.0-x\r\n", NO_START, "unfinished", NOT_HTTP),
    Disagreement(
        "unknown coding where there is no body",
        b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: gzip\r\n\r\n",
        ACCEPTED,
        ONLY_CHUNKED,
        "section 6.1 lets a 304 name the coding that a 200 would have had",
    ),
]


@pytest.mark.parametrize("row", REQUEST_DISAGREEMENTS, ids=lambda row: row.name)
def test_disagreements_on_requests(row: Disagreement) -> None:
    """Each is as the table says; ours doesn't depend on how the bytes arrive."""
    verdict = our_request(row.data)
    assert signature(verdict, h11_request(row.data)) == (row.ours, row.h11s)
    assert row.why
    for again in (our_request(row.data, 1), our_request(row.data + NEXT)):
        assert type(again) is type(verdict)
        assert again != UNFINISHED


@pytest.mark.parametrize("row", RESPONSE_DISAGREEMENTS, ids=lambda row: row.name)
def test_disagreements_on_responses(row: Disagreement) -> None:
    """Each is as the table says; ours doesn't depend on how the bytes arrive."""
    verdict = our_response(row.data)
    assert signature(verdict, h11_response(row.data)) == (row.ours, row.h11s)
    assert row.why
    for again in (our_response(row.data, 1), our_response(row.data + NEXT)):
        assert type(again) is type(verdict)
        assert again != UNFINISHED


@pytest.mark.parametrize("base", REQUESTS, ids=lambda base: base.split()[0].decode())
def test_no_other_disagreement_on_requests(base: bytes) -> None:
    """One wrong byte anywhere: both see it alike, or the table has the difference."""
    named = {(row.ours, row.h11s) for row in REQUEST_DISAGREEMENTS}
    for data in mutants(base):
        found = signature(our_request(data), h11_request(data))
        assert found is None or found in named, data


@pytest.mark.parametrize("base", RESPONSES, ids=lambda base: base.split()[1].decode())
def test_no_other_disagreement_on_responses(base: bytes) -> None:
    """One wrong byte anywhere: both see it alike, or the table has the difference."""
    named = {(row.ours, row.h11s) for row in RESPONSE_DISAGREEMENTS}
    for data in mutants(base):
        found = signature(our_response(data), h11_response(data))
        assert found is None or found in named, data


BOTH_REFUSE = [
    b"GET / HTTP/1.1\r\n\r\n",
    GET + HOST + b"\r\n",
    b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
    b"GET /caf\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\x16\x03\x01\x02\x00",
    GET + b"A : b\r\n\r\n",
    GET + b"A: \x00\r\n\r\n",
    GET + b": b\r\n\r\n",
    POST + b"Content-Length: x\r\n\r\n",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    POST + b"Content-Length: %b\r\n\r\n" % (b"9" * 21),
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    CHUNKED + b"x\r\n",
    CHUNKED + b"3\r\nabcd\r\n",
    CHUNKED + b"0\r\nA b\r\n\r\n",
]


@pytest.mark.parametrize("data", BOTH_REFUSE)
def test_both_refuse(data: bytes) -> None:
    """With the same status, and ours however the bytes arrive."""
    verdicts = our_request(data), our_request(data, 1), our_request(data + NEXT), h11_request(data)
    assert {type(verdict) for verdict in verdicts} == {Refusal}
    assert len({verdict[0] for verdict in verdicts}) == 1


BOTH_TAKE = [
    *REQUESTS,
    b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    GET + b"A:\r\nB:b\r\nA: \t b c \t\r\na: \x80\xff\r\n\r\n",
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"Content-Length: 003 \r\n\r\nabc",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"00A\r\n0123456789\r\n1 \r\nx\r\n000\r\nA: b\r\nA: c\r\n\r\n",
]


@pytest.mark.parametrize("data", BOTH_TAKE)
def test_both_take_a_request_for_the_same(data: bytes) -> None:
    """Start line, fields, body, trailers, and the bytes that belong to the next message."""
    verdict = our_request(data)
    assert isinstance(verdict, Message)
    assert verdict == our_request(data, 1) == h11_request(data)
    assert our_request(data + NEXT) == our_request(data + NEXT, 1) == h11_request(data + NEXT)


@pytest.mark.parametrize(
    ("data", "method"),
    [
        *((data, b"GET") for data in RESPONSES),
        (OK + b"Content-Length: 3\r\n\r\n", b"HEAD"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"HEAD"),
        (OK + b"\r\n", b"CONNECT"),
        (OK + b"Content-Length: 3\r\n\r\n", b"CONNECT"),
        (b"HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nabc", b"CONNECT"),
        (b"HTTP/1.1 204 None\r\nContent-Length: 3\r\n\r\n", b"GET"),
        (b"HTTP/1.1 205 Reset\r\nContent-Length: 3\r\n\r\nabc", b"GET"),
        (b"HTTP/1.2 999 \r\nHost: a\r\nHost: b\r\n\r\nabc", b"GET"),
    ],
)
def test_both_take_a_response_for_the_same(data: bytes, method: bytes) -> None:
    """The same body, whatever it answers, and the same bytes behind it."""
    for sent in (data, data + NEXT):
        verdict = our_response(sent, method=method)
        assert isinstance(verdict, Message)
        assert verdict == our_response(sent, 1, method) == h11_response(sent, method)


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 3\r\n\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        OK + b"A: b\r\n",
    ],
)
def test_both_miss_the_end_of_a_response(data: bytes) -> None:
    """A connection that ends inside a body of told length leaves it incomplete."""
    assert our_response(data) == our_response(data, 1) == h11_response(data) == UNFINISHED
