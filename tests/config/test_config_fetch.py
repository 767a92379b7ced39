"""Values of [fetch], and what contradicts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.config import fetchsections
from proxyapp.config.values import Surroundings, WrongValue

NOWHERE = Surroundings(None, {})


def reason(parse: Callable[[str, Surroundings], object], text: str) -> str:
    """Return what *parse* complains about."""
    with pytest.raises(WrongValue) as caught:
        parse(text, NOWHERE)
    (only,) = caught.value.reasons
    return only


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (fetchsections.fetch_path, "fetch", "'fetch' is not absolute; '/fetch' would be right"),
        (fetchsections.fetch_path, "/", "is the site itself"),
        (fetchsections.fetch_path, "/fetch/", "/fetch would be right"),
        (fetchsections.fetch_path, "/setup", "belongs to [autoconfig]"),
        (fetchsections.media_types, "text", "'text' is no media type; text/plain, image/* or *"),
        (fetchsections.media_types, "text/plain */*", "'*/*' is no media type"),
        (fetchsections.media_types, "a/b;c=d", "is no media type"),
        (fetchsections.page_origins, "app.example", "'app.example' is no origin of pages"),
        (fetchsections.page_origins, "https://a/", "without a path, or * would be right"),
        (fetchsections.page_origins, "ftp://a", "is no origin"),
        (fetchsections.page_origins, "https://u@a", "is no origin"),
        (fetchsections.page_origins, "https://a:0", "is no origin"),
        (fetchsections.page_origins, "null", "is no origin"),
        (fetchsections.sign_key, "guess", "is too short; 16 random characters or more"),
    ],
)
def test_wrong_values(
    parse: Callable[[str, Surroundings], object], text: str, complaint: str
) -> None:
    """What can't be meant is refused, with what would be right."""
    assert complaint in reason(parse, text)


def test_the_key_is_in_no_message() -> None:
    """Messages are sent to others, and keys are not."""
    assert "guess" not in reason(fetchsections.sign_key, "guess")
    assert "sixteen" not in repr(fetchsections.Fetch(sign_key=b"sixteen characters"))


def test_right_values() -> None:
    """Case and default ports don't count, and nothing at all is a value too."""
    origins = fetchsections.page_origins("HTTPS://App.example:443, http://a:81 *", NOWHERE)
    assert origins == {b"https://app.example", b"http://a:81", b"*"}
    types = fetchsections.media_types("Text/Plain, image/*\n*", NOWHERE)
    assert types == {b"text/plain", b"image/*", b"*"}
    assert fetchsections.fetch_path("", NOWHERE) == ""
    assert fetchsections.sign_key("", NOWHERE) == b""


def test_defaults() -> None:
    """It is on, for every host that the rules allow, and no page of others can run through it."""
    given = config.load(None, (), {}).fetch
    assert (given.path, given.max_size, given.max_cache) == ("/fetch", 1 << 30, 86400.0)
    assert given.allow is not None
    assert given.allow.everything
    assert (given.deny, given.cors, given.sign_key) == (None, frozenset((b"*",)), b"")
    assert not given.types & {b"*", b"text/html", b"text/*", b"image/svg+xml", b"text/javascript"}


def test_two_things_at_one_path(tmp_path: Path) -> None:
    """A mount can't be where the content proxy is, wherever that is."""
    file = tmp_path / "a.ini"
    file.write_text("[fetch]\npath = /get\n[mount /get]\nroot = .\n")
    with pytest.raises(config.ConfigError) as caught:
        config.load(file, (), {})
    assert ":3: [mount /get]: is the path of [fetch], too" in str(caught.value)
    file.write_text("[fetch]\npath =\n[mount /fetch]\nroot = .\n")
    assert config.load(file, (), {}).fetch.path == ""
