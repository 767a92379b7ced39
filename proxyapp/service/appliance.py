"""The composition root: Config becomes a running service; the only module that knows all parts."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from proxyapp import errors
from proxyapp.config import Config
from proxyapp.config.judge import make_access, make_spellings
from proxyapp.exchange import Request, Responder
from proxyapp.limits import LedgerError
from proxyapp.net import pipes
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.sockets import Listen, listen_by_endpoint
from proxyapp.net.timers import Sweep
from proxyapp.proxy.fetch import Guards
from proxyapp.proxy.upgrade import TlsUpgrade
from proxyapp.rules.question import Decision, Question
from proxyapp.rules.record import Record
from proxyapp.rules.schedule import minute_of_week
from proxyapp.rules.wayback import Keeping
from proxyapp.server.admission import LONGEST_METHOD, Admission
from proxyapp.server.connection import Listener
from proxyapp.server.connections import Connections
from proxyapp.server.doors import Clients, Door, ServerLimits, Surroundings
from proxyapp.service.allowances import make_limits
from proxyapp.service.among import ALONE, Among
from proxyapp.service.caching import make_cache
from proxyapp.service.control import RunningCache
from proxyapp.service.entrances import Entrances
from proxyapp.service.fetching import with_fetch
from proxyapp.service.identity import Identity
from proxyapp.service.introduction import introduction
from proxyapp.service.logs import make_request_log
from proxyapp.service.origins import Origins
from proxyapp.service.sitemap import SiteError, build_site
from proxyapp.service.users import UsersError, make_credentials
from proxyapp.site import pages
from proxyapp.site.autoconfig import SETUP_HOST
from proxyapp.site.options import MisdirectedSite, ServerOptions
from proxyapp.site.setup import OwnUrls
from proxyapp.wire.headers import RawFields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import RequestHead
from proxyapp.wire.target import Form, Origin

_log = Logger()
_SITE_METHODS = b"GET, HEAD, OPTIONS"
_PROXY_METHODS = b"CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE"
# Our name in Proxy-Status.
_NAME = "proxyapp"


def build(
    config: Config,
    reactor: IApplianceReactor,
    listen: Listen | None = None,
    among: Among = ALONE,
) -> Appliance:
    """Build the service that *config* describes; nothing listens before it is started.

    *listen* opens its ports, where they aren't its own to make; *among* says which of several
    processes this is. Raises SystemExit, with a sentence for the admin, where something that is
    named can't be used.
    """
    try:
        return Appliance(config, reactor, listen or listen_by_endpoint(reactor), among)
    except (SiteError, UsersError) as error:
        raise SystemExit(f"proxyapp: {error}") from error
    except SSL.Error as error:
        raise SystemExit("proxyapp: [proxy] tls_ca_file holds no certificates in PEM") from error


class Appliance(Service):
    """All of it: the parts, the ports they listen on, and their start and stop."""

    def __init__(
        self, config: Config, reactor: IApplianceReactor, listen: Listen, among: Among
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._among = among
        self.entrances = Entrances(listen)
        # Filled while the ports open; the guard against loops and the site's pages read it.
        self._proxy_ports = self.entrances.numbers["proxy"]
        self._site_ports = self.entrances.numbers["site"]
        self.log = make_request_log(config, reactor)
        self.sweep = Sweep(reactor)
        self._access = make_access(config)
        self._origins = Origins(config, reactor, self.sweep, self._access, self._proxy_ports, among)
        self._cache = make_cache(config, reactor, self.sweep)
        self._judge: Callable[[Question], Decision] = lambda question: self._access.judge(
            question, _minute_of(time.time())
        )
        self._running_cache = RunningCache(
            config.proxyapp.state_dir, self._cache, self._judge, self.log, self.sweep, reactor
        )
        limits = _server_limits(config)
        self.clients = Clients(limits, among.clients)
        self._identity = Identity(config.proxyapp.hostnames)
        self._credentials = make_credentials(config, reactor, among)
        self._site = build_site(
            config,
            reactor,
            self.sweep,
            self._proxy_ports,
            self._identity.name,
            self._credentials,
        )
        self._limiter = make_limits(config, reactor, among)
        admission = Admission(self._access, self._credentials, config.auth.required, _minute_of)
        self._around = Surroundings(
            admission, self.log, _error_page, self.sweep, limits, time.time, self._limiter
        )

    # IService.

    def privilegedStartService(self) -> None:
        """Open every port, while low ones may still be opened; SystemExit where one can't be."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        proxy = Listener(self._around, self._with_fetch(self._proxy_doors()), self.clients)
        self.entrances.open("proxy", self._config.proxy.listen, proxy)
        site = Listener(self._around, self._with_fetch(self._site_doors()), self.clients)
        self.entrances.open("site", self._config.site.listen, site)

    @property
    def ports(self) -> Mapping[str, list[IListeningPort]]:
        """The ports that listen, by section."""
        return self.entrances.ports

    @property
    def connections(self) -> Connections:
        """The client connections that are open."""
        return self._around.connections

    async def stop_listening(self) -> None:
        """Accept no more, and let another process have what there can be only one of."""
        await self._running_cache.stop_listening()
        await self.entrances.close()

    def startService(self) -> None:
        """Start what runs by itself, and say where we are."""
        super().startService()  # type: ignore[no-untyped-call]
        _raise_descriptor_limit()
        try:
            self._limiter.start()
        except LedgerError as error:
            raise SystemExit(f"proxyapp: {error}") from error
        self.sweep.start()
        self._origins.uplink.start()
        self._running_cache.start(self._chain, self._among.is_first)
        self._reactor.addSystemEventTrigger("after", "shutdown", self.log.close)
        if self._among.is_first:
            # Said once signals are heeded: whoever reads it may stop us at once.
            self._reactor.callWhenRunning(self._introduce)

    def _introduce(self) -> None:
        for line in introduction(self._config, self.ports, self._identity.name):
            _log.info("{line}", line=line)

    def stopService(self) -> Deferred[list[None]]:
        """Close the ports and the idle connections; fires when the ports are closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        closing: list[Deferred[None]] = [Deferred.fromCoroutine(self._limiter.stop())]
        closing.append(Deferred.fromCoroutine(self._running_cache.stop()))
        self._origins.stop()
        self.sweep.stop()
        pipes.close_free()
        closing.append(Deferred.fromCoroutine(self.stop_listening()))
        return gatherResults(closing)

    # The parts.

    def _proxy_doors(self) -> Mapping[Form, Door]:
        forward = self._origins.forward()
        # What is fetched takes the same way; TLS for it is no favour to the client.
        self._chain: Responder = forward
        if self._cache is not None:
            self._chain = self._cache.before(forward)
        self._chain = self._origins.checked(self._chain)
        upgrade = TlsUpgrade(
            self._chain,
            make_spellings(self._config),
            Keeping(self._config.proxy.tls_upgrade_cookies, self._config.proxy.tls_upgrade_hsts),
            self._access.may_upgrade_tls,
            self._is_own,
        )
        own_or_forward = OwnUrls(
            upgrade,
            self._site.setup,
            self._site.paths,
            self._proxy_ports,
            self._site_ports,
            self._identity.is_meant,
            self._may_read_site,
        )
        return {
            Form.ABSOLUTE: Door("proxy", own_or_forward, upgrade.canonical),
            Form.AUTHORITY: Door("tunnel", self._origins.tunnel()),
            Form.ORIGIN: Door("site", self._site.paths),
            Form.ASTERISK: Door("proxy", ServerOptions(_PROXY_METHODS)),
        }

    def _is_own(self, origin: Origin) -> bool:
        """Are requests for *origin* for us, and not to be forwarded?"""
        is_ours = origin.port in self._site_ports or origin.port in self._proxy_ports
        return origin.host == SETUP_HOST or (is_ours and self._identity.is_meant(origin.host))

    def _with_fetch(self, doors: Mapping[Form, Door]) -> Mapping[Form, Door]:
        """Return *doors* with that of the content proxy beside them."""
        guards = Guards(self._judge, self._limiter.admit)
        return with_fetch(
            doors, self._config, self._chain, guards, self._is_own, self._reactor, time.time
        )

    def _may_read_site(self, request: Request, user: str | None) -> Decision:
        """Say whether the site may be read by who asks the proxy for it."""
        method = request.head.method[:LONGEST_METHOD]
        question = Question("site", request.client.host, user, method, "", 0)
        return self._judge(question)

    def _site_doors(self) -> Mapping[Form, Door]:
        site = MisdirectedSite(self._site.paths, self._proxy_ports, self._identity.is_meant)
        misdirected = Door("site", site)
        return {
            Form.ABSOLUTE: misdirected,
            Form.AUTHORITY: misdirected,
            Form.ORIGIN: Door("site", self._site.paths),
            Form.ASTERISK: Door("site", ServerOptions(_SITE_METHODS)),
        }


def _minute_of(seconds: float) -> int:
    """Return the minute of the local week, *seconds* after the epoch."""
    local_time = time.localtime(seconds)
    return minute_of_week(local_time.tm_wday, local_time.tm_hour, local_time.tm_min)


def _server_limits(config: Config) -> ServerLimits:
    given = config.limits
    return ServerLimits(
        head=HeadLimits(given.request_head, given.headers),
        clients=given.clients,
        per_client=given.per_client,
        body=given.body,
        head_timeout=given.head_timeout,
        idle_timeout=given.idle_timeout,
        write_timeout=given.write_timeout,
        read_timeout=config.pool.read_timeout,
    )


def _error_page(
    error: errors.ExchangeError, head: RequestHead | None, record: Record
) -> tuple[RawFields, bytes]:
    """Return fields and body of the page for *error*; with Proxy-Status where we were a proxy."""
    accept = head.fields.get(b"accept") if head is not None else None
    method, url = (head.method, head.target) if head is not None else (b"", b"")
    request_id = record.request_id or None
    fields, body = pages.error_page(error, accept, method=method, url=url, request_id=request_id)
    status = pages.proxy_status(error, _NAME.encode("ascii")) if record.service != "site" else b""
    return ([*fields, (b"Proxy-Status", status)] if status else fields), body


def _raise_descriptor_limit() -> None:
    """Take all the descriptors that we may have: every connection is one, every tunnel two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
