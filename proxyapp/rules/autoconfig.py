"""Which hosts a client reaches without the proxy: as PAC text, and as the same rules in Python.

A PAC runs in the client, so it knows a host by the text in the URL alone. Literal addresses are
judged as networks and names as names. Nothing is looked up: browsers stand still while a PAC asks
the DNS, and clients without internet have none that would answer. Clients send to the proxy
whatever isn't meant to go direct, without a fall-back: they have no other way out.

The script is ES3 in plain ASCII, without any of the functions that PAC engines add, so that all
of them, the oldest included, read it alike.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from string import Template
from typing import NamedTuple

from proxyapp.rules import addresses, sharing
from proxyapp.rules.addresses import Address, Network

MEDIA_TYPE = b"application/x-ns-proxy-autoconfig"
DIRECT = "DIRECT"
# In a list of what goes direct: names without a dot, and what is private below. They go direct
# without it too, for no proxy could be of help.
PRIVATE = "private"

# What the proxy calls loopback, private, link-local and carrier-grade NAT; rules/addresses.py has
# the RFCs.
_PRIVATE: tuple[Network, ...] = (
    *map(
        IPv4Network,
        "10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16".split(),
    ),
    *map(IPv6Network, "::1/128 fc00::/7 fe80::/10 fec0::/10".split()),
)
# Names that mean something on this host, link or site only: RFC 6761 section 6.3, RFC 6762,
# RFC 8375, and the one that ICANN has reserved for private use.
_PRIVATE_NAMES = ("*.localhost", "*.local", "*.home.arpa", "*.internal")
# Loopback and RFC 1918, as most programs can read them.
_NO_PROXY = ("localhost", "127.0.0.1", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
_LONGEST_NO_PROXY = 400
_UPPER = re.compile("[A-Z]+")


class _Direct(NamedTuple):
    """What goes direct: names in which `*` stands for anything, and networks."""

    names: tuple[str, ...]
    networks: tuple[Network, ...]


def route(
    host: str,
    gateways: tuple[str, ...],
    direct: tuple[str, ...],
    weights: tuple[int, ...] = (),
) -> str:
    """Say how a client reaches *host*: DIRECT, or by which proxies, the first one that works.

    *gateways* are the proxies as host:port; without any, everything is direct. *direct* lists
    what goes direct beside private hosts and the gateways: names, `.domains` (every name below),
    names with `*` in them, addresses and networks. *host* is spelled as in a URL, so an IPv6
    address may have brackets. With *weights* hosts are spread over the proxies, see `sharing`.
    """
    name = _plain(host)
    rules = _rules(gateways, direct)
    if not gateways or ("." not in name and ":" not in name):
        return DIRECT
    address = _parsed(name)
    if address is not None and any(address in network for network in rules.networks):
        return DIRECT
    if any(_pattern(listed).fullmatch(name) for listed in rules.names):
        return DIRECT
    return _proxies(sharing.order(name, gateways, weights) if weights else gateways)


def pac_text(
    gateways: tuple[str, ...], direct: tuple[str, ...], weights: tuple[int, ...] = ()
) -> str:
    """Return the PAC that answers as `route` does, in ASCII."""
    rules = _rules(gateways, direct)
    return _PAC.substitute(
        way="shared(name)" if weights else "PROXIES",
        sharing=sharing.script(gateways, weights) if weights else "",
        proxies=_quoted(_proxies(gateways) if gateways else DIRECT),
        names=_lines(map(_quoted, rules.names)),
        networks=_lines(_quoted_network(network) for network in rules.networks),
    )


def no_proxy(host: str, direct: tuple[str, ...]) -> str:
    """Return the value of the variable no_proxy that comes closest, for the gateway *host*.

    Programs differ in what they understand: names and `.domains` all of them, networks many, `*`
    none. A list is followed as far as one line to be copied goes.
    """
    entries = dict.fromkeys((*_NO_PROXY, host))
    size = len(",".join(entries))
    for entry in direct:
        listed = entry.removeprefix("*") if entry[:2] == "*." else entry
        size += len(listed) + 1
        if size > _LONGEST_NO_PROXY:
            break
        if "*" not in listed and listed != PRIVATE:
            entries[listed] = None
    return ",".join(entries)


def _proxies(gateways: tuple[str, ...]) -> str:
    return "; ".join(f"PROXY {gateway}" for gateway in gateways)


@functools.lru_cache(maxsize=64)
def _rules(gateways: tuple[str, ...], direct: tuple[str, ...]) -> _Direct:
    names, networks = list(_PRIVATE_NAMES), list(_PRIVATE)
    for entry in (*map(_host_of, gateways), *direct):
        if entry == PRIVATE:
            continue
        network = _network(entry.strip("[]"))
        if network is not None:
            networks.append(network)
            continue
        name = _plain(entry)
        names.append("*" + name if name[:1] == "." else name)
    return _Direct(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(networks)))


def _network(text: str) -> Network | None:
    """Read a network, or an address as one; a zone id doesn't matter, and may be any text."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, IPv4Network):
        return network
    return IPv6Network((int(network.network_address), network.prefixlen))


def _host_of(gateway: str) -> str:
    return gateway.rpartition(":")[0]


