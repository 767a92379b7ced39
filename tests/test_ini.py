"""The files under etc/ say what the product does."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.config import FAMILIES, OPTIONS
from proxyapp.config.ini import Ini
from proxyapp.config.option import Option
from proxyapp.rules.question import Action
from proxyapp.rules.rule import CONDITIONS, conditions

ETC = Path(__file__).parent.parent / "etc"
SHIPPED = (ETC / "proxyapp.ini").read_text(encoding="utf-8")
# `# Prose` against `#option = default`.
PROSE = re.compile(r"# \S|#$")
# Where the examples of named sections stand.
AFTER = {"cache-rule": "cache", "site-rule": "site", "mount": "site", "rule": "access"}
# Their default depends on the machine; the ini shows an example and says so.
FOUND = {("proxyapp", "state_dir"), ("site", "root")}


def uncommented(text: str) -> str:
    """Turn every `#option = default` into an active line."""
    lines = text.split("\n")
    return "\n".join(line if PROSE.match(line) else line.removeprefix("#") for line in lines)


def word_of(section: str) -> str:
    """Return the first word of *section*, which its family is called by."""
    return section.partition(" ")[0]


def sentences() -> dict[tuple[str, str], str]:
    """Return the comment right above each option; named sections go by their first word."""
    found: dict[tuple[str, str], str] = {}
    section, prose = "", []
    for line in SHIPPED.split("\n"):
        if line.removeprefix("#").startswith("["):
            section = word_of(line.strip("#[]"))
        elif PROSE.match(line):
            prose.append(line.removeprefix("# "))
        elif line.startswith("#"):
            found[section, line[1:].partition(" =")[0]] = " ".join(prose)
        if not PROSE.match(line):
            prose = []
    return found


def documented() -> dict[tuple[str, str], Option]:
    """Return the options that have a line of their own, in the order of the shipped ini."""
    tables: dict[str, Mapping[str, Option]] = {}
    for section, options in OPTIONS.items():
        tables[section] = options
        following = [word for word in FAMILIES if AFTER[word] == section]
        tables |= {word: FAMILIES[word].options for word in following}
    return {
        (section, option.name): option
        for section, options in tables.items()
        for option in options.values()
        if option.sentence
    }


def entries() -> list[tuple[tuple[str, str], str]]:
    """Return the options that the shipped ini shows, and their texts, in its order."""
    shown = Ini("proxyapp.ini", uncommented(SHIPPED))
    assert not shown.mistakes
    return [((word_of(entry.section), entry.option), entry.text) for entry in shown.entries]


def test_shipped_ini_is_the_embedded_default() -> None:
    """As it is shipped, the ini changes nothing."""
    shipped = config.load(ETC / "proxyapp.ini", (), {})
    embedded = config.load(None, (), {})
    for field in dataclasses.fields(config.Config):
        if field.name != "path":
            assert getattr(shipped, field.name) == getattr(embedded, field.name)


def test_shipped_ini_shows_the_defaults() -> None:
    """Each shown value is the one in the table, and the table's are the embedded default's."""
    expected = {key: option.example or option.default for key, option in documented().items()}
    assert dict(entries()) == expected
    examples = {key for key, option in documented().items() if option.example}
    assert examples == {key for key in expected if key[0] in FAMILIES}


def test_shown_defaults_load(tmp_path: Path) -> None:
    """An admin who removes every # gets what the product did before."""
    (tmp_path / "htdocs").mkdir()
    file = tmp_path / "proxyapp.ini"
    file.write_text(uncommented(without_named_sections()))
    given = config.load(file, (), {})
    embedded = config.load(None, (), {})
    for section, options in OPTIONS.items():
        for field in options:
            if (section, field) not in FOUND:
                assert getattr(getattr(given, section), field) == getattr(
                    getattr(embedded, section), field
                )


def without_named_sections() -> str:
    """Return the shipped ini without the examples of named sections."""
    headings = "|".join(FAMILIES)
    return re.sub(rf"^#\[(?:{headings}) .*?(?=^\[)", "", SHIPPED, flags=re.DOTALL | re.MULTILINE)


