"""The part of the table of options that is about rules: [rule NAME]."""

from __future__ import annotations

from dataclasses import dataclass

from proxyapp.config import rulevalues
from proxyapp.config.domainlists import domains
from proxyapp.config.lists import Networks
from proxyapp.config.option import heading, option, place
from proxyapp.rules.domains import Domains
from proxyapp.rules.question import Action, Period
from proxyapp.rules.schedule import Schedule


@dataclass(frozen=True, slots=True)
class RuleSection:
    """Which requests the rule *name* is about, and what it says of them; None is no condition.

    *quota_bytes* is for each *quota_period*; limits of 0 are none.
    """

    name: str = heading(rulevalues.rule_name, "NAME")
    place: str = place()
    action: Action = option(
        rulevalues.action,
        "",
        "What it does with the requests that all its options below match: allow, deny, or report"
        " (log that it would deny, and go on); the first rule that allows or denies decides.",
        example="allow",
    )
    clients: Networks | None = option(
        rulevalues.clients,
        "",
        "Networks of clients.",
        example="192.168.8.0/24",
    )
    users: frozenset[str] | None = option(
        rulevalues.users,
        "",
        "Names of users; * is everybody with a password.",
        example="ann, bob",
    )
    domains: Domains | None = option(
        domains,
        "",
        "Hosts that are asked for: names, .domains (with all names below), @PATH of a file of names"
        " or a hosts file; * is every host.",
        example=".example.com, www.example.org",
    )
    ports: frozenset[int] | None = option(
        rulevalues.ports, "", "Ports that are asked for.", example="80, 443"
    )
    methods: frozenset[bytes] | None = option(
        rulevalues.methods, "", "Methods of requests.", example="GET, HEAD"
    )
    services: frozenset[str] | None = option(
        rulevalues.services,
        "",
        "Services that are used: proxy, tunnel, fetch, site.",
        example="proxy, fetch",
    )
    when: Schedule | None = option(
        rulevalues.when,
        "",
        "Days and times by the local clock, such as Mon-Fri 08:00-12:00, 13:00-17:00, Sat, Sun.",
        example="Mon-Fri 08:00-18:00",
    )
    requests_per_second: float = option(
        rulevalues.requests_per_second,
        "",
        "What each client may have of it, in requests (50/s, 100/m), in bytes (2MiB/s), or both.",
        name="rate",
        example="50/s, 2MiB/s",
    )
    bytes_per_second: int = option(rulevalues.bytes_per_second, "", "", name="rate")
    quota_bytes: int = option(
        rulevalues.quota_bytes,
        "",
        "How many bytes each client may have per day, week or month.",
        name="quota",
        example="5GiB/day",
    )
    quota_period: Period = option(rulevalues.quota_period, "", "", name="quota")
    message: str = option(
        rulevalues.message,
        "",
        "What those who are refused read.",
        example="Please ask the office for more.",
    )
