"""Single values of the ini: numbers, units, switches, names, paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.config import values
from proxyapp.config.values import DAYS, GIB, HOURS, KIB, MIB, SECONDS, Surroundings, WrongValue
from proxyapp.rules.hops import Forwarding

NOWHERE = Surroundings(None, {})


def reasons(parse: Callable[[str, Surroundings], object], text: str) -> str:
    """Return what *parse* complains about."""
    with pytest.raises(WrongValue) as caught:
        parse(text, NOWHERE)
    return " / ".join(caught.value.reasons)


@pytest.mark.parametrize("text", ["maybe", "2", "onn", "yes no", "ja", "-"])
def test_switch_refuses(text: str) -> None:
    """Anything but the eight words is refused, and the message says which are right."""
    message = reasons(values.boolean, text)
    assert repr(text) in message
    assert "yes, no, on or off would be right" in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("ON", True),
        ("True", True),
        ("1", True),
        ("no", False),
        ("Off", False),
        ("FALSE", False),
        ("0", False),
        ("", False),
    ],
)
def test_switch_reads(text: str, value: bool) -> None:
    """Case does not matter, and empty is off."""
    assert values.boolean(text, NOWHERE) is value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ten", "'ten' is not a whole number"),
        ("1.5", "not a whole number"),
        ("-1", "not a whole number"),
        ("1_000", "not a whole number"),
        ("\u0663", "not a whole number"),
        ("0x10", "not a whole number"),
        ("1" * 19, "not a whole number"),
        ("0", "'0' is out of range"),
        ("", "nothing is out of range"),
        ("101", "from 1 to 100 would be right"),
    ],
)
def test_count_refuses(text: str, complaint: str) -> None:
    """A number in another notation, or out of range, is refused with the range."""
    assert complaint in reasons(values.count(1, 100), text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("", 0), ("007", 7), ("100", 100)])
def test_count_reads(text: str, value: int) -> None:
    """Both ends of the range belong to it, and empty is 0."""
    assert values.count(0, 100)(text, NOWHERE) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("30", "'30' has no unit; 30s or another duration is right"),
        ("30x", "unknown unit; a duration such as 500ms"),
        ("30S", "unknown unit"),
        ("30 s", "not a number with a unit"),
        ("1h30m", "not a number with a unit"),
        ("-5s", "not a number with a unit"),
        ("s", "not a number with a unit"),
        (".5s", "not a number with a unit"),
        ("inf", "not a number with a unit"),
        ("500ms", "out of range; a duration such as"),
        ("25h", "from 1s to 1d, would be right"),
        ("", "nothing is out of range"),
    ],
)
def test_duration_refuses(text: str, complaint: str) -> None:
    """A duration needs a number, a known unit and the range; each is told apart."""
    assert complaint in reasons(values.duration(1 * SECONDS, 1 * DAYS), text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("", 0.0),
        ("500ms", 0.5),
        ("1ms", 0.001),
        ("30s", 30.0),
        ("15m", 900.0),
        ("1.5h", 5400.0),
        ("12h", 12 * HOURS),
        ("7d", 7 * DAYS),
    ],
)
def test_duration_reads(text: str, seconds: float) -> None:
    """Durations are seconds, exactly."""
    value = values.duration(0, 7 * DAYS)(text, NOWHERE)
    assert value == seconds
    assert isinstance(value, float)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("64K", "unknown unit; a size such as 4096, 64KiB or 10GB"),
        ("64 KiB", "not a number with a unit"),
        ("64Kibi", "unknown unit"),
        ("-1", "not a number with a unit"),
        ("KiB", "not a number with a unit"),
        ("255", "'255' is out of range"),
        ("", "nothing is out of range"),
        ("2MiB", "from 256B to 1MiB, would be right"),
    ],
)
def test_size_refuses(text: str, complaint: str) -> None:
    """A size needs a number, a unit whose base is clear, and the range."""
    assert complaint in reasons(values.size(256, MIB), text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("64KiB", 64 * KIB),
        ("64kib", 64 * KIB),
        ("10GB", 10**10),
        ("10kB", 10_000),
        ("1.5MiB", 3 * MIB // 2),
        ("2GiB", 2 * GIB),
        ("1TiB", 1024 * GIB),
        ("1TB", 10**12),
    ],
)
def test_size_reads(text: str, size: int) -> None:
    """KiB is 1024 bytes, KB is 1000, and nothing is bytes."""
    assert values.size(0, 1024 * GIB)(text, NOWHERE) == size


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_duration_is_number_times_unit(number: int, unit: str) -> None:
    """Any whole number with a unit is that many of the unit."""
    factor = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    read = values.duration(0, 10**6 * DAYS)(f"{number}{unit}", NOWHERE)
    assert read == pytest.approx(number * factor)


@given(st.text(max_size=12))
def test_numbers_read_or_complain(text: str) -> None:
    """No text makes a parser fail in another way than with its complaint."""
    parsers = (values.count(0, 9), values.size(0, 9), values.duration(0, 9), values.boolean)
    for parse in parsers:
        try:
            assert 0 <= parse(text, NOWHERE) <= 9
        except WrongValue as wrong:
            assert wrong.reasons


def test_choice() -> None:
    """A word of the enumeration, in any case, is its member; others are listed in the message."""
    parse = values.choice(Forwarding)
    assert parse("", NOWHERE) is Forwarding.OFF
    assert parse("X-Forwarded-For", NOWHERE) is Forwarding.X_FORWARDED_FOR
    assert "off, x-forwarded-for, forwarded, transparent" in reasons(parse, "on")
    assert values.choice(Forwarding, "forwarded")("", NOWHERE) is Forwarding.FORWARDED


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gateway", "neither on nor off"),
        ("on two words", "no name for Via"),
        ("on gate/way", "no name for Via"),
        ("on gate\u00e4", "no name for Via"),
        ("off gateway", "on NAME would be right"),
    ],
)
def test_via_refuses(text: str, complaint: str) -> None:
    """A pseudonym is a token or host:port, and only stands behind `on`."""
    assert complaint in reasons(values.via, text)


@pytest.mark.parametrize(
    ("text", "is_on", "name"),
    [
        ("on", True, ""),
        ("", False, ""),
        ("off", False, ""),
        ("on gateway", True, "gateway"),
        ("yes  gate.lan:3128", True, "gate.lan:3128"),
    ],
)
def test_via_reads(text: str, is_on: bool, name: str) -> None:
    """One text gives the switch and the pseudonym."""
    assert values.via(text, NOWHERE) is is_on
    assert values.pseudonym(text, NOWHERE) == name


@pytest.mark.parametrize("text", ["X Real", "X-Real:", "X-R\u00e9al", "(x)", "a\tb"])
def test_field_name_refuses_non_tokens(text: str) -> None:
    """A field name is a token."""
    assert "a token (RFC 9110) would be right" in reasons(values.field_name, text)


@pytest.mark.parametrize("text", ["Host", "content-length", "Transfer-Encoding", "VIA"])
def test_field_name_refuses_what_has_a_meaning(text: str) -> None:
    """A field that frames or routes the message can't be the switch as well."""
    assert "has a meaning of its own" in reasons(values.field_name, text)


