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
    *rule* is what refused, *reported* the rule that would have. *cache* says what became of the
    request there: hit, miss, stale, revalidated or collapsed; empty where it wasn't asked.
    *request_id* is empty until somebody needs it, and *client_name* where none is known.
    """

    started: float = 0.0
    client_host: str = ""
    client_port: int = 0
    service: str = "-"
    asked: RequestHead = _UNREADABLE
    duration: float = 0.0
    user: str | None = None
    url: bytes = b""
    status: int = 0
    sent: int = 0
    received: int = 0
    content_type: bytes = b""
    upstream: str = ""
    reuse: str = ""
    tls: str = ""
    cache: str = ""
    error: str = ""
    reason: str = ""
    rule: str = ""
    reported: str = ""
    request_id: str = ""
    client_name: str = ""


# Crockford's base 32: no letter that is taken for a digit when it is read out.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PREFIX_LENGTH = 6
_COUNT_LENGTH = 4


class RequestIds:
    """Makes ids for exchanges: six characters that stand for this process, and a count.

    *chance* is a random number of at least 30 bits. Ten characters last for a million ids; then
    they grow.
    """

    def __init__(self, chance: int) -> None:
        self._prefix = _in_base_32(chance, _PREFIX_LENGTH)[-_PREFIX_LENGTH:]
        self._count = 0

    def next(self) -> str:
        """Return an id that was not there before."""
        self._count += 1
        return self._prefix + _in_base_32(self._count, _COUNT_LENGTH)


def _in_base_32(number: int, length: int) -> str:
    digits = ""
    while number or len(digits) < length:
        number, digit = divmod(number, 32)
        digits = _DIGITS[digit] + digits
    return digits
