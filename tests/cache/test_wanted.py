"""What a fetch is about: where its answer is stored, and by which rule."""

from __future__ import annotations

import pytest

from proxyapp.cache.wanted import Places
from proxyapp.rules import memory
from proxyapp.rules.caching.rules import CacheRule, CacheRules
from proxyapp.rules.caching.urlpatterns import parse_pattern
from proxyapp.wire.target import Origin


def test_memory_of_places_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients choose URLs, so what is remembered of them is little, and none of the long ones."""
    monkeypatch.setattr(memory, "REMEMBERED", 8)
    images = CacheRule("images", (parse_pattern("*/*.png"),))
    places = Places(CacheRules((images,), CacheRule()))
    for number in range(100):
        origin = Origin("http", f"host{number}.example", 80)
        for path in (b"/a.png", b"/%b.png" % (b"x" * 300)):
            place = places.of(origin, path)
            assert place == places.of(origin, path)
            assert place.key == b"http://host%d.example%b" % (number, path)
            assert place.rule is images
        assert len(places._memory) <= 8
    assert all(len(path) <= 256 for _, path in places._memory)
