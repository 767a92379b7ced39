"""against: what the rules of now change is counted, in bounded memory, whatever the log holds."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import against
from proxyapp.against import LONGEST_LINE, Change, Counts, Group, LogUnusable, Replay, replay
from proxyapp.config import load
from proxyapp.config.judge import make_access
from proxyapp.rules.logformat import compile_format
from proxyapp.rules.record import Record
from proxyapp.rules.stages import Stages
from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import RequestHead

INI = """\
[access]
clients = 10.0.0.0/8
[rule games]
action = deny
domains = .games.example
[rule ads]
action = report
domains = .ads.example
"""
Log = Callable[..., Path]


def stages(ini: Path | None, *overrides: str) -> Stages:
    """Return the stages of a configuration."""
    return Stages(make_access(load(ini, overrides, {})), False, lambda address: False, ())


def line(host: str = "a.example", name: str = "json", **changes: object) -> str:
    """Return the line of a request for *host*; *changes* are those of its record."""
    asked = RequestHead(b"GET", f"http://{host}/".encode(), 1, NO_FIELDS)
    known: dict[str, object] = {"started": 1767787506.0, "client_host": "10.0.0.7", "status": 200}
    known |= {"service": "proxy", "asked": asked, "upstream": "93.184.216.34:80"}
    return compile_format(name)(Record(**(known | changes)))  # type: ignore[arg-type]  # any field


def refused(host: str, name: str = "json", error: str = "http_request_denied") -> str:
    """Return the line of a request that was refused."""
    return line(host, name, status=403, error=error, rule="[rule old]", upstream="")


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """Return the configuration."""
    path = tmp_path / "x.ini"
    path.write_text(INI)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Return how to write a log."""

    def write(*lines: str) -> Path:
        path = tmp_path / "requests.log"
        path.write_text("".join(f"{each}\n" for each in lines))
        return path

    return write


def totals(found: Replay) -> dict[Change, int]:
    """Return what has changed."""
    return {change: tally.total for change, tally in found.changes.items() if tally.total}


# --- Logs that can't be read ---


def test_no_log(tmp_path: Path, ini: Path) -> None:
    """What isn't there, or is no file, is said."""
    with pytest.raises(LogUnusable, match=r"none can't be read: No such file or directory$"):
        replay(tmp_path / "none", stages(ini))
    with pytest.raises(LogUnusable, match="can't be read: Is a directory"):
        replay(tmp_path, stages(ini))


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-60] + b"x" * 60])
def test_a_damaged_archive(tmp_path: Path, ini: Path, damage: Callable[[bytes], bytes]) -> None:
    """A packed log that is cut or damaged isn't taken for a whole one."""
    path = tmp_path / "log.gz"
    path.write_bytes(damage(gzip.compress(os.urandom(3000).hex().encode())))
    with pytest.raises(LogUnusable, match="damaged behind line"):
        replay(path, stages(ini))


def test_nothing_in_it_is_a_request(ini: Path, log: Log) -> None:
    """A file that is no log has an exit status of its own; its first lines are named."""
    found = replay(log(*["what?"] * 7), stages(ini))
    assert found.exit_status == against.UNUSABLE
    assert "7 lines, 0 judged, 7 unreadable (lines 1, 2, 3, 4, 5, ...)" in str(found)


def test_lines_without_end(ini: Path, tmp_path: Path) -> None:
    """A line longer than any of ours is one unreadable line, and the next one is read again."""
    path = tmp_path / "log"
    path.write_bytes(b"{" * (3 * LONGEST_LINE) + b"\n" + line("x.games.example").encode())
    found = replay(path, stages(ini))
    assert (found.lines, found.judged, found.first_unreadable) == (2, 1, [1])
    assert totals(found) == {Change.DENIED: 1}


