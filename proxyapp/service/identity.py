"""Who this machine is to its clients: the names and addresses that lead to it."""

from __future__ import annotations

from proxyapp.net import local


class Identity:
    """Knows this machine by its *hostnames*, by its own names if there are none, and by address."""

    def __init__(self, hostnames: tuple[str, ...]) -> None:
        self._names = hostnames or local.names()

    def __repr__(self) -> str:
        return f"<Identity {', '.join(self._names)}>"

    @property
    def name(self) -> str:
        """The name to tell people."""
        return self._names[0]

    def is_meant(self, host: str) -> bool:
        """Is *host* of a URL, a name in lower case or an address, this machine?

        A name is never looked up: which ones lead here is not for the DNS to say.
        """
        try:
            return local.is_own(host)
        except ValueError:
            return host.removesuffix(".") in (*self._names, "localhost")
