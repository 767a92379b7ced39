"""What is where on the site: the files, what is mounted, and the gateway's own pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from proxyapp.config import Config, Mount
from proxyapp.credentials import Credentials, SiteCredentials
from proxyapp.exchange import Responder
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.timers import Sweep
from proxyapp.rules import sitefields
from proxyapp.site import autoconfig, setup
from proxyapp.site.autoconfig import AutoconfigSite, Gateways
from proxyapp.site.confinement import Root
from proxyapp.site.digests import Digests
from proxyapp.site.fetchpage import FetchPage
from proxyapp.site.files import Extras, StaticSite
from proxyapp.site.listing import Listings
from proxyapp.site.logview import LogView
from proxyapp.site.memory import Memory
from proxyapp.site.mounts import SitePaths
from proxyapp.site.setup import FrontPage, SetupSite
from proxyapp.site.uploads import Uploads
from proxyapp.site.webresource import WebResource, load_resource

_T = TypeVar("_T")
# Uploads may have 32 threads waiting for the disk at once, folders and digests eight.
_THREADS = 48


class SiteError(Exception):
    """The site can't be built as the ini has it; the message is for the admin."""


class SiteMap(NamedTuple):
    """The site: *paths* answers whatever is asked, *setup* is the page that is always there."""

    paths: Responder
    setup: Responder


def build_site(
    config: Config,
    reactor: IApplianceReactor,
    sweep: Sweep,
    proxy_ports: Sequence[int],
    name: str,
    credentials: Credentials | None,
) -> SiteMap:
    """Build what the site's part of *config* describes; *proxy_ports* fill as they open.

    *name* is that of this machine. *credentials* are None where there are no users. Raises
    SiteError.
    """
    return _Building(config, reactor, sweep, proxy_ports, name, credentials).site()


class _Building:
    """The parts that several places of the site share."""

    def __init__(
        self,
        config: Config,
        reactor: IApplianceReactor,
        sweep: Sweep,
        proxy_ports: Sequence[int],
        name: str,
        credentials: Credentials | None,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._sweep = sweep
        self._gateways = Gateways(config.autoconfig.proxy, proxy_ports, name)
        self._memory = Memory(time.time)
        self._digests = Digests(self._in_thread)
        self._fields_for = partial(_fields_for, _site_rules(config))
        self._credentials = None if credentials is None else SiteCredentials(credentials)
        reactor.suggestThreadPoolSize(_THREADS)

    def site(self) -> SiteMap:
        """Return all of it."""
        automatic = self._config.autoconfig
        page = SetupSite(self._gateways, automatic.direct, has_pac=automatic.enabled)
        exact: dict[bytes, Responder] = {}
        if automatic.enabled:
            weights = (automatic.weights or (1,) * len(automatic.proxy)) * automatic.share
            pac = AutoconfigSite(self._gateways, automatic.direct, weights)
            exact = dict.fromkeys(autoconfig.PATHS, pac)
            exact |= {setup.PATH: page, setup.PATH + b"/": page}
        if self._config.fetch.path:
            exact[self._config.fetch.path.encode() + b"/"] = FetchPage()
        mounts = [(mount.path.encode(), self._mounted(mount)) for mount in self._config.mounts]
        return SiteMap(SitePaths(exact, mounts, self._root(page, exact)), page)

    def _root(self, page: SetupSite, reserved: dict[bytes, Responder]) -> Responder:
        given = self._config.site
        if given.root is None:
            return page
        root = Root(given.root, given.symlinks, given.hidden)
        uploads = None
        if given.upload and self._credentials is not None:
            uploads = Uploads(
                root,
                self._credentials,
                given.upload_limit,
                reserved,
                self._in_thread,
                time.time,
            )
        listings = self._listings(root) if given.listings else FrontPage(page)
        return self._files(root, Extras(listings, self._digests, uploads), b"")

    def _mounted(self, mount: Mount) -> Responder:
        prefix = mount.path.encode()
        if mount.log:
            requests = self._config.log.requests
            return LogView(requests, self._credentials, self._in_thread, prefix)
        if mount.root is None:
            try:
                return WebResource(load_resource(mount.resource), prefix, self._sweep)
            except ValueError as error:
                raise SiteError(f"[mount {mount.path}] resource: {error}") from error
        given = self._config.site
        root = Root(mount.root, given.symlinks, given.hidden)
        listings = self._listings(root) if given.listings else None
        return self._files(root, Extras(listings, self._digests, None), prefix)

    def _files(self, root: Root, extras: Extras, prefix: bytes) -> StaticSite:
        return StaticSite(
            self._config.site,
            root,
            self._fields_for,
            self._memory,
            self._in_thread,
            extras,
            prefix,
        )

    def _listings(self, root: Root) -> Listings:
        hidden = self._config.site.hidden
        page = setup.PATH.decode() if self._config.autoconfig.enabled else ""
        return Listings(root, hidden, self._in_thread, self._sweep, time.time, page)

    def _in_thread(self, job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), job)
        return done


def _site_rules(config: Config) -> tuple[sitefields.SiteRule, ...]:
    given = [
        sitefields.site_rule(rule.pattern, rule.headers, rule.cache_control)
        for rule in config.site_rules
    ]
    return sitefields.SiteRule("**", config.site.headers), *given


def _fields_for(
    rules: tuple[sitefields.SiteRule, ...], path: bytes
) -> tuple[tuple[bytes, bytes], ...]:
    return sitefields.fields_for(path, rules)
