"""pipes: one size, used again only when empty, none when the system is short of them."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterator

import pytest

from proxyapp.net import pipes


@pytest.fixture(autouse=True)
def _none_kept() -> Iterator[None]:
    """Begin and end with no pipe in store."""
    pipes.close_free()
    yield
    pipes.close_free()


def taken() -> pipes.Pipe:
    """Return a pipe that there must be."""
    pipe = pipes.take()
    assert pipe is not None
    return pipe


def is_open(descriptor: int) -> bool:
    """Is *descriptor* open?"""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_no_descriptors(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """None, not an exception, when the kernel gives no pipe."""

    def refuse(flags: int) -> tuple[int, int]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pipe2", refuse)
    assert pipes.take() is None


def test_out_of_descriptors_for_real() -> None:
    """None when the process has used up its descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        assert pipes.take() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe below the useful size, as an unprivileged user gets past his limit, is given back."""
    real = fcntl.fcntl
    before = len(os.listdir("/proc/self/fd"))

    def one_page(descriptor: int, command: int, argument: int = 0) -> int:
        size = 4096 if command == fcntl.F_SETPIPE_SZ else argument
        return int(real(descriptor, command, size))

    monkeypatch.setattr(fcntl, "fcntl", one_page)
    assert pipes.take() is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_not_longer_but_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where F_SETPIPE_SZ is refused, an ordinary pipe will do."""
    real = fcntl.fcntl

    def refuse(descriptor: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError(errno.EPERM, "over the limit")
        return int(real(descriptor, command, argument))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    pipe = taken()
    assert pipe.size >= pipes.USEFUL_SIZE
    pipes.release(pipe, is_empty=True)


def test_what_is_taken() -> None:
    """Both ends are non-blocking and die with an exec, and the size is the kernel's."""
    pipe = taken()
    for end in (pipe.read_end, pipe.write_end):
        assert not os.get_blocking(end)
        assert not os.get_inheritable(end)
    assert pipe.size == fcntl.fcntl(pipe.read_end, fcntl.F_GETPIPE_SZ)
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_end, 1)
    pipes.release(pipe, is_empty=True)


def test_full_one_is_closed() -> None:
    """A pipe with somebody's bytes in it never reaches anybody else."""
    pipe = taken()
    os.write(pipe.write_end, b"secret")
    pipes.release(pipe, is_empty=False)
    assert not is_open(pipe.read_end)
    assert not is_open(pipe.write_end)
    another = taken()
    with pytest.raises(BlockingIOError):
        os.read(another.read_end, 1)
    pipes.release(another, is_empty=True)


def test_empty_one_is_used_again() -> None:
    """An empty pipe is kept, and handed out once."""
    first = taken()
    pipes.release(first, is_empty=True)
    assert taken() == first
    second = taken()
    assert second != first
    for pipe in (first, second):
        pipes.release(pipe, is_empty=True)


def test_store_is_bounded() -> None:
    """Of a crowd of pipes only some are kept, and close_free leaves none."""
    before = len(os.listdir("/proc/self/fd"))
    crowd = [taken() for _ in range(100)]
    for pipe in crowd:
        pipes.release(pipe, is_empty=True)
    kept = [pipe for pipe in crowd if is_open(pipe.read_end)]
    assert 0 < len(kept) < len(crowd)
    pipes.close_free()
    assert len(os.listdir("/proc/self/fd")) == before
