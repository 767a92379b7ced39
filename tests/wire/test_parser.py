"""Heads are read strictly, and the same however their bytes arrive."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxyapp import errors
from proxyapp.wire import heads, parser
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.heads import HeadLimits, HeadReader
from proxyapp.wire.messages import RequestHead, ResponseHead

LIMITS = HeadLimits(size=1024, fields=8)
AFTER = b"GET /next HTTP/1.1\r\n"


def cut(data: bytes, step: int) -> tuple[bytes | None, bytes]:
    """Feed *data*, *step* bytes at a time; return the first head and what is left behind it."""
    reader = HeadReader(LIMITS)
    head = None
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        head = reader.next_head() if head is None else head
    return head, reader.take_rest()


def three_ways(data: bytes) -> bytes:
    """Return the head in *data*, which comes whole, byte by byte, and with more behind it."""
    head, rest = cut(data, len(data))
    assert head is not None
    assert rest == b""
    assert cut(data, 1) == (head, b"")
    assert cut(data + AFTER, len(data + AFTER)) == (head, AFTER)
    assert cut(data + AFTER, 1) == (head, AFTER)
    return head


def refusals(data: bytes, parse: Callable[[bytes], object]) -> list[errors.ExchangeError]:
    """Return what *data* is refused with: whole, byte by byte, and with more behind it."""

    def read(sent: bytes, step: int) -> None:
        head, _ = cut(sent, step)
        assert head is not None, "still waiting for more"
        parse(head)

    raised = []
    for sent, step in [(data, len(data)), (data, 1), (data + AFTER, len(data + AFTER))]:
        with pytest.raises(errors.ExchangeError) as caught:
            read(sent, step)
        raised.append(caught.value)
    return raised


def as_request(head: bytes) -> RequestHead:
    """Parse *head* under the limits of these tests."""
    return parser.parse_request(head, LIMITS)


def as_response(head: bytes) -> ResponseHead:
    """Parse *head* likewise."""
    return parser.parse_response(head, LIMITS)


BAD_START_LINES = [
    b" GET / HTTP/1.1",
    b"GET  / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET / x HTTP/1.1",
    b"GET\t/ HTTP/1.1",
    b"GET /\x0bHTTP/1.1",
    b"GET /",
    b"GET  HTTP/1.1",
    b"G\x00T / HTTP/1.1",
    b"G(T / HTTP/1.1",
    b"G\xc3\x89T / HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
    b"GET / HTTP/1.",
    b"GET / HTTP/1",
    b"GET / HTTP/1.10",
    b"GET / HTTP/01.1",
    b"GET / http/1.1",
    b"GET / HTTPS/1.1",
    b"GET / HTTP/1.1\r",
    b"GET /\rX: HTTP/1.1",
    b"GET / HTTP/1.1\nX: y",
    b"HTTP/1.1 200 OK",
    b"\x16\x03\x01\x02\x00\x01",
    b"{}",
]


@pytest.mark.parametrize("line", BAD_START_LINES)
def test_bad_request_lines(line: bytes) -> None:
    """RFC 9112 section 3: method, target and version, one space between them, and no more."""
    for error in refusals(line + b"\r\nHost: a\r\n\r\n", as_request):
        assert isinstance(error, errors.BadRequest)


@pytest.mark.parametrize("target", [b"/caf\xe9", b"/caf\xc3\xa9", b"http://a/\xff"])
def test_unencoded_targets(target: bytes) -> None:
    """RFC 3986 section 2.1: what isn't ASCII is percent-encoded, and that's what is wrong here."""
    for error in refusals(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target, as_request):
        assert isinstance(error, errors.BadRequest)
        assert "percent-encoded" in error.reason


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.1"])
def test_other_versions_are_named(version: bytes) -> None:
    """505 for what isn't HTTP/1 (RFC 9110 section 15.6.6)."""
    for error in refusals(b"PRI * %b\r\n\r\n" % version, as_request):
        assert isinstance(error, errors.UnknownVersion)


BAD_FIELD_LINES = [
    b"A",
    b": b",
    b"A : b",
    b"A\t: b",
    b" A: b",
    b"A\x00: b",
    b"A\xe9: b",
    b"A(b): c",
    b"A: b\r\n c",
    b"A: b\r\n\tc",
    b"A:\r\n b",
    b"A: b\x00c",
    b"A: b\x1bc",
    b"A: b\x7f",
    b"A: b\x0bc",
    b"A: b\rc",
    b"A: b\r",
    b"A: b\nC: d",
    b"A: b\n",
    b"A: b\n\nGET /evil HTTP/1.1",
    b"\rA: b",
    b"Content-Length: 1\r\nContent-Length: 2",
    b"Content-Length: 1\r\nTransfer-Encoding: chunked",
    b"Content-Length: 1 1",
    b"Content-Length: -1",
    b"Content-Length: %d" % (1 << 64),
]


