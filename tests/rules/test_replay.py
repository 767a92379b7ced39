"""replay: lines of logs become questions; what a format doesn't tell stays open."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import logtimes, replay
from proxyapp.rules.logformat import compile_format
from proxyapp.rules.question import Question
from proxyapp.rules.record import Record
from proxyapp.rules.replay import Logged, Unreadable, Was, read_line
from proxyapp.rules.schedule import minute_of_week
from proxyapp.rules.stages import Case
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import RequestHead

# Wednesday, 7 January 2026, 13:05:06 where clocks are an hour ahead.
STARTED = 1767787506.25
MINUTE = minute_of_week(2, 13, 5)
FORMATS = ("json", "squid", "combined", "common")
SQUID = (
    "1767787506.333     83 10.0.0.7 TCP_MISS/200 5 GET http://a.example/ - HIER_DIRECT/1.2.3.4 -"
)
COMBINED = (
    '10.0.0.7 - - [07/Jan/2026:13:05:06 +0100] "GET http://a.example/ HTTP/1.1" 200 5 "-" "-"'
)


@pytest.fixture(autouse=True)
def _central_europe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    _forget()
    yield
    monkeypatch.undo()
    time.tzset()
    _forget()


def _forget() -> None:
    replay._minute_of.cache_clear()
    logtimes.second.cache_clear()


def record(
    method: bytes = b"GET", target: bytes = b"http://a.example/", **changes: object
) -> Record:
    """Return the record of a request that went well; *changes* are those of its fields."""
    asked = RequestHead(method, target, 1, NO_FIELDS)
    known: dict[str, object] = {"started": STARTED, "duration": 0.08, "client_host": "10.0.0.7"}
    known |= {"service": "proxy", "status": 200, "upstream": "1.2.3.4:80"}
    return Record(asked=asked, **(known | changes))  # type: ignore[arg-type]  # any field


def read(name: str, given: Record) -> Logged | None:
    """Return what is read of the line that the format *name* has for *given*."""
    return read_line(compile_format(name)(given))


def as_json(**changes: object) -> str:
    """Return a line in json with *changes*; None takes a member out."""
    fields = json.loads(compile_format("json")(record())) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...})


UNREADABLE = [
    "",
    " ",
    "what?",
    "{",
    "{}",
    "[" * 100_000,
    '{"a":' * 100_000,
    '"json, but a text"',
    as_json()[:-1],
    as_json() + "x",
    as_json(status="200"),
    as_json(status=...),
    as_json(user=5),
    as_json(time="yesterday"),
    as_json(time=5),
    as_json(error=...),
    as_json(service="gopher"),
    as_json(client_host="host.example"),
    as_json(method=None),
    SQUID.rpartition(" HIER")[0],
    SQUID.replace("10.0.0.7", "host.example"),
    SQUID.replace("TCP_MISS/200", "TCP_MISS"),
    SQUID.replace("TCP_MISS/200", "TCP_MISS/ok"),
    SQUID.replace(" 83 ", " x "),
    SQUID.replace("1767787506.333", "9" * 30 + ".0"),
    SQUID.replace("1767787506.333", "9" * 400 + ".0"),
    COMBINED.replace("07/Jan", "07/Foo"),
    COMBINED.replace("07/Jan", "37/Jan"),
    COMBINED.replace('"GET', '"'),
    COMBINED.replace("10.0.0.7", "host.example"),
    COMBINED.replace(" 200 ", " OK "),
    "2026-01-07T13:05:06.250+01:00 10.0.0.7:51234 GET http://a.example/ 200 5 0.08 http://a.example/",
]


@pytest.mark.parametrize("line", UNREADABLE, ids=lambda line: line[:60])
def test_what_cannot_be_read(line: str) -> None:
    """A line that is cut, forged or in another format is no request."""
    with pytest.raises(Unreadable):
        read_line(line)


@given(st.one_of(st.text(), st.text().map("{".__add__), st.text().map("17.1 ".__add__)))
def test_no_line_does_harm(line: str) -> None:
    """Whatever is in a log, it's read or it's unreadable."""
    with contextlib.suppress(Unreadable):
        read_line(line)


@given(st.dictionaries(st.sampled_from(list(json.loads(as_json()))), st.integers() | st.text()))
def test_no_member_does_harm(changes: dict[str, object]) -> None:
    """That holds for lines that look right, too."""
    with contextlib.suppress(Unreadable):
        read_line(as_json(**changes))


# --- What rules can't judge ---


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "given",
    [
        record(b"", b"", service="-", status=400, error="http_request_error"),
        record(b"OPTIONS", b"*"),
        record(b"GET", b"http://u:p@a.example/", status=400, error="http_request_error"),
        record(b"GET", b"ftp://a.example/", status=400, error="http_request_error"),
        record(b"GET", b"http://127.1/", status=400, error="http_request_error"),
        record(b"CONNECT", b"a.example", service="tunnel", status=400, error="http_request_error"),
        record(status=407, error="http_request_denied"),
        record(b"GET", b"/", service="site", status=401, error="http_request_denied"),
        record(status=508, error="proxy_loop_detected"),
    ],
)
def test_nothing_to_judge(name: str, given: Record) -> None:
    """No request, none that could have been sent, a loop, or the question for a password."""
    assert read(name, given) is None


# --- What is read ---


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("given", "question"),
    [
        (record(), Question("proxy", "10.0.0.7", None, b"GET", "a.example", 80)),
        (record(user="ann"), Question("proxy", "10.0.0.7", "ann", b"GET", "a.example", 80)),
        (record(user='a "b"\n'), Question("proxy", "10.0.0.7", 'a "b"\n', b"GET", "a.example", 80)),
        (record(user="é"), Question("proxy", "10.0.0.7", "é", b"GET", "a.example", 80)),
        (record(client_host=""), Question("proxy", "", None, b"GET", "a.example", 80)),
        (record(client_host="::1"), Question("proxy", "::1", None, b"GET", "a.example", 80)),
        (
            record(b"POST", b"http://A.Example:81"),
            Question("proxy", "10.0.0.7", None, b"POST", "a.example", 81),
        ),
        (
            record(b"CONNECT", b"[2001:db8::1]:443", service="tunnel"),
            Question("tunnel", "10.0.0.7", None, b"CONNECT", "2001:db8::1", 443),
        ),
        (
            record(b"GET", b"/a?url=http://x/", service="site"),
            Question("site", "10.0.0.7", None, b"GET", "", 0),
        ),
    ],
)
def test_requests(name: str, given: Record, question: Question) -> None:
    """Who asked for what comes out of each format as it went in, with the time on the wall."""
    logged = read(name, given)
    assert logged is not None
    assert (logged.case.question, logged.minute, logged.was) == (question, MINUTE, Was.PASSED)


def test_the_time_is_that_of_the_start() -> None:
    """Squid's is that of the end; what took long began in another minute, or on another day."""
    for name in FORMATS:
        logged = read(name, record(duration=14 * 3600.0))
        assert logged is not None
        assert logged.minute == MINUTE