def _plain(host: str) -> str:
    """Return *host* as it is compared: case, the final dot and brackets don't count.

    Only ASCII has a case here; other letters come as punycode, and engines differ about them.
    """
    name = _UPPER.sub(lambda letters: letters[0].lower(), host).removesuffix(".")
    return name[1:-1] if name[:1] == "[" and name[-1:] == "]" else name


def _parsed(name: str) -> Address | None:
    try:
        return addresses.parse(name)
    except ValueError:
        return None


@functools.lru_cache(maxsize=1024)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


# The script.


def _quoted(text: str) -> str:
    """Return *text* as a literal of JavaScript, in ASCII; nothing in it can end the literal."""
    return json.dumps(text)


def _quoted_network(network: Network) -> str:
    """Return *network* as groups of 16 bits and the length of its prefix, with a comment."""
    size = network.max_prefixlen // 16
    number = int(network.network_address)
    groups = [number >> 16 * place & 0xFFFF for place in reversed(range(size))]
    return f"/* {network} */ {json.dumps([groups, network.prefixlen])}"


def _lines(literals: Iterable[str]) -> str:
    return ",\n".join(f"  {literal}" for literal in literals)


_PAC = Template(r"""// Made by proxyapp from its configuration; it looks nothing up.
var PROXIES = $proxies;
// Names that go direct; * stands for anything.
var NAMES = [
$names
];
// Networks that go direct: 16-bit groups, and how many bits count.
var NETWORKS = [
$networks
];

function FindProxyForURL(url, host) {
  var name = plain(host), address, i;
  if (name.indexOf(".") < 0 && name.indexOf(":") < 0) {
    return "DIRECT";
  }
  address = readAddress(name.split("%")[0]);
  for (i = 0; address && i < NETWORKS.length; i += 1) {
    if (isInside(address, NETWORKS[i][0], NETWORKS[i][1])) {
      return "DIRECT";
    }
  }
  for (i = 0; i < NAMES.length; i += 1) {
    if (fits(name, NAMES[i])) {
      return "DIRECT";
    }
  }
  return $way;
}
$sharing
// Case, the final dot and brackets don't count.
function plain(host) {
  var name = host.replace(/[A-Z]+/g, function (letters) {
    return letters.toLowerCase();
  });
  if (name.charAt(name.length - 1) === ".") {
    name = name.substring(0, name.length - 1);
  }
  if (name.charAt(0) === "[" && name.charAt(name.length - 1) === "]") {
    name = name.substring(1, name.length - 1);
  }
  return name;
}

function fits(name, pattern) {
  var parts = pattern.split("*"), last = parts.pop(), at = 0, found, i;
  if (parts.length === 0) {
    return name === last;
  }
  for (i = 0; i < parts.length; i += 1) {
    found = name.indexOf(parts[i], at);
    if (found < 0 || (i === 0 && found > 0)) {
      return false;
    }
    at = found + parts[i].length;
  }
  return name.length - at >= last.length && name.substring(name.length - last.length) === last;
}

function isInside(address, base, bits) {
  var i, ignored;
  if (address.length !== base.length) {
    return false;
  }
  for (i = 0; bits > 0; i += 1, bits -= 16) {
    ignored = bits < 16 ? 16 - bits : 0;
    if (address[i] >> ignored !== base[i] >> ignored) {
      return false;
    }
  }
  return true;
}

// An IPv4 address as two groups of 16 bits, an IPv6 address as eight, null for anything else.
function readAddress(text) {
  var groups = text.indexOf(":") < 0 ? readIPv4(text) : readIPv6(text);
  if (groups && groups.slice(0, 6).join() === "0,0,0,0,0,65535") {
    return groups.slice(6);
  }
  return groups;
}

function readIPv4(text) {
  var octets = text.split("."), i;
  if (octets.length !== 4) {
    return null;
  }
  for (i = 0; i < 4; i += 1) {
    if (!/^(0|[1-9][0-9]{0,2})$$/.test(octets[i]) || Number(octets[i]) > 255) {
      return null;
    }
  }
  return [octets[0] * 256 + Number(octets[1]), octets[2] * 256 + Number(octets[3])];
}

function readIPv6(text) {
  var halves = text.split("::"), isShort = halves.length === 2, groups, rest, missing;
  if (halves.length > 2) {
    return null;
  }
  groups = readGroups(halves[0], !isShort);
  rest = isShort ? readGroups(halves[1], true) : [];
  if (!groups || !rest) {
    return null;
  }
  missing = 8 - groups.length - rest.length;
  if (isShort ? missing < 1 : missing !== 0) {
    return null;
  }
  for (; missing > 0; missing -= 1) {
    groups.push(0);
  }
  return groups.concat(rest);
}

// An IPv4 address may stand in the last place.
function readGroups(text, isEnd) {
  var groups = [], parts = text === "" ? [] : text.split(":"), i, quad;
  for (i = 0; i < parts.length; i += 1) {
    quad = isEnd && i === parts.length - 1 ? readIPv4(parts[i]) : null;
    if (quad) {
      groups = groups.concat(quad);
    } else if (/^[0-9a-f]{1,4}$$/.test(parts[i])) {
      groups.push(parseInt(parts[i], 16));
    } else {
      return null;
    }
  }
  return groups;
}
""")
