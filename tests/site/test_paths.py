"""Where paths point: decoded once, checked by name, and never out of the site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.site.paths import Location, check_names, folder_url, parse_location, part_name

PART = part_name(b"big.iso", "0" * 32)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (b"", errors.BadRequest),
        (b"a.txt", errors.BadRequest),
        (b"*", errors.BadRequest),
        (b"/%", errors.BadRequest),
        (b"/%2", errors.BadRequest),
        (b"/%zz", errors.BadRequest),
        (b"/a%00.txt", errors.BadRequest),
        (b"/%00", errors.BadRequest),
        (b"//", errors.NotFound),
        (b"//evil.example", errors.NotFound),
        (b"//evil.example/..", errors.NotFound),
        (b"/sub//deep/", errors.NotFound),
        (b"/.", errors.NotFound),
        (b"/..", errors.NotFound),
        (b"/../", errors.NotFound),
        (b"/sub/../a.txt", errors.NotFound),
        (b"/%2e%2e/secret.txt", errors.NotFound),
        (b"/%2E./secret.txt", errors.NotFound),
        (b"/sub%2fdeep/page.html", errors.NotFound),
        (b"/%2Fetc/passwd", errors.NotFound),
        (b"/..%2fsecret.txt", errors.NotFound),
        (b"/.git/config", errors.NotFound),
        (b"/%2egit/config", errors.NotFound),
        (b"/.well-known/.git/config", errors.NotFound),
        (b"/sub/.well-known/acme", errors.NotFound),
        (b"/.well-known/" + PART, errors.NotFound),
    ],
)
def test_paths_that_name_nothing(target: bytes, error: type[errors.ExchangeError]) -> None:
    """Escapes, dots and empty segments are refused before the file system is asked."""
    with pytest.raises(error):
        parse_location(target)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/", Location((), True, b"")),
        (b"/?/../x", Location((), True, b"?/../x")),
        (b"/a.txt", Location((b"a.txt",), False, b"")),
        (b"/a/b/?q=1?2", Location((b"a", b"b"), True, b"?q=1?2")),
        (b"/a%20b%2Bc+d", Location((b"a b+c+d",), False, b"")),
        (b"/%252e%252e", Location((b"%2e%2e",), False, b"")),
        (b"/a%3fb?c", Location((b"a?b",), False, b"?c")),
        (b"/%c3%a4", Location((b"\xc3\xa4",), False, b"")),
        (b"/a...b/", Location((b"a...b",), True, b"")),
        (b"/.well-known/x", Location((b".well-known", b"x"), False, b"")),
        (b"/a\\..\\b", Location((b"a\\..\\b",), False, b"")),
        (b"/a%0d%0ab", Location((b"a\r\nb",), False, b"")),
    ],
)
def test_paths_are_decoded_once(target: bytes, location: Location) -> None:
    """Segments are split first and decoded then, and the query stays as it is."""
    assert parse_location(target) == location


@pytest.mark.parametrize(
    "target",
    [b"/.", b"/..", b"/a/../b", b"/%2e%2e/b", b"/.%2e", b"/../..", b"/sub/" + PART, b"/" + PART],
)
def test_hidden_names_end_somewhere(target: bytes) -> None:
    """Where dot files are served, the folder itself, the one above and parts still aren't."""
    with pytest.raises(errors.NotFound):
        parse_location(target, True)


@pytest.mark.parametrize("target", [b"/.git/config", b"/sub/.well-known/x", b"/...", b"/..a"])
def test_hidden_names_can_be_served(target: bytes) -> None:
    """Where dot files are served, a dot at the beginning is a character like any other."""
    assert b"/".join((b"", *parse_location(target, True).segments)) == target


# Mounts.


