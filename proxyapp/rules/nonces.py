"""The nonces of Digest challenges: signed, so that none is kept until a user has answered it.

A nonce says itself when it was made. Only those that a right response came with are remembered,
with the counts that were used (RFC 7616 section 3.4, `nc`), so that no response counts twice.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections import OrderedDict
from dataclasses import dataclass

# In seconds. A client whose nonce is older asks its user for nothing, it is told that it's stale.
LIFETIME = 30 * 60.0
# Each is some 300 bytes.
MAX_REMEMBERED = 8192
# Requests of one client overtake each other on its connections, but not by more than so many.
WINDOW = 128
SALT_SIZE = 9
_TIME_SIZE = 6  # milliseconds
_SIGNED_SIZE = _TIME_SIZE + SALT_SIZE
_SIGNATURE_SIZE = 15
_MILLISECONDS = 1000


@dataclass(slots=True)
class _Use:
    """How a nonce was used: by whom, the highest count, and a bit for each one right below it."""

    user: str
    made: float
    highest: int
    seen: int


class Nonces:
    """Makes nonces, and takes each count of one once; *key* is known to nobody else.

    Times are in seconds, of any clock that only goes forward.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._used: OrderedDict[bytes, _Use] = OrderedDict()
        # What was made up to here and isn't remembered may have been forgotten: it's stale.
        self._forgotten = float("-inf")

    def __repr__(self) -> str:
        return f"<Nonces {len(self._used)} in use>"

    def make(self, now: float, salt: bytes) -> bytes:
        """Return a new nonce; *salt* is SALT_SIZE random bytes."""
        signed = int(now * _MILLISECONDS).to_bytes(_TIME_SIZE, "big") + salt
        return urlsafe_b64encode(signed + self._signature(signed))

    def is_of(self, nonce: bytes, user: str) -> bool:
        """Has *user* given a right response with *nonce*?"""
        use = self._used.get(nonce)
        return use is not None and use.user == user

    def take(self, nonce: bytes, count: int, user: str, now: float) -> bool:
        """Use *nonce* for the *count*th time; False where it is too old, or was used so before.

        Ask only with a response that is right.
        """
        made = self._made(nonce)
        if made is None or not 0 <= now - made < LIFETIME or count < 1:
            return False
        use = self._used.get(nonce)
        if use is not None:
            return _take_count(use, count)
        if made <= self._forgotten:
            return False
        self._make_room(now)
        self._used[nonce] = _Use(user, made, count, 1)
        return True

    def _made(self, nonce: bytes) -> float | None:
        """Return when *nonce* was made; None where it isn't one of ours."""
        try:
            raw = urlsafe_b64decode(nonce)
        except Error:
            return None
        signed, signature = raw[:_SIGNED_SIZE], raw[_SIGNED_SIZE:]
        if not hmac.compare_digest(signature, self._signature(signed)):
            return None
        # One spelling for each: characters outside the alphabet are passed over.
        if urlsafe_b64encode(raw) != nonce:
            return None
        return int.from_bytes(signed[:_TIME_SIZE], "big") / _MILLISECONDS

    def _signature(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, "sha256")[:_SIGNATURE_SIZE]

    def _make_room(self, now: float) -> None:
        while self._used:
            nonce, oldest = next(iter(self._used.items()))
            if now - oldest.made < LIFETIME:
                if len(self._used) < MAX_REMEMBERED:
                    return
                self._forgotten = max(self._forgotten, oldest.made)
            del self._used[nonce]


def _take_count(use: _Use, count: int) -> bool:
    ahead = count - use.highest
    if ahead > 0:
        use.highest = count
        # A shift by more would only make a large number for nothing.
        use.seen = (use.seen << ahead | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
        return True
    if -ahead >= WINDOW or use.seen >> -ahead & 1:
        return False
    use.seen |= 1 << -ahead
    return True
