"""What README.md and docs/ say is so: commands, options, errors, log formats, modules, links."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import pytest

from proxyapp import config, errors, tap
from proxyapp.config import OPTIONS
from proxyapp.config.ini import Ini
from proxyapp.rules import autoconfighelp, logtimes, ranges
from proxyapp.rules.logformat import (
    NAMED_FORMATS,
    PLACEHOLDERS,
    Identified,
    compile_format,
    identified,
)
from proxyapp.rules.record import Record
from proxyapp.site import (
    archive,
    digests,
    folderquery,
    listing,
    loading,
    logview,
    members,
    memory,
    uploads,
    webresource,
)
from proxyapp.wire.headers import Fields
from proxyapp.wire.messages import RequestHead

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = ROOT / ".ci" / "run"
RUN = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/twistd -n proxyapp"
# .ci/run takes this line from README.md.
TEST = "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"

# Programs that Debian isn't without.
EVERYWHERE = {"mount", "unshare", "nsenter", "true"}

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")
# `[section] option` in prose, and the options that follow it in the same pair of backquotes.
MENTION = re.compile(r"`\[([a-z]+)\] ([a-z_]+)`")
# What an example may get wrong on a machine that isn't the one it is for.
ABSENT = re.compile("is not a folder|can't be read")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of *text* in *language*."""
    return [body for found, body in BLOCK.findall(text) if found == language]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of every table row in *text*."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def doc(name: str) -> str:
    """Return the text of a page in docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


# --- The two commands ---


@pytest.mark.parametrize("command", [RUN, TEST])
def test_each_command_is_a_block_of_its_own(command: str) -> None:
    """An admin can copy either command as it stands."""
    assert blocks(README, "").count(command + "\n") == 1
    assert README.count(command) == 1


def test_the_commands_come_first() -> None:
    """Both are on the first screen, the one that runs it before the one that tests it."""
    assert README.index(RUN) < README.index(TEST)
    assert len(README[: README.index(TEST)].splitlines()) <= 30


def test_ci_takes_the_command_from_the_readme() -> None:
    """.ci/run finds exactly the second command, and has no other way to install or test."""
    script = CI.read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -E '([^']+)' README\.md", script)
    assert [line for line in README.splitlines() if re.fullmatch(pattern, line)] == [TEST]
    assert "pip install" not in script
    assert 'bash -c "${commands[0]}"' in script


def test_ci_installs_what_tests_look_for() -> None:
    """.ci/run knows the package of every program whose tests are skipped without it."""
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    looked_for = {
        name for text in tests for name in re.findall(r'(?:which|tool)\("([\w-]+)"', text)
    }
    known = set(re.findall(r"^need (\S+) ", CI.read_text(encoding="utf-8"), re.MULTILINE))
    assert looked_for <= known | EVERYWHERE | {"node"}


def test_ci_can_be_executed() -> None:
    """The script has its mode and its first lines."""
    assert os.access(CI, os.X_OK)
    assert CI.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail\n" in CI.read_text(encoding="utf-8")


# --- Options ---


@each_page
def test_options_in_prose_exist(page: Path) -> None:
    """Every `[section] option` is in the table of options."""
    for section, name in MENTION.findall(page.read_text(encoding="utf-8")):
        assert section in OPTIONS, section
        assert name in {option.name for option in OPTIONS[section].values()}, name


@each_page
def test_ini_examples_load(page: Path, tmp_path: Path) -> None:
    """Every example is right, but for folders and files that this machine doesn't have."""
    for number, text in enumerate(blocks(page.read_text(encoding="utf-8"), "ini")):
        if "[Service]" in text:
            continue  # systemd's
        file = tmp_path / f"{number}.ini"
        file.write_text(text, encoding="utf-8")
        assert Ini(file.name, text).entries
        try:
            config.load(file, (), {})
        except config.ConfigError as error:
            assert all(ABSENT.search(each) for each in error.mistakes), error


