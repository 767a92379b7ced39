"""The proxies that are measured: how each is configured, started and named."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import certificates, nginx, options, origin, servers

OURS = "proxyapp"
ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "twisted" / "plugins" / "proxyapp_plugin.py"
TWISTD = "from twisted.scripts.twistd import run; run()"
MAX_CLIENTS = 20_000
# Every pool may keep one connection for each of the load's: Squid has no such limit at all.
MIN_IDLE = 64
# Of a cache: its room in memory, on disk, and for one response.
MEMORY_MIB = 64
DISK_MIB = 2048
OBJECT_MIB = 512
SQUID_FOLDERS = 16


@dataclass(frozen=True)
class Ground:
    """What one subject is given to stand on: a writable folder, ports, and the load's size.

    *files* is the folder that the subject's site serves on *site_port*, if it has one. *trusted* is
    the authority of an origin with TLS. Where it *caches*, there is room in memory and on disk.
    """

    program: str
    folder: Path
    port: int
    site_port: int
    origin_port: int
    files: Path
    connections: int
    settings: tuple[str, ...]
    trusted: Path | None = None
    caches: bool = False


@dataclass(frozen=True)
class Kind:
    """One sort of proxy: where its program is, the command that runs it, and what it can do."""

    name: str
    find: Callable[[], str | None]
    argv: Callable[[Ground], list[str]]
    tunnels: bool = True
    keeps_clients: bool = True
    serves_files: bool = False
    upgrades: bool = False
    caches: bool = False


@dataclass(frozen=True)
class Subject:
    """A running proxy; *key* names it on the command line, *name* in the tables."""

    key: str
    name: str
    port: int
    server: servers.Server
    site_port: int = 0


def start(
    key: str,
    base: Path,
    cpus: Collection[int],
    origin_port: int,
    chosen: options.Options,
    caches: bool = False,
) -> Subject:
    """Start the subject *key*; raises servers.StartFailed, with nothing left running."""
    kind = KINDS[key]
    program = kind.find()
    if program is None:
        raise servers.StartFailed(f"{kind.name} is not installed")
    folder = Path(tempfile.mkdtemp(prefix=key + "-", dir=base))
    folder.chmod(0o777)  # Squid gives up root for a user of its own before it opens its log
    port, site_port = servers.free_ports(2)
    trusted = base / certificates.TRUSTED
    ground = Ground(
        program,
        folder,
        port,
        site_port,
        origin_port,
        base / origin.FILES,
        chosen.connections,
        chosen.settings,
        trusted if trusted.exists() else None,
        caches,
    )
    server = servers.Server(kind.name, kind.argv(ground), folder, cpus, _environment(folder))
    try:
        server.await_port(port)
    except BaseException:
        server.stop()
        raise
    return Subject(key, kind.name, port, server, site_port)


def proxyapp(ground: Ground) -> list[str]:
    """Write an ini with rules, limits and log on; return the command."""
    ini = ground.folder / "proxyapp.ini"
    ini.write_text(f"""\
[proxy]
listen = tcp:{ground.port}:interface=127.0.0.1
tls_ca_file = {ground.trusted or ""}
[site]
listen = tcp:{ground.site_port}:interface=127.0.0.1
root = {ground.files}
[tunnel]
ports = *
[access]
destinations = *
[pool]
max_idle_per_host = {max(MIN_IDLE, ground.connections)}
[limits]
clients = {MAX_CLIENTS}
per_client = {MAX_CLIENTS}
idle_timeout = 10m
[log]
requests = {ground.folder}/requests.log
[cache]
memory = {MEMORY_MIB if ground.caches else 0}MiB
disk = {DISK_MIB if ground.caches else 0}MiB
max_object = {OBJECT_MIB}MiB
""")
    argv = [ground.program, "-c", TWISTD, "-n", "--pidfile=", "proxyapp", "--config", str(ini)]
    return argv + [word for setting in ground.settings for word in ("--set", setting)]


def squid(ground: Ground) -> list[str]:
    """Write a configuration with the log on; return the command."""
    config = ground.folder / "squid.conf"
    tls = f"tls_outgoing_options cafile={ground.trusted}" if ground.trusted else ""
    cache = _squid_cache(ground.folder) if ground.caches else "cache deny all"
    config.write_text(f"""\
