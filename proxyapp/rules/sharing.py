"""Which of several proxies a host is for: in the PAC, and as the same rule in Python.

Every proxy draws as many numbers for a host as its weight is, each made of the host's name alone,
and the highest one wins (rendezvous hashing). So all clients agree without talking to each other,
what one proxy has in its cache isn't fetched by another, and where a proxy is gone, only its hosts
go elsewhere: spread over all the others, because each host has an order of its own.
"""

from __future__ import annotations

import hashlib
import json

_MASK = 0xFFFFFFFF


def order(host: str, gateways: tuple[str, ...], weights: tuple[int, ...]) -> tuple[str, ...]:
    """Return *gateways* in the order in which a client tries them for *host*, in lower case."""
    drawn = [
        (-max(_mixed(seed, host) for seed in _seeds(gateway, weight)), place, gateway)
        for place, (gateway, weight) in enumerate(zip(gateways, weights, strict=True))
    ]
    return tuple(gateway for *_, gateway in sorted(drawn))


def _seeds(gateway: str, weight: int) -> list[int]:
    """Return where each draw of *gateway* begins; adding to its weight changes none of them."""
    texts = (f"{gateway}*{number}".encode() for number in range(weight))
    return [int.from_bytes(hashlib.sha256(text).digest()[:4], "big") for text in texts]


def _mixed(seed: int, text: str) -> int:
    """Mix *text* into *seed* with additions and shifts alone, which are all that ES3 can do."""
    units = text.encode("utf-16-le", "surrogatepass")
    mixed = seed
    for place in range(0, len(units), 2):
        mixed = mixed + int.from_bytes(units[place : place + 2], "little") & _MASK
        mixed = mixed + (mixed << 10) & _MASK
        mixed ^= mixed >> 6
    mixed = mixed + (mixed << 3) & _MASK
    mixed ^= mixed >> 11
    return mixed + (mixed << 15) & _MASK


def script(gateways: tuple[str, ...], weights: tuple[int, ...]) -> str:
    """Return the functions of a PAC that do the same: `shared(name)` is the answer, in ASCII."""
    rows = [
        f"  [{json.dumps(f'PROXY {gateway}')}, {json.dumps(_seeds(gateway, weight))}]"
        for gateway, weight in zip(gateways, weights, strict=True)
    ]
    return _SCRIPT.replace("ROWS", ",\n".join(rows))


_SCRIPT = """
// Proxies and where their draws begin; each has as many of them as its weight is.
var SHARES = [
ROWS
];

// The proxy that draws the highest number for a host is its first one.
function shared(name) {
  var drawn = [], answer = [], highest, i, j;
  for (i = 0; i < SHARES.length; i += 1) {
    highest = 0;
    for (j = 0; j < SHARES[i][1].length; j += 1) {
      highest = Math.max(highest, mixed(SHARES[i][1][j], name));
    }
    drawn.push([highest, i]);
  }
  drawn.sort(function (one, other) {
    return other[0] - one[0] || one[1] - other[1];
  });
  for (i = 0; i < drawn.length; i += 1) {
    answer.push(SHARES[drawn[i][1]][0]);
  }
  return answer.join("; ");
}

function mixed(seed, text) {
  var sum = seed, i;
  for (i = 0; i < text.length; i += 1) {
    sum = (sum + text.charCodeAt(i)) >>> 0;
    sum = (sum + (sum << 10)) >>> 0;
    sum = (sum ^ (sum >>> 6)) >>> 0;
  }
  sum = (sum + (sum << 3)) >>> 0;
  sum = (sum ^ (sum >>> 11)) >>> 0;
  return (sum + (sum << 15)) >>> 0;
}
"""