def test_named_sections_are_examples_that_load(tmp_path: Path) -> None:
    """An admin who removes every # there gets one working section of each kind."""
    file = tmp_path / "proxyapp.ini"
    text = uncommented(SHIPPED.replace("/srv/files", str(tmp_path)))
    (tmp_path / "htdocs").mkdir()
    text = text.replace("requests = -", "requests = access.log")
    file.write_text(text.replace("\nusers =\n", "\nusers = memory:ann:x\n"))
    given = config.load(file, (), {})
    fields = ((b"X-Robots-Tag", b"noindex"),)
    assert given.site_rules == (
        config.SiteRuleSection("/downloads/**", fields, b"public, max-age=86400"),
    )
    assert given.mounts == (
        config.Mount("/files", tmp_path, "", False),
        config.Mount("/demo", None, "twisted.web.demo:Test", False),
        config.Mount("/log", None, "", True),
    )
    (cached,) = given.cache_rules
    assert (cached.name, cached.ttl.ttl, cached.key.host) == ("downloads", 604800.0, "downloads")
    (rule,) = given.rules
    assert (rule.name, rule.action) == ("guests", Action.ALLOW)
    assert conditions(rule) == CONDITIONS


def test_order_is_the_table_s() -> None:
    """Sections and options stand in the order of the table, so that both are easy to compare."""
    assert [key for key, _ in entries()] == list(documented())
    shown = Ini("proxyapp.ini", uncommented(SHIPPED))
    assert [heading for heading in shown.headings if " " not in heading] == list(OPTIONS)


def test_one_sentence_each() -> None:
    """The comment above an option is its one sentence in the table."""
    assert sentences() == {key: option.sentence for key, option in documented().items()}
    for sentence in sentences().values():
        assert re.fullmatch(r"[A-Z`].*[^.]\.", sentence)
        assert ". " not in sentence


def test_machine_dependent_defaults_are_named() -> None:
    """Where the default is found on the machine, the sentence says how."""
    found = {key for key, option in documented().items() if option.found is not None}
    assert found == FOUND
    assert all("by default" in documented()[key].sentence for key in found)


# --- The unit ---

UNIT = (ETC / "proxyapp.service").read_text(encoding="utf-8")


def service_settings() -> dict[str, list[str]]:
    """Return every setting of [Service], repeated ones in order."""
    body = UNIT.partition("[Service]\n")[2].partition("[Install]")[0]
    found: dict[str, list[str]] = {}
    for line in body.split("\n"):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("DynamicUser", ["yes"]),
        ("StateDirectory", ["proxyapp"]),
        ("LogsDirectory", ["proxyapp"]),
        ("ConfigurationDirectory", ["proxyapp"]),
        ("ProtectSystem", ["strict"]),
        ("ProtectHome", ["yes"]),
        ("PrivateDevices", ["yes"]),
        ("NoNewPrivileges", ["yes"]),
        ("CapabilityBoundingSet", [""]),
        ("RestrictAddressFamilies", ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"]),
        ("SystemCallFilter", ["@system-service", "~@privileged"]),
        ("LimitNOFILE", ["65536"]),
        ("Restart", ["on-failure"]),
    ],
)
def test_unit_is_hardened(name: str, values: list[str]) -> None:
    """The service may do what a proxy does, and no more."""
    assert service_settings()[name] == values


def test_unit_starts_twistd_in_the_foreground() -> None:
    """systemd keeps the process; twistd neither forks nor writes a pid file."""
    (command,) = service_settings()["ExecStart"]
    program, *arguments = command.split()
    assert program.endswith("/bin/twistd")
    assert arguments == "-n --pidfile= proxyapp --config /etc/proxyapp/proxyapp.ini".split()


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    # The program of the unit is only there once it is installed.
    unit = tmp_path / "proxyapp.service"
    unit.write_text(re.sub(r"(Exec(?:Start|Reload))=\S+", r"\1=/bin/true", UNIT))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze can't work on this machine")
    assert (done.returncode, done.stderr) == (0, "")


# --- What is packaged ---

ROOT = ETC.parent


def test_every_package_is_listed() -> None:
    """setup.cfg names each folder of code, and the plugin folder that no search would find."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options"]["packages"].split()
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("proxyapp/**/*.py")}
    assert set(listed) == {".".join(folder.parts) for folder in folders} | {"twisted.plugins"}


def test_plugin_folders_are_no_packages() -> None:
    """An __init__.py there would hide Twisted itself."""
    assert not list(ROOT.glob("twisted/**/__init__.py"))
    assert "dropin.cache" in (ROOT / ".gitignore").read_text()


def test_build_system_is_setuptools() -> None:
    """pyproject.toml says what builds the package, and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["build-system"]["build-backend"] == "setuptools.build_meta"
    assert set(project) == {"build-system"}
