"""The twistd subcommand: its options, and the service that they ask for."""

from __future__ import annotations

import functools
import os
import re
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twisted.application.service import IService
from twisted.python import usage

from proxyapp.config import Config, ConfigError, Override, load, state_folder, users
from proxyapp.config.judge import make_access, make_spellings, make_ways
from proxyapp.config.values import WrongValue
from proxyapp.rules import autoconfighelp
from proxyapp.rules.access import Access
from proxyapp.rules.stages import Stages

if TYPE_CHECKING:
    from proxyapp.workers.inherited import Inherited

# Tells a worker of a master, see workers.inherited.
WORKER = "PROXYAPP_WORKER"

# A plain TCP endpoint, the port first or by its name; a backslash hides the character behind it.
_TCP = re.compile(r"tcp6?:(?:(?:[^:\\]|\\.)*:)*?(?:port=)?0*([1-9][0-9]*)(?::.*|\Z)")

# An interface that only this machine itself reaches, named or in its place.
_LOOPBACK = re.compile(r":(?:interface=)?(?:127(?:\.[0-9]+){3}|\\:\\:1)(?::|\Z)")

# Options for the service that runs; each has a value.
_TOOLS = ("cache-list", "cache-show", "cache-purge", "cache-pin", "cache-unpin", "prefetch")


