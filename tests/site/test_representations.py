"""What responses say of a file: validators by coding, types, and further fields."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxyapp.rules.conditions import EntityTag, http_date
from proxyapp.site import representations
from proxyapp.site.confinement import OpenFile
from proxyapp.site.representations import IDENTITY, Resource, validators_of

MTIME = 784111777
ETAG = b'"%x-a"' % (MTIME * 10**9)


def status(**changes: int) -> os.stat_result:
    """Return the status of a file of ten bytes, with *changes*."""
    known = {"st_size": 10, "st_mtime_ns": MTIME * 10**9, "st_ctime_ns": 10**18} | changes
    names = ["st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size"]
    fields = [known.pop(name, number) for number, name in enumerate(names)]
    return os.stat_result((*fields, 0, 0, 0), known)


def found(name: bytes = b"a.txt", *given: tuple[bytes, bytes], codings: str = "") -> Resource:
    """Return the resource *name* with *given* fields, and siblings in *codings*."""
    files = {IDENTITY: OpenFile(-1, name, status())}
    for coding in codings.encode().split():
        files[coding] = OpenFile(-1, name + b".x", status(st_size=5))
    contents = {coding: coding + b"content" for coding in files}
    return representations.resource(name, files, contents, given)


def test_a_file_by_itself() -> None:
    """Type, strong tag, time, and that parts can be had; nothing is said of codings."""
    (alone,) = found().representations.values()
    validators = [(b"ETag", ETAG), (b"Last-Modified", http_date(MTIME))]
    assert (alone.whole.status, alone.whole.reason) == (200, b"OK")
    assert alone.whole.fields == [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        *validators,
        (b"Accept-Ranges", b"bytes"),
    ]
    assert alone.fields_of_304 == validators
    assert alone.fields == alone.whole.fields[1:]
    assert alone.size == 10


def test_a_file_with_siblings() -> None:
    """Each coding has its own tag and says that codings matter, the plain one and 304 as well."""
    resource = found(codings="br gzip")
    tags = set()
    for coding, each in resource.representations.items():
        for fields in (each.whole.fields, each.fields, each.fields_of_304):
            assert (b"Vary", b"Accept-Encoding") in fields
        assert dict(each.whole.fields).get(b"Content-Encoding", b"") == coding
        assert b"Content-Encoding" not in dict(each.fields_of_304)
        assert dict(each.whole.fields)[b"Content-Type"] == b"text/plain; charset=utf-8"
        tags.add(dict(each.fields)[b"ETag"])
    assert len(tags) == 3
    assert resource.codings == (b"br", b"gzip")


def test_codings_of_equal_size_and_age_differ() -> None:
    """The coding itself is part of the tag, so that nothing is joined across codings."""
    same = status()
    tags = {validators_of(same, coding).etag for coding in (b"", b"br", b"zstd", b"gzip")}
    assert len(tags) == 4
    assert all(tag is not None and not tag.is_weak for tag in tags)


@pytest.mark.parametrize(
    ("changes", "tag", "last_modified"),
    [
        ({"st_mtime_ns": 2**32 * 10**9, "st_ctime_ns": 5 * 10**9}, b"%x-a" % (2**32 * 10**9), 5),
        ({"st_mtime_ns": 1_999_999_999}, b"%x-a" % 1_999_999_999, 1),
        ({"st_mtime_ns": 0, "st_size": 0}, b"0-0", 0),
        ({"st_mtime_ns": -1}, b"-1-a", -1),
    ],
)
def test_validators(changes: dict[str, int], tag: bytes, last_modified: int) -> None:
    """Tags have every nanosecond; Last-Modified has whole seconds, and never lies ahead."""
    validators = validators_of(status(**changes), IDENTITY)
    assert validators.etag == EntityTag(tag)
    assert validators.last_modified == last_modified


def test_further_fields() -> None:
    """What the configuration adds is on 200, 206 and 304 alike."""
    given = [(b"Cache-Control", b"no-cache"), (b"X-A", b"1")]
    (alone,) = found(b"a.txt", *given).representations.values()
    for fields in (alone.whole.fields, alone.fields, alone.fields_of_304):
        assert [each for each in fields if each in given] == given


@pytest.mark.parametrize("name", [b"Content-Type", b"content-type"])
def test_a_type_that_is_given(name: bytes) -> None:
    """The configuration's type takes the place of ours, and is not said twice."""
    (alone,) = found(b"a.txt", (name, b"text/x-log")).representations.values()
    types = [value for known, value in alone.whole.fields if known.lower() == b"content-type"]
    assert types == [b"text/x-log"]
    assert alone.content_type == b"text/x-log"
    assert b"content-type" not in {known.lower() for known, _ in alone.fields_of_304}