@pytest.mark.parametrize("line", BAD_FIELD_LINES)
def test_bad_field_lines(line: bytes) -> None:
    """RFC 9112 section 5, in requests and in responses, first or last."""
    for around in (b"%b\r\nHost: a", b"Host: a\r\n%b"):
        fields = around % line + b"\r\n\r\n"
        for error in refusals(b"GET / HTTP/1.1\r\n" + fields, as_request):
            assert isinstance(error, errors.BadRequest)
        for error in refusals(b"HTTP/1.1 200 OK\r\n" + fields, as_response):
            assert isinstance(error, errors.BadRequest)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"A: b\rc", "a bare CR or LF inside a line"),
        (b"A: b\r\n c", "a folded field line"),
        (b"A b", "a field line isn't name: value"),
        (b"A: \x01", "a control character in a field value"),
        (b"Content-Length: x", "Content-Length repeated, malformed, or beside Transfer-Encoding"),
        (b"Transfer-Encoding: gzip", "Transfer-Encoding doesn't end in one chunked"),
    ],
)
def test_a_refusal_says_what_was_wrong(line: bytes, reason: str) -> None:
    """The words are ours, and exact enough for an admin."""
    with pytest.raises(errors.BadRequest) as raised:
        as_request(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % line)
    assert raised.value.reason == reason


@pytest.mark.parametrize("lines", [b"", b"Hostess: a\r\n", b"Host: a\r\nhOST: a\r\n"])
def test_one_host_and_no_more(lines: bytes) -> None:
    """RFC 9112 section 3.2: exactly one, even where two agree."""
    for error in refusals(b"GET / HTTP/1.1\r\n%b\r\n" % lines, as_request):
        assert isinstance(error, errors.BadRequest)
        assert "Host" in error.reason


def test_http_1_0_needs_no_host() -> None:
    """It is older than the field; but two are too many there as well."""
    assert as_request(b"GET / HTTP/1.0\r\n\r\n") == RequestHead(b"GET", b"/", 0, NO_FIELDS)
    with pytest.raises(errors.BadRequest):
        as_request(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n")


METHODS = [
    b"GET",
    b"get",
    b"CONNECT",
    b"PRI",
    b"SOURCE",
    b"M-SEARCH",
    b"QUERY",
    b"PROPFIND",
    b"x",
    b"!#$%&'*+-.^_`|~09azAZ",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [b"/", b"*", b"a:443", b"http://a/?b", b"/caf%C3%A9", b"\\#"])
def test_any_token_is_a_method(method: bytes, target: bytes) -> None:
    """RFC 9110 section 9.1: methods are case-sensitive and can't be listed; targets stay raw."""
    head = three_ways(b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target))
    assert as_request(head) == RequestHead(method, target, 1, Fields([(b"Host", b"a")]))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"A:", (b"A", b"")),
        (b"A: \t ", (b"A", b"")),
        (b"A:b", (b"A", b"b")),
        (b"A: \tb c\t \t", (b"A", b"b c")),
        (b"!#$%&'*+-.^_`|~09azAZ: :", (b"!#$%&'*+-.^_`|~09azAZ", b":")),
        (b'A: "\x80\xff", \tb', (b"A", b'"\x80\xff", \tb')),
        (b"Upgrade: websocket\r\nConnection: Upgrade", (b"Upgrade", b"websocket")),
        (b"Transfer-Encoding: chunked", (b"Transfer-Encoding", b"chunked")),
        (b"Content-Length: 5 ", (b"Content-Length", b"5")),
        (b"Expect: 100-continue", (b"Expect", b"100-continue")),
    ],
)
def test_good_field_lines(line: bytes, field: tuple[bytes, bytes]) -> None:
    """Blanks around a value go, everything else stays (RFC 9112 section 5.1)."""
    head = three_ways(b"GET / HTTP/1.1\r\n%b\r\nHost: a\r\n\r\n" % line)
    assert as_request(head).fields.raw[0] == field
    head = three_ways(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % line)
    assert as_response(head).fields.raw[0] == field


def test_order_case_and_repetition_are_kept() -> None:
    """The fields are forwarded as they came."""
    raw = [(b"hOsT", b"a"), (b"X", b"1"), (b"B", b""), (b"x", b"2"), (b"X", b"1")]
    lines = b"".join(b"%b: %b\r\n" % field for field in raw)
    head = three_ways(b"GET / HTTP/1.1\r\n%b\r\n" % lines)
    assert as_request(head).fields.raw == raw


