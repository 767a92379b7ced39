"""What is wrong in the ini only because of what stands elsewhere in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeAlias

from proxyapp.config.cachecontradictions import cache_contradictions
from proxyapp.config.ini import Mistake, Place
from proxyapp.config.listeners import is_shareable
from proxyapp.config.rulesections import RuleSection
from proxyapp.config.sections import Config
from proxyapp.config.sitesections import Mount
from proxyapp.config.upstreamcontradictions import upstream_contradictions
from proxyapp.rules.question import Action
from proxyapp.rules.rule import conditions

# Says where an option of a section was written; where it wasn't, where its section was.
FindPlace: TypeAlias = Callable[[str, str], Place]


def contradictions(config: Config, place: FindPlace) -> Iterator[Mistake]:
    """Find every contradiction in *config*; each is reported where one of its sides stands."""
    found = chain(
        _listeners(config),
        _logs(config),
        cache_contradictions(config),
        upstream_contradictions(config),
        _uploads(config),
        _mounts(config),
        _fetch(config),
        _sharing(config),
        _site_rules(config),
        _rules(config),
        _shadowed(config),
    )
    for section, option, reason in found:
        about = f"[{section}] {option}" if option else f"[{section}]"
        yield Mistake(place(section, option), about, reason)


_Found: TypeAlias = Iterator[tuple[str, str, str]]


def _listeners(config: Config) -> _Found:
    listening = [("proxy", each) for each in config.proxy.listen]
    listening += [("site", each) for each in config.site.listen]
    if not listening:
        reason = "nothing listens, neither proxy nor site; tcp:3128 would be right"
        yield "proxy", "listen", reason
    taken: dict[str, str] = {}
    for section, description in listening:
        if description in taken and not is_shareable(description):
            reason = f"{description} is taken by [{taken[description]}] listen; use another"
            yield section, "listen", reason
        taken.setdefault(description, section)


def _logs(config: Config) -> _Found:
    log = config.log
    if log.events == log.requests and log.events not in ("", "-"):
        yield "log", "events", f"{log.events} is the request log; another file would be right"


def _uploads(config: Config) -> _Found:
    if not config.site.upload:
        return
    if not config.auth.users:
        reason = "nobody has a password to upload with; name [auth] users, or say no"
        yield "site", "upload", reason
    if config.site.root is None:
        yield "site", "upload", "there is no folder to upload to; name [site] root, or say no"


def _mounts(config: Config) -> _Found:
    for mount in config.mounts:
        section = f"mount {mount.path}"
        given = _sources(mount)
        if not given:
            right = "root = DIR, resource = module:Class or log = yes would be right"
            yield section, "", f"mounts nothing; {right}"
        for option in given[1:]:
            yield section, option, f"{given[0]} is there too; one of them would be right"
        if mount.log and config.log.requests in ("", "-", "syslog:"):
            reason = "the request log is no file; [log] requests = FILE would be right"
            yield section, "log", reason


def _fetch(config: Config) -> _Found:
    path = config.fetch.path
    if path and any(path == mount.path for mount in config.mounts):
        yield f"mount {path}", "", "is the path of [fetch], too; another path would be right"


def _sharing(config: Config) -> _Found:
    given = config.autoconfig
    if given.weights and not given.share:
        yield "autoconfig", "proxy", "weights count where share = yes is; say that, or none"
    if given.share and len(given.proxy) < 2:
        reason = "there is one proxy at most to spread hosts over; list all in proxy, or say no"
        yield "autoconfig", "share", reason


def _sources(mount: Mount) -> list[str]:
    given = {"root": mount.root is not None, "resource": mount.resource != "", "log": mount.log}
    return [option for option, is_given in given.items() if is_given]


def _site_rules(config: Config) -> _Found:
    for rule in config.site_rules:
        names = {name.lower() for name, _ in rule.headers}
        if rule.cache_control and b"cache-control" in names:
            reason = "cache_control is there too; one of them would be right"
            yield f"site-rule {rule.pattern}", "headers", reason


def _rules(config: Config) -> _Found:
    for rule in config.rules:
        section = f"rule {rule.name}"
        if rule.users and not config.auth.users:
            yield section, "users", "nobody has a password, so it never matches; name [auth] users"
        if rule.services == frozenset(("site",)):
            for option in sorted({"domains", "ports"}.intersection(conditions(rule))):
                reason = "requests to the site have none, so it never matches; leave it out"
                yield section, option, reason
        yield from _never_used(section, rule)


def _never_used(section: str, rule: RuleSection) -> _Found:
    given = {"rate": bool(rule.requests_per_second or rule.bytes_per_second)}
    given["quota"] = bool(rule.quota_bytes)
    for option, is_given in given.items():
        if is_given and rule.action is not Action.ALLOW:
            reason = f"a rule with action = {rule.action.value} lets nothing pass to be limited"
            yield section, option, f"{reason}; action = allow would be right"
    is_refusing = rule.action is Action.DENY or any(given.values())
    if rule.message and not is_refusing:
        yield section, "message", "nobody is ever refused by this rule; leave it out"


def _shadowed(config: Config) -> _Found:
    """Find rules behind one that decides everything."""
    everything: RuleSection | None = None
    for rule in config.rules:
        if everything is not None:
            above = f"[rule {everything.name}] at {everything.place}"
            reason = f"is never asked, because {above} matches everything; put it above that"
            yield f"rule {rule.name}", "", reason
        elif rule.action is not Action.REPORT and not conditions(rule):
            everything = rule
