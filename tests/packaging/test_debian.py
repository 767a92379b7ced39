"""The Debian package: built by its one command, looked at, and lived with in a throw-away root."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.packaging import sources, throwaway

pytestmark = sources.PATIENT
DEBIAN = sources.ROOT / "packaging" / "debian"
HOME = "usr/lib/proxyapp"
# What dpkg itself writes, and the index of manual pages that it has brought up to date.
DPKGS_OWN = re.compile(
    r"var/lib/dpkg/|var/log/(dpkg|alternatives)\.log$|var/cache/(man|debconf|ldconfig)/"
)
UNIT = Path("lib/systemd/system/proxyapp.service")


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all files of the package."""
    folder = tmp_path_factory.mktemp("unpacked")
    sources.run(["dpkg-deb", "-R", package, folder])
    return folder


def field(package: Path, name: str) -> str:
    """Return a field of the package's control file."""
    return sources.run(["dpkg-deb", "-f", package, name]).stdout.strip()


# --- The scripts ---


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm", "proxyapp"])
def test_scripts_are_plain_sh(name: str) -> None:
    """They are executable, stop at the first failure, and are read by any shell."""
    script = DEBIAN / name
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e\n" in text
    sources.run(["/bin/sh", "-n", script])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("1.0.dev3", "1.0~dev3"),
        ("1.0a1", "1.0~a1"),
        ("1.0rc1", "1.0~rc1"),
        ("1.0rc1.dev2", "1.0~rc1~dev2"),
        ("1.0", "1.0"),
        ("1.0.post1", "1.0+post1"),
    ],
)
def test_versions_sort_as_pythons_do(ours: str, theirs: str) -> None:
    """What comes before a release comes before it in Debian, too."""
    (rule,) = re.findall(r"field version \| sed -E '(.+)'\)", (DEBIAN / "build").read_text())
    done = subprocess.run(
        ["sed", "-E", rule], input=ours, capture_output=True, text=True, check=True
    )
    assert done.stdout == theirs


# --- The package ---


def test_fields(package: Path) -> None:
    """Version and name are setup.cfg's, and it asks for the Python it was built with."""
    version, architecture = field(package, "Version"), field(package, "Architecture")
    assert version == sources.version()
    assert package.name == f"proxyapp_{version}_{architecture}.deb"
    (this,) = {
        path.name for path in Path("/usr/bin").glob("python3.*") if path.name[8:].isdigit()
    } & {Path("/usr/bin/python3").resolve().name}
    minor = int(this.partition(".")[2])
    depends = field(package, "Depends").split(", ")
    assert {f"python3 (>= 3.{minor})", f"python3 (<< 3.{minor + 1})", "ca-certificates"} <= set(
        depends
    )
    assert any(each.startswith("libc6 ") for each in depends)


def test_ini_is_the_admins(unpacked: Path) -> None:
    """The ini is the one in etc/, and dpkg knows that it is a configuration file."""
    ini = unpacked / "etc" / "proxyapp" / "proxyapp.ini"
    assert ini.read_text() == (sources.ROOT / "etc" / "proxyapp.ini").read_text()
    assert (unpacked / "DEBIAN" / "conffiles").read_text() == "/etc/proxyapp/proxyapp.ini\n"


def test_unit_is_the_one_in_etc(unpacked: Path) -> None:
    """It differs in the place of the program alone, and in the hint how to install it."""
    unit = (unpacked / UNIT).read_text()
    ours = (
        (sources.ROOT / "etc" / "proxyapp.service")
        .read_text()
        .replace("/opt/proxyapp/", f"/{HOME}/")
    )
    assert unit == ours[ours.index("[Unit]") :]
    assert "/opt/" not in unit


def test_nothing_is_shipped_that_is_made_later(unpacked: Path) -> None:
    """Neither bytecode nor the list of plugins is in it: postinst makes them."""
    names = {path.name for path in unpacked.rglob("*")}
    assert not names & {"__pycache__", "dropin.cache"}
    assert {"proxyapp_plugin.py", "twistd", "proxyapp.8.gz", "copyright", "install.md"} <= names


def test_every_module_is_inside(unpacked: Path) -> None:
    """The package has the whole product."""
    (inside,) = (unpacked / HOME).glob("lib/python3.*/site-packages")
    ours = {path.relative_to(sources.ROOT) for path in sources.ROOT.glob("proxyapp/**/*.py")}
    assert {path.relative_to(inside) for path in inside.glob("proxyapp/**/*.py")} == ours


def test_lintian_finds_no_error(lives: Mapping[str, sources.Underway]) -> None:
    """Debian's own check is content; what it is told to overlook has a reason."""
    if "lintian" not in lives:
        pytest.skip("lintian is missing")
    lives["lintian"].result()
    overrides = (DEBIAN / "lintian-overrides").read_text()
    assert re.fullmatch(r"((# .*\n)+proxyapp: .*\n)*", overrides)


# --- Its life ---


@pytest.fixture(scope="module")
def life(package: Path, lives: Mapping[str, sources.Underway]) -> throwaway.Stay:
    """Installed, used, upgraded, removed and purged."""
    for tool in ("curl", "setpriv", "deb-systemd-helper"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    stay = throwaway.stay(lives, "life")
    if "dependency problems" in stay.said["install"]:
        pytest.skip("packages that it depends on are missing: " + field(package, "Depends"))
    assert "failed" not in stay.said, stay.said
    return stay


def test_installed(life: throwaway.Stay) -> None:
    """It is enabled, and bytecode and the list of plugins are there before it starts."""
    status, wanted, made, listed = life.said["installed"].splitlines()
    assert status == "install ok installed"
    assert wanted == "/lib/systemd/system/proxyapp.service"
    assert int(made) > 500
    assert listed == "1"


def test_command(life: throwaway.Stay) -> None:
    """The plugin is listed, and the command answers for the ini of the service."""
    said = life.said["command"]
    assert "Forward proxy, CONNECT tunnels" in said
    assert "proxyapp: the configuration is right (/etc/proxyapp/proxyapp.ini)\n" in said
    assert "proxyapp runs as a service: systemctl start proxyapp\n" in said
    assert said.endswith("status 2\n")


def test_runs_as_the_unit_says(life: throwaway.Stay) -> None:
    """The unit's command forwards, has the settings, answers tools, and writes nothing to /usr."""
    page, is_used, status, settings, *rest = life.said["run"].splitlines()
    assert page == "page 1"
    assert is_used == "Yes: this page came through the proxy."
    assert (status, settings) == ("200", "1")
    assert rest[-2:] == ["stopped", "wrote nothing into /usr"]
    assert not re.search("Traceback|nable to write", life.said["said"]), life.said["said"]


def test_upgrade_keeps_the_ini(life: throwaway.Stay) -> None:
    """What the admin wrote stays, and what postinst makes is there again."""
    kept, made = life.said["upgraded"].splitlines()
    assert kept == "destinations = 127.0.0.1"
    assert made == life.said["installed"].splitlines()[2]


def test_removal_keeps_what_is_the_admins(life: throwaway.Stay) -> None:
    """The program is gone completely; ini and state stay."""
    assert life.said["removed"].splitlines() == [
        "no program",
        "destinations = 127.0.0.1",
        "proxyapp",
    ]


def test_purge_leaves_nothing(life: throwaway.Stay) -> None:
    """After a purge nothing is left but what dpkg keeps for itself."""
    systemds = {"var/lib/private", "var/log/private", "var/lib/systemd"}
    left = {name for name in life.left if not DPKGS_OWN.match(name)}
    assert left <= systemds, life.said["purge"]
