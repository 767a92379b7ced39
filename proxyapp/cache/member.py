"""One client that waits for a fetch."""

from __future__ import annotations

from twisted.logger import Logger

from proxyapp import errors
from proxyapp.exchange import Reply
from proxyapp.net.task import Wakeup

_log = Logger()


class Member:
    """A client that waits, and its *reply*; *settled* happens once it is known what comes."""

    __slots__ = ("reply", "settled")

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.settled = Wakeup()

    def __repr__(self) -> str:
        return f"<Member {self.reply!r}>"


def wake(wakeup: Wakeup, error: errors.ExchangeError | None = None) -> None:
    """Let *wakeup* happen; what goes wrong with one client is nobody else's concern.

    Whoever waits goes on at once, deep inside the connection that brings the bytes for all.
    """
    try:
        wakeup.happen(error)
    except Exception:
        _log.failure("a mistake of ours hit one of those who wait for a fetch")
