"""Messages between master and workers: what is sent is what is read, and nonsense is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from proxyapp.workers.messages import BadMessage, Message, from_line, to_line

_json = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=8,
)


@given(some.text(), some.dictionaries(some.text(), _json, max_size=4))
def test_round_trip(word: str, fields: dict[str, object]) -> None:
    """Any message is one line, and comes out as it went in."""
    line = to_line(word, fields)  # type: ignore[arg-type]  # JSON, as generated
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert from_line(line) == Message(word, fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"{",
        b"1",
        b"[]",
        b'["word"]',
        b'["word", {}, {}]',
        b"[1, {}]",
        b'["word", []]',
        b'{"word": {}}',
    ],
)
def test_nonsense(line: bytes) -> None:
    """What is no message is told."""
    with pytest.raises(BadMessage):
        from_line(line)


@pytest.mark.parametrize(
    ("ask", "found"),
    [("text", 1), ("text", None), ("number", "1"), ("items", "a"), ("items", {}), ("texts", 3)],
)
def test_wrong_kind(ask: str, found: object) -> None:
    """A field that is missing, or of another kind, is told by its name."""
    message = Message("word", {"field": found})  # type: ignore[dict-item]
    for name in ("field", "other"):
        with pytest.raises(BadMessage, match=name):
            getattr(message, ask)(name)


def test_fields() -> None:
    """Each kind is read as it is."""
    message = Message("word", {"a": "x", "b": 1.5, "c": 2, "d": ["x", 3], "e": [{"f": 1}, 2]})
    assert message.text("a") == "x"
    assert (message.number("b"), message.count("c")) == (1.5, 2)
    assert message.texts("d") == ["x", "3"]
    assert [each.count("f") for each in message.each("e")] == [1]
