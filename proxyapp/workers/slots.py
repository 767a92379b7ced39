"""The listening sockets, which the master keeps open whatever becomes of those who accept on them.

A TCP address has a socket for each worker slot, and the kernel spreads clients over them. A socket
may hold clients that nobody has accepted yet; so none is closed as long as its address is listened
on, and where there are fewer workers than slots, one worker has several. Unix sockets, and those of
systemd, are shared by all.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket

from proxyapp.net import sockets
from proxyapp.net.sockets import ListenError, PathLock, Wanted

Place = tuple[str, str]
# Family, host and port; and which of several, where the kernel chooses the port.
_Address = tuple[int, str, int, int]


class NotListening(Exception):
    """An address of the configuration can't be listened on; the message says which, and why."""


class Opened(NamedTuple):
    """The sockets of one address; *lock* is a Unix socket's."""

    wanted: Wanted
    sockets: list[socket.socket]
    lock: PathLock | None

    @property
    def is_shared(self) -> bool:
        """Is there one for all workers?"""
        return self.wanted.family == socket.AF_UNIX or self.wanted.descriptor >= 0

    @property
    def port(self) -> int:
        """The port of TCP; 0 for all others."""
        if self.wanted.family == socket.AF_UNIX:
            return 0
        port: int = self.sockets[0].getsockname()[1]
        return port

    def of(self, number: int, count: int) -> list[socket.socket]:
        """Return those of the worker *number* of *count*."""
        return self.sockets if self.is_shared else self.sockets[number::count]

    def close(self) -> None:
        """Close them all."""
        for each in self.sockets:
            each.close()
        if self.wanted.family == socket.AF_UNIX and self.wanted.descriptor < 0:
            with suppress(OSError):
                sockets.remove_path(self.wanted.host)
        if self.lock is not None:
            self.lock.release()


class Slots:
    """The sockets of all addresses."""

    def __init__(self) -> None:
        self._opened: dict[_Address, Opened] = {}
        # Those that were handed to us can be had once only, so they stay.
        self._handed: dict[str, Opened] = {}

    def __repr__(self) -> str:
        return f"<Slots of {len(self._opened) + len(self._handed)} addresses>"

    def open(self, places: Sequence[Place], count: int) -> list[Opened]:
        """Return the sockets of *places*, in their order, for *count* workers.

        What is there already is used. Where one can't be opened, nothing is left of the others;
        raises NotListening.
        """
        before = self.counts
        seen: Counter[tuple[int, str, int]] = Counter()
        try:
            return [self._open(each, count, seen, set(before)) for _, each in places]
        except NotListening:
            self.back_to(before)
            raise

    @property
    def counts(self) -> Mapping[_Address, int]:
        """How many sockets each address has, for `back_to`."""
        return {address: len(opened.sockets) for address, opened in self._opened.items()}

    def back_to(self, counts: Mapping[_Address, int]) -> None:
        """Close what was opened since."""
        for address, opened in list(self._opened.items()):
            if address not in counts:
                del self._opened[address]
                opened.close()
                continue
            while len(opened.sockets) > counts[address]:
                opened.sockets.pop().close()

    def _open(
        self,
        description: str,
        count: int,
        seen: Counter[tuple[int, str, int]],
        before: set[_Address],
    ) -> Opened:
        try:
            found = self._handed.get(description) or self._found(description, seen, before)
            while not found.is_shared and len(found.sockets) < count:
                # The kernel may have chosen the port of the first one.
                wanted = found.wanted._replace(port=found.port)
                found.sockets.append(sockets.open_socket(wanted, is_exclusive=False))
        except ListenError as error:
            raise NotListening(f"cannot listen on {description}: {error}") from error
        return found

    def _found(
        self, description: str, seen: Counter[tuple[int, str, int]], before: set[_Address]
    ) -> Opened:
        wanted = sockets.read(description)
        if wanted.descriptor >= 0:
            handed = Opened(wanted, [sockets.open_socket(wanted, is_exclusive=False)], None)
            self._handed[description] = handed
            return handed
        place = (int(wanted.family), wanted.host, wanted.port)
        address = (*place, seen[place])
        seen[place] += 1
        found = self._opened.get(address) or self._bound_to(wanted)
        if found is None:
            # An address that overlaps with one of ours, which it replaces, isn't free.
            is_ours = any(self._opened[each].port == wanted.port for each in before)
            lock = PathLock(wanted.host) if wanted.has_lock else None
            try:
                opened = sockets.open_socket(wanted, is_exclusive=not is_ours)
            except ListenError:
                if lock is not None:
                    lock.release()
                raise
            found = self._opened[address] = Opened(wanted, [opened], lock)
        return found

    def _bound_to(self, wanted: Wanted) -> Opened | None:
        """Return the sockets whose port, which *wanted* names now, was the kernel's choice."""
        for opened in self._opened.values():
            is_there = opened.wanted.port == 0 and opened.port == wanted.port
            if is_there and wanted.port and opened.wanted.host == wanted.host:
                return opened
        return None

    def keep_only(self, kept: Sequence[Opened]) -> None:
        """Close all others, but those that were handed to us."""
        for address, opened in list(self._opened.items()):
            if not any(opened is each for each in kept):
                del self._opened[address]
                opened.close()

    def close(self) -> None:
        """Close them all."""
        for opened in (*self._opened.values(), *self._handed.values()):
            opened.close()
        self._opened.clear()
        self._handed.clear()


class Handed:
    """Listens on sockets that were handed over: a list for each of *places*, in the same order."""

    def __init__(
        self,
        reactor: IReactorSocket,
        places: Sequence[Place],
        handed: Sequence[Sequence[socket.socket]],
    ) -> None:
        self._reactor = reactor
        self._left = list(zip(places, handed, strict=True))

    def listen(self, description: str, factory: IProtocolFactory) -> IListeningPort:
        """See sockets.Listen; descriptions come in the order of the places."""
        if not self._left or self._left[0][0][1] != description:
            raise ListenError("no socket was handed over for it")
        _, found = self._left.pop(0)
        return sockets.listen_on(self._reactor, description, factory, found)