class Options(usage.Options):
    """The command line of `twistd proxyapp`; *config* is what it and the ini say together.

    It is read before anything listens, and before twistd leaves the folder it was started in.
    """

    synopsis = "[options]"
    longdesc = (
        "Runs the forward proxy, its CONNECT tunnels and the static site. Without --config the"
        " defaults apply: proxy on tcp:3128, site on tcp:8080."
    )
    optFlags = [
        ("check", None, "Say whether the configuration is right, and exit."),
        ("autoconfig-help", None, "Print text to paste into DHCP and DNS servers, and exit."),
        (
            "reload",
            None,
            "Have the service that runs read its ini again; exit.",
        ),
        ("json", None, "With --prefetch and --cache-...: answer in JSON, one object a line."),
    ]
    optParameters = [
        (
            "explain",
            None,
            None,
            "Say what would become of a request, by which rule and why, and exit: QUESTION is"
            " 'GET http://host/ --client 10.0.0.7 --user ann --at 2026-01-05T09:00'.",
        ),
        ("against", None, None, "With --check: say whom of this request log it would treat else."),
        # These ask the service that runs with the same state_dir.
        ("cache-list", None, None, "List what is stored: URL, PREFIX*, tag:TAG or '*'; exit."),
        ("cache-show", None, None, "Show all that is known of what is stored for URL; exit."),
        ("cache-purge", None, None, "Remove URL, PREFIX*, tag:TAG or '*' from the cache; exit."),
        ("cache-pin", None, None, "Keep what is stored for URL, however full the cache; exit."),
        ("cache-unpin", None, None, "Let it go when it isn't used, as all others; exit."),
        ("prefetch", None, None, "Fetch the URLs in the file LIST, - for what is typed in; exit."),
    ]

    config: Config

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted has no types here
        self._path: Path | None = None
        self._listeners: list[str] = []
        self._overrides: list[Override] = []
        # What came from the master, where this is one of its workers.
        self.part: Inherited | None = None
        # What stands behind `proxyapp`, and the folder that it was given in.
        self.arguments: list[str] = []
        self.folder = os.getcwd()

    def parseOptions(self, options: list[str] | None = None) -> None:
        """See usage.Options; workers are started with the same ones."""
        self.arguments = sys.argv[1:] if options is None else [*options]
        super().parseOptions(options)  # type: ignore[no-untyped-call]  # as above

    def parseArgs(self, *words: str) -> None:
        """Take no words that belong to no option; raises UsageError."""
        if words:
            raise usage.UsageError(f"{words[0]!r} belongs to no option; is it --config {words[0]}?")

    def opt_config(self, path: str) -> None:
        """The ini file."""
        self._path = Path(path)

    def opt_listen(self, endpoint: str) -> None:
        """Where the proxy listens, such as tcp:3128; may be given several times."""
        self._listeners.append(endpoint)

    def opt_max_idle_per_host(self, number: str) -> None:
        """How many idle connections are kept per origin."""
        self._override("pool.max_idle_per_host", number, "--max-idle-per-host")

    def opt_tls_upgrade_header(self, name: str) -> None:
        """The request field that has an http:// URL fetched over TLS; empty turns it off."""
        self._override("proxy.tls_upgrade_header", name, "--tls-upgrade-header")

    def opt_set(self, assignment: str) -> None:
        """SECTION.OPTION=VALUE, for any option of the ini; may be given several times."""
        self._overrides.append(Override(assignment))

    def opt_auth(self, description: str) -> None:
        """Who has a password, such as file:htpasswd; --help-auth lists the kinds."""
        kind, _, rest = description.partition(":")
        if kind == "file" and rest:
            # From where the command is given, as its other paths; those of the ini are from there.
            description = f"file:{Path(rest).absolute()}"
        self._override("auth.users", description, "--auth")

    def opt_help_auth(self) -> None:
        """List the kinds of users that --auth takes, and exit."""
        print(users.kinds())
        sys.exit(0)

    def opt_help_auth_type(self, kind: str) -> None:
        """Say more of one kind of users, and exit."""
        try:
            print(users.about_kind(kind))
        except WrongValue as wrong:
            raise usage.UsageError(f"--help-auth-type: {wrong}") from wrong
        sys.exit(0)

    opt_c = opt_config

    def _override(self, name: str, text: str, flag: str) -> None:
        self._overrides.append(Override(f"{name}={text}", flag))

    def postOptions(self) -> None:
        """Load the configuration; with mistakes in it, print every one, a line each, and exit."""
        if self._listeners:
            self._override("proxy.listen", "\n".join(self._listeners), "--listen")
        try:
            self._load()
        except ConfigError as error:
            lines = ("proxyapp: the configuration is wrong", *error.mistakes)
            # No UsageError: with that twistd prints all options, which would hide the mistakes.
            print("\n".join(lines), file=sys.stderr)
            # Not 1 for these: a script would take that for a refusal, or for an empty cache.
            sys.exit(2 if self["explain"] is not None or any(self._tools()) else 1)
        self._run_tool()
        if self["explain"] is not None:
            sys.exit(_explain(self["explain"], self.config, self._path, self._overrides))
        if self["against"] is not None and not self["check"]:
            raise usage.UsageError("--against LOG goes with --check")
        if self["check"]:
            print(_summary(self.config))
            sys.exit(0 if self["against"] is None else _replay(self["against"], self.config))
        if self["autoconfig-help"]:
            print(_autoconfig_help(self.config), end="")
            sys.exit(0)
        if self._is_daemon and self.config.log.requests == "-":
            # It is opened before twistd leaves the terminal, and would go on to write there.
            self.config = replace(self.config, log=replace(self.config.log, requests=""))

    def _load(self) -> None:
        if self["reload"]:
            # Whatever is wrong with the ini, it's for the service to say.
            sys.exit(_reload(state_folder(self._path, self._overrides, os.environ)))
        if WORKER not in os.environ:
            self.config = load(self._path, self._overrides, os.environ)
            return
        from proxyapp.workers import inherited

        try:
            self.part = inherited.inherited(os.environ)
        except inherited.NoMaster as error:
            raise usage.UsageError(str(error)) from error
        try:
            self.config = load(self._path, self._overrides, os.environ, self.part.ini)
        except ConfigError as error:
            self.part.give_up(error.mistakes)
            sys.exit(1)

    @property
    def _is_daemon(self) -> bool:
        return self.parent is not None and not self.parent["nodaemon"]

    @property
    def has_event_log(self) -> bool:
        """Does [log] say where events go, and not an option of twistd's own?"""
        ours, twistd = self.config.log, self.parent
        if twistd is None:
            return False
        if twistd["logfile"] or twistd["syslog"] or twistd["logger"]:
            return False
        # A daemon has no standard output; twistd writes twistd.log then.
        return not self._is_daemon or ours.events != "-"

    def _tools(self) -> list[tuple[str, str]]:
        """Return what is asked of the service that runs: option and value."""
        return [(name, self[name]) for name in _TOOLS if self[name] is not None]

    def _run_tool(self) -> None:
        """Carry out the one option that is for the service that runs, and exit, if there is one."""
        asked = self._tools()
        if self["json"] and not asked:
            raise usage.UsageError("--json goes with --prefetch and the options of the cache")
        if len(asked) > 1:
            names = " and ".join(f"--{name}" for name, _ in asked)
            raise usage.UsageError(f"{names} don't go together: one at a time")
        for name, value in asked:
            sys.exit(_ask_service(name, value, self.config, self["json"]))


def _ask_service(option: str, value: str, config: Config, is_json: bool) -> int:
    """Have the service that runs carry out *option*; return the exit status."""
    from proxyapp import cachetool

    terminal = cachetool.Terminal(sys.stdin, sys.stdout, sys.stderr, is_json)
    return cachetool.run(option, value, config.proxyapp.state_dir, terminal)


