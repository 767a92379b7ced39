"""Carries out `--cache-list` and its like: asks the service that runs, by its control socket.

Everything here blocks: it is a program of its own, which only happens to share our command line.
What is fetched for `--prefetch`, and how much at once, is for the service to do; here are as many
connections as keep it busy.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from proxyapp.controlclient import FILE, Rejected, Service, Unreachable
from proxyapp.rules.caching.report import Outcome, outcome_of, report_of, to_line
from proxyapp.rules.caching.reportwords import (
    HEADING,
    is_failure,
    outcome_row,
    printable,
    report_page,
    report_row,
    size_words,
)

DONE, NOTHING, BAD_COMMAND, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

# As many as the service fetches at once.
_CONNECTIONS = 4
# How long to wait, in seconds, before what ends slowly is told again.
_STEP = 0.1
_BAD_REQUEST, _NOT_FOUND = 400, 404
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a command reads and writes; with *is_json*, what the service says passes as it is."""

    given: TextIO
    out: TextIO
    complaints: TextIO
    is_json: bool


def run(option: str, what: str, state_dir: Path, terminal: Terminal) -> int:
    """Carry out *option*, which is about *what*, at the service with *state_dir*.

    Returns the exit status.
    """
    try:
        return _COMMANDS[option](state_dir / FILE, what, terminal)
    except Rejected as rejected:
        complaint, status = str(rejected), _exit_status(rejected)
    except Unreachable as unreachable:
        complaint, status = str(unreachable), UNREACHABLE
    except ValueError:
        complaint, status = "the answer makes no sense; is another version running?", UNREACHABLE
    except BrokenPipeError:
        _read_no_more(terminal.out)
        return DONE
    except OSError as error:
        complaint, status = f"the output can't be written: {error.strerror}", BAD_COMMAND
    except KeyboardInterrupt:
        return INTERRUPTED
    terminal.complaints.write(f"proxyapp: --{option}: {printable(complaint)}\n")
    return status


def _exit_status(rejected: Rejected) -> int:
    if rejected.status == _NOT_FOUND:
        return NOTHING
    return BAD_COMMAND if rejected.status < _SERVER_ERROR else UNREACHABLE


