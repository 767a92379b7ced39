"""Sections of the ini about access, as the rules see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_network

from proxyapp.rules.access import Access, Question
from proxyapp.rules.addresses import Network
from proxyapp.rules.domains import Domains, parse_domain
from proxyapp.rules.question import Action, Default, Period
from proxyapp.rules.schedule import Schedule, parse_schedule

# Monday, ten o'clock.
MONDAY_10 = 10 * 60


def networks(*texts: str) -> tuple[Network, ...]:
    """Return the networks written as *texts*."""
    return tuple(ip_network(text) for text in texts)


EVERYBODY = networks("0.0.0.0/0", "::/0")


@dataclass(frozen=True)
class DestinationOptions:
    """[access] destinations."""

    everything: bool = False
    public: bool = True
    networks: tuple[Network, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AccessOptions:
    """[access]."""

    clients: tuple[Network, ...] = ()
    site_clients: tuple[Network, ...] = ()
    destinations: DestinationOptions = field(default_factory=DestinationOptions)
    default: Default = Default.ALLOW


@dataclass(frozen=True)
class RuleOptions:
    """[rule NAME]."""

    name: str = "x"
    action: Action = Action.DENY
    place: str = ""
    clients: tuple[Network, ...] | None = None
    users: frozenset[str] | None = None
    domains: Domains | None = None
    ports: frozenset[int] | None = None
    methods: frozenset[bytes] | None = None
    services: frozenset[str] | None = None
    when: Schedule | None = None
    requests_per_second: float = 0.0
    bytes_per_second: int = 0
    quota_bytes: int = 0
    quota_period: Period = ""
    message: str = ""


def domains(*words: str) -> Domains:
    """Return the list of *words*."""
    return Domains(map(parse_domain, words))


def rule(text: str, action: Action = Action.DENY, name: str = "x") -> RuleOptions:
    """Return a rule whose one condition is *text*, as `ports 80 443`; the empty text is none."""
    option, *words = text.split() or ("",)
    options: dict[str, object] = {
        "": None,
        "clients": lambda: networks(*words),
        "users": lambda: frozenset(words),
        "domains": lambda: domains(*words),
        "ports": lambda: frozenset(map(int, words)),
        "methods": lambda: frozenset(word.encode() for word in words),
        "services": lambda: frozenset(words),
        "when": lambda: parse_schedule(" ".join(words)),
    }
    make = options[option]
    given = {option: make()} if callable(make) else {}
    return RuleOptions(name, action, f"x.ini:{len(name)}", **given)


def access(*rules: RuleOptions, default: Default = Default.ALLOW) -> Access:
    """Return a judge by *rules*, before whom all clients and ports are equal."""
    section = AccessOptions(EVERYBODY, EVERYBODY, DestinationOptions(), default)
    return Access(section, None, (), rules)


def question(
    service: str = "proxy",
    client: str = "10.0.0.7",
    user: str | None = None,
    method: bytes = b"GET",
    host: str = "www.example.com",
    port: int = 80,
) -> Question:
    """Return a question that is like many."""
    return Question(service, client, user, method, host, port)


SITE = question("site", host="", port=0)
