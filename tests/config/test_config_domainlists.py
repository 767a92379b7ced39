"""Host names of rules: in the ini, in files, and in hosts files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyapp.config import domainlists, lists
from proxyapp.config.values import Surroundings, WrongValue
from proxyapp.rules.domains import Domains


def read(folder: Path, text: str) -> Domains:
    """Read *text* as an option of an ini in *folder*."""
    found = domainlists.domains(text, Surroundings(folder / "proxyapp.ini", {}))
    assert found is not None
    return found


def read_file(folder: Path, content: bytes) -> Domains:
    """Read a list file with *content*."""
    (folder / "list.txt").write_bytes(content)
    return read(folder, "@list.txt")


def reasons(folder: Path, text: str) -> tuple[str, ...]:
    """Return what is wrong with *text*, without the name of *folder*."""
    with pytest.raises(WrongValue) as caught:
        read(folder, text)
    return tuple(reason.replace(f"{folder}/", "") for reason in caught.value.reasons)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "'@list.txt' holds no name, so the rule would never match"),
        (b"# all gone\n\n", "'@list.txt' holds no name"),
        (b"127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n", "holds no name"),
        (b"a.example\n||ads.example^\n", "list.txt line 2: '||ads.example^' is not a host; a name"),
        (b"a.example\n*.ads.example\n", "list.txt line 2: '*.ads.example' is not a domain; .ads."),
        (b"http://ads.example/\n", "list.txt line 1: 'http://ads.example/' is not a host"),
        (b"a.example\n\xff.example\n", "list.txt line 2: is not UTF-8; save the file as UTF-8"),
        (b"0.0.0.0 ads.example:80\n", "list.txt line 1: 'ads.example:80' is not a host"),
        (b"10.0.0.0/8\n", "list.txt line 1: '10.0.0.0/8' is not a host"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, complaint: str) -> None:
    """What is wrong in a file is told with its line, and a file without names is no list."""
    (tmp_path / "list.txt").write_bytes(content)
    (reason,) = reasons(tmp_path, "@list.txt")
    assert reason.startswith(complaint) or complaint in reason


def test_wrong_words(tmp_path: Path) -> None:
    """Every wrong word is named, in the ini and in its files."""
    (tmp_path / "list.txt").write_bytes(b"a..b\nok.example\nc..d\n")
    found = reasons(tmp_path, "x..y, @list.txt *.lan @missing.txt\n.")
    assert [reason.partition(" is")[0] for reason in found] == [
        "'x..y'",
        "list.txt line 1: 'a..b'",
        "list.txt line 3: 'c..d'",
        "'*.lan'",
        "'@missing.txt' can't be read (No such file or directory); @PATH of a readable file",
        "'.'",
    ]


def test_a_million_mistakes(tmp_path: Path) -> None:
    """Of a file that is no list at all, the first lines are enough."""
    (tmp_path / "list.txt").write_bytes(b"ok.example\n" + b"<html>\n" * 5000)
    found = reasons(tmp_path, "@list.txt")
    assert found[0].startswith("list.txt line 2: '<html>' is not a host")
    assert found[20:] == ("list.txt: 4980 more entries are wrong",)


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a pipe that nobody writes, and a file too large to be a list are refused."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"a.example\n" * 20)
    monkeypatch.setattr(lists, "MAX_LIST_FILE", 100)
    for name, complaint in [
        (".", "'@.' is no file; @PATH of a readable file would be right"),
        ("pipe", "'@pipe' is no file"),
        ("large", "'@large' is larger than 0 MiB; split it"),
    ]:
        assert reasons(tmp_path, f"@{name}")[0].startswith(complaint)


def test_no_condition(tmp_path: Path) -> None:
    """An option without text is no list."""
    assert domainlists.domains("", Surroundings(tmp_path, {})) is None


def test_words_of_the_ini(tmp_path: Path) -> None:
    """Names, suffixes and files mix; commas, blanks and lines separate."""
    (tmp_path / "list.txt").write_bytes(b"c.example")
    found = read(tmp_path, "A.example, .b.example\n@list.txt B\u00fccher.example")
    assert found.size == 4
    for host in ("a.example", "x.b.example", "c.example", "xn--bcher-kva.example"):
        assert found.find(host)


@pytest.mark.parametrize(
    "line",
    [
        b"ads.example",
        b"ADS.example",
        b"  ads.example\t",
        b"ads.example.",
        b"ads.example # why",
        b"ads.example# why \xe4",
        b"ads.example\r",
        b"0.0.0.0 ads.example",
        b"0.0.0.0\tads.example # why\r",
        b"127.0.0.1 ads.example",
        b"::1 ads.example",
        b":: ads.example",
        b"fe80::1%lo0 localhost ads.example",
        b"192.168.7.5 localhost other.example ads.example",
        b"other.example ads.example",
        b".ads.example",
        b"\xef\xbb\xbfads.example",
    ],
)
def test_lines_of_files(tmp_path: Path, line: bytes) -> None:
    """Plain lists and hosts files have one meaning, with whatever line ends and comments."""
    around = [b"# a list", b"", b"first.example", line, b"last.example"]
    for lines in ([line], around, [b"first.example", line, b"last.example"]):
        found = read_file(tmp_path, b"\n".join(lines))
        assert found.find("ads.example")
        assert not found.find("localhost")
        assert not found.find("example")
        assert bool(found.find("last.example")) is (len(lines) > 1)


def test_addresses_in_lists(tmp_path: Path) -> None:
    """An address alone in its line is an entry; in front of names it is the hosts file's."""
    found = read_file(tmp_path, b"192.0.2.7\n192.0.2.8 ads.example\n2001:DB8::7\n")
    assert found.find("192.0.2.7")
    assert found.find("2001:db8::7")
    assert not found.find("192.0.2.8")


def test_the_head_of_every_hosts_file(tmp_path: Path) -> None:
    """What a hosts file says of this machine and its networks is no entry of a list."""
    head = b"127.0.0.1 localhost\n127.0.0.1 local\n255.255.255.255 broadcasthost\n"
    found = read_file(tmp_path, head + b"ff02::1 ip6-allnodes\n0.0.0.0 0.0.0.0\n0.0.0.0 a.example")
    assert found.size == 1


def test_long_files_keep_their_line_numbers(tmp_path: Path) -> None:
    """Files are read in pieces, and no line is lost or counted twice between two of them."""
    names = [b"n%d.example" % number for number in range(20_000)]
    found = read_file(tmp_path, b"\n".join(names))
    assert found.size == 20_000
    assert all(found.find(name.decode()) for name in names)
    (tmp_path / "list.txt").write_bytes(b"\n".join([*names, b"<html>"]))
    (reason,) = reasons(tmp_path, "@list.txt")
    assert reason.startswith("list.txt line 20001: ")


LINES = st.sampled_from(
    [b"a.example", b"0.0.0.0 b.example", b"# c", b"", b".d", b"\xff", b"..", b"e f"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES).map(b"\n".join) | st.binary(max_size=100))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """No file fails in another way than with what is wrong in it."""
    try:
        assert read_file(tmp_path, content).size
    except WrongValue as wrong:
        assert wrong.reasons