@pytest.mark.parametrize(
    ("target", "prefix", "error"),
    [
        (b"/", b"/pub", errors.NotFound),
        (b"/public/x", b"/pub", errors.NotFound),
        (b"/other/pub/x", b"/pub", errors.NotFound),
        (b"/pub%2fx", b"/pub", errors.NotFound),
        (b"/pub/../x", b"/pub", errors.NotFound),
        (b"/pub//x", b"/pub", errors.NotFound),
        (b"/pub/.hidden", b"/pub", errors.NotFound),
        (b"/pub/%00", b"/pub", errors.BadRequest),
    ],
)
def test_paths_beside_a_mount(
    target: bytes, prefix: bytes, error: type[errors.ExchangeError]
) -> None:
    """What isn't below the prefix is nothing, and below it the same rules hold."""
    with pytest.raises(error):
        parse_location(target, False, prefix)


@pytest.mark.parametrize(
    ("target", "prefix", "segments", "is_folder", "path", "url"),
    [
        (b"/pub", b"/pub", (), False, b"/pub", b"/pub/"),
        (b"/pub/", b"/pub", (), True, b"/pub/", b"/pub/"),
        (b"/pub?x", b"/pub", (), False, b"/pub", b"/pub/?x"),
        (b"/pub/a%20b", b"/pub", (b"a b",), False, b"/pub/a b", b"/pub/a%20b/"),
        (b"/%70ub/x/", b"/pub", (b"x",), True, b"/pub/x/", b"/pub/x/"),
        (b"/a/b/x", b"/a/b", (b"x",), False, b"/a/b/x", b"/a/b/x/"),
        (b"/my%20files/x", b"/my%20files", (b"x",), False, b"/my files/x", b"/my%20files/x/"),
        (b"/.logs/x", b"/.logs", (b"x",), False, b"/.logs/x", b"/.logs/x/"),
    ],
)
def test_mounted_paths(
    target: bytes,
    prefix: bytes,
    segments: tuple[bytes, ...],
    is_folder: bool,
    path: bytes,
    url: bytes,
) -> None:
    """Below its prefix a site has its own paths, and links lead back below it."""
    location = parse_location(target, False, prefix)
    assert (location.segments, location.is_folder, location.path) == (segments, is_folder, path)
    assert folder_url(location) == url


# Links.


@pytest.mark.parametrize(
    ("location", "url"),
    [
        (Location((b"\\evil.example",), False, b""), b"/%5Cevil.example/"),
        (Location((b"a:b", b"c"), False, b"?x=//y"), b"/a:b/c/?x=//y"),
        (Location((b"gr\xc3\xbc\xc3\x9fe an",), False, b""), b"/gr%C3%BC%C3%9Fe%20an/"),
        (Location((b"100%?#\r\n",), False, b"?"), b"/100%25%3F%23%0D%0A/?"),
        (Location((), True, b""), b"/"),
    ],
)
def test_a_redirect_stays_on_this_site(location: Location, url: bytes) -> None:
    """What is decoded is escaped again, so that it can't name another host or end the line."""
    assert folder_url(location) == url


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\x00" not in name and name[:1] != b"."
)


@given(st.lists(NAMES, max_size=5).map(tuple), st.booleans())
def test_every_name_can_be_asked_for(segments: tuple[bytes, ...], is_hidden_served: bool) -> None:
    """The link to a folder is read as that folder, whatever its name."""
    url = folder_url(Location(segments, True, b""))
    assert parse_location(url, is_hidden_served) == Location(segments, True, b"")


@given(st.text(alphabet="./%25eEfF0a\\?", max_size=20), st.booleans())
def test_no_path_has_a_name_that_leads_away(path: str, is_hidden_served: bool) -> None:
    """What comes out holds no dots, slashes or zeros to go elsewhere with."""
    try:
        location = parse_location(b"/" + path.encode(), is_hidden_served)
    except (errors.NotFound, errors.BadRequest):
        return
    for segment in location.segments:
        assert segment not in (b"", b".", b"..")
        assert not set(segment) & set(b"/\x00")
    check_names(location.segments, is_hidden_served)
