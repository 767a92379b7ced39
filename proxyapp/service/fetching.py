"""Builds the content proxy, and finds the requests that are for it among those for the site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from twisted.internet.interfaces import IReactorTime

from proxyapp.config import Config
from proxyapp.exchange import Responder
from proxyapp.proxy.fetch import FetchOptions, FetchProxy, Guards, Terms
from proxyapp.rules.fetch import FetchRules
from proxyapp.rules.fetchfields import CrossOrigin
from proxyapp.server.doors import Door
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Form, Origin, Target

_FORMS = (Form.ORIGIN, Form.ABSOLUTE)


def with_fetch(
    doors: Mapping[Form, Door],
    config: Config,
    chain: Responder,
    guards: Guards,
    is_own: Callable[[Origin], bool],
    clock: IReactorTime,
    seconds: Callable[[], float],
) -> Mapping[Form, Door]:
    """Return *doors* with one for [fetch] path beside them, as long as there is one.

    *chain* fetches, and *is_own* says whether an absolute URL is one of this gateway.
    """
    given = config.fetch
    if not given.path:
        return doors
    rules = FetchRules(
        given.allow,
        given.deny,
        config.tunnel.ports,
        given.max_cache,
        given.types,
        given.sign_key,
        config.proxy.tls_upgrade_hosts,
    )
    pages = CrossOrigin(given.cors)
    fetch = FetchProxy(chain, Terms(rules, pages, given.max_size), guards, clock, seconds)
    door = Door("fetch", fetch, fetch.canonical, error_fields=fetch.error_fields)
    options = Door("site", FetchOptions(pages))
    aside = partial(_aside, given.path.encode("utf-8"), is_own, door, options)
    return {
        form: replace(each, aside=aside) if form in _FORMS else each for form, each in doors.items()
    }


def _aside(
    path: bytes,
    is_own: Callable[[Origin], bool],
    door: Door,
    options: Door,
    head: RequestHead,
    target: Target,
) -> Door | None:
    """Return *door* for what is to be fetched, and *options* for what may be asked beforehand."""
    if not target.path.startswith(path) or target.path[len(path) :][:1] not in (b"", b"?"):
        return None
    if target.origin is not None and not is_own(target.origin):
        return None
    # A browser asks for OPTIONS without a user, whatever it may do (the Fetch standard, 4.9).
    return options if head.method == b"OPTIONS" else door