def _reload(state_dir: Path) -> int:
    """Have the service that runs read its ini again; return the exit status."""
    from proxyapp import reloading

    return reloading.run(state_dir, sys.stderr)


def _end_in_vain() -> None:
    """End with exit status 1, which twistd has no other way to while the reactor runs."""
    sys.stdout.flush()
    os._exit(1)


def _summary(config: Config) -> str:
    source = "the defaults" if config.path is None else str(config.path)
    listeners = {"proxy": config.proxy.listen, "site": config.site.listen}
    lines = [f"proxyapp: the configuration is right ({source})"]
    lines += [f"  {name}: {' '.join(given) or 'off'}" for name, given in listeners.items()]
    return "\n".join(lines)


def _autoconfig_help(config: Config) -> str:
    """Return the text for this machine; net is imported here as below, for this alone."""
    from proxyapp.net import interfaces, local

    served = autoconfighelp.Served(
        name=(config.proxyapp.hostnames or local.names())[0],
        addresses=interfaces.lan_addresses(),
        proxy_ports=_ports(_beyond_loopback(config.proxy.listen)),
        site_ports=_ports(_beyond_loopback(config.site.listen)),
        is_enabled=config.autoconfig.enabled,
        listed=config.autoconfig.proxy,
    )
    return autoconfighelp.help_text(served)


def _explain(text: str, config: Config, path: Path | None, overrides: list[Override]) -> int:
    """Print the answer to the question *text*, or what is wrong with it; return exit status."""
    from proxyapp import explain

    try:
        asked = explain.read_question(text, datetime.now(), make_spellings(config))
    except explain.BadQuestion as bad:
        print(f"proxyapp: --explain: {bad}", file=sys.stderr)
        return explain.BAD_QUESTION
    access = make_access(config)
    places = explain.option_places(path, overrides)
    found = explain.explain(
        asked, access, _stages(config, access), places, has_users=bool(config.auth.users)
    )
    print(found)
    return found.exit_status


def _replay(log: str, config: Config) -> int:
    """Print what *config* changes for the requests in *log*; return the exit status."""
    from proxyapp import against

    try:
        found = against.replay(Path(log), _stages(config, make_access(config)))
    except against.LogUnusable as unusable:
        print(f"proxyapp: --against: {unusable}", file=sys.stderr)
        return against.UNUSABLE
    print(found)
    return found.exit_status


def _stages(config: Config, access: Access) -> Stages:
    from proxyapp.net import local

    asks_everybody = bool(config.auth.users) and config.auth.required
    # Logs name the same addresses over and over, and the kernel takes four calls to answer.
    is_own = functools.lru_cache(maxsize=4096)(local.is_own)
    ports, ways = _ports(config.proxy.listen), make_ways(config)
    return Stages(access, asks_everybody, is_own, ports, ways)


def _beyond_loopback(listeners: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of *listeners* that other machines may reach."""
    return tuple(each for each in listeners if not _LOOPBACK.search(each))


def _ports(listeners: tuple[str, ...]) -> tuple[int, ...]:
    """Return the ports that *listeners* name; the kernel's choice and sockets have none yet."""
    found = map(_TCP.fullmatch, listeners)
    return tuple(dict.fromkeys(int(match[1]) for match in found if match is not None))


def makeService(options: Options) -> IService:
    """Build the service that *options* ask for, on our reactor unless there is one already.

    The rest of the product is imported here and not above: --help, --check and a mistake in the
    ini need none of it, and the reactor may only be imported once it is chosen.
    """
    from proxyapp import service
    from proxyapp.logs.eventlog import EventLogged
    from proxyapp.net import notify
    from proxyapp.net import reactor as appliance
    from proxyapp.workers import events
    from proxyapp.workers.master import Master
    from proxyapp.workers.process import Command, command_line
    from proxyapp.workers.worker import Worker

    if "twisted.internet.reactor" not in sys.modules:
        appliance.install()
    from twisted.internet import reactor

    needed = cast(appliance.IApplianceReactor, reactor)
    if options.part is not None:
        return Worker(options.config, needed, options.part, events.observer())
    line = command_line(sys.orig_argv, sys.argv[1:], options.arguments)
    environ = {name: text for name, text in os.environ.items() if name not in notify.VARIABLES}
    command = Command(tuple(line), options.folder, environ)
    event_log = service.make_event_log(options.config) if options.has_event_log else None
    notifier = notify.notifier(os.environ)
    built = Master(options.config, command, needed, notifier, event_log, _end_in_vain)
    return built if event_log is None else EventLogged(built, event_log)
