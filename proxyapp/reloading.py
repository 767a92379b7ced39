"""Carries out `--reload`: asks the service that runs, and waits for what comes of it.

Everything here blocks: it is a program of its own, for `systemctl reload` and for people.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

DONE, REFUSED, UNREACHABLE = 0, 1, 3

# Where the master listens, below its state folder.
SOCKET = "master.sock"
_ASK = b'["reload", {}]\n'
# Longer than all of its workers together may take (seconds).
_PATIENCE = 300.0
_READ = 1 << 16


class Unreachable(Exception):
    """The service can't be asked; the message says why."""


def run(state_dir: Path, complaints: TextIO) -> int:
    """Have the service with *state_dir* reload; return the exit status.

    What is wrong with the new configuration is written to *complaints*, one mistake a line.
    """
    path = state_dir / SOCKET
    try:
        word, mistakes = _answer(_ask(path), path)
    except Unreachable as unreachable:
        complaints.write(f"proxyapp: --reload: {unreachable}\n")
        return UNREACHABLE
    if word == "reloaded":
        return DONE
    complaints.write("".join(f"proxyapp: not reloaded: {mistake}\n" for mistake in mistakes))
    return REFUSED


def _ask(path: Path) -> bytes:
    """Return what the service answers."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_PATIENCE)
        try:
            asking.connect(str(path))
        except OSError as error:
            raise Unreachable(_why(error, path)) from error
        answer = b""
        try:
            asking.sendall(_ASK)
            while read := asking.recv(_READ):
                answer += read
        except OSError as error:
            raise Unreachable("proxyapp ended before it answered") from error
    return answer


def _answer(line: bytes, path: Path) -> tuple[str, Sequence[str]]:
    if not line:
        raise Unreachable("proxyapp ended before it answered")
    try:
        word, fields = json.loads(line)
        return str(word), [str(each) for each in fields["mistakes"]]
    except (ValueError, TypeError, KeyError) as error:
        raise Unreachable(f"what {path} answers makes no sense; is it another version?") from error


def _why(error: OSError, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} isn't there: no proxyapp runs with this state_dir"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {path}: proxyapp has ended, and not in an orderly way"
    if isinstance(error, PermissionError):
        return f"{path} may be opened by root and the account that proxyapp runs as"
    return f"{path} can't be reached: {error.strerror or error}"
