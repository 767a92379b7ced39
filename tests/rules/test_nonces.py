"""Nonces: ours alone, for a while, and each count of one once, whatever is forgotten."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules import nonces
from proxyapp.rules.nonces import LIFETIME, SALT_SIZE, WINDOW, Nonces

KEY = b"k" * 32


def salt(number: int = 0) -> bytes:
    """Return something that is random enough."""
    return number.to_bytes(SALT_SIZE, "big")


# --- Whose ---


def spoiled() -> list[bytes]:
    """Return what nearly is a nonce of ours, or not at all."""
    right = Nonces(KEY).make(0, salt())
    changes = [bytes([each]) for each in b"AZ-_=\n"]
    near = [right[:at] + new + right[at + 1 :] for at in range(len(right)) for new in changes]
    longer = [right + b"=", right + b"\n", right + b"AAAA", b" " + right, right[:-1], right[:-4]]
    others = [b"", b"=", b"A", b"A" * 40, b"\xff" * 40, Nonces(b"other").make(0, salt())]
    return [each for each in near + longer + others if each != right]


@pytest.mark.parametrize("nonce", spoiled())
def test_others(nonce: bytes) -> None:
    """No bit of a nonce can be another one, and nobody makes one without the key."""
    ours = Nonces(KEY)
    assert not ours.take(nonce, 1, "ann", 0)
    assert not ours.is_of(nonce, "ann")


@given(st.binary(max_size=64))
def test_any_bytes(nonce: bytes) -> None:
    """No bytes make it fail."""
    assert not Nonces(KEY).take(nonce, 1, "ann", 0)


def test_it_needs_no_memory() -> None:
    """A nonce that was never answered is kept nowhere; it fits into a header as it is."""
    ours = Nonces(KEY)
    made = {ours.make(0, salt(number)) for number in range(100)}
    assert len(made) == 100
    assert all(len(each) == 40 and b'"' not in each for each in made)
    assert repr(ours) == "<Nonces 0 in use>"
    assert Nonces(KEY).take(made.pop(), 1, "ann", 0)


# --- How long ---


@pytest.mark.parametrize(
    ("now", "is_new"),
    [(99, False), (100, True), (99 + LIFETIME, True), (100 + LIFETIME, False), (1e9, False)],
)
def test_lifetime(now: float, is_new: bool) -> None:
    """It lasts for half an hour, also where it is in use, and doesn't come from the future."""
    ours = Nonces(KEY)
    nonce = ours.make(100, salt())
    assert ours.take(nonce, 1, "ann", now) is is_new
    used = Nonces(KEY)
    assert used.take(nonce, 1, "ann", 100)
    assert used.take(nonce, 2, "ann", now) is is_new


def test_whose_it_is() -> None:
    """A nonce is known as that of the user who first answered it."""
    ours = Nonces(KEY)
    nonce = ours.make(0, salt())
    assert not ours.is_of(nonce, "ann")
    ours.take(nonce, 1, "ann", 0)
    ours.take(nonce, 2, "bob", 0)
    assert ours.is_of(nonce, "ann")
    assert not ours.is_of(nonce, "bob")


# --- Once ---


@pytest.mark.parametrize(
    ("counts", "taken"),
    [
        ([0], [False]),
        ([1, 1], [True, False]),
        ([1, 2, 3, 2], [True, True, True, False]),
        ([3, 1, 2, 2, 4], [True, True, True, False, True]),
        ([WINDOW, 1, 1], [True, True, False]),
        ([WINDOW + 1, 1, 2], [True, False, True]),
        ([1, 0xFFFFFFFF, 1, 0xFFFFFFFE], [True, True, False, True]),
        ([5, 4 + WINDOW, 5, 4, 5 + WINDOW, 5], [True, True, False, False, True, False]),
    ],
)
def test_counts(counts: list[int], taken: list[bool]) -> None:
    """Each counts once; requests may overtake each other, but not by any number."""
    ours = Nonces(KEY)
    nonce = ours.make(0, salt())
    assert [ours.take(nonce, count, "ann", 0) for count in counts] == taken


@given(st.lists(st.integers(0, 3 * WINDOW)))
def test_no_count_is_taken_twice(counts: list[int]) -> None:
    """Whatever the order; and what moves on is always taken."""
    ours = Nonces(KEY)
    nonce = ours.make(0, salt())
    taken: list[int] = []
    for count in counts:
        if ours.take(nonce, count, "ann", 0):
            taken.append(count)
        else:
            assert count == 0 or count in taken or count <= max(taken) - WINDOW
    assert len(set(taken)) == len(taken)


# --- Forgotten ---


def test_what_is_forgotten_is_stale() -> None:
    """Where the memory is full the oldest goes, and can't be used as if it were new."""
    ours = Nonces(KEY)
    old = [ours.make(number, salt()) for number in range(6)]
    with mock.patch.object(nonces, "MAX_REMEMBERED", 3):
        assert all(ours.take(each, 1, "ann", 10) for each in old[:5])
        assert repr(ours) == "<Nonces 3 in use>"
        assert [ours.take(each, 1, "ann", 10) for each in old[:5]] == [False] * 5
        assert [ours.take(each, 2, "ann", 10) for each in old[2:5]] == [True] * 3
        assert not ours.take(old[0], 2, "ann", 10)
        assert ours.take(old[5], 1, "ann", 10)


def test_what_is_too_old_makes_room() -> None:
    """Nonces that last no longer are forgotten first, and then nothing else has to be."""
    ours = Nonces(KEY)
    early = ours.make(1, salt(9))
    with mock.patch.object(nonces, "MAX_REMEMBERED", 2):
        for number in range(2):
            assert ours.take(ours.make(0, salt(number)), 1, "ann", 0)
        assert ours.take(early, 1, "ann", LIFETIME)
        assert repr(ours) == "<Nonces 1 in use>"
