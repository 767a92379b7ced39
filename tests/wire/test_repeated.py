"""repeated: what comes twice is known, within bounds."""

from __future__ import annotations

from proxyapp.wire.repeated import LONGEST_KNOWN, MOST_KNOWN, Repeated


def test_the_second_time() -> None:
    """What came once isn't kept; what came twice is known from then on."""
    memory: Repeated[str] = Repeated()
    assert (memory.note(b"a", "A"), memory.known) == ("A", {})
    assert (memory.note(b"a", "A"), memory.known) == ("A", {b"a": "A"})
    assert memory.note(b"a", "A") == "A"


def test_what_is_long_is_never_known() -> None:
    """Clients choose it."""
    memory: Repeated[int] = Repeated()
    longest, longer = bytes(LONGEST_KNOWN), bytes(LONGEST_KNOWN + 1)
    for _ in range(3):
        memory.note(longest, 1)
        memory.note(longer, 2)
    assert memory.known == {longest: 1}


def test_many_have_a_bound() -> None:
    """Neither those that come once nor those that come often fill the memory."""
    memory: Repeated[int] = Repeated()
    for number in range(3 * MOST_KNOWN):
        memory.note(b"%d" % number, number)
    assert len(memory.known) < 3
    for number in range(3 * MOST_KNOWN):
        for _ in range(2):
            memory.note(b"%d" % number, number)
        assert memory.known.get(b"%d" % number, number) == number
        assert len(memory.known) <= MOST_KNOWN
