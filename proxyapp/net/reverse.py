"""Addresses to names, for the log: asked of the host or of name servers, and believed if confirmed.

Whoever has an address writes the name that it is said to have, so a name counts only if it leads
back to the address. It's an LDH name besides (RFC 952, RFC 1123, and the underscore of Windows),
and never one that could be taken for an address.
"""

from __future__ import annotations

import re
import socket
import threading
from ipaddress import ip_address
from queue import SimpleQueue
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.names import client as names_client
from twisted.names import dns

from proxyapp.net.resolver import ServerLookup

# The system's resolver makes a thread wait until its own time-out.
THREADS = 4
_LONGEST = 253
_LABEL = r"[0-9a-z_](?:[0-9a-z_-]{0,61}[0-9a-z_])?"
# The last label has a letter: 10.0.0.1 is no name.
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[0-9_-]*[a-z]){_LABEL}")


def plausible(name: str) -> str:
    """Return *name* in lower case without its last dot, or nothing if no host is called so."""
    name = name.lower().removesuffix(".")
    return name if len(name) <= _LONGEST and _NAME.fullmatch(name) else ""


class _Question(NamedTuple):
    """An address, and who waits for its name."""

    address: str
    answer: Deferred[str]


class SystemNames:
    """getnameinfo(3), so hosts files and nsswitch count, in threads that nobody waits for."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._threads = 0

    def __call__(self, address: str) -> Deferred[str]:
        """See logs.clientnames.Reverse."""
        answer: Deferred[str] = Deferred()
        self._questions.put(_Question(address, answer))
        if self._threads < THREADS:
            self._threads += 1
            # No thread of the reactor's pool: at the end, that would wait for the last answer.
            threading.Thread(target=self._work, name="client names", daemon=True).start()
        return answer

    def stop(self) -> None:
        """End the threads, once the system has answered them."""
        for _ in range(self._threads):
            self._questions.put(None)
        self._threads = 0

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            name = _getnameinfo(question.address)
            self._reactor.callFromThread(question.answer.callback, name)


def _getnameinfo(address: str) -> str:
    try:
        found = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
        name = plausible(found)
        if not name:
            return ""
        leads_to = {str(each[4][0]) for each in socket.getaddrinfo(found, None)}
    except (OSError, UnicodeError):
        return ""
    return name if _leads_back(address, leads_to) else ""


def _leads_back(address: str, literals: set[str]) -> bool:
    """Is *address* one of *literals*, however it's written, and on whatever link?"""
    wanted = ip_address(address.partition("%")[0])
    return any(ip_address(literal.partition("%")[0]) == wanted for literal in literals)


class ServerNames:
    """The name servers of [dns] servers."""

    def __init__(self, resolver: names_client.Resolver) -> None:
        self._resolver = resolver
        self._lookup = ServerLookup(resolver)

    def __call__(self, address: str) -> Deferred[str]:
        """See logs.clientnames.Reverse."""
        return Deferred.fromCoroutine(self._ask(address))

    async def _ask(self, address: str) -> str:
        reverse = ip_address(address.partition("%")[0]).reverse_pointer
        answers, _, _ = await self._resolver.lookupPointer(reverse)
        pointers = [each.payload for each in answers if isinstance(each.payload, dns.Record_PTR)]
        for pointer in pointers[:1]:
            name = plausible(str(pointer.name))
            if name and _leads_back(address, set((await self._lookup(name)).literals)):
                return name
        return ""

    def stop(self) -> None:
        """Nothing runs between look-ups."""