@pytest.mark.parametrize(("version", "minor"), [(b"1.0", 0), (b"1.1", 1), (b"1.2", 1), (b"1.9", 1)])
def test_minor_versions(version: bytes, minor: int) -> None:
    """A higher minor version is read as the highest we know (RFC 9110 section 6.2)."""
    assert as_request(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version).minor == minor
    assert as_response(b"HTTP/%b 200 OK\r\n\r\n" % version).minor == minor


BAD_STATUS_LINES = [
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1.1 20",
    b"HTTP/1.1 2000",
    b"HTTP/1.1 099 No",
    b"HTTP/1.1 2x0 OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1\t200 OK",
    b"HTTP/1.1 200\tOK",
    b"HTTP/2.0 200 OK",
    b"HTTP/0.9 200 OK",
    b"HTTP/1.10 200 OK",
    b"http/1.1 200 OK",
    b"ICY 200 OK",
    b"SSH-2.0-OpenSSH_9.2",
    b"220 mail ESMTP",
    b"HTTP/1.1 200 O\x00K",
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 200 OK\nA: b",
    b"GET / HTTP/1.1",
]


@pytest.mark.parametrize("line", BAD_STATUS_LINES)
def test_bad_status_lines(line: bytes) -> None:
    """RFC 9112 section 4: nothing that isn't HTTP/1 is passed on as if it were."""
    for error in refusals(line + b"\r\n\r\n", as_response):
        assert isinstance(error, errors.BadRequest)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.1 404 Nicht  gef\xfcnden \t!", 404, b"Nicht  gef\xfcnden \t!"),
        (b"HTTP/1.1 101 Switching Protocols", 101, b"Switching Protocols"),
        (b"HTTP/1.1 999 LinkedIn", 999, b"LinkedIn"),
    ],
)
def test_good_status_lines(line: bytes, status: int, reason: bytes) -> None:
    """Any three digits are a status; the reason is kept as it was written."""
    head = three_ways(line + b"\r\nA: b\r\n\r\n")
    assert as_response(head) == ResponseHead(status, reason, 1, Fields([(b"A", b"b")]))


@pytest.mark.parametrize(
    ("section", "raw"),
    [
        (b"\r\n", []),
        (b"A: b\r\n\r\n", [(b"A", b"b")]),
        (b"Connection: upgrade\r\nUpgrade: x\r\n\r\n", None),
        (b"A:  b \r\na:c\r\n\r\n", [(b"A", b"b"), (b"a", b"c")]),
    ],
)
def test_trailers(section: bytes, raw: list[tuple[bytes, bytes]] | None) -> None:
    """They are fields like those of a head; nothing in them switches protocols."""
    fields = parser.parse_trailers(section, LIMITS)
    assert raw is None or fields.raw == raw


@pytest.mark.parametrize(
    "section",
    [
        b"A b\r\n\r\n",
        b"A: b\r\n c\r\n\r\n",
        b"A: b\nC: d\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"content-length: 5\r\n\r\n",
        b"Host: a\r\n\r\n",
        b"A: b\r\n" * 9 + b"\r\n",
    ],
)
def test_bad_trailers(section: bytes) -> None:
    """Bad grammar, too many, or what would frame or route the message after the fact."""
    with pytest.raises(errors.BadRequest):
        parser.parse_trailers(section, LIMITS)


def request_of(size: int) -> bytes:
    """Return a request head of exactly *size* bytes."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def test_the_largest_head_passes() -> None:
    """The limit counts every byte up to the empty line, and none behind it."""
    assert len(three_ways(request_of(LIMITS.size))) == LIMITS.size


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (request_of(1025), errors.HeadTooLarge),
        (request_of(1024)[:-4] + b"xxxxx", errors.HeadTooLarge),
        (b"GET / HTTP/1.1\r\n" + b"A:\r\n" * 300, errors.HeadTooLarge),
        (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 1010), errors.TargetTooLong),
        (b"GET /" + b"x" * 2000, errors.TargetTooLong),
        (b"x" * 2000, errors.TargetTooLong),
    ],
)
def test_a_larger_head_is_refused(data: bytes, error: type[errors.ExchangeError]) -> None:
    """431, or 414 where it is the request line; no byte is read beyond the limit for it."""
    assert [type(raised) for raised in refusals(data, as_request)] == [error] * 3


def test_the_count_of_fields_is_limited() -> None:
    """431 beyond, and the largest number passes."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"
    assert len(as_request(head % (b"A: b\r\n" * 7)).fields) == 8
    for error in refusals(head % (b"A: b\r\n" * 8), as_request):
        assert isinstance(error, errors.HeadTooLarge)


