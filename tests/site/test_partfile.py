"""site.partfile and site.folders: what is half there is never seen, and nothing leads out."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import folders, partfile, paths
from proxyapp.site.confinement import Root
from proxyapp.site.partfile import Part
from proxyapp.site.paths import is_part, part_name

MARK = "0" * 31 + "a"


def anything(status: os.stat_result | None) -> None:
    """Expect nothing."""


def nothing_there(status: os.stat_result | None) -> None:
    """Expect that there is no file."""
    if status is not None:
        raise errors.PreconditionFailed("it is there")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a site's folder with a file, beside things that aren't the site's."""
    (tmp_path / "www/sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "www/old.txt").write_bytes(b"old")
    (tmp_path / "www/out").symlink_to("../outside")
    (tmp_path / "www/dangling").symlink_to("../outside/new.txt")
    (tmp_path / "www/inside").symlink_to("sub")
    return tmp_path / "www"


@pytest.fixture(params=list(Symlinks), ids=lambda policy: policy.value)
def any_root(request: pytest.FixtureRequest, top: Path) -> Root:
    """Return the site's root under each policy."""
    return Root(top, request.param, hidden=True)


@pytest.fixture
def root(top: Path) -> Root:
    """Return the site's root."""
    return Root(top, Symlinks.INSIDE, hidden=False)


def part(root: Root, path: str, mark: str = MARK) -> Part:
    """Return a part that nothing was done with."""
    return Part(root, tuple(os.fsencode(path).split(b"/")), mark)


def put(
    root: Root,
    path: str,
    content: bytes,
    expectation: partfile.Expectation = anything,
    mark: str = MARK,
) -> bool:
    """Store a file as PUT does; return whether it is new."""
    one = part(root, path, mark)
    try:
        one.create(expectation, len(content))
        one.write([content])
        return one.publish(expectation).is_new
    finally:
        one.discard()
        one.close()


def names(folder: Path) -> list[str]:
    """Return everything in *folder*, hidden or not."""
    return sorted(os.listdir(folder))


# Names.


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name))
def test_part_names(name: bytes) -> None:
    """A part's name fits into a folder, is known as one, and is never served."""
    hidden = part_name(name, MARK)
    assert is_part(hidden)
    assert len(hidden) <= 255
    with pytest.raises((errors.NotFound, errors.BadRequest)):
        paths.check_names((hidden,), is_hidden_served=True)


@pytest.mark.parametrize("name", [b"a.part", b".a.part", b".a.0.part", b"a.%b.part" % (b"0" * 32)])
def test_not_parts(name: bytes) -> None:
    """Other names that look like it aren't parts."""
    assert not is_part(name)


# Attacks and obstacles.


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("old.txt/x", errors.Conflict),
        ("old.txt/x/y", errors.Conflict),
        ("sub", errors.MethodNotAllowed),
        ("dangling", errors.AccessDenied),
        ("inside", errors.AccessDenied),
        ("x" * 256, errors.BadRequest),
        ("x" * 256 + "/y", errors.BadRequest),
        ("../outside/x", errors.NotFound),
        ("sub/../../outside/x", errors.NotFound),
    ],
)
def test_obstacles(any_root: Root, top: Path, path: str, error: type[errors.ExchangeError]) -> None:
    """No file takes the place of a folder or a link, or is put below a file or outside."""
    before = names(top), names(top / "sub")
    with pytest.raises(error):
        put(any_root, path, b"x")
    assert (names(top), names(top / "sub")) == before
    assert names(top.parent / "outside") == []
    assert (top / "old.txt").read_bytes() == b"old"


@pytest.mark.parametrize("path", ["out/x", "out/deep/x"])
@pytest.mark.parametrize("policy", [Symlinks.INSIDE, Symlinks.NONE])
def test_linked_parents(top: Path, path: str, policy: Symlinks) -> None:
    """A parent that is a link out of the site is in the way, and not a way out."""
    with pytest.raises(errors.Conflict):
        put(Root(top, policy, hidden=False), path, b"x")
    assert names(top.parent / "outside") == []


