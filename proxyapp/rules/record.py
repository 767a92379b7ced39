"""What is remembered of one exchange until its line is written to the request log."""

from __future__ import annotations

from dataclasses import dataclass

from proxyapp.wire.headers import NO_FIELDS
from proxyapp.wire.messages import RequestHead

_UNREADABLE = RequestHead(b"", b"", 1, NO_FIELDS)


@dataclass(slots=True)
class Record:
    """What is remembered of one exchange; the server fills it in as the exchange goes on.

    Times are seconds, *started* since the epoch. *sent* and *received* are body or tunnel bytes to
    and from the client. *url* is the one fetched where it isn't the target of the request *asked*.
    """

    started: float = 0.0
    duration: float = 0.0
    client_host: str = ""
    client_port: int = 0
    user: str | None = None
    service: str = "-"
    asked: RequestHead = _UNREADABLE
    url: bytes = b""
    status: int = 0
    sent: int = 0
    received: int = 0
    content_type: bytes = b""
    upstream: str = ""
    reuse: str = ""
    tls: str = ""
    error: str = ""
    reason: str = ""
    rule: str = ""
