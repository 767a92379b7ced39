"""A list in the ini file: networks, destinations, ports, servers, file names."""

from __future__ import annotations

import difflib
import ipaddress
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules.addresses import NAT64_LENGTHS

T = TypeVar("T")
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks: TypeAlias = tuple[Network, ...]

EVERYBODY: Networks = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
# A list file is read whole, before anything runs; one past this is a mistake, not a list.
MAX_LIST_FILE = 64 * 1024 * 1024
# Each unit of weight costs clients one computation for each request.
MOST_WEIGHT = 16
# Of a file that is something else, the first faults say enough.
MOST_FAULTS = 20

_SEPARATORS = re.compile(r"[,\s]+")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*")
_LOOKS_NUMERIC = re.compile(r".*[/:].*|[0-9.]+", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
_CODINGS = ("br", "zst", "gzip")
_CODING_NAMES = {"brotli": "br", "zstd": "zst", "gz": "gzip", "x-gzip": "gzip"}
_BRACKETED = re.compile(r"\[([^\]]*)\](?::(.*))?")


@dataclass(frozen=True, slots=True)
class Destinations:
    """What may be reached, judged on the address that is dialled.

    *hosts* are names in lower case; `.corp` stands for corp and every name below it.
    """

    everything: bool = False
    public: bool = False
    networks: Networks = ()
    hosts: tuple[str, ...] = ()


class _Word(NamedTuple):
    text: str
    place: str  # "" in the ini itself, else "FILE line N: "


def words(text: str) -> list[str]:
    """Split *text* at commas, blanks and line ends."""
    return [word for word in _SEPARATORS.split(text) if word]


def networks(text: str, surroundings: Surroundings) -> Networks:
    """Read addresses and networks; `*` is everybody, `@PATH` the entries of a file."""
    found = _read_each(_expand(text, surroundings), _networks_of)
    return tuple(dict.fromkeys(network for group in found for network in group))


def destinations(text: str, surroundings: Surroundings) -> Destinations:
    """Read `public`, networks, hosts and domains (`.lab.example`); `*` is everything."""
    found = _read_each(_expand(text, surroundings), _destination)
    return Destinations(
        everything="*" in found,
        public="public" in found,
        networks=tuple(dict.fromkeys(item for item in found if not isinstance(item, str))),
        hosts=tuple(
            dict.fromkeys(
                item for item in found if isinstance(item, str) and item not in ("*", "public")
            )
        ),
    )


def ports(text: str, _: Surroundings) -> frozenset[int] | None:
    """Read port numbers; None stands for `*`, every port."""
    found = words(text)
    if found == ["*"]:
        return None
    return frozenset(_read_each([_Word(word, "") for word in found], _port))


def name_servers(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read addresses of name servers, each with an optional port; empty stands for `system`."""
    found = words(text)
    if found == ["system"]:
        return ()
    if not found:
        raise WrongValue("is empty; system, or the addresses of name servers, would be right")
    return tuple(_read_each([_Word(word, "") for word in found], _name_server))


def nat64_prefixes(text: str, surroundings: Surroundings) -> tuple[ipaddress.IPv6Network, ...]:
    """Read prefixes of NAT64 (RFC 6052 section 2.2), the longest first."""
    found = _read_each(_expand(text, surroundings), _nat64_prefix)
    return tuple(sorted(dict.fromkeys(found), key=lambda prefix: -prefix.prefixlen))


def file_names(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read names of files, without folders."""
    return tuple(_read_each([_Word(word, "") for word in words(text)], _file_name))


def direct_hosts(text: str, surroundings: Surroundings) -> tuple[str, ...]:
    """Read names, also with `*` in them, domains (`.lab.example`) and networks, as text."""
    found = _read_each(_expand(text, surroundings), _direct_host)
    return tuple(dict.fromkeys(found))


def gateways(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read host:port of proxies, in the order in which they are to be tried."""
    return tuple(dict(_read_each([_Word(word, "") for word in words(text)], _weighted)))


def gateway_weights(text: str, _: Surroundings) -> tuple[int, ...]:
    """Read the weights of proxies, 1 where none stands behind it as `*N`; none if all are 1."""
    found = dict(_read_each([_Word(word, "") for word in words(text)], _weighted)).values()
    return tuple(found) if max(found, default=1) > 1 else ()


def host_names(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read names of a host, in lower case."""
    found = _read_each([_Word(word, "") for word in words(text)], _host_name)
    return tuple(dict.fromkeys(found))


def content_codings(text: str, _: Surroundings) -> tuple[str, ...]:
    """Read names of content codings, in the order of preference."""
    found = _read_each([_Word(word, "") for word in words(text)], _content_coding)
    return tuple(dict.fromkeys(found))


def _read_each(found: list[_Word], parse: Callable[[str], T]) -> list[T]:
    """Parse every word, and complain about all the wrong ones at once."""
    values: list[T] = []
    reasons: list[str] = []
    for word in found:
        try:
            values.append(parse(word.text))
        except WrongValue as wrong:
            reasons += [word.place + reason for reason in wrong.reasons]
    if len(reasons) > MOST_FAULTS:
        reasons[MOST_FAULTS:] = [f"{len(reasons) - MOST_FAULTS} more entries are wrong"]
    if reasons:
        raise WrongValue(*reasons)
    return values


def _expand(text: str, surroundings: Surroundings) -> list[_Word]:
    found: list[_Word] = []
    for word in words(text):
        if word[0] == "@":
            found += _words_of_file(word[1:], surroundings)
        else:
            found.append(_Word(word, ""))
    return found


def list_file(name: str, surroundings: Surroundings) -> Path:
    """Return the file of `@NAME`, if it may be read whole; raises WrongValue."""
    file = surroundings.folder / name
    try:
        status = file.stat()
    except OSError as error:
        raise unreadable(name, error) from error
    if not stat.S_ISREG(status.st_mode):  # a pipe would be read for ever
        raise WrongValue(f"'@{name}' is no file; @PATH of a readable file would be right")
    if status.st_size > MAX_LIST_FILE:
        raise WrongValue(f"'@{name}' is larger than {MAX_LIST_FILE >> 20} MiB; split it")
    return file


def unreadable(name: str, error: OSError) -> WrongValue:
    """Return what is wrong with `@NAME` where it can't be read."""
    reason = f"can't be read ({error.strerror}); @PATH of a readable file is right"
    return WrongValue(f"'@{name}' {reason}")


def _words_of_file(name: str, surroundings: Surroundings) -> Iterator[_Word]:
    """Yield the entries of a list file: one a line, `#` begins a comment."""
    file = list_file(name, surroundings)
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(name, error) from error
    except UnicodeDecodeError as error:
        raise WrongValue(f"'@{name}' is not UTF-8; save it as UTF-8") from error
    for number, line in enumerate(content.split("\n"), 1):
        for word in words(line.partition("#")[0]):
            yield _Word(word, f"{file} line {number}: ")


def _networks_of(word: str) -> Networks:
    return EVERYBODY if word == "*" else (_network(word),)


def _network(word: str) -> Network:
    if "%" in word:
        raise WrongValue(f"{shown(word)} names an interface; the address alone would be right")
    try:
        return ipaddress.ip_network(word)
    except ValueError as error:
        raise WrongValue(f"{shown(word)} {_what_is_wrong_with_network(word)}") from error


def _nat64_prefix(word: str) -> ipaddress.IPv6Network:
    prefix = _network(word)
    lengths = ", ".join(map(str, NAT64_LENGTHS))
    if not isinstance(prefix, ipaddress.IPv6Network) or prefix.prefixlen not in NAT64_LENGTHS:
        reason = f"an IPv6 network with a prefix of {lengths} bits would be right"
        raise WrongValue(f"{shown(word)} is no prefix of NAT64; {reason}")
    return prefix


def _what_is_wrong_with_network(word: str) -> str:
    try:
        right = ipaddress.ip_network(word, strict=False)
    except ValueError:
        return "is not a network; an address or network such as 10.0.0.0/8 would be right"
    return f"has bits set beyond its prefix; {right} would be right"


def _destination(word: str) -> str | Network:
    if word in ("*", "public"):
        return word
    if _LOOKS_NUMERIC.fullmatch(word):
        return _network(word)
    name = _host(word)
    is_near = difflib.SequenceMatcher(None, name, "public").ratio() > 0.8 and "." not in name
    if is_near or name == "private":
        raise WrongValue(f"{shown(word)} is not known; public, or networks, would be right")
    return name


def _direct_host(word: str) -> str:
    if _LOOKS_NUMERIC.fullmatch(word):
        return str(_network(word))
    name = word.lower()
    if "*" not in name:
        return _host(word)
    if not name.strip("*."):
        raise WrongValue(f"{shown(word)} is every host; names, .domains or networks would be right")
    _host(name.replace("*", "x"))
    return name


def _host(word: str) -> str:
    name = word.lower()
    if not name.isascii():
        raise WrongValue(f"{shown(word)} is not ASCII; {_ascii_form(name)} would be right")
    if name.startswith("*."):
        raise WrongValue(f"{shown(word)} is not a domain; {name[1:]} would be right")
    if not _HOST.fullmatch(name) or len(name) > 254:
        raise WrongValue(f"{shown(word)} is not a host; a name or .domain would be right")
    return name


def _host_name(word: str) -> str:
    if _LOOKS_NUMERIC.fullmatch(word):
        raise WrongValue(f"{shown(word)} is no name; gateway.lan would be right")
    name = _host(word)
    if name.startswith("."):
        raise WrongValue(f"{shown(word)} is a domain; the names of one host would be right")
    return name


def _ascii_form(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return "its xn-- form"


def _port(word: str) -> int:
    number = int(word) if _PORT.fullmatch(word) else 0
    if not 0 < number < 65536:
        raise WrongValue(f"{shown(word)} is not a port; numbers from 1 to 65535 (or * alone) are")
    return number


def _name_server(word: str) -> str:
    address, port = _split_server(word)
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        reason = f"{shown(word)} is no address; 9.9.9.9, 9.9.9.9:53 or [2620:fe::fe]:53 is right"
        raise WrongValue(reason) from error
    if port is not None:
        _port(port)
    return word


def _split_server(word: str) -> tuple[str, str | None]:
    match = _BRACKETED.fullmatch(word)
    if match:
        return match[1], match[2]
    if word.count(":") == 1:
        address, _, port = word.partition(":")
        return address, port
    return word, None


def _weighted(word: str) -> tuple[str, int]:
    gateway, _, weight = word.rpartition("*")
    if not gateway or not weight.isdecimal():
        return _gateway(word), 1
    number = int(weight[:3])
    if not 1 <= number <= MOST_WEIGHT:
        raise WrongValue(f"{shown(word)} has no weight; *1 to *{MOST_WEIGHT} would be right")
    return _gateway(gateway), number


def _gateway(word: str) -> str:
    host, port = _split_server(word.lower())
    if port is None:
        raise WrongValue(f"{shown(word)} has no port; gateway.lan:3128 or [fd00::1]:3128 is right")
    _port(port)
    is_name = not host.startswith(".") and _HOST.fullmatch(host)
    if not (_is_ipv6(host) if word[0] == "[" else is_name):
        raise WrongValue(f"{shown(word)} names no host; gateway.lan:3128 would be right")
    return word.lower()


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6 and "%" not in host
    except ValueError:
        return False


def _content_coding(word: str) -> str:
    name = word.lower()
    if name not in _CODINGS:
        right = _CODING_NAMES.get(name.removeprefix("."), ", ".join(_CODINGS))
        raise WrongValue(f"{shown(word)} is no content coding here; {right} would be right")
    return name


def _file_name(word: str) -> str:
    if "/" in word or word in (".", "..") or "\0" in word:
        raise WrongValue(f"{shown(word)} is not a file name; index.html would be right")
    return word
