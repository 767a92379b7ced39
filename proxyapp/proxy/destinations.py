"""May this address be dialled? Asked for every attempt, about the very address it goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxyapp import errors
from proxyapp.rules.access import Access
from proxyapp.rules.parents import literal_of


class Destinations:
    """The judge that dialling asks. *proxy_ports* are those that our own proxy listens on."""

    def __init__(
        self, access: Access, is_own: Callable[[str], bool], proxy_ports: Sequence[int]
    ) -> None:
        self._access = access
        self._is_own = is_own
        self._proxy_ports = proxy_ports

    def __call__(self, host: str, address: str, port: int) -> None:
        """Raise LoopDetected or DestinationDenied where *address* may not be dialled for *host*."""
        # Asking the kernel takes four system calls: only where the answer matters.
        matters = port in self._proxy_ports or self._access.treats_own_apart
        own = self._own(address) if matters else frozenset()
        if own and port in self._proxy_ports:
            raise errors.LoopDetected("this address is the proxy itself")
        decision = self._access.destination(host, address, own)
        if not decision.allowed:
            raise errors.DestinationDenied(decision.reason, rule=decision.rule)

    def by_parent(self, host: str, port: int) -> None:
        """Raise LoopDetected or DestinationDenied where no parent may be asked for *host*.

        An address is judged as if it were dialled from here, a name as a name.
        """
        address = literal_of(host)
        if address:
            self(host, address, port)
            return
        decision = self._access.destination_name(host)
        if not decision.allowed:
            raise errors.DestinationDenied(decision.reason, rule=decision.rule)

    def parent(self, host: str, address: str, port: int) -> None:
        """Raise LoopDetected where a parent is this proxy itself; else the ini trusts its own.

        This is the judge of dialling parents.
        """
        if port in self._proxy_ports and self._own(address):
            raise errors.LoopDetected("the parent proxy in [upstream] proxy is this proxy itself")

    def _own(self, address: str) -> frozenset[str]:
        """Return which of the addresses where packets to *address* may end are our own."""
        ends = {address, *self._access.ends(address)}
        return frozenset(end for end in ends if self._is_own(end))
