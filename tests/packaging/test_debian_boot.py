"""The Debian package where systemd runs: a throw-away root that is booted for it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.packaging import throwaway
from tests.packaging.test_debian import DPKGS_OWN

# Only what `trial.service` asks for is started, whatever else is enabled in the root. Nothing of
# /run comes from outside.
BOOT = r"""
rm -f /usr/sbin/policy-rc.d
cp /tmp/*.deb /root/proxyapp.deb
cat >/etc/systemd/system/trial.service <<'END'
[Unit]
Requires=basic.target
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash -eux /root/trial.sh
StandardOutput=file:/root/said
StandardError=file:/root/heard
END
cat >/root/trial.sh <<'END'
echo "=== install"
dpkg --force-unsafe-io -i /root/proxyapp.deb
for attempt in $(seq 150); do
    if curl -sS -x http://127.0.0.1:3128 http://proxyapp.invalid/ | grep '^Yes'; then break; fi
    sleep 0.2
done
echo "=== state"
systemctl is-active proxyapp
systemctl is-enabled proxyapp
stat -c '%n %F %A' /var/lib/private/proxyapp /var/lib/proxyapp
proxyapp --cache-list '*' || true  # 1: there is nothing yet
echo "=== upgrade"
before=$(systemctl show -P CanReload -P MainPID proxyapp | tr '\n' ' ')
dpkg --force-unsafe-io -i /root/proxyapp.deb
systemctl is-active proxyapp
echo "before: $before"
echo "after: $(systemctl show -P CanReload -P MainPID proxyapp | tr '\n' ' ')"
journalctl -q --no-pager -o cat -u proxyapp >/root/journal
echo "=== off"
systemctl disable -q --now proxyapp
dpkg --force-unsafe-io -i /root/proxyapp.deb
systemctl is-active proxyapp || true
systemctl is-enabled proxyapp || true
echo "=== purge"
systemctl enable -q --now proxyapp
dpkg --force-unsafe-io -P proxyapp
systemctl is-active proxyapp || true
END
mkdir -p /booted
mount --bind / /booted
timeout 100 systemd-nspawn --quiet --register=no --keep-unit --private-network --link-journal=no \
    --directory=/booted --boot systemd.unit=trial.service </dev/null >/tmp/console 2>&1 || true
if [[ ! -e /root/said ]]; then echo "=== unbooted"; tail -5 /tmp/console; exit; fi
cat /root/said
echo "=== heard"
cat /root/heard /root/journal
rm -r /booted /root/* 2>/dev/null || true
"""


@pytest.fixture(scope="module")
def life(package: Path, tmp_path_factory: pytest.TempPathFactory) -> throwaway.Stay:
    """Installed, upgraded, switched off, upgraded and purged under systemd."""
    for tool in ("systemd-nspawn", "curl", "deb-systemd-helper"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    stay = throwaway.stay(BOOT, tmp_path_factory.mktemp("booted"), package)
    if "unbooted" in stay.said:
        pytest.skip("systemd can't be booted here: " + stay.said["unbooted"])
    assert "purge" in stay.said, stay.said
    return stay


def test_starts_at_once(life: throwaway.Stay) -> None:
    """Installed means running, enabled, and with a state of its own."""
    assert "Yes: this page came through the proxy.\n" in life.said["install"]
    active, enabled, private, public, *_ = life.said["state"].splitlines()
    assert (active, enabled) == ("active", "enabled")
    assert private.startswith("/var/lib/private/proxyapp directory ")
    assert public.startswith("/var/lib/proxyapp symbolic link ")


def test_command_finds_the_service(life: throwaway.Stay) -> None:
    """`proxyapp --cache-list` asks the service that runs."""
    assert life.said["state"].splitlines()[-1] == "0 entries, 0 B"


def test_upgrade_keeps_it_running(life: throwaway.Stay) -> None:
    """It is active after an upgrade, and where it can reload, it is the same process."""
    said = life.said["upgrade"]
    assert "\nactive\n" in said
    before, after = re.findall(r"^(?:before|after): (\S+ \S+)", said, re.MULTILINE)
    assert before.endswith(" yes") == (before == after), life.said["heard"]


def test_upgrade_leaves_it_off(life: throwaway.Stay) -> None:
    """What the admin has switched off stays off."""
    assert life.said["off"].splitlines()[-2:] == ["inactive", "disabled"]


def test_purge_under_systemd(life: throwaway.Stay) -> None:
    """The service is stopped, and neither its state nor anything else of it is left."""
    assert life.said["purge"].splitlines()[-1] == "inactive"
    left = {name for name in life.left if not DPKGS_OWN.match(name)}
    assert not {name for name in left if "proxyapp" in name.replace("trial", "")}, left