def test_fields_added_to_a_page() -> None:
    """What the configuration adds to files stands on pages too, but never overrules them."""
    own = [(b"Cache-Control", b"no-cache"), (b"X-A", b"1")]
    given = [(b"x-a", b"2"), (b"X-B", b"3"), (b"X-B", b"4"), (b"Content-Type", b"x/y")]
    expected = [*own, (b"X-B", b"3"), (b"X-B", b"4")]
    assert representations.added(own, given) == expected
    assert representations.added(own, []) == own


@pytest.mark.parametrize(
    ("codings", "accept", "coding"),
    [
        ("", b"br, gzip", IDENTITY),
        ("br gzip", None, IDENTITY),
        ("br gzip", b"", IDENTITY),
        ("br gzip", b"deflate", IDENTITY),
        ("br gzip", b"br;q=0, gzip;q=0", IDENTITY),
        ("br gzip", b"identity, br;q=0.5", IDENTITY),
        ("br zstd gzip", b"gzip, deflate, br, zstd", b"br"),
        ("zstd gzip", b"gzip, deflate, br, zstd", b"zstd"),
        ("br gzip", b"gzip", b"gzip"),
        ("br gzip", b"br;q=0.1, gzip", b"gzip"),
        ("br", b"*", b"br"),
    ],
)
def test_what_the_client_is_sent(codings: str, accept: bytes | None, coding: bytes) -> None:
    """Of the codings that there are, the one the client likes most, else the plain file."""
    resource = found(codings=codings)
    assert resource.choose(accept) is resource.representations[coding]


def test_every_change_changes_the_signature() -> None:
    """Another device, inode, time or size, or another set of siblings, is another state."""
    names = ("st_dev", "st_ino", "st_mtime_ns", "st_ctime_ns", "st_size")
    states = [{IDENTITY: OpenFile(-1, b"a", status())}]
    states += [{IDENTITY: OpenFile(-1, b"a", status(**{name: 99}))} for name in names]
    states.append({**states[0], b"br": states[0][IDENTITY]})
    states.append({**states[0], b"gzip": states[0][IDENTITY]})
    assert len({representations.signature(state) for state in states}) == len(states)
    assert representations.signature(states[0]) == representations.signature(dict(states[0]))


def test_what_is_in_memory(tmp_path: Path) -> None:
    """Content in memory is weighed, and files that are open are closed."""
    assert found(codings="br").weight == len(b"content" + b"brcontent")
    assert not found().is_open
    found().close()
    path = tmp_path / "f"
    path.touch()
    file = OpenFile(os.open(path, os.O_RDONLY), b"f", path.stat())
    resource = representations.resource(b"f", {IDENTITY: file}, {IDENTITY: file}, [])
    assert (resource.weight, resource.is_open) == (0, True)
    resource.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)


def test_the_last_change_of_any_coding_counts() -> None:
    """The age of a resource is that of the file that changed last."""
    files = {
        IDENTITY: OpenFile(-1, b"a", status(st_ctime_ns=5 * 10**9)),
        b"br": OpenFile(-1, b"a.br", status(st_ctime_ns=7 * 10**9)),
    }
    assert representations.resource(b"a", files, {IDENTITY: b"", b"br": b""}, []).changed_at == 7