def test_options_of_the_command() -> None:
    """README's table has every option of `twistd proxyapp`, and no other."""
    section = README.partition("## The command")[2].partition("\n## ")[0]
    shown = {name for row in rows(section) for name in re.findall(r"--([a-z][a-z-]*)", row[0])}
    methods = {name.removeprefix("opt_") for name in vars(tap.Options) if name.startswith("opt_")}
    known = {name.replace("_", "-") for name in methods if len(name) > 1}
    declared = [*tap.Options.optFlags, *tap.Options.optParameters]
    assert shown == known | {option[0] for option in declared}


# --- Errors ---


def kinds(base: type[errors.ExchangeError]) -> Iterator[type[errors.ExchangeError]]:
    """Yield every class of the tree below *base* that is raised, not only refined."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            if not kind.__subclasses__() or kind is errors.ClientGone:
                yield kind
            yield from kinds(kind)


def test_every_error_is_documented() -> None:
    """docs/errors.md has each error once, with its status and token."""
    documented = [tuple(row[:3]) for row in rows(doc("errors.md")) if re.match("[A-Z]", row[0])]
    real = [
        (kind.__name__, str(kind.status), f"`{kind.token}`") for kind in kinds(errors.ExchangeError)
    ]
    assert sorted(documented) == sorted(real)


def test_every_error_says_what_to_do() -> None:
    """No cell of the tables is empty."""
    for row in rows(doc("errors.md")):
        assert len(row) == 5
        assert all(row)


# --- Log formats ---

FORMATS = doc("log-formats.md")
EXAMPLE = Record(
    started=1767787506.25,
    duration=0.0834,
    client_host="192.168.7.20",
    client_port=51234,
    service="proxy",
    asked=RequestHead(
        b"GET", b"http://example.com/reading?n=1", 1, Fields([(b"User-Agent", b"curl/8.5.0")])
    ),
    url=b"https://example.com/reading?n=1",
    status=200,
    sent=5120,
    content_type=b"text/plain; charset=utf-8",
    upstream="198.51.100.7:443",
    reuse="reused",
    tls="warm",
    request_id="k3x7q20001",
)


@pytest.fixture
def _central_europe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The examples are written where the clocks are an hour ahead."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    logtimes.second.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    logtimes.second.cache_clear()


def test_every_named_format_is_documented() -> None:
    """Each has a heading, in the order in which they are known, and a row in README."""
    headings = re.findall(r"^## (.+)$", FORMATS, re.MULTILINE)
    assert [name for name in headings if name in NAMED_FORMATS] == list(NAMED_FORMATS)
    shown = {row[0].strip("`") for row in rows(README)}
    assert set(NAMED_FORMATS) <= shown


@pytest.mark.usefixtures("_central_europe")
@pytest.mark.parametrize("name", NAMED_FORMATS)
def test_example_of_a_named_format(name: str) -> None:
    """The example below its heading is what is written."""
    section = FORMATS.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    shows_id = identified(name) is Identified.ALL
    record = EXAMPLE if shows_id else replace(EXAMPLE, request_id="")
    assert blocks(section, "") == [compile_format(name)(record) + "\n"]


@pytest.mark.usefixtures("_central_europe")
def test_example_of_a_format_string() -> None:
    """So is the example of a format string."""
    section = FORMATS.partition("\n## Format strings\n")[2]
    (example,) = blocks(section, "ini")
    (entry,) = Ini("example", example).entries
    assert blocks(section, "") == [compile_format(entry.text)(EXAMPLE) + "\n"]


def test_every_placeholder_is_documented() -> None:
    """The table has each placeholder once."""
    shown = [
        name for row in rows(FORMATS) for name in re.findall(r"^`?\{(\w+)\}|`\{(\w+)\}", row[0])
    ]
    names = [first or second for first, second in shown]
    assert sorted(names) == sorted(PLACEHOLDERS)


# --- The site ---

KIB, MIB, DAYS = 1024, 1024 * 1024, 24 * 3600
SITE_LIMITS = {
    "ranges in one answer": f"{ranges.MOST_PARTS}",
    "size up to which a file is kept in memory": f"{loading.READ_UP_TO // KIB} KiB",
    "files in memory": f"{memory.CAPACITY // MIB} MiB",
    "how long they are trusted without a look": f"{memory.LOOK_EVERY:g} s",
    "entries on a folder page": f"{folderquery.PAGE_LENGTH:,}",
    "entries read of a folder": f"{listing.MOST_ENTRIES:,}",
    "folders read at once, and waiting, of a root": f"{listing.SCANS}, {listing.SCANS_WAITING}",
    "archives made at once, of a root": f"{listing.ARCHIVES}",
    "files and folders in a zip": f"{archive.MOST_ZIPPED:,}",
    "files and folders in a tar": "none",
    "depth of an archive, in folders": f"{members.DEEPEST}",
    "digests computed at once, and waiting": f"{digests.AT_ONCE}, {digests.WAITING}",
    "digests remembered": f"{digests.REMEMBERED:,}",
    "uploads at once": f"{uploads.MOST_AT_ONCE}",
    "unfinished uploads kept": f"{uploads.MOST_PARTS:,}",
    "how long they are kept": f"{uploads.EXPIRY / DAYS:g} days",
    "content of a request to a mounted resource": f"{webresource.MAX_CONTENT // MIB} MiB",
    "the log page, and with `?lines`": (
        f"{logview.DEFAULT_SIZE // KIB} KiB, {logview.MAX_SIZE // MIB} MiB"
    ),
}


def test_limits_of_the_site() -> None:
    """docs/site.md has the limits that hold."""
    section = doc("site.md").partition("## Limits")[2].partition("\n## ")[0]
    (_, _, *shown) = rows(section)
    assert dict(shown) == SITE_LIMITS


def test_example_of_autoconfig_help() -> None:
    """docs/autoconfiguration.md shows what a gateway at 192.168.7.1 prints."""
    served = autoconfighelp.Served("gateway", ("192.168.7.1",), (3128,), (8080, 80), True)
    assert blocks(doc("autoconfiguration.md"), "text") == [autoconfighelp.help_text(served)]


# --- Files ---


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is to a file of the repository."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target.partition("#")[0]).is_file(), target


def test_readme_leads_to_every_page() -> None:
    """No page of docs/ can only be found by those who know that it is there."""
    linked = set(LINK.findall(README))
    assert {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} <= linked


def floors(picture: str) -> Iterator[tuple[str, str]]:
    """Yield each floor of the picture of the layers with its lines; "" is the top folder's."""
    for block in re.split(r"^(?=\S)", picture, flags=re.MULTILINE):
        folder, slash, _ = block.partition(" ")[0].partition("/")
        yield (folder if slash else ""), block


