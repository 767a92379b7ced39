"""What is stored, as a value."""

from __future__ import annotations

from dataclasses import replace

from proxyapp.rules.caching import freshness
from proxyapp.rules.caching.policy import DEFAULT, Policy
from proxyapp.rules.caching.stored import Stored
from tests.rules.caching.heads import AN_HOUR, NOW, fields, stored


def test_what_is_worked_out_is_no_part_of_it() -> None:
    """Two of the same are equal, whatever has been asked of one; a changed one starts anew."""
    one, other = stored(AN_HOUR), stored(AN_HOUR)
    freshness.terms(one, DEFAULT)
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)
    later = replace(one, arrived_at=NOW + 5, asked_at=NOW + 5)
    assert later != one
    assert freshness.terms(later, DEFAULT).fresh_until == NOW + 3600


def test_defaults() -> None:
    """What nobody says of it is nothing."""
    entry = Stored(200, b"OK", fields(), NOW, NOW)
    assert (entry.varying, entry.ttl, entry.is_invalid, entry.total) == ((), None, False, None)
    assert Policy() == DEFAULT
