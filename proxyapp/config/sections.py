"""The table of options: for each its section, how it is read, its default, and one sentence.

A section is a frozen dataclass, and an option one field of it. The loader and the check of
etc/proxyapp.ini both read this table. The sections about the site are in `sitesections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from proxyapp.config import domainlists, lists, values
from proxyapp.config.cachesections import Cache, CacheRuleSection
from proxyapp.config.fetchsections import Fetch
from proxyapp.config.listeners import listeners
from proxyapp.config.lists import Destinations, Networks
from proxyapp.config.option import Heading, Option, option
from proxyapp.config.rulesections import RuleSection
from proxyapp.config.servicesections import Limits, Log, Proxyapp
from proxyapp.config.sitesections import (
    Auth,
    Autoconfig,
    Mount,
    Site,
    SiteRuleSection,
)
from proxyapp.config.upstreamsection import Upstream
from proxyapp.config.values import DAYS, HOURS, INSTANT, MANY
from proxyapp.rules.domains import Domains
from proxyapp.rules.hops import Forwarding
from proxyapp.rules.question import Default
from proxyapp.rules.wayback import Cookies

# Loopback, and what never comes from the internet: RFC 1918, 6598, 4193, 4291.
_LOCAL = (
    "127.0.0.0/8, ::1, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10,"
    " fc00::/7, fe80::/10"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """The forward proxy; *pseudonym* is empty where one is to be made up."""

    listen: tuple[str, ...] = option(
        listeners,
        "tcp:3128",
        "Where the proxy listens: Twisted endpoints, one a line; empty turns it off.",
    )
    via: bool = option(
        values.via, "on", "Add Via to what passes (RFC 9110 section 7.6.3); `on NAME` names us."
    )
    pseudonym: str = option(values.pseudonym, "on", "", name="via")
    forwarded: Forwarding = option(
        values.choice(Forwarding),
        "off",
        "What origins learn of the client's address: off (nothing), x-forwarded-for, forwarded"
        " (RFC 7239), or transparent (what the client itself says passes as it is).",
    )
    tls_upgrade_header: bytes = option(
        values.field_name,
        "X-Real-Protocol",
        "Request field that, with the value https, has an http:// URL fetched over TLS;"
        " empty turns it off.",
    )
    tls_upgrade_hosts: Domains | None = option(
        domainlists.domains,
        "",
        "Hosts whose http:// URLs are always fetched over TLS: names, .domains, @PATH; * is all.",
    )
    tls_upgrade_clients: Networks = option(
        lists.networks, _LOCAL, "Networks whose clients may have any TLS upgrade."
    )
    tls_upgrade_cookies: Cookies = option(
        values.choice(Cookies),
        "keep",
        "What becomes of Secure cookies in answers to http:// URLs that were upgraded: keep,"
        " plain (without what binds them to TLS), or drop.",
    )
    tls_upgrade_hsts: bool = option(
        values.boolean,
        "off",
        "Leave Strict-Transport-Security (RFC 6797) in answers to http:// URLs that were upgraded.",
    )
    tls_verify: bool = option(
        values.boolean, "on", "Check the certificates of origins that we speak TLS to."
    )
    tls_ca_file: Path | None = option(
        values.certificates_or_none,
        "",
        "PEM file of certificate authorities to trust beside the system's.",
    )


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections to origins; times in seconds."""

    max_idle_per_host: int = option(
        values.count(0, MANY), "10", "Idle connections kept per origin."
    )
    max_per_host: int = option(
        values.count(1, MANY), "256", "Open connections per origin; further requests queue."
    )
    max_total: int = option(
        values.count(1, MANY), "4096", "Open connections to all origins; further requests queue."
    )
    queue_timeout: float = option(
        values.duration(INSTANT, 1 * HOURS),
        "10s",
        "How long a request waits for a connection before it is answered 503.",
    )
    idle_timeout: float = option(
        values.duration(INSTANT, 1 * DAYS), "60s", "Close a connection that was idle for so long."
    )
    connect_timeout: float = option(
        values.duration(INSTANT, 1 * HOURS), "10s", "How long a TCP connect and TLS may take."
    )
    response_timeout: float = option(
        values.duration(INSTANT, 1 * DAYS), "60s", "How long the head of a response may take."
    )
    read_timeout: float = option(
        values.duration(INSTANT, 1 * DAYS), "60s", "How long an origin may pause inside a body."
    )
    retries: int = option(
        values.count(0, 10),
        "1",
        "How often an idempotent request is sent again when a reused connection died unused.",
    )