@pytest.mark.parametrize(
    ("name", "address"),
    [("json", "1.2.3.4"), ("squid", "1.2.3.4"), ("combined", ""), ("common", "")],
)
def test_the_address_that_was_dialled(name: str, address: str) -> None:
    """Where a format has it, it's judged anew."""
    logged = read(name, record(upstream="1.2.3.4:80"))
    assert logged is not None
    assert logged.case.address == address
    logged = read(name, record(upstream="[2001:db8::1]:80"))
    assert logged is not None
    assert logged.case.address == ("2001:db8::1" if address else "")


@pytest.mark.parametrize("way", ["FIRSTUP_PARENT/1.2.3.4", "HIER_NONE/-", "HIER_DIRECT/a.example"])
def test_no_address(way: str) -> None:
    """A parent's address isn't that of the destination, and a name is none."""
    logged = read_line(SQUID.replace("HIER_DIRECT/1.2.3.4", way))
    assert logged is not None
    assert logged.case.address == ""


@pytest.mark.parametrize(("name", "told"), [("json", True), ("squid", True), ("combined", False)])
def test_tls_upgrades(name: str, told: bool) -> None:
    """A request field that asked for TLS shows in the URL that was fetched; tunnels are none."""
    upgraded = read(name, record(url=b"https://a.example/"))
    plain = read(name, record())
    spelled = read(name, record(b"GET", b"https://a.example/"))
    tunnel = read(name, record(b"CONNECT", b"a.example:443", service="tunnel"))
    cases = [logged.case.upgrades for logged in (upgraded, plain, spelled, tunnel) if logged]
    assert cases == [told, False, True, False]