@given(st.binary(max_size=300))
def test_bytes_do_no_harm(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever is in the file, its lines are counted or it's said to be damaged."""
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(data)
    try:
        found = replay(path, stages(None))
    except LogUnusable:
        return
    assert found.unreadable + found.judged <= found.lines
    assert str(found).isprintable() or "\n" in str(found)


# --- What changes ---


def test_an_empty_log(ini: Path, log: Log) -> None:
    """Nothing changes for nobody."""
    found = replay(log(), stages(ini))
    assert found.exit_status == against.SAME
    assert str(found).endswith(": 0 lines, 0 judged\nnewly denied: none\nnewly allowed: none")


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (line("x.games.example"), Change.DENIED),
        (line(client_host="192.168.7.1"), Change.DENIED),
        (line("10.9.9.9", upstream=""), Change.DENIED),
        (line(upstream="10.9.9.9:80"), Change.DENIED),
        (line("x.games.example", "squid"), Change.DENIED),
        (line("x.games.example", "combined"), Change.DENIED),
        (line("x.games.example", status=404), Change.DENIED),
        (line(), None),
        (line("x.ads.example"), Change.REPORTED),
        (refused("x.games.example"), None),
        (refused("x.games.example", "squid"), None),
        (refused("x.games.example", "combined"), None),
        (refused("a.example"), Change.ALLOWED),
        (refused("93.184.216.34", "squid"), Change.ALLOWED),
        (refused("a.example", "squid"), Change.OPEN),
        (refused("a.example", "combined"), Change.OPEN),
        (refused("a.example", error="destination_ip_prohibited"), Change.OPEN),
        (refused("10.9.9.9", error="destination_ip_prohibited"), None),
        (refused("93.184.216.34", error="destination_ip_prohibited"), Change.ALLOWED),
    ],
)
def test_changes(ini: Path, log: Log, given: str, change: Change | None) -> None:
    """A line is news where the rules of now say else; what can't be known is neither."""
    found = replay(log(given), stages(ini))
    assert totals(found) == ({change: 1} if change else {})
    has_changed = change in (Change.DENIED, Change.ALLOWED)
    assert found.exit_status == (against.CHANGED if has_changed else against.SAME)


def test_the_report(ini: Path, log: Log) -> None:
    """Who, what, by which rule, how often; the most frequent first."""
    path = log(
        line("x.games.example", user="ann"),
        *[line("y.games.example:81")] * 3,
        line("x.games.example", user="bad\x1b[2J"),
        refused("a.example"),
        line(client_host="", service="site"),
        "what?",
        line(service="-"),
    )
    assert str(replay(path, stages(ini, "access.site_clients=11.0.0.0/8"))).splitlines() == [
        f"{path}: 9 lines, 7 judged, 1 without a request that rules could judge,"
        " 1 unreadable (line 8)",
        "newly denied: 6 requests",
        "  3  10.0.0.7  y.games.example:81  [rule games]",
        "  1  this machine  (site)  [access] site_clients",
        "  1  10.0.0.7 (ann)  x.games.example  [rule games]",
        "  1  10.0.0.7 (bad?[2J)  x.games.example  [rule games]",
        "newly allowed: 1 request",
        "  1  10.0.0.7  a.example  [access] default",
    ]


def test_many_groups(ini: Path, log: Log) -> None:
    """Past a screenful, the rest is one number, and totals say whom and what it is about."""
    path = log(*[line(f"x{n}.games.example", client_host=f"10.0.0.{n % 3}") for n in range(90)])
    said = str(replay(path, stages(ini))).splitlines()
    assert said.count("  70  other") == 1
    by_client = said.index("  by client:")
    assert said[by_client + 1 : by_client + 4] == [f"    30  10.0.0.{n}" for n in range(3)]
    assert "    90  [rule games]" in said
    assert "    85  other" in said[said.index("  by host:") :]


# --- How it is read ---


def test_a_packed_log(ini: Path, log: Log, tmp_path: Path) -> None:
    """gzip is known by its first bytes, whatever the name; all formats may be in one file."""
    plain = log(*[line("x.games.example", name) for name in ("json", "squid", "common")])
    packed = tmp_path / "log.1"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert totals(replay(packed, stages(ini))) == {Change.DENIED: 3}


def test_a_pipe(ini: Path, tmp_path: Path) -> None:
    """What can only be read once is."""
    os.mkfifo(tmp_path / "pipe")
    given = line("x.games.example") + "\n"
    writing = threading.Thread(target=(tmp_path / "pipe").write_text, args=(given,))
    writing.start()
    assert totals(replay(tmp_path / "pipe", stages(ini))) == {Change.DENIED: 1}
    writing.join()


# --- Counting ---


@given(st.lists(st.integers(0, 9)))
def test_counts_are_right_while_they_fit(keys: list[int]) -> None:
    """Few keys are counted exactly, and listed by count, then by name."""
    counts: Counts[int] = Counts(most=5)
    for key in keys:
        counts.add(key)
    order = sorted(set(keys), key=lambda key: (-keys.count(key), key))
    assert counts.largest(100) == [(key, keys.count(key)) for key in order]
    assert counts.total == len(keys)
    assert not counts.was_cut


def test_counts_are_bounded() -> None:
    """Of too many keys the large ones stay, and the total is still right."""
    counts: Counts[Group] = Counts(most=10)
    for number in range(10_000):
        counts.add(Group("10.0.0.7", None, f"h{number}", ""))
        counts.add(Group("10.0.0.7", None, f"often{number % 5}", ""))
        assert len(counts) <= 20
    assert counts.was_cut
    assert counts.total == 20_000
    assert {group.host: count for group, count in counts.largest(5)} == {
        f"often{number}": 2000 for number in range(5)
    }
