"""Promises of proxyapp.rules.logformat."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import logformat, logtimes
from proxyapp.rules.logformat import PLACEHOLDERS, Identified, compile_format
from proxyapp.rules.record import Record
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead

_OF_REQUEST = {
    "method": b"GET",
    "target": b"http://example.com/a?b",
    "minor": 1,
    "referer": b"http://example.com/",
    "user_agent": b"curl/8.5.0 (linux)",
}


def _asked(
    method: bytes, target: bytes, minor: int, referer: bytes, user_agent: bytes
) -> RequestHead:
    fields = Fields([(b"Referer", referer), (b"User-Agent", user_agent)])
    return RequestHead(method, target, minor, fields)


def _record(**changes: object) -> Record:
    """Return the record of an exchange; *changes* may be parts of its request, too."""
    asked = {name: changes.pop(name, value) for name, value in _OF_REQUEST.items()}
    changes["asked"] = _asked(**asked)  # type: ignore[arg-type]  # any field
    return replace(_RECORD, **changes)  # type: ignore[arg-type]  # any field


_RECORD = Record(
    started=1767355445.25,
    duration=0.0125,
    client_host="192.168.7.23",
    client_port=54321,
    user="ann",
    service="proxy",
    url=b"https://example.com/a?b",
    status=200,
    sent=1024,
    received=7,
    content_type=b"text/html; charset=utf-8",
    upstream="93.184.216.34:443",
    reuse="reused",
    tls="warm",
    cache="miss",
    reported="[rule kids]",
    request_id="k3x7q20001",
)

_COMBINED = re.compile(
    r'(\S+) - (\S+) \[([^\]]+)\] "([^"]+)" (\d{3}|-) (\d+|-) "([^"]+)" "([^"]+)"'
    r'(?: "([^"]+)")?',
    re.ASCII,
)


@pytest.fixture(autouse=True)
def zone() -> Iterator[None]:
    """Let the local zone be two hours ahead of UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "LAB-2"
    time.tzset()
    logtimes.second.cache_clear()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()
    logtimes.second.cache_clear()


def _line(text: str, **changes: object) -> str:
    return compile_format(text)(_record(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither a named log format"),
        ("combinde", r"neither a named log format \(combined, common, squid, pool, json\)"),
        ("{{status}}", "neither a named log format"),
        ("{status", "unbalanced {"),
        ("status}", "unbalanced }"),
        ("{status}}", "unbalanced }"),
        ("{sta{tus}", "unbalanced {"),
        ("{}", r"unknown {} .* known: {cache} .*{version}"),
        ("{staus}", "unknown {staus}"),
        ("{status:03d}", "unknown {status:03d}"),
        ("{status!r}", "unknown"),
        ("{status.real}", "unknown"),
        ("{status}\n{sent}", "control characters"),
        ("{status}\x1b", "control characters"),
    ],
)
def test_a_wrong_format_is_explained(text: str, message: str) -> None:
    """A format that can't be meant raises ValueError with the way out."""
    with pytest.raises(ValueError, match=message):
        compile_format(text)


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        *((name, Identified.NONE) for name in ("common", "squid", "pool")),
        ("{status}", Identified.NONE),
        ("{{request_id}} {status}", Identified.NONE),
        ("request_id {status}", Identified.NONE),
        ("combined", Identified.PAGES),
        ("json", Identified.ALL),
        ("{status} {request_id}", Identified.ALL),
        ("{{{request_id}}}", Identified.ALL),
    ],
)
def test_which_formats_show_request_ids(text: str, shows: Identified) -> None:
    """Where a line has no place for an id, nobody has to make one."""
    assert logformat.identified(text) is shows
    assert ("k3x7q20001" in _line(text)) is (shows is not Identified.NONE)


def test_combined_is_apaches_but_for_error_pages() -> None:
    """Programs that read combined lines find nothing new in those of ordinary exchanges."""
    plain = _line("combined", request_id="")
    assert _line("combined", request_id="k3x7q20001") == plain + ' "k3x7q20001"'
    assert _COMBINED.fullmatch(plain)


