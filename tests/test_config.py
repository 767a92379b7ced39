"""The way from an ini and the command line to one Config, or to every mistake in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxyapp import config
from proxyapp.config import Config, ConfigError, Destinations, Override
from proxyapp.config.ini import Ini, Place
from proxyapp.rules.hops import Forwarding

HOME = {"HOME": "/home/admin"}


def load(folder: Path, text: str, overrides: Iterable[str | Override] = ()) -> Config:
    """Load an ini with *text* in *folder*."""
    file = folder / "proxyapp.ini"
    file.write_text(text, encoding="utf-8")
    return config.load(file, overrides, HOME)


def mistakes(folder: Path, text: str, overrides: Iterable[str | Override] = ()) -> list[str]:
    """Return the mistakes in an ini with *text*, without the name of its folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, overrides)
    return [mistake.removeprefix(f"{folder}/") for mistake in caught.value.mistakes]


# --- The embedded default ---


def test_embedded_default() -> None:
    """Without an ini the product runs on what the contract of the ini promises."""
    given = config.load(None, (), HOME)
    assert given.path is None
    assert given.proxyapp.state_dir == Path("/home/admin/.local/state/proxyapp")
    assert given.proxy.listen == ("tcp:3128",)
    assert (given.proxy.via, given.proxy.pseudonym) == (True, "")
    assert given.proxy.forwarded is Forwarding.OFF
    assert given.proxy.tls_upgrade_header == b"x-real-protocol"
    assert (given.proxy.tls_verify, given.proxy.tls_ca_file) == (True, None)
    assert given.site == config.Site(("tcp:8080",), None, ("index.html",))
    assert given.log == config.Log("-", "combined")


def test_default_numbers() -> None:
    """Durations are seconds, sizes bytes."""
    given = config.load(None, (), {})
    assert dataclasses.astuple(given.pool) == (10, 256, 4096, 10.0, 60.0, 10.0, 60.0, 60.0, 1)
    assert dataclasses.astuple(given.dns) == ((), 600.0, 10.0, ())
    tunnel = (frozenset({443, 563, 8443}), 3600.0, 256, 8192, 3600.0)
    assert dataclasses.astuple(given.tunnel) == tunnel
    assert (given.proxyapp.workers, given.proxyapp.drain_timeout) == (1, 30.0)
    assert dataclasses.astuple(given.limits) == (8192, 512, 65536, 128, 20.0, 60.0, 60.0, 0)


