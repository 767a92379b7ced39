"""The Debian package where systemd runs: a throw-away root that is booted for it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping

import pytest

from tests.packaging import sources, throwaway
from tests.packaging.test_debian import DPKGS_OWN

pytestmark = sources.PATIENT


@pytest.fixture(scope="module")
def boot(lives: Mapping[str, sources.Underway]) -> throwaway.Stay:
    """Installed, upgraded, switched off, upgraded and purged under systemd."""
    for tool in ("systemd-nspawn", "curl", "deb-systemd-helper"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    stay = throwaway.stay(lives, "boot")
    if "unbooted" in stay.said:
        pytest.skip("systemd can't be booted here: " + stay.said["unbooted"])
    assert "purge" in stay.said, stay.said
    return stay


def test_starts_at_once(boot: throwaway.Stay) -> None:
    """Installed means running, enabled, and with a state of its own."""
    assert "Yes: this page came through the proxy.\n" in boot.said["install"]
    active, enabled, private, public, *_ = boot.said["state"].splitlines()
    assert (active, enabled) == ("active", "enabled")
    assert private.startswith("/var/lib/private/proxyapp directory ")
    assert public.startswith("/var/lib/proxyapp symbolic link ")


def test_command_finds_the_service(boot: throwaway.Stay) -> None:
    """`proxyapp --cache-list` asks the service that runs."""
    assert boot.said["state"].splitlines()[-1] == "0 entries, 0 B"


def test_upgrade_keeps_it_running(boot: throwaway.Stay) -> None:
    """It is active after an upgrade, and where it can reload, it is the same process."""
    said = boot.said["upgrade"]
    assert "\nactive\n" in said
    before, after = re.findall(r"^(?:before|after): (\S+ \S+)", said, re.MULTILINE)
    assert before.endswith(" yes") == (before == after), boot.said["heard"]


def test_upgrade_leaves_it_off(boot: throwaway.Stay) -> None:
    """What the admin has switched off stays off."""
    assert boot.said["off"].splitlines()[-2:] == ["inactive", "disabled"]


def test_purge_under_systemd(boot: throwaway.Stay) -> None:
    """The service is stopped, and neither its state nor anything else of it is left."""
    assert boot.said["purge"].splitlines()[-1] == "inactive"
    left = {name for name in boot.left if not DPKGS_OWN.match(name)}
    assert not {name for name in left if "proxyapp" in name.replace("trial", "")}, left
