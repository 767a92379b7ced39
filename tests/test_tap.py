"""The twistd subcommand, as a class and as a real command."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.python import usage

from proxyapp import tap

ROOT = Path(__file__).parent.parent
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


def run(code: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run *code* in a Python of its own that sees this checkout."""
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def twistd(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `twistd -n proxyapp` with *arguments*."""
    return run(TWISTD, "-n", "--pidfile=", "proxyapp", *arguments, folder=folder)


def parsed(*arguments: str) -> tap.Options:
    """Return the options that *arguments* make."""
    options = tap.Options()
    options.parseOptions(list(arguments))
    return options


# --- The command ---


def test_check_without_an_ini(tmp_path: Path) -> None:
    """--check says that the defaults are right, and where they listen."""
    done = twistd("--check", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "proxyapp: the configuration is right (the defaults)"
    assert [line.strip() for line in lines[1:]] == ["proxy: tcp:3128", "site: tcp:8080"]


def test_check_of_an_ini(tmp_path: Path) -> None:
    """--check names the file, and what counts after the options of the command."""
    (tmp_path / "x.ini").write_text("[site]\nlisten =\n")
    done = twistd("-c", "x.ini", "--listen", "tcp:1", "--listen=tcp:2", "--check", folder=tmp_path)
    assert done.returncode == 0
    assert f"({tmp_path}/x.ini)" in done.stdout
    assert "proxy: tcp:1 tcp:2" in done.stdout
    assert "site: off" in done.stdout


def test_all_mistakes_of_file_and_command(tmp_path: Path) -> None:
    """Every mistake has a line of its own, no traceback among them, and the status is 1."""
    (tmp_path / "x.ini").write_text("[pool]\nretries = many\n[pol]\n")
    arguments = ["--config=x.ini", "--listen=3128", "--max-idle-per-host=-1", "--set=log.x=1"]
    done = twistd(*arguments, "--tls-upgrade-header=a b", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    title, *mistakes = done.stderr.splitlines()
    assert (title, done.stdout) == ("proxyapp: the configuration is wrong", "")
    assert sorted(mistake.split(": ")[0] for mistake in mistakes) == [
        "--listen",
        "--max-idle-per-host",
        "--set",
        "--tls-upgrade-header",
        "x.ini:2",
        "x.ini:3",
    ]


def test_autoconfig_help(tmp_path: Path) -> None:
    """--autoconfig-help prints text for DHCP and DNS with the ports of this configuration."""
    done = twistd("--autoconfig-help", "--set=site.listen=tcp:8085", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("dhcp-option=252,", "option-data", "8085/wpad.dat", "proxy ports: 3128\n"):
        assert text in done.stdout
    assert "WARNING: port 80 is not served" in done.stdout


@pytest.mark.parametrize(
    ("listeners", "ports"),
    [
        ("", ()),
        ("unix:/run/80.sock", ()),
        ("systemd:domain=INET:index=80", ()),
        ("tls:/etc/cert.pem:443", ()),
        ("haproxy:tcp:80", ()),
        ("tcp:0", ()),
        ("tcp:80", (80,)),
        ("tcp6:80", (80,)),
        ("tcp:port=80", (80,)),
        ("tcp:080:interface=127.0.0.1", (80,)),
        ("tcp:80:192.168.7.1:50", (80,)),
        ("tcp:interface=10.0.0.1:port=80", (80,)),
        (r"tcp:interface=\:\:1:backlog=5:port=80", (80,)),
        (r"tcp:interface=fd00\:\:80:port=81", (81,)),
        ("tcp:80 tcp:8080 tcp:80:interface=10.0.0.1", (80, 8080)),
    ],
)
def test_ports_of_listeners(listeners: str, ports: tuple[int, ...]) -> None:
    """Only where a client without TLS can connect is there a port to tell of."""
    assert tap._ports(tuple(listeners.split())) == ports


@pytest.mark.parametrize(
    ("listener", "is_kept"),
    [
        ("tcp:80:interface=127.0.0.1", False),
        ("tcp:interface=127.0.0.1:port=80", False),
        ("tcp:80:127.8.8.8:50", False),
        (r"tcp6:80:interface=\:\:1", False),
        ("tcp:80", True),
        ("tcp:80:interface=10.127.0.1", True),
        (r"tcp6:80:interface=fd00\:\:1", True),
        (r"tcp6:80:interface=\:\:", True),
    ],
)
def test_listeners_beyond_loopback(listener: str, is_kept: bool) -> None:
    """What only this machine reaches is nothing to tell other devices of."""
    assert tap._beyond_loopback((listener,)) == ((listener,) if is_kept else ())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--lisen", "tcp:1"], "option --lisen not recognized"),
        (["--config"], "option --config requires argument"),
        (["--config", "missing.ini"], "missing.ini: can't be read: No such file or directory"),
        (["--check", "--set", "x"], "--set: 'x' is not an assignment"),
        (["x.ini"], "'x.ini' belongs to no option; is it --config x.ini?"),
    ],
)
def test_wrong_commands(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    """What twistd or the configuration refuses ends with status 1 and words, not a traceback."""
    done = twistd(*arguments, folder=tmp_path)
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_twistd_knows_the_subcommand(tmp_path: Path) -> None:
    """The plugin is found beside Twisted's own."""
    done = run(TWISTD, "--help", folder=tmp_path)
    assert "proxyapp " in done.stdout
    assert "Forward proxy, CONNECT tunnels and a static site" in done.stdout


def test_help_names_every_option(tmp_path: Path) -> None:
    """--help shows the options that mirror the ini."""
    done = twistd("--help", folder=tmp_path)
    assert done.returncode == 0
    for (
        option
    ) in "config listen max-idle-per-host tls-upgrade-header set check autoconfig-help".split():
        assert f"--{option}" in done.stdout


# --- Questions ---

DENYING = """\
[rule games]
action = deny
domains = .games.example
"""


@pytest.mark.parametrize(
    ("question", "status", "printed", "complaint"),
    [
        ("GET", 2, "", "proxyapp: --explain: it begins with a method and a target"),
        ("", 2, "", "proxyapp: --explain: it begins with a method and a target"),
        ("GET http://x.games.example/", 1, "decision: denied", ""),
        ("GET http://x.example/", 0, "decision: allowed", ""),
        ("GET http://127.0.0.1:3128/", 1, "reason:   this address is the proxy itself", ""),
    ],
)
def test_explain(tmp_path: Path, question: str, status: int, printed: str, complaint: str) -> None:
    """The answer is printed, and the status tells it, too; a bad question has its own."""
    (tmp_path / "x.ini").write_text(DENYING)
    done = twistd("-c", "x.ini", "--explain", question, folder=tmp_path)
    assert done.returncode == status
    assert done.stderr.strip().startswith(complaint)
    assert printed in done.stdout
    assert status != 1 or "x.ini:1" in done.stdout or "itself" in done.stdout
    assert bool(done.stdout) != bool(done.stderr)


def test_explain_with_a_wrong_configuration(tmp_path: Path) -> None:
    """A configuration that can't be answered from isn't taken for a refusal."""
    done = twistd("--set=x.y=1", "--explain", "GET http://x.example/", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("proxyapp: the configuration is wrong\n--set: ")


@pytest.mark.parametrize(
    ("line", "status", "printed"),
    [
        (None, 2, "proxyapp: --against: log can't be read: No such file or directory"),
        ("what?", 2, "log: 1 lines, 0 judged, 1 unreadable (line 1)"),
        ('10.0.0.7 - - [05/Jan/2026:09:00:00 +0000] "GET http://x.example/ HTTP/1.1" 200 1', 0, ""),
        (
            '10.0.0.7 - - [05/Jan/2026:09:00:00 +0000] "GET http://a.games.example HTTP/1.1" 200 1',
            3,
            "newly denied: 1 request\n  1  10.0.0.7  a.games.example  [rule games]\n",
        ),
    ],
)
def test_against(tmp_path: Path, line: str | None, status: int, printed: str) -> None:
    """--check says that the configuration is right, and then what it changes."""
    (tmp_path / "x.ini").write_text(DENYING)
    if line is not None:
        (tmp_path / "log").write_text(f"{line}\n")
    done = twistd("-c", "x.ini", "--check", "--against", "log", folder=tmp_path)
    assert done.returncode == status
    assert "the configuration is right" in done.stdout
    assert printed in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_against_goes_with_check() -> None:
    """Without --check it would be forgotten."""
    with pytest.raises(usage.UsageError, match="--against LOG goes with --check"):
        parsed("--against", "log")


# --- What loading costs ---

LOADED = "import sys; {}; print(*[name for name in sys.modules if name.startswith({!r})])"


@pytest.mark.parametrize("module", ["twisted.plugins.proxyapp_plugin", "proxyapp.tap"])
def test_import_pulls_in_no_reactor(module: str) -> None:
    """Neither the plugin nor the options choose a reactor or load twisted.web."""
    for unwanted in ("twisted.internet.reactor", "twisted.web"):
        done = run(LOADED.format(f"import {module}", unwanted))
        assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_plugin_loads_nothing_of_the_product() -> None:
    """`twistd --help` on a machine with our plugin stays as quick as without."""
    done = run(LOADED.format("import twisted.plugins.proxyapp_plugin", "proxyapp"))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_options_load_only_the_configuration() -> None:
    """A mistake in the ini is found without the proxy."""
    done = run(LOADED.format("import proxyapp.tap", "proxyapp."))
    floors = {name.split(".")[1] for name in done.stdout.split()}
    assert floors == {"config", "errors", "rules", "tap", "wire"}


# --- The options ---


def test_defaults() -> None:
    """No option at all is the embedded default."""
    options = parsed()
    assert options.config.path is None
    assert options.config.proxy.listen == ("tcp:3128",)


def test_options_override(tmp_path: Path) -> None:
    """Each mirror option reaches its place, --set any other."""
    (tmp_path / "x.ini").write_text("[proxy]\nlisten = tcp:1\n")
    config = parsed(
        "--config", str(tmp_path / "x.ini"),
        "--listen", "tcp:2", "--listen", "tcp:3",
        "--max-idle-per-host", "20",
        "--tls-upgrade-header", "X-Scheme",
        "--set", "limits.body=1MiB", "--set", "site.listen=",
    ).config  # fmt: skip
    assert config.path == tmp_path / "x.ini"
    assert config.proxy.listen == ("tcp:2", "tcp:3")
    assert config.proxy.tls_upgrade_header == b"x-scheme"
    assert config.pool.max_idle_per_host == 20
    assert config.limits.body == 1024 * 1024
    assert config.site.listen == ()


def test_empty_option_turns_off() -> None:
    """An empty header name turns the TLS upgrade off."""
    assert parsed("--tls-upgrade-header=").config.proxy.tls_upgrade_header == b""


def test_environment_is_read_when_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's state folder is taken when the options are, not when the module is loaded."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/elsewhere")
    assert parsed().config.proxyapp.state_dir == Path("/var/lib/elsewhere")


def test_check_exits(capsys: pytest.CaptureFixture[str]) -> None:
    """--check ends the process with status 0 once everything is right."""
    with pytest.raises(SystemExit) as caught:
        parsed("--check", "--set", "proxy.listen=")
    assert caught.value.code == 0
    assert "proxy: off" in capsys.readouterr().out


# --- The service ---

MAKE = """
import sys
from proxyapp import tap
options = tap.Options()
options.parseOptions(["--listen=tcp:0:interface=127.0.0.1", "--set=site.listen="])
assert "twisted.internet.reactor" not in sys.modules
{before}
service = tap.makeService(options)
from twisted.application.service import IService
from twisted.internet import reactor
print(IService.providedBy(service), type(reactor).__module__)
"""

needs_service = pytest.mark.skipif(
    importlib.util.find_spec("proxyapp.service") is None, reason="proxyapp.service is not there"
)


@needs_service
def test_service_runs_on_our_reactor(tmp_path: Path) -> None:
    """Where no reactor is chosen yet, ours is."""
    done = run(MAKE.format(before=""), folder=tmp_path)
    assert done.stdout.split() == ["True", "proxyapp.net.reactor"], done.stderr


@needs_service
def test_service_takes_the_reactor_that_is_there(tmp_path: Path) -> None:
    """`twistd --reactor` wins; the service works on a stock reactor as well."""
    before = "from twisted.internet import selectreactor; selectreactor.install()"
    done = run(MAKE.format(before=before), folder=tmp_path)
    assert done.stdout.split() == ["True", "twisted.internet.selectreactor"], done.stderr
