"""uplink: no single origin takes the line down, silence everywhere does, and one answer ends it."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import uplink
from proxyapp.rules.addresses import Network
from proxyapp.rules.uplink import (
    EXCUSED,
    LONGEST_PAUSE,
    NEVER,
    PROBED,
    SITES,
    WINDOW,
    Event,
    Line,
    Place,
    State,
    duration_text,
    is_beyond,
    is_local_name,
    site_of,
)

T = 1000.0


def place(number: int, host: str = "") -> Place:
    """Return a place of a site that no other number has."""
    return Place(host or f"www.example{number}.com", 80, f"11.0.{number}.1")


def failing(line: Line, *numbers: int, now: float = T) -> Line:
    """Let dials to the places with these *numbers* fail on *line*."""
    for number in numbers:
        line.failed(now, place(number), now - 1.0)
    return line


def probe(line: Line, now: float = T) -> list[Place]:
    """Let the next probe fail; returns where it knocked."""
    targets = line.targets()
    line.probed(now, targets, now - 0.5)
    return targets


def downed() -> Line:
    """Return a line that is down."""
    line = failing(Line(), 1, 2, 3)
    probe(line)
    assert line.is_down
    return line


# --- What doesn't take it down ---


def test_one_origin_never_does() -> None:
    """A dead origin may fail for ever, and every probe of it with it."""
    line = Line()
    for turn in range(500):
        failing(line, 1, now=T + turn)
        if line.due <= T + turn:
            probe(line, T + turn)
    assert line.state is State.DOUBTED


@pytest.mark.parametrize(
    "places",
    [
        [Place(f"host{n}.example.com", 80, f"11.0.{n}.1") for n in range(9)],
        [Place(f"www.example{n}.com", 80, f"11.0.0.{n}") for n in range(9)],
        [Place(f"www.example{n}.com", 80, f"2a00:1:2:{n}::1") for n in range(9)],
        [Place(f"host{n}.example.com", 80) for n in range(9)],
        [Place(f"11.0.0.{n}", 80, f"11.0.0.{n}") for n in range(9)],
        [Place("example.com", n, "11.0.0.1") for n in range(80, 89)],
    ],
    ids=["one domain", "one network", "one IPv6 network", "one zone", "literals", "ports"],
)
def test_one_site_never_does(places: list[Place]) -> None:
    """What one organisation has fails together, and is one witness only."""
    line = Line()
    for turn, each in enumerate(places * 9):
        line.failed(T + turn, each, T + turn - 1.0)
        probe(line, T + turn)
    assert line.state is State.DOUBTED


def test_a_success_in_between_voids_what_failed() -> None:
    """Two sites that fail, an answer, and another one that fails are no line that is down."""
    line = failing(Line(), 1, 2)
    line.reached(T + 1, place(9))
    assert (line.state, line.due) == (State.UP, NEVER)
    failing(line, 3, now=T + 3)
    probe(line, T + 4)
    assert line.state is State.DOUBTED


def test_what_began_before_a_success_does_not_count() -> None:
    """A dial that was on its way when somebody got through tells nothing of the time after."""
    line = Line()
    line.reached(T, place(9))
    for number in range(5):
        line.failed(T + 9.0, place(number), T - 1.0)
    assert line.state is State.UP


def test_sites_that_fail_while_others_answer_are_excused() -> None:
    """For a while they cast no doubt, so a dead origin doesn't have probes sent all day."""
    line = failing(Line(), 1)
    line.reached(T, place(9))
    failing(line, 1, now=T + EXCUSED - 1)
    assert line.due == NEVER
    failing(line, 1, now=T + EXCUSED + 1)
    assert line.state is State.DOUBTED


def test_an_excused_site_that_answers_is_a_witness_again() -> None:
    """Its own fault is over."""
    line = failing(Line(), 1)
    line.reached(T, place(9))
    line.reached(T + 1, place(1))
    failing(line, 1, now=T + 3)
    assert line.state is State.DOUBTED


