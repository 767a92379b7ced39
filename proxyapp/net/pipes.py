"""Pipes for splice: sized once, and used again while they are empty."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import NamedTuple

# A pipe as long as a fast socket's buffer halves the number of system calls; the kernel grants an
# unprivileged user 64 MiB of them altogether (pipe-user-pages-soft, pipe(7)).
WANTED_SIZE = 1 << 20
# With less than an ordinary pipe holds, splice costs more than copying.
USEFUL_SIZE = 1 << 16
_KEPT = 32


class Pipe(NamedTuple):
    """Both ends of a pipe, non-blocking, and its size in bytes."""

    read_end: int
    write_end: int
    size: int


_free: list[Pipe] = []


def take() -> Pipe | None:
    """Return an empty pipe, or None when descriptors or pipe memory are short."""
    if _free:
        return _free.pop()
    try:
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, WANTED_SIZE)
    pipe = Pipe(read_end, write_end, fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ))
    if pipe.size < USEFUL_SIZE:
        _close(pipe)
        return None
    return pipe


def release(pipe: Pipe, is_empty: bool) -> None:
    """Give *pipe* back; one with bytes in it is closed, so that they reach nobody else."""
    if is_empty and len(_free) < _KEPT:
        _free.append(pipe)
    else:
        _close(pipe)


def close_free() -> None:
    """Close the pipes that are kept for later."""
    while _free:
        _close(_free.pop())


def _close(pipe: Pipe) -> None:
    os.close(pipe.read_end)
    os.close(pipe.write_end)