def test_part_is_a_link(root: Root, top: Path) -> None:
    """A link planted under the hidden name isn't followed."""
    (top / os.fsdecode(part_name(b"new.txt", MARK))).symlink_to("../outside/caught")
    one = part(root, "new.txt")
    with pytest.raises(errors.Conflict):
        one.create(anything, 0)
    one.close()
    with pytest.raises(errors.Conflict):
        one.resume(anything, 9)
    one.close()
    assert names(top.parent / "outside") == []


def test_folder_made_by_others(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that appears where a folder is about to be made is not entered."""
    make = os.mkdir

    def be_slow(name: bytes, mode: int, *, dir_fd: int) -> None:
        os.symlink("../outside", name, dir_fd=dir_fd)
        make(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", be_slow)
    with pytest.raises(errors.Conflict):
        put(root, "fresh/x", b"x")
    assert names(top.parent / "outside") == []


# Publishing.


def test_hidden_until_published(root: Root, top: Path) -> None:
    """The file is there with its last byte, as a whole; before that its folder looks as ever."""
    one = part(root, "new/deep/er.txt")
    one.create(anything, 4)
    one.write([b"ab", b"c"])
    (name,) = names(top / "new/deep")
    assert is_part(os.fsencode(name))
    one.write([b"d"])
    assert one.publish(anything).is_new
    one.discard()
    one.close()
    assert names(top / "new/deep") == ["er.txt"]
    assert (top / "new/deep/er.txt").read_bytes() == b"abcd"


def test_replaced_whole(root: Root, top: Path) -> None:
    """Who has the old file open goes on reading it; the name leads to the new one."""
    with (top / "old.txt").open("rb") as reader:
        assert not put(root, "old.txt", b"brand new")
        assert reader.read() == b"old"
    assert (top / "old.txt").read_bytes() == b"brand new"
    assert names(top) == ["dangling", "inside", "old.txt", "out", "sub"]


def test_mode(root: Root, top: Path) -> None:
    """Files can be read by all that the umask lets, and written by us."""
    before = os.umask(0o027)
    try:
        put(root, "fresh/new.txt", b"x")
    finally:
        os.umask(before)
    assert (top / "fresh/new.txt").stat().st_mode & 0o7777 == 0o640
    assert (top / "fresh").stat().st_mode & 0o7777 == 0o750


def test_race_for_a_free_name(root: Root, top: Path) -> None:
    """Of many that store a file only where there is none, one does."""
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def race(number: int) -> None:
        start.wait()
        try:
            # Different marks, or O_EXCL alone would decide.
            put(root, "new.txt", b"%d" % number, nothing_there, f"{number:032x}")
        except errors.PreconditionFailed:
            outcomes.append("late")
        else:
            outcomes.append(str(number))

    racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert outcomes.count("late") == 7
    (winner,) = (outcome for outcome in outcomes if outcome != "late")
    assert (top / "new.txt").read_bytes() == winner.encode()


def test_taken_meanwhile(root: Root, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that another process takes at the last moment isn't taken from it unseen."""
    seen: list[bool] = []
    original = folders.standing

    def too_early(folder: int, name: bytes) -> os.stat_result | None:
        status = original(folder, name)
        if status is None and len(seen) == 1:
            (top / "new.txt").write_bytes(b"theirs")
        seen.append(status is not None)
        return status

    monkeypatch.setattr(partfile, "standing", too_early)
    with pytest.raises(errors.PreconditionFailed):
        put(root, "new.txt", b"ours", nothing_there)
    assert seen == [False, False, True]
    assert (top / "new.txt").read_bytes() == b"theirs"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_no_hard_links(root: Root, top: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without them, such as FAT, gets its files by a rename."""
    monkeypatch.setattr(os, "link", failing(number))
    assert put(root, "new.txt", b"x", nothing_there)
    assert (top / "new.txt").read_bytes() == b"x"
    with pytest.raises(errors.PreconditionFailed):
        put(root, "new.txt", b"y", nothing_there)
    assert names(top) == ["dangling", "inside", "new.txt", "old.txt", "out", "sub"]


# A disk that says no.


def failing(number: int) -> Callable[..., None]:
    """Return what fails as the system would."""

    def fail(*given: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["pwrite", "fsync", "rename"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, errors.InsufficientStorage),
        (errno.EDQUOT, errors.InsufficientStorage),
        (errno.EFBIG, errors.InsufficientStorage),
        (errno.EROFS, errors.AccessDenied),
        (errno.EACCES, errors.AccessDenied),
        (errno.EMFILE, errors.Overloaded),
        (errno.ENOENT, errors.Conflict),
        (errno.EIO, errors.InternalError),
    ],
)
def test_disk_says_no(
    root: Root,
    top: Path,
    call: str,
    number: int,
    error: type[errors.ExchangeError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fails, the old file stays, the part is gone, and nothing foreign is told."""
    before = names(top)
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(error) as caught:
        put(root, "old.txt", b"x")
    assert os.strerror(number) not in caught.value.reason
    assert names(top) == before
    assert (top / "old.txt").read_bytes() == b"old"


def test_no_room(root: Root, top: Path) -> None:
    """What is announced and has no room is refused before a byte is taken."""
    one = part(root, "new.txt")
    with pytest.raises(errors.InsufficientStorage):
        one.create(anything, 1 << 60)
    one.close()
    assert "new.txt" not in names(top)


# Parts that are kept.


def test_resumed(root: Root, top: Path) -> None:
    """What was written is there the next time; the last of it publishes all."""
    one = part(root, "new.txt")
    one.resume(anything, 6)
    one.write([b"abc"])
    one.close()
    two = part(root, "new.txt")
    two.look()
    assert two.size == 3
    two.resume(anything, 6)
    two.write([b"def"])
    two.publish(anything)
    two.close()
    assert (top / "new.txt").read_bytes() == b"abcdef"
    assert not [name for name in names(top) if name.startswith(".")]


def test_looking_makes_nothing(root: Root, top: Path) -> None:
    """To ask how far a part got leaves no trace, and nor does a part without a byte."""
    for path in ("new.txt", "fresh/new.txt"):
        one = part(root, path)
        one.look()
        assert one.size == 0
        one.close()
    one = part(root, "new.txt")
    one.resume(anything, 6)
    one.close()
    assert names(top) == ["dangling", "inside", "old.txt", "out", "sub"]


def test_one_at_a_time(root: Root) -> None:
    """While somebody writes a part, nobody else does."""
    one, two = part(root, "new.txt"), part(root, "new.txt")
    one.resume(anything, 6)
    one.write([b"abc"])
    with pytest.raises(errors.Conflict):
        two.resume(anything, 6)
    two.close()
    one.close()
    three = part(root, "new.txt")
    three.resume(anything, 6)
    assert three.size == 3
    three.restart()
    three.close()


def test_died_while_publishing(root: Root, top: Path) -> None:
    """A part that has its file's name too is not written to again: all would see it."""
    one = part(root, "new.txt")
    one.resume(anything, 3)
    one.write([b"abc"])
    one.close()
    os.link(top / os.fsdecode(part_name(b"new.txt", MARK)), top / "new.txt")
    two = part(root, "new.txt")
    two.look()
    assert two.size == 0
    two.resume(anything, 3)
    two.write([b"X"])
    two.close()
    assert (top / "new.txt").read_bytes() == b"abc"


def test_nothing_is_written_behind_the_end(root: Root) -> None:
    """A job that comes after `close`, for a client that is gone, does nothing."""
    one = part(root, "new.txt")
    one.create(anything, 0)
    one.discard()
    one.close()
    one.write([b"late"])
    assert one.size == 0


def test_sweep(root: Root, top: Path) -> None:
    """Old parts go, in all folders of the site; young ones and everything else stay."""
    old, young = os.fsdecode(part_name(b"a", MARK)), os.fsdecode(part_name(b"b", MARK))
    for folder in (top, top / "sub", top.parent / "outside"):
        for name in (old, young, "a.part"):
            (folder / name).write_bytes(b"x")
        os.utime(folder / old, (1000, 1000))
        os.utime(folder / "a.part", (1000, 1000))
    assert partfile.sweep(root, before=2000) == 2
    assert names(top / "sub") == [young, "a.part"]
    assert names(top.parent / "outside") == [old, young, "a.part"]
    assert (top / "old.txt").exists()