def test_architecture_knows_every_module() -> None:
    """The picture has every module on its own floor, and none that isn't there."""
    drawn: dict[str, set[str]] = {}
    for folder, lines in floors(blocks(doc("architecture.md"), "")[0]):
        drawn.setdefault(folder, set()).update(re.findall(r"\w+", lines))
    for path in (ROOT / "proxyapp").rglob("*.py"):
        (*folders, _) = path.relative_to(ROOT / "proxyapp").parts
        assert path.stem == "__init__" or path.stem in drawn["".join(folders[:1])], path


def test_architecture_names_no_other_module() -> None:
    """The text names no module that isn't there."""
    text = doc("architecture.md")
    for name in re.findall(r"`([a-z]+(?:/[a-z_]+)?\.py)`", text):
        assert (ROOT / "proxyapp" / name).is_file() or (ROOT / name).is_file(), name


def test_dependencies() -> None:
    """README's tables name the libraries that setup.cfg asks for."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    asked = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    declared = {re.split(r"[\[>=<]", line)[0].lower() for line in asked.split()}
    section = README.partition("## What it stands on")[2]
    named = {name.lower() for row in rows(section) for name in re.findall(r"\[([^\]]+)\]", row[0])}
    # idna comes with twisted[tls] in any case.
    assert named == declared - {"idna"}


def test_pages_end_their_lines_in_time() -> None:
    """Prose is readable in a terminal; tables, links and examples may be wider."""
    for page in PAGES:
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        long = [line for line in prose.splitlines() if len(line) > 110 and line[0] != "|"]
        assert not long, page.name