def test_default_access() -> None:
    """The local networks are clients, everybody reads the site, public addresses are reached."""
    access = config.load(None, (), {}).access
    local = "127.0.0.0/8 ::1 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7"
    assert access.clients == tuple(map(ip_network, [*local.split(), "fe80::/10"]))
    assert config.load(None, (), {}).proxy.tls_upgrade_clients == access.clients
    assert access.site_clients == (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert access.destinations == Destinations(public=True)


def test_sections_are_their_own_defaults() -> None:
    """A section made without arguments equals the loaded default, and can't be changed."""
    given = config.load(None, (), {})
    for field in dataclasses.fields(Config):
        section = getattr(given, field.name)
        if field.name not in ("path", "proxyapp", "site_rules", "mounts", "rules", "cache_rules"):
            assert type(section)() == section
            first = dataclasses.fields(section)[0].name
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(section, first, None)


# --- Files ---


def test_values_come_from_the_file(tmp_path: Path) -> None:
    """What the file says counts, the rest is default, and the path is remembered."""
    given = load(
        tmp_path,
        "# gateway\n[pool]\nmax_total = 7\n\n[tunnel]\nports = 443,\n  4984\n\n  # lab\n  22\n",
    )
    assert given.pool.max_total == 7
    assert given.pool.max_per_host == 256
    assert given.tunnel.ports == frozenset({443, 4984, 22})
    assert given.path == tmp_path / "proxyapp.ini"


def test_relative_paths_start_at_the_ini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder twistd was started in does not matter to what the file says."""
    (tmp_path / "htdocs").mkdir()
    monkeypatch.chdir("/")
    given = load(tmp_path, "[proxyapp]\nstate_dir = state\n[log]\nrequests = access.log\n")
    assert given.site.root == tmp_path / "htdocs"
    assert given.proxyapp.state_dir == tmp_path / "state"
    assert given.log.requests == str(tmp_path / "access.log")
    assert load(tmp_path, "[site]\nroot =\n").site.root is None


def test_paths_are_absolute_where_the_ini_is_named_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """twistd changes its folder after the ini is read, so no path may hang on it."""
    monkeypatch.chdir(tmp_path)
    Path("proxyapp.ini").write_text("[proxyapp]\nstate_dir = state\n")
    given = config.load(Path("proxyapp.ini"), (), {})
    assert given.proxyapp.state_dir == tmp_path / "state"
    assert given.path == tmp_path / "proxyapp.ini"


def test_via_with_a_name(tmp_path: Path) -> None:
    """One option gives two values."""
    proxy = load(tmp_path, "[proxy]\nvia = on gate.lan\n").proxy
    assert (proxy.via, proxy.pseudonym) == (True, "gate.lan")


@pytest.mark.parametrize("text", ["\ufeff[pool]\nretries=0", "[pool]\r\nretries = 0\r\n"])
def test_foreign_editors(tmp_path: Path, text: str) -> None:
    """A byte order mark and the line ends of other systems do no harm."""
    (tmp_path / "proxyapp.ini").write_bytes(text.encode())
    assert config.load(tmp_path / "proxyapp.ini", (), {}).pool.retries == 0


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, a folder and text in another encoding are mistakes like others."""
    latin = tmp_path / "latin.ini"
    latin.write_bytes(b"[pool]\nretries = 1\n# f\xfcr\n")
    for path, expected in [
        (tmp_path / "missing.ini", f"{tmp_path}/missing.ini: can't be read: No such file"),
        (tmp_path, f"{tmp_path}: can't be read: Is a directory"),
        (latin, f"{latin}:3: byte 0xfc is not UTF-8; save the file as UTF-8"),
    ]:
        with pytest.raises(ConfigError) as caught:
            config.load(path, (), {})
        assert str(caught.value).startswith(expected)


# --- Mistakes ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_total = 1", ":1: 'max_total' belongs to no section; put a [section] above"),
        ("[pool]\nmax_total", ":2: 'max_total' is neither [section] nor option = value"),
        ("[pool]\n= 3", ":2: '= 3' is neither [section] nor option = value"),
        ("[pool\nx = 1", ":1: '[pool' is no heading; [section] alone is right"),
        ("[pool] # x", ":1: '[pool] # x' is no heading; [section] alone is right"),
        ("[]", ":1: '[]' is no heading; [section] alone is right"),
        ("[pool]\n  retries = 1", ":2: is indented and continues nothing; begin it at the left"),
        ("[pol]\nx = 1", ":1: [pol]: unknown section; [pool] would be right"),
        ("[Pool]", ":1: [Pool]: unknown section; [pool] would be right"),
        ("[memory]\nsize = 0", ":1: [memory]: unknown section; "),
        ("[zzz]", ":1: [zzz]: unknown section; known are proxyapp, proxy, pool, upstream"),
        ("[pool]\nretrys = 1", ":2: [pool] retrys: unknown option; retries would be right"),
        ("[pool]\nRetries = 1", ":2: [pool] Retries: unknown option; retries would be right"),
        ("[dns]\nper_client = 1", ":2: [dns] per_client: unknown option; it belongs to [limits]"),
        ("[log]\nzzz = 1", ":2: [log] zzz: unknown option; known are events, format, hostnames"),
        ("[proxy]\npseudonym = x", ":2: [proxy] pseudonym: unknown option; "),
        (
            "[pool]\nretries = 1\nretries = 1",
            ":3: [pool] retries: is there twice, first at {folder}/proxyapp.ini:2; once would",
        ),
        ("[pool]\n[dns]\n[pool]", ":3: [pool]: is there twice; put its options under the one in"),
        ("[pool]\nretries = x", ":2: [pool] retries: 'x' is not a whole number; a whole number"),
        ("[pool]\nretries = 1 # one", ":2: [pool] retries: '# one' is no comment here; a comment"),
        ("[site]\nlisten = tcp:1;old", ":2: [site] listen: 'tcp:1;old': '1;old' is not a port"),
        ("[log]\nformat = {zzz}", ":2: [log] format: "),
    ],
)
def test_one_mistake(tmp_path: Path, text: str, expected: str) -> None:
    """Each mistake says where it is, what is wrong, and what would be right."""
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith("proxyapp.ini" + expected.format(folder=tmp_path))


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Mistakes of every kind come together, in the order of the file."""
    text = (
        "loose = 1\n[pool]\nretries = 99\nnonsense = 1\n[zzz]\nwhat = ever\n"
        "[access]\nclients = lan, 10.0.0.1/8\n[tunnel\n"
    )
    found = mistakes(tmp_path, text, ["pool.retries=-1", "nonsense"])
    places = [mistake.partition(": ")[0] for mistake in found]
    lines = ["1", "3", "4", "5", "8", "8", "9"]
    assert places == [f"proxyapp.ini:{line}" for line in lines] + ["--set", "--set"]


def test_error_text_is_one_line_a_mistake(tmp_path: Path) -> None:
    """Whoever prints the error prints every mistake."""
    (tmp_path / "proxyapp.ini").write_text("[a]\n[b]\n")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "proxyapp.ini", (), {})
    assert str(caught.value).split("\n") == list(caught.value.mistakes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[proxy]\nlisten =\n[site]\nlisten =\n", ":2: [proxy] listen: nothing listens"),
        (
            "[proxy]\nlisten = tcp:8080\n",
            ": [site] listen: tcp:8080 is taken by [proxy] listen; use another",
        ),
        ("[proxy]\nlisten = tcp:1\n  tcp:1\n", ":2: [proxy] listen: tcp:1 is taken by [proxy]"),
        ("\n[site]\nlisten = tcp:3128\n", ":3: [site] listen: tcp:3128 is taken by [proxy]"),
    ],
)
def test_contradictions(tmp_path: Path, text: str, expected: str) -> None:
    """Two right values can be wrong together."""
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith("proxyapp.ini" + expected)


def test_ports_of_the_kernel_may_repeat(tmp_path: Path) -> None:
    """tcp:0 is another port each time."""
    given = load(tmp_path, "[proxy]\nlisten = tcp:0\n  tcp:0\n[site]\nlisten = tcp:0\n")
    assert given.proxy.listen == ("tcp:0", "tcp:0")


# --- Options of the command ---


def test_overrides_win(tmp_path: Path) -> None:
    """What the command says replaces what the file says, wholly."""
    text = "[proxy]\nlisten = tcp:1\n  tcp:2\n[pool]\nretries = 0\n"
    given = load(tmp_path, text, ["proxy.listen=tcp:3", Override("pool.retries = 2", "--retries")])
    assert given.proxy.listen == ("tcp:3",)
    assert given.pool.retries == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("nonsense", "--set: 'nonsense' is not an assignment; SECTION.OPTION=VALUE would be right"),
        ("retries=1", "--set: 'retries=1' is not an assignment"),
        ("pol.retries=1", "--set: [pol]: unknown section; [pool] would be right"),
        ("pool.retrys=1", "--set: [pool] retrys: unknown option; retries would be right"),
        ("pool.retries=x", "--set: [pool] retries: 'x' is not a whole number"),
        (Override("pool.retries=x", "--retries"), "--retries: [pool] retries: 'x' is not"),
    ],
)
def test_wrong_overrides(override: str | Override, expected: str) -> None:
    """A mistake of the command is reported at its option."""
    with pytest.raises(ConfigError) as caught:
        config.load(None, [override], {})
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(expected)


def test_an_override_once() -> None:
    """Two flags for one option contradict each other."""
    given: list[str | Override] = ["pool.retries=1", Override("pool.retries=2", "--retries")]
    with pytest.raises(ConfigError, match=r"--retries: \[pool\] retries: is there twice, first at"):
        config.load(None, given, {})


def test_an_override_does_not_hide_a_mistake(tmp_path: Path) -> None:
    """The file stays wrong where the command replaces a wrong value."""
    (mistake,) = mistakes(tmp_path, "[pool]\nretries = x\n", ["pool.retries=1"])
    assert mistake.startswith("proxyapp.ini:2")


# --- Grammar ---


def test_entries_know_their_lines() -> None:
    """An entry stands where its first line stands; comments inside it vanish."""
    ini = Ini("x.ini", "; one\n\n[a]\nb = 1\n   2\n# no\n\n\t3 # yes\nc=\n[d]\ne = f = g\n")
    found = [(entry.about, entry.text, str(entry.place)) for entry in ini.entries]
    assert found == [
        ("[a] b", "1\n2\n3 # yes", "x.ini:4"),
        ("[a] c", "", "x.ini:9"),
        ("[d] e", "f = g", "x.ini:11"),
    ]
    assert ini.headings == {"a": Place("x.ini", 3), "d": Place("x.ini", 10)}
    assert not ini.mistakes


LINES = st.sampled_from(
    ["[pool]", "[tunnel]", "[x", "retries = 1", "ports = *", "ports =", "  443", "# c", "", "zz"]
)


@given(st.lists(LINES.filter(lambda line: line not in ("[x", "ports =")), max_size=12))
def test_nothing_is_lost(lines: list[str]) -> None:
    """Every line that is no comment ends in a heading, an entry or a mistake."""
    ini = Ini("x.ini", "\n".join(["[dns]", *lines]))
    written = ["[dns]"] + [line for line in lines if line and not line.startswith("#")]
    values = [line for entry in ini.entries for line in entry.text.split("\n")]
    repeated = [mistake for mistake in ini.mistakes if mistake.about]
    headings = len(ini.headings) + len(repeated)
    assert headings + len(values) + len(ini.mistakes) - len(repeated) == len(written)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.lists(LINES).map("\n".join)))
def test_any_text_is_loaded_or_refused(tmp_path: Path, text: str) -> None:
    """No text of an ini makes loading fail in another way than with its mistakes."""
    file = tmp_path / "proxyapp.ini"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config.load(file, (), {})
    except ConfigError as error:
        assert error.mistakes