def test_combined_and_common() -> None:
    """These are Apache's."""
    common = (
        "192.168.7.23 - ann [02/Jan/2026:14:04:05 +0200]"
        ' "GET http://example.com/a?b HTTP/1.1" 200 1024'
    )
    assert _line("common") == common
    line = _line("combined", request_id="")
    assert line == f'{common} "http://example.com/" "curl/8.5.0 (linux)"'


def test_combined_of_nothing() -> None:
    """A connection that ended before a request has a line with dashes."""
    line = compile_format("combined")(Record(started=1767355445.25))
    assert line == '- - - [02/Jan/2026:14:04:05 +0200] "-" - - "-" "-"'


def test_squid() -> None:
    """This is Squid's native access.log, timed at the end of the exchange."""
    assert _line("squid") == (
        "1767355445.263     12 192.168.7.23 TCP_MISS/200 1024 GET https://example.com/a?b"
        " ann HIER_DIRECT/93.184.216.34 text/html"
    )


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"error": "http_request_denied", "status": 403}, " TCP_DENIED/403 "),
        ({"error": "destination_ip_prohibited", "service": "tunnel"}, " TCP_DENIED/200 "),
        ({"method": b"", "target": b"", "url": b""}, " NONE error:invalid-request "),
        ({"service": "-", "cache": "", "status": 0}, " NONE_NONE/000 "),
        ({"status": 499}, " TCP_MISS_ABORTED/499 "),
        ({"service": "site", "upstream": ""}, " HIER_NONE/- "),
        ({"service": "site", "cache": ""}, " NONE_NONE/200 "),
        ({"service": "tunnel", "cache": ""}, " TCP_TUNNEL/200 "),
        ({"upstream": "[2606:4700::1]:443"}, " HIER_DIRECT/2606:4700::1 "),
        ({"user": None}, " - HIER_DIRECT/"),
        ({"duration": 1234.5678}, " 1234567 192"),
        ({"cache": ""}, " TCP_MISS/200 "),
        ({"cache": "", "service": "fetch"}, " TCP_MISS/200 "),
        ({"cache": "hit", "upstream": ""}, " TCP_HIT/200 "),
        ({"cache": "hit", "service": "fetch"}, " TCP_HIT/200 "),
        ({"cache": "hit", "status": 499}, " TCP_HIT_ABORTED/499 "),
        ({"cache": "hit", "error": "http_request_denied"}, " TCP_DENIED/200 "),
        ({"cache": "stale"}, " TCP_STALE_HIT/200 "),
        ({"cache": "revalidated"}, " TCP_REFRESH_UNMODIFIED/200 "),
        ({"cache": "collapsed"}, " TCP_CF_HIT/200 "),
    ],
)
def test_squid_codes(changes: dict[str, object], part: str) -> None:
    """What happened is put in the words of Squid."""
    assert part in _line("squid", **changes)


def test_pool() -> None:
    """Time, client, method, real URL, status, length, seconds, URL as asked."""
    assert _line("pool") == (
        "2026-01-02T14:04:05.250+02:00 192.168.7.23:54321 GET https://example.com/a?b 200 1024"
        " 0.012500 http://example.com/a?b"
    )
    line = _line("pool", client_host="2001:db8::1", url=b"", status=0)
    assert line.split()[1] == "[2001:db8::1]:54321"
    assert line.split()[3:5] == ["http://example.com/a?b", "-"]
    assert _line("pool", client_host="", client_port=0).split()[1] == "-"


def test_json_has_every_field() -> None:
    """The json format holds all of the record, with the time readable and as a number."""
    line = json.loads(_line("json"))
    others = {field.name for field in fields(Record)} - {"started", "asked", "client_name"}
    others |= _OF_REQUEST.keys() - {"minor"}
    assert set(line) == others | {"time", "epoch", "version"}
    assert line["time"] == "2026-01-02T14:04:05.250+02:00"
    assert line["epoch"] == 1767355445.25
    assert line["version"] == "HTTP/1.1"
    assert line["user"] == "ann"
    assert (line["reported"], line["request_id"]) == ("[rule kids]", "k3x7q20001")
    assert (line["status"], line["cache"]) == (200, "miss")
    assert line["url"] == "https://example.com/a?b"
    assert json.loads(_line("json", user=None))["user"] is None
    assert json.loads(_line("json", url=b""))["url"] == "http://example.com/a?b"
    assert json.loads(_line("json", user_agent=b"\xc3\xa9\xff\n"))["user_agent"] == "é\\xff\n"