def test_many_failures_without_a_probe_do_not() -> None:
    """Before anybody is refused, it is tried once more."""
    line = failing(Line(), *range(8))
    assert (line.state, line.due) == (State.DOUBTED, T)


def test_old_failures_fade() -> None:
    """Three sites that failed hours apart are three sites that failed."""
    line = Line()
    for number in range(4):
        failing(line, number, now=T + number * (WINDOW + 1))
        line.way(T + number * (WINDOW + 1), "")
        assert line.state is State.DOUBTED
    line.way(T + 9 * WINDOW, "")
    assert repr(line) == "<Line up, 0 sites failed>"


# --- What does ---


def test_several_sites_and_a_probe() -> None:
    """Enough sites failed, and asking again didn't help."""
    line = failing(Line(), *range(SITES))
    assert not line.is_down
    probe(line)
    assert line.is_down


def test_one_failure_and_the_silence_of_those_that_answered_lately() -> None:
    """The places that a probe finds silent are witnesses like any other."""
    line = Line()
    for number in range(5):
        line.reached(T, place(number))
    failing(line, 9, now=T + 2)
    assert probe(line, T + 7) == [place(4), place(3), place(2)]
    assert line.is_down


@pytest.mark.parametrize(("lost", "needed"), [("", 3), ("there is no default route", 1)])
def test_two_sites_are_enough_where_there_is_a_further_sign(lost: str, needed: int) -> None:
    """It takes more probes without one, and one with it."""
    line = failing(Line(), 1, 2)
    line.way(T, lost)
    for turn in range(1, 4):
        assert not line.is_down
        probe(line, T + turn)
        if turn == needed:
            break
    assert line.is_down


def test_no_route_and_one_site_is_not() -> None:
    """Other tables may have a route; one site alone never counts."""
    line = failing(Line(), 1)
    line.way(T, "there is no default route")
    probe(line)
    assert line.state is State.DOUBTED


def test_evidence() -> None:
    """The event log hears what failed, and how, shortened."""
    line = failing(Line(), 1, 2, 3, 4)
    line.failed(T, Place("www.example.net", 443), T - 1)
    line.way(T, "there is no default route")
    assert line.evidence == (
        "nothing answers at www.example1.com, www.example2.com, www.example3.com, ...;"
        " no name server tells the address of www.example.net; there is no default route"
    )


# --- While it is down ---


def test_one_answer_ends_it_at_once() -> None:
    """Whoever it comes from; and everything starts anew."""
    line = downed()
    line.reached(T + 1, place(7))
    assert (line.state, line.due, line.evidence) == (State.UP, NEVER, "")
    failing(line, 1, now=T + 3)
    assert probe(line, T + 3) == [place(7), place(1)]
    assert line.state is State.DOUBTED


def test_probes_come_ever_more_seldom() -> None:
    """Pauses double up to the longest, which stays."""
    line = failing(Line(), 1, 2, 3)
    now, pauses = T, []
    for _ in range(8):
        probe(line, now)
        pauses.append(line.due - now)
        now = line.due
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_way_that_is_there_again_is_tried_at_once() -> None:
    """A cable that is put back isn't waited for, nor does looking again change anything."""
    line = downed()
    line.way(T, "there is no carrier on eth0")
    for _ in range(6):
        probe(line)
    line.way(T + 1, "there is no carrier on eth0")
    assert line.due > T + 20
    line.way(T + 2, "")
    assert line.due == T + 2
    assert line.is_down


def test_probes_take_turns() -> None:
    """Every place that is remembered is tried before any is tried again."""
    line = Line()
    for number in range(6):
        line.reached(T, place(number))
    failing(line, 10, 11, 12, now=T + 2)
    tried = [each for turn in range(3) for each in probe(line, T + 3 + turn)]
    assert set(tried) == {place(number) for number in (0, 1, 2, 3, 4, 5, 10, 11, 12)}