def test_field_name_is_in_lower_case() -> None:
    """The name comes as bytes in lower case; nothing is no name."""
    assert values.field_name("X-Real-Protocol", NOWHERE) == b"x-real-protocol"
    assert values.field_name("", NOWHERE) == b""


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/p", "HOME": "/home/a"}, "/var/lib/p"),
        ({"STATE_DIRECTORY": "/var/lib/p:/var/lib/q"}, "/var/lib/p"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, "/state/proxyapp"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/state/proxyapp"),
        ({"STATE_DIRECTORY": "", "HOME": "/home/a"}, "/home/a/.local/state/proxyapp"),
        ({}, "/var/lib/proxyapp"),
    ],
)
def test_default_state_folder(environ: dict[str, str], folder: str) -> None:
    """systemd's folder comes first, then XDG's, then the one under the home."""
    assert values.default_state_folder(Surroundings(None, environ)) == folder


def test_state_folder(tmp_path: Path) -> None:
    """It needs not exist, but may not be a file; relative ones start at the ini."""
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    assert values.state_folder("state", at) == tmp_path / "state"
    (tmp_path / "state").write_text("")
    with pytest.raises(WrongValue, match="not a folder"):
        values.state_folder("state", at)
    with pytest.raises(WrongValue, match="is empty"):
        values.state_folder("", at)


def test_root_must_be_a_folder(tmp_path: Path) -> None:
    """A root that is missing or a file is refused; the empty one is none."""
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    (tmp_path / "file").write_text("")
    for text in ("missing", "file"):
        with pytest.raises(WrongValue, match="an existing folder would be right"):
            values.folder_or_none(text, at)
    assert values.folder_or_none("", at) is None
    assert values.folder_or_none(".", at) == tmp_path


def test_default_root_is_htdocs_beside_the_ini(tmp_path: Path) -> None:
    """Without an ini, or without such a folder, there is none."""
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    assert values.default_root(at) == ""
    (tmp_path / "htdocs").mkdir()
    assert values.default_root(at) == "htdocs"
    assert values.default_root(NOWHERE) == ""


def test_certificates_must_be_readable_pem(tmp_path: Path) -> None:
    """A file that is missing, a folder, or no PEM is refused when the ini is read."""
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    (tmp_path / "ca.der").write_bytes(b"\x30\x82")
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    for text, complaint in [("missing", "No such file"), (".", "directory"), ("ca.der", "PEM")]:
        with pytest.raises(WrongValue, match=complaint):
            values.certificates_or_none(text, at)
    assert values.certificates_or_none("", at) is None
    assert values.certificates_or_none("ca.pem", at) == tmp_path / "ca.pem"


@pytest.mark.parametrize("text", ["", "-", "syslog:"])
def test_request_log_words(text: str) -> None:
    """The three words stand for themselves."""
    assert values.request_log(text, NOWHERE) == text


def test_request_log_file(tmp_path: Path) -> None:
    """A file is named absolutely; its folder must be there."""
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    assert values.request_log("access.log", at) == str(tmp_path / "access.log")
    for text, complaint in [
        ("missing/access.log", "make it"),
        (".", "is a folder"),
        ("syslog:local0", "syslog: would be right"),
    ]:
        with pytest.raises(WrongValue, match=complaint):
            values.request_log(text, at)


def test_log_format_is_compiled() -> None:
    """A format that can't be compiled is a mistake of the ini, with the compiler's words."""
    assert values.log_format("squid", NOWHERE) == "squid"
    assert reasons(values.log_format, "{nonsense}")


def test_long_texts_are_shortened() -> None:
    """A message shows at most sixty characters of what was written."""
    assert len(values.shown("x" * 1000)) == 62