@dataclass(frozen=True, slots=True)
class Dns:
    """Name resolution; no *servers* stands for the host's own way."""

    servers: tuple[str, ...] = option(
        lists.name_servers,
        "system",
        "Name servers, as address or address:port; system uses the host's own.",
    )
    cache_ttl_max: float = option(
        values.duration(0, 7 * DAYS), "10m", "Longest time an answer is kept."
    )
    negative_ttl: float = option(
        values.duration(0, 1 * HOURS), "10s", "How long it is remembered that a name is unknown."
    )
    nat64_prefixes: tuple[IPv6Network, ...] = option(
        lists.nat64_prefixes,
        "",
        "Prefixes by which this network's NAT64 reaches IPv4 addresses, which are judged then,"
        " besides 64:ff9b::/96 and 64:ff9b:1::/48.",
    )


@dataclass(frozen=True, slots=True)
class Tunnel:
    """CONNECT and what else becomes a tunnel; *ports* None stands for every port."""

    ports: frozenset[int] | None = option(
        lists.ports, "443, 563, 8443", "Ports that CONNECT may reach; * is all of them."
    )
    idle_timeout: float = option(
        values.duration(INSTANT, 30 * DAYS), "1h", "End a tunnel that moved no byte for so long."
    )
    max_per_client: int = option(
        values.count(1, MANY), "256", "Open tunnels per client address; 503 beyond."
    )
    max_total: int = option(values.count(1, MANY), "8192", "Open tunnels; 503 beyond.")
    drain_timeout: float = option(
        values.duration(0, 30 * DAYS),
        "1h",
        "How long tunnels that are open may go on after a reload; at a stop 30s at most.",
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use what, to reach what."""

    clients: Networks = option(
        lists.networks, _LOCAL, "Networks whose clients may use proxy and tunnels; * is everybody."
    )
    site_clients: Networks = option(
        lists.networks, "*", "Networks whose clients may read the site; * is everybody."
    )
    destinations: Destinations = option(
        lists.destinations,
        "public",
        "What may be reached: public (every public address), networks, hosts, .domains;"
        " * is everything.",
    )
    default: Default = option(
        values.choice(Default, "deny"),
        "allow",
        "What happens to requests of these clients that no rule (see below) allows or denies,"
        " those to the site too: allow or deny.",
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured; *path* is the ini it came from, if there was one.

    Named sections come in the order of the file.
    """

    proxyapp: Proxyapp
    proxy: Proxy
    pool: Pool
    upstream: Upstream
    dns: Dns
    tunnel: Tunnel
    cache: Cache
    cache_rules: tuple[CacheRuleSection, ...]
    fetch: Fetch
    site: Site
    site_rules: tuple[SiteRuleSection, ...]
    mounts: tuple[Mount, ...]
    autoconfig: Autoconfig
    access: Access
    rules: tuple[RuleSection, ...]
    auth: Auth
    limits: Limits
    log: Log
    path: Path | None


NamedSection: TypeAlias = CacheRuleSection | SiteRuleSection | Mount | RuleSection
_Fetching: TypeAlias = Proxyapp | Proxy | Pool | Upstream | Dns | Tunnel | Cache | Fetch
Section: TypeAlias = _Fetching | Site | Autoconfig | Access | Auth | Limits | Log

SECTIONS: Mapping[str, type[Section]] = MappingProxyType(
    {
        "proxyapp": Proxyapp,
        "proxy": Proxy,
        "pool": Pool,
        "upstream": Upstream,
        "dns": Dns,
        "tunnel": Tunnel,
        "cache": Cache,
        "fetch": Fetch,
        "site": Site,
        "autoconfig": Autoconfig,
        "access": Access,
        "auth": Auth,
        "limits": Limits,
        "log": Log,
    }
)


def _options_of(section: type[Section | NamedSection]) -> Mapping[str, Option]:
    known: dict[str, Option] = {}
    for each in fields(section):
        declared: Option | None = each.metadata.get("option")
        if declared is not None:
            known[each.name] = declared._replace(name=declared.name or each.name)
    return MappingProxyType(known)


# Section -> field -> option. A field whose name isn't its option's is that option's second value.
OPTIONS: Mapping[str, Mapping[str, Option]] = MappingProxyType(
    {name: _options_of(section) for name, section in SECTIONS.items()}
)


class Family(NamedTuple):
    """The sections whose headings begin with one word, as `[mount /files]`, `[mount /log]`."""

    section: type[NamedSection]
    heading: Heading
    options: Mapping[str, Option]
    collection: str  # the field of Config that holds them
    place: str  # the field of the section that says where its heading stands, if it has one


def _family(section: type[NamedSection], collection: str) -> Family:
    (named,) = (each for each in fields(section) if "heading" in each.metadata)
    heading: Heading = named.metadata["heading"]._replace(field=named.name)
    place = next((each.name for each in fields(section) if "place" in each.metadata), "")
    return Family(section, heading, _options_of(section), collection, place)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "cache-rule": _family(CacheRuleSection, "cache_rules"),
        "site-rule": _family(SiteRuleSection, "site_rules"),
        "mount": _family(Mount, "mounts"),
        "rule": _family(RuleSection, "rules"),
    }
)