http_port 127.0.0.1:{ground.port}
acl clients src 127.0.0.0/8
http_access allow clients
http_access deny all
{cache}
{tls}
workers 1
max_filedescriptors {MAX_CLIENTS}
client_idle_pconn_timeout 10 minutes
access_log daemon:{ground.folder}/access.log squid
cache_log {ground.folder}/cache.log
pid_filename {ground.folder}/squid.pid
coredump_dir {ground.folder}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname localhost
""")
    name = f"bench{ground.port}"  # of its shared memory: never that of a Squid in service here
    return [ground.program, "--foreground", "-n", name, "-f", str(config)]


def _squid_cache(folder: Path) -> str:
    """Return a cache like ours; what is hot and not long may be in memory, which suits it best."""
    for first, second in itertools.product(range(SQUID_FOLDERS), repeat=2):
        below = folder / "cache" / f"{first:02X}" / f"{second:02X}"
        below.mkdir(parents=True)
        for each in (below, *below.parents[:2]):
            each.chmod(0o777)  # as its own folder
    return f"""\
cache_mem {MEMORY_MIB} MB
maximum_object_size_in_memory 4 MB
maximum_object_size {OBJECT_MIB} MB
cache_dir aufs {folder}/cache {DISK_MIB} {SQUID_FOLDERS} {SQUID_FOLDERS}
collapsed_forwarding on"""


def tinyproxy(ground: Ground) -> list[str]:
    """Write a configuration that allows every CONNECT port; return the command."""
    config = ground.folder / "tinyproxy.conf"
    config.write_text(f"""\
Listen 127.0.0.1
Port {ground.port}
Allow 127.0.0.0/8
MaxClients {max(512, 2 * ground.connections)}
Timeout 600
LogLevel Connect
LogFile "{ground.folder}/tinyproxy.log"
PidFile "{ground.folder}/tinyproxy.pid"
""")
    return [ground.program, "-d", "-c", str(config)]


def reverse_proxy(ground: Ground) -> list[str]:
    """Write the configuration of the reference row, with a site; return the command."""
    log = ground.folder / "access.log"
    idle = max(MIN_IDLE, ground.connections)
    http = nginx.reverse_proxy(ground.port, ground.origin_port, idle, log)
    site = nginx.files(ground.site_port, ground.files)
    return nginx.argv(ground.program, ground.folder, f"{http}\n{site}")


def _python() -> str | None:
    """Return this interpreter if proxyapp can run on it."""
    twisted = importlib.util.find_spec("twisted")
    # The folder of our plugin alone makes a namespace package, which has no origin.
    can_run = PLUGIN.exists() and twisted is not None and twisted.origin is not None
    return sys.executable if can_run else None


def _environment(folder: Path) -> Mapping[str, str]:
    """Return the environment of a subject: proxyapp is found, and its state lands in *folder*."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(folder)}


KINDS: dict[str, Kind] = {
    "proxyapp": Kind("proxyapp", _python, proxyapp, serves_files=True, upgrades=True, caches=True),
    "squid": Kind("Squid", lambda: _installed("squid"), squid, upgrades=True, caches=True),
    "tinyproxy": Kind("tinyproxy", lambda: _installed("tinyproxy"), tinyproxy, keeps_clients=False),
    "nginx": Kind(
        "nginx",
        lambda: _installed("nginx"),
        reverse_proxy,
        tunnels=False,
        serves_files=True,
    ),
}


def _installed(name: str) -> str | None:
    """Return where *name* is installed; system folders count even where PATH omits them."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
