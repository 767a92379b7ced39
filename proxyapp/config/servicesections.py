"""The part of the table of options that is about the service as a whole: process, limits, log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxyapp.config import lists, logvalues, values
from proxyapp.config.option import option
from proxyapp.config.values import DAYS, GIB, HOURS, INSTANT, MANY, MIB
from proxyapp.rules.priorities import Level
from proxyapp.rules.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Proxyapp:
    """The process as a whole; no *hostnames* stand for those of the machine."""

    workers: int = option(
        values.workers,
        "1",
        "Worker processes that share the work; auto is one for each CPU.",
    )
    state_dir: Path = option(
        values.state_folder,
        "/var/lib/proxyapp",
        "Folder for what outlives a restart; by default $STATE_DIRECTORY,"
        " else $XDG_STATE_HOME/proxyapp, else ~/.local/state/proxyapp.",
        found=values.default_state_folder,
    )
    hostnames: tuple[str, ...] = option(
        lists.host_names,
        "",
        "Names by which clients address the gateway itself, the main one first; empty is this"
        " host's names.",
    )
    drain_timeout: float = option(
        values.duration(0, 1 * HOURS),
        "30s",
        "How long requests that are running may go on at a stop or a reload.",
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them, may take; sizes in bytes, times in seconds."""

    clients: int = option(values.count(1, MANY), "8192", "Open client connections.")
    per_client: int = option(
        values.count(1, MANY), "512", "Open client connections from one address."
    )
    request_head: int = option(
        values.size(256, 16 * MIB), "64KiB", "Longest request head; 431 beyond."
    )
    headers: int = option(values.count(1, 10_000), "128", "Fields in a request; 431 beyond.")
    head_timeout: float = option(
        values.duration(INSTANT, 1 * HOURS), "20s", "How long the head of a request may take."
    )
    idle_timeout: float = option(
        values.duration(INSTANT, 7 * DAYS), "60s", "Close a client connection idle for so long."
    )
    write_timeout: float = option(
        values.duration(INSTANT, 7 * DAYS), "60s", "Close on a client that takes no byte so long."
    )
    body: int = option(
        values.size(0, 1024 * 1024 * GIB), "0", "Longest request body, 413 beyond; 0 is unlimited."
    )


@dataclass(frozen=True, slots=True)
class Log:
    """The request log, and the event log."""

    requests: str = option(
        values.request_log,
        "-",
        "Where it goes: a file, - (standard output) or syslog:; empty turns it off.",
    )
    format: str = option(
        values.log_format,
        "combined",
        "Its lines: combined, common, squid, pool, json, or a format string.",
    )
    rotate: Rotation = option(
        logvalues.rotation,
        "no",
        "When a log file is put aside for a new one: daily, past a size such as 50MiB, or no;"
        " SIGUSR1 goes on in a new file once another program has renamed the old one.",
    )
    keep: int = option(
        values.count(0, 100_000),
        "14",
        "How many old files are kept, such as requests.log.2026-01-07; 0 keeps all.",
    )
    hostnames: bool = option(
        values.boolean,
        "no",
        "Show clients by their names, as far as they are known in time, and not by address.",
    )
    level: Level = option(
        values.choice(Level, empty="info"),
        "info",
        "What the event log is for: debug, info, warn, error or critical, and all that is worse.",
    )
    events: str = option(
        logvalues.event_log,
        "-",
        "Where the event log goes (starts, errors): a file, or - (standard output); empty turns"
        " it off.",
    )
