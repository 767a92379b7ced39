"""The two logs as [log] describes them: their files, how these are rotated, and clients' names."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from twisted.names import client as names_client

from proxyapp.config import Config
from proxyapp.logs.clientnames import ClientNames
from proxyapp.logs.eventlog import EventLog, Output, open_output
from proxyapp.logs.logfile import Rotating
from proxyapp.logs.sinks import LogError
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.net.resolver import name_server
from proxyapp.net.reverse import ServerNames, SystemNames
from proxyapp.requestlog import RequestLogger, open_log
from proxyapp.rules.events import Events

_STANDARD_OUTPUT = 1


def make_request_log(config: Config, reactor: IApplianceReactor) -> RequestLogger:
    """Open the request log; SystemExit, with a sentence for the admin, if it can't be."""
    given = config.log
    names = ClientNames(_reverse(config, reactor), reactor.seconds) if given.hostnames else None
    rotating = Rotating(given.rotate, given.keep, time.time, reactor.callInThread)
    try:
        return open_log(given.requests, given.format, reactor, rotating, names, _journal_stream())
    except LogError as error:
        raise SystemExit(f"proxyapp: {error}") from error


def make_event_log(config: Config) -> EventLog:
    """Open the event log; SystemExit, with a sentence for the admin, if it can't be."""
    try:
        return EventLog(events_of(config), _open_events)
    except LogError as error:
        raise SystemExit(f"proxyapp: {error}") from error


def events_of(config: Config) -> Events:
    """Return what [log] says of events."""
    given = config.log
    return Events(given.events, given.level, given.rotate, given.keep)


def _open_events(events: Events) -> Output:
    rotating = Rotating(events.rotation, events.keep, time.time, _in_own_thread)
    return open_output(events, _STANDARD_OUTPUT, _journal_stream(), rotating)


def _journal_stream() -> str:
    return os.environ.get("JOURNAL_STREAM", "")


def _in_own_thread(job: Callable[[], None]) -> None:
    # Events are logged before the reactor runs, and after it has ended.
    threading.Thread(target=job, daemon=True).start()


def _reverse(config: Config, reactor: IApplianceReactor) -> SystemNames | ServerNames:
    if not config.dns.servers:
        return SystemNames(reactor)
    servers = [name_server(given) for given in config.dns.servers]
    return ServerNames(names_client.Resolver(servers=servers, reactor=reactor))