def test_what_is_wanted_now_is_probed_next() -> None:
    """The line may be down for the others only: IPv6 without IPv4, say."""
    line = downed()
    for turn in range(4):
        probe(line, T + turn)
    line.refused(place(8))
    assert line.targets()[0] == place(8)


def test_answers_that_came_meanwhile_count() -> None:
    """A probe that nobody answered says nothing if it was sent before somebody did."""
    line = failing(Line(), 1, 2, 3)
    targets = line.targets()
    line.reached(T + 1, place(9))
    line.probed(T + 5, targets, T)
    assert (line.state, line.due) == (State.UP, NEVER)


@given(st.lists(st.tuples(st.sampled_from("rfdpw"), st.integers(0, 40), st.booleans())))
def test_any_order(story: list[tuple[str, int, bool]]) -> None:
    """Whatever happens, memory is bounded, and it is known when to probe, and where."""
    line = Line()
    for step, (kind, number, is_lost) in enumerate(story * 3):
        now = T + step
        if kind == "r":
            line.reached(now, place(number))
            assert line.state is State.UP
        elif kind == "f":
            failing(line, number, now=now)
        elif kind == "d":
            line.refused(place(number))
        elif kind == "w":
            line.way(now, "there is no default route" if is_lost else "")
        elif line.state is not State.UP:
            probe(line, now)
        assert (line.due == NEVER) == (line.state is State.UP)
        targets = line.targets()
        assert len({each.site for each in targets}) == len(targets) <= PROBED
        assert targets or line.state is State.UP


def test_the_table_knows_everything_that_happens() -> None:
    """Only FADED and PROVEN, which need doubt, have no place without it."""
    pairs = set(itertools.product(State, Event)) - set(uplink._NEXT)
    needs_doubt = {Event.FADED, Event.PROVEN}
    assert pairs == set(itertools.product({State.UP, State.DOWN}, needs_doubt))


def test_repr() -> None:
    """It says what is believed."""
    assert repr(failing(Line(), 1)) == "<Line doubted, 1 sites failed>"


# --- Words ---


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("a.b.Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("printer", "printer"),
        ("11.22.33.44", "11.22.33.0/24"),
        ("2a00:1450:4001:82a::200e", "2a00:1450:4001::/48"),
        ("::ffff:11.22.33.44", "11.22.33.0/24"),
    ],
)
def test_site_of(host: str, site: str) -> None:
    """A domain, roughly, or a network."""
    assert site_of(host) == site


NEAR: tuple[Network, ...] = (IPv4Network("11.7.0.0/16"), IPv6Network("2a00:7::/64"))


@pytest.mark.parametrize(
    ("address", "is_it"),
    [
        ("10.1.2.3", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("100.64.0.1", False),
        ("169.254.1.1", False),
        ("::ffff:192.168.1.1", False),
        ("11.7.8.9", False),
        ("::ffff:11.7.8.9", False),
        ("2a00:7::9", False),
        ("11.8.8.9", True),
        ("2a00:7:0:1::9", True),
        ("::ffff:11.8.8.9", True),
    ],
)
def test_is_beyond(address: str, is_it: bool) -> None:
    """Private addresses never are, nor are public ones on the link."""
    assert is_beyond(address, NEAR) is is_it


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("example.com", False),
        ("local.example", False),
        ("lan.", True),
        ("printer", True),
        ("printer.local", True),
        ("Files.LAN.", True),
        ("nas.home.arpa", True),
        ("notlocal", True),
        ("x.notlocal", False),
    ],
)
def test_is_local_name(host: str, is_it: bool) -> None:
    """Names without a dot, and those under a domain that the world doesn't have."""
    assert is_local_name(host) is is_it


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600 * 3 + 300, "3 h 5 min"),
        (86400 * 2 + 3600 * 4, "2 d 4 h"),
    ],
)
def test_duration_text(seconds: float, text: str) -> None:
    """The two largest units that matter."""
    assert duration_text(seconds) == text