@pytest.mark.parametrize("lines", [1, 2, heads.MAX_EMPTY_LINES])
def test_empty_lines_before_a_head_are_skipped(lines: int) -> None:
    """RFC 9112 section 2.2; some clients end a body with one too many."""
    data = b"GET / HTTP/1.0\r\n\r\n"
    assert three_ways(b"\r\n" * lines + data) == data


@pytest.mark.parametrize("start", [b"\n", b"\r\r\n", b"\rG", b"\r\n\n", b"\r\n" * 11])
def test_other_line_ends_before_a_head_are_refused(start: bytes) -> None:
    """A bare CR or LF is no line end, and empty lines come to an end."""
    for error in refusals(start + b"GET / HTTP/1.0\r\n\r\n", as_request):
        assert isinstance(error, errors.BadRequest)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16",
        b"\x16\x03\x01",
        b"\x00",
        b"\x80\x2e\x01",
        b" ",
        b"GET /\r\n",
        b"GET /\n",
        b"SSH-2.0-x\r\n",
        b"GET / HTTP/1.1\r\nA: b\n",
        b"GET / HTTP/1.1\r\n\n",
    ],
)
def test_what_cannot_become_a_head_is_refused_at_once(data: bytes) -> None:
    """Nobody waits for a time-out to hear that this isn't HTTP."""
    for step in (1, len(data)):
        with pytest.raises(errors.BadRequest):
            cut(data, step)


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n\r"])
def test_an_unfinished_head_is_waited_for(data: bytes) -> None:
    """What may still become a head isn't judged."""
    assert cut(data, 1)[0] is None
    assert cut(data, max(1, len(data)))[0] is None


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_pipelined_heads_come_one_by_one(step: int) -> None:
    """Each read may bring several heads, or parts of them; none is lost."""
    heads = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50)]
    data = b"".join(heads)
    reader = HeadReader(LIMITS)
    found = []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while (head := reader.next_head()) is not None:
            found.append(head)
    assert found == heads
    assert reader.is_empty


def test_the_state_of_a_reader() -> None:
    """It says what it holds, and hands the rest over once."""
    reader = HeadReader(LIMITS)
    assert reader.is_empty
    reader.feed(b"GET / HTTP/1.0\r\n\r\nbody")
    assert reader.next_head() == b"GET / HTTP/1.0\r\n\r\n"
    assert repr(reader) == "<HeadReader holding 4 bytes>"
    assert not reader.is_empty
    assert not reader.is_full
    reader.feed(b"x" * 1020)
    assert reader.is_full
    assert reader.take_rest() == b"body" + b"x" * 1020
    assert reader.is_empty
    assert reader.take_rest() == b""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nA: "])
def test_a_head_byte_by_byte_costs_linear_time(start: bytes) -> None:
    """This takes no second; copying or scanning all of it for each byte would take minutes."""
    reader = HeadReader(HeadLimits(size=1 << 30))
    reader.feed(start + b"x" * (64 << 20))
    for _ in range(20_000):
        reader.feed(b"x")
        assert reader.next_head() is None


@pytest.mark.parametrize("second", [b"Content-Length: 1", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("read", [as_request, as_response])
def test_lines_that_were_fine_apart(read: Callable[[bytes], object], second: bytes) -> None:
    """A line that was accepted before isn't checked again, but what stands beside it is."""
    start = b"GET / HTTP/1.1\r\nHost: a\r\n" if read is as_request else b"HTTP/1.1 200 OK\r\n"
    first = b"Content-Length: 1"
    for line in (first, second, first, second):
        read(b"%b%b\r\n\r\n" % (start, line))
    for _ in range(2):
        with pytest.raises(errors.BadRequest):
            read(b"%b%b\r\n%b\r\n\r\n" % (start, first, second))


def test_an_accepted_line_says_the_same_again() -> None:
    """Order, spelling and repetition are those of the head at hand."""
    lines = [b"Host: a", b"X-One:  1", b"x-one: 2", b"Accept: */*"]
    for order in (lines, lines[::-1], lines[:2], lines):
        head = b"GET / HTTP/1.1\r\n" + b"\r\n".join([*order, b"", b""])
        fields = as_request(head).fields
        assert fields.lines == order
        assert list(fields) == [
            (name, value.strip()) for name, _, value in (line.partition(b":") for line in order)
        ]