@pytest.mark.parametrize(("name", "port"), [("json", 443), ("squid", 443), ("combined", 80)])
def test_where_an_upgrade_went(name: str, port: int) -> None:
    """The rules are asked about what was dialled; combined doesn't tell of a field."""
    logged = read(name, record(url=b"https://a.example/"))
    assert logged is not None
    assert (logged.case.question.host, logged.case.question.port) == ("a.example", port)


@pytest.mark.parametrize("name", ["json", "squid", "combined"])
def test_where_a_prefix_leads(name: str) -> None:
    """http://HTTPS/// is https to the host behind it, in every format."""
    url = b"" if name == "combined" else b"https://a.example/"
    logged = read(name, record(b"GET", b"http://HTTPS///a.example/", url=url))
    assert logged is not None
    assert (logged.case.question.host, logged.case.question.port) == ("a.example", 443)
    assert logged.case.upgrades


# --- What became of it ---

BY_RULE = record(status=403, error="http_request_denied", rule="[rule x]")
FOR_ADDRESS = record(status=403, error="destination_ip_prohibited")
OF_THE_SITE = record(b"GET", b"/x", service="site", status=403, error="http_request_denied")


@pytest.mark.parametrize(
    ("given", "was"),
    [
        (BY_RULE, (Was.REFUSED, Was.REFUSED_SOMEHOW, Was.UNCLEAR)),
        (FOR_ADDRESS, (Was.REFUSED_SOMEHOW, Was.REFUSED_SOMEHOW, Was.UNCLEAR)),
        (OF_THE_SITE, (Was.PASSED, Was.UNCLEAR, Was.UNCLEAR)),
        (record(status=403), (Was.PASSED, Was.PASSED, Was.UNCLEAR)),
        (record(status=502, error="dns_error"), (Was.PASSED,) * 3),
        (record(status=401), (None, Was.PASSED, Was.PASSED)),
        (record(status=429, error="http_request_denied"), (Was.PASSED, None, Was.PASSED)),
        (record(status=0), (Was.PASSED,) * 3),
    ],
)
def test_what_became_of_it(given: Record, was: tuple[Was | None, ...]) -> None:
    """Each format tells as much as it can; an origin's own 403 isn't taken for ours."""
    found = [read(name, given) for name in ("json", "squid", "combined")]
    assert tuple(logged and logged.was for logged in found) == was


@pytest.mark.parametrize(
    "line",
    [
        "1767787506.333    -1 10.0.0.7 TCP_HIT/200 5 GET http://a.example/ - HIER_NONE/- text/html",
        "1767787506.333 0 10.0.0.7 TCP_TUNNEL/200 5 CONNECT a.example:443 ann PINNED/1.2.3.4 -",
        "1767787506.333 0 10.0.0.7 TCP_MISS/200 5 GET http://a.example/ - DIRECT/1.2.3.4 - [V: x]",
        "1767787506.333 0 10.0.0.7 TCP_DENIED_REPLY/403 5 GET http://a.example/ - HIER_NONE/- -",
    ],
)
def test_lines_of_squid_itself(line: str) -> None:
    """What Squid writes beyond what we do is read, too."""
    logged = read_line(line)
    assert logged is not None
    assert isinstance(logged.case, Case)
    assert logged.case.question.host == "a.example"