_NAMED = {
    "common": r"panel\.lan - ann \[.*",
    "combined": r"panel\.lan - ann \[.*",
    "squid": r"1767355445\.263     12 panel\.lan TCP_MISS/200 .*",
    "pool": r"2026-\S+ panel\.lan:54321 GET .*",
    "json": r'.*"client_host":"192\.168\.7\.23",.*,"client_name":"panel\.lan"}',
    "{client} {client_name} {client_host}": r"panel\.lan:54321 panel\.lan 192\.168\.7\.23",
}


@pytest.mark.parametrize("text", _NAMED)
def test_a_client_with_a_name(text: str) -> None:
    """A name stands in place of the address; where both have a place, both are there."""
    assert re.fullmatch(_NAMED[text], _line(text, client_name="panel.lan"))


@pytest.mark.parametrize("text", ["{client_name}", "{client_name}:x", "{client_name}|"])
def test_a_client_without_a_name(text: str) -> None:
    """Who has no name is shown by the address, and who has neither isn't."""
    assert _line(text, client_host="fe80::1").startswith("fe80::1")
    assert _line(text, client_host="").startswith("-")
    assert _line("{client_name}", client_name='a"b \n') == r"a\x22b\x20\x0a"


def test_every_json_name_is_a_placeholder() -> None:
    """What json calls a field, a format string calls it too."""
    assert set(json.loads(_line("json"))) <= set(PLACEHOLDERS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{status}", "200"),
        ("{{{status}}} é", "{200} é"),
        ("{date} {clock} {zone}", "2026-01-02 14:04:05 +02:00"),
        ("{time}|{time_common}", "2026-01-02T14:04:05.250+02:00|02/Jan/2026:14:04:05 +0200"),
        ("{epoch} {milliseconds}", "1767355445.250 12"),
        ("{client} {client_host}:{client_port}", "192.168.7.23:54321 192.168.7.23:54321"),
        ('"{request}" {version}', '"GET http://example.com/a?b HTTP/1.1" HTTP/1.1'),
        ("{reuse}/{tls}/{upstream}\t{reason}", "reused/warm/93.184.216.34:443\t-"),
        ("{cache}", "miss"),
        ("{received} {sent}{rule}{error}", "7 1024--"),
        ("{reported} {request_id}", "[rule\\x20kids] k3x7q20001"),
        ('"{reported}"', '"[rule kids]"'),
    ],
)
def test_format_strings(text: str, expected: str) -> None:
    """Placeholders give way to values, and the rest stays."""
    assert _line(text) == expected


@pytest.mark.parametrize(
    ("text", "user_agent", "expected"),
    [
        ("{user_agent}", b'a "b"\\\n\x00\x7f\xff', r"a\x20\x22b\x22\x5c\x0a\x00\x7f\xff"),
        ('"{user_agent}"', b'a "b', r'"a \x22b"'),
        ("[{user_agent}] {status}", b"a] [b", r"[a\x5d\x20[b] 200"),
        ("{status},{user_agent}", b"a,b", r"200,a\x2cb"),
        ('"{status}","{user_agent}"', b"a,b", '"200","a,b"'),
        ("<{user_agent}>", b"a>b", r"<a\x3eb>"),
        ("{user_agent}é", b"a\xe9", r"a\xe9é"),
        ("{user_agent}x", b"axb", "axbx"),
    ],
)
def test_what_ends_a_field_is_escaped_in_it(text: str, user_agent: bytes, expected: str) -> None:
    """The place of a placeholder decides which characters its value may keep."""
    assert _line(text, user_agent=user_agent) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"http://u:p@host/a", "http://***@host/a"),
        (b"http://token@host/", "http://***@host/"),
        (b"http://u:p%2Fw@host/", "http://***@host/"),
        (b"http://u:p@w@host/", "http://***@host/"),
        (b"http://u:p\n@host/", "http://***@host/"),
        (b"u:p@host:443", "***@host:443"),
        (b"//u:p@host/", "//***@host/"),
        (b"http://HTTPS///u:p&x@host/", "http://HTTPS///***@host/"),
        (b"/fetch?url=http://u:p@host/&cache=1", "/fetch?url=http://***@host/&cache=1"),
        (b"/fetch?url=http%3A%2F%2Fu%3ap%40host%2f", "/fetch?url=http%3A%2F%2F***@host%2f"),
        (b"/fetch?url=http://host/&mail=a@b", "/fetch?url=http://host/&mail=a@b"),
        (b"http://host/~a@b", "http://host/~a@b"),
        (b"http://host?q=a%40b", "http://host?q=a%40b"),
        (b"http://host/?q=a@b#c@d", "http://host/?q=a@b#c@d"),
        (b"/@scope/package", "/@scope/package"),
    ],
)
def test_credentials_are_masked(url: bytes, expected: str) -> None:
    """User names and passwords in URLs reach no format, and nothing else is hidden."""
    assert _line("{target}", target=url) == expected
    assert _line('"{referer}"', referer=url) == f'"{expected}"'
    assert json.loads(_line("json", url=url))["url"] == expected.replace("\\x0a", "\n")
    for name in ("combined", "squid", "pool"):
        assert f" {expected} " in f"{_line(name, target=url, url=b'')} "


