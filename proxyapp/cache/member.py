"""One client that waits for a fetch."""

from __future__ import annotations

from proxyapp.exchange import Reply
from proxyapp.net.task import Wakeup


class Member:
    """A client that waits, and its *reply*; *settled* happens once it is known what comes."""

    __slots__ = ("reply", "settled")

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.settled = Wakeup()

    def __repr__(self) -> str:
        return f"<Member {self.reply!r}>"