def _read_no_more(out: TextIO) -> None:
    """Whoever read *out* has seen enough; what is still in its buffer shall trouble nobody."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


# --- The commands ---


def _list(path: Path, what: str, terminal: Terminal) -> int:
    count = size = 0
    for line in Service(path).ask("GET", "list", what):
        count += 1
        if terminal.is_json:
            terminal.out.write(line.decode("ascii"))
            continue
        told = report_of(line)
        size += told.size
        heading = f"{HEADING}\n" if count == 1 else ""
        terminal.out.write(f"{heading}{report_row(told)}\n")
    if not terminal.is_json:
        terminal.out.write(f"{_counted(count, 'entry', 'entries')}, {size_words(size)}\n")
    terminal.out.flush()
    return DONE if count else NOTHING


def _show(path: Path, what: str, terminal: Terminal) -> int:
    lines = list(Service(path).ask("GET", "show", what))
    if terminal.is_json:
        pages = [line.decode("ascii") for line in lines]
    else:
        pages = [report_page(report_of(line)) for line in lines]
    terminal.out.write(("" if terminal.is_json else "\n").join(pages))
    terminal.out.flush()
    return DONE


def _purge(path: Path, what: str, terminal: Terminal) -> int:
    return _told(Service(path).line("purge", what), "purged", terminal)


def _pin(path: Path, what: str, terminal: Terminal) -> int:
    line = Service(path).line("pin", what)
    if not _count(line):
        raise Rejected(_NOT_FOUND, "nothing is stored for this URL; --prefetch fetches it")
    return _told(line, "pinned", terminal)


def _unpin(path: Path, what: str, terminal: Terminal) -> int:
    return _told(Service(path).line("unpin", what), "unpinned", terminal)


def _told(line: bytes, done: str, terminal: Terminal) -> int:
    count = _count(line)
    words = f"{_counted(count, 'entry', 'entries')} {done}\n"
    terminal.out.write(line.decode("ascii") if terminal.is_json else words)
    terminal.out.flush()
    return DONE if count else NOTHING


def _count(line: bytes) -> int:
    """Return how many entries an order was about; raises ValueError."""
    try:
        return int(json.loads(line)["count"])
    except (KeyError, TypeError) as error:
        raise ValueError("there is no count") from error


def _counted(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


# --- Prefetching ---


@dataclass(slots=True)
class Totals:
    """What became of all URLs so far; *size* in bytes, of those that were fetched."""

    done: int = 0
    found: int = 0
    stored: int = 0
    failed: int = 0
    size: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.done += 1
        self.failed += is_failure(outcome)
        if outcome.is_found:
            self.found += 1
        else:
            self.size += outcome.size
            self.stored += outcome.is_stored and not is_failure(outcome)

    def __str__(self) -> str:
        passed = self.done - self.found - self.stored - self.failed
        return (
            f"{_counted(self.done, 'URL', 'URLs')}: {self.found} cached before, {self.stored}"
            f" fetched, {passed} fetched and not stored, {self.failed} failed;"
            f" {size_words(self.size)} in {time.monotonic() - self.began:.1f} s"
        )


class _Prefetch:
    """The connections that the URLs are given to, and what comes back.

    Once there is a *failure*, which concerns all of them, no more are fetched.
    """

    def __init__(self, path: Path, terminal: Terminal) -> None:
        self.totals = Totals()
        self.failure: BaseException | None = None
        self._terminal = terminal
        self._lock = threading.Lock()
        # No more are read than are about to be fetched: the list may be another program's output.
        self._urls: queue.Queue[str | None] = queue.Queue(_CONNECTIONS)
        self._services = [Service(path) for _ in range(_CONNECTIONS)]
        self._threads = [
            threading.Thread(target=self._work, args=(service,), daemon=True)
            for service in self._services
        ]
        for thread in self._threads:
            thread.start()

    def take(self, urls: Iterable[str]) -> None:
        """Fetch *urls*, and wait for them; raises the failure."""
        for url in urls:
            self._urls.put(url)
            if self.failure is not None:
                break
        self._join(None)
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Have the service give up what it fetches; afterwards nothing runs any more."""
        self.failure = self.failure or KeyboardInterrupt()
        while any(thread.is_alive() for thread in self._threads):
            for service in self._services:
                service.interrupt()
            self._join(_STEP)

    def _join(self, timeout: float | None) -> None:
        for _ in self._threads:
            with suppress(queue.Full):
                self._urls.put(None, timeout=timeout)
        for thread in self._threads:
            thread.join(timeout)

    def _work(self, service: Service) -> None:
        while (url := self._urls.get()) is not None:
            if self.failure is not None:
                continue  # whoever puts one in shall not wait for room
            try:
                self._fetch(service, url)
            except (Unreachable, OSError, ValueError) as error:
                self.failure = self.failure or error

    def _fetch(self, service: Service, url: str) -> None:
        try:
            line = service.line("prefetch", url)
            outcome = outcome_of(line)
        except Rejected as rejected:
            outcome = Outcome(url, 0, 0, 0.0, "", False, False, str(rejected))
            line = to_line(outcome)
        row = line.decode("ascii") if self._terminal.is_json else f"{outcome_row(outcome)}\n"
        with self._lock:
            self.totals.add(outcome)
            self._terminal.out.write(row)
            self._terminal.out.flush()


def _prefetch(path: Path, what: str, terminal: Terminal) -> int:
    with _opened(what, terminal) as lines:
        work = _Prefetch(path, terminal)
        try:
            work.take(_urls_of(lines))
        finally:
            work.stop()
            if not terminal.is_json and work.totals.done:
                with suppress(OSError):
                    terminal.out.write(f"{work.totals}\n")
                    terminal.out.flush()
    return NOTHING if work.totals.failed else DONE


def _opened(what: str, terminal: Terminal) -> AbstractContextManager[TextIO]:
    if what == "-":
        return nullcontext(terminal.given)
    try:
        return Path(what).open(encoding="utf-8")
    except OSError as error:
        raise Rejected(_BAD_REQUEST, f"{what} can't be read: {error.strerror}") from error


def _urls_of(lines: Iterable[str]) -> Iterator[str]:
    """Yield the URLs of a list: one a line; empty lines and comments are passed over.

    Raises Rejected where it can't be read on.
    """
    try:
        for line in lines:
            url = line.strip()
            if url and not url.startswith("#"):
                yield url
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(_BAD_REQUEST, "the list is no text in UTF-8, or can't be read on") from error


_COMMANDS: Mapping[str, Callable[[Path, str, Terminal], int]] = {
    "cache-list": _list,
    "cache-show": _show,
    "cache-purge": _purge,
    "cache-pin": _pin,
    "cache-unpin": _unpin,
    "prefetch": _prefetch,
}