def test_time_is_carried_not_cut() -> None:
    """A time just below a second is the next second, not second .1000."""
    assert _line("{time}", started=1767355445.9999).startswith("2026-01-02T14:04:06.000")


_octets = st.binary(max_size=30) | st.sampled_from(
    [b'" 200 5 "-" "-"', b"\n1.2.3.4 - -", b"\r", b"\xe2\x80\xa8", b"\\", b"]", b"@", b"//a@"]
)
_words = st.text(max_size=20) | st.sampled_from(["\n", '"', " ", "\u2028", "\x85", "\udc80"])
_records = st.builds(
    _record,
    started=st.floats(0, 4e9),
    duration=st.floats(0, 1e6),
    client_host=_words,
    client_port=st.integers(0, 65535),
    user=st.none() | _words,
    service=_words,
    method=_octets,
    target=_octets,
    url=_octets,
    status=st.just(0) | st.integers(100, 999),
    sent=st.integers(0, 1 << 60),
    referer=_octets,
    user_agent=_octets,
    content_type=_octets,
    upstream=_words,
    reuse=_words,
    tls=_words,
    cache=_words,
    error=_words,
    reason=_words,
    rule=_words,
    reported=_words,
    request_id=_words,
)


@given(_records)
def test_no_record_forges_a_line(record: Record) -> None:
    """Whatever a client sends, each format writes one printable ASCII line with its fields."""
    lines = {name: compile_format(name)(record) for name in ("combined", "squid", "pool", "json")}
    for line in lines.values():
        assert line.isascii()
        assert line.isprintable()
        assert line.splitlines() == [line]
    assert _COMBINED.fullmatch(lines["combined"])
    assert len(lines["combined"].split('"')) == (9 if record.request_id else 7)
    assert len(lines["squid"].split()) == 10
    assert len(lines["pool"].split(" ")) == 8
    assert json.loads(lines["json"])["status"] == record.status


@given(_records, st.sampled_from(["|", ",", ";", "\t", " ", '" "', "] [", "/"]))
def test_no_record_forges_a_field(record: Record, separator: str) -> None:
    """Fields of a format string come apart at its separator, in any number and order."""
    quote = '"' if '"' in separator else ""
    names = ["user_agent", "reason", "target", "user", "method", "status"]
    text = separator.join(f"{{{name}}}" for name in names)
    line = compile_format(f"{quote}{text}{quote}")(record)
    assert len(line.split(separator)) == len(names)
    assert line.split(separator)[-1].strip('"') == str(record.status or "-")
    assert line.isascii()


@given(st.binary(max_size=60))
def test_escaping_loses_nothing(value: bytes) -> None:
    r"""Undoing \xHH gives back the very bytes, so that logs can be replayed."""
    line = _line('"{user_agent}"', user_agent=value)[1:-1]
    back = re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), line)
    assert back.encode("latin-1") == (value or b"-")
