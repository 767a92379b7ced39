"""docs/install.md and the container file: what they hold is right, and makes a gateway."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from proxyapp import tap
from tests.packaging import landevice, sources

pytestmark = sources.PATIENT
ROOT = sources.ROOT
TEXT = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
CONTAINERFILE = (ROOT / "packaging" / "Containerfile").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def the(language: str) -> str:
    """Return the first block in *language*."""
    body: str = next(body for found, body in BLOCK.findall(TEXT) if found == language)
    return body


def tool(name: str) -> str:
    """Return where the program *name* is; skip where it is missing."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is missing")
    return found


# --- The page ---


def test_versions_are_the_one_of_setup() -> None:
    """The names of packages are those that are built."""
    named = re.findall(r"proxyapp[-_]([0-9][0-9.]*[0-9])[-_]", TEXT)
    assert named
    assert set(named) == {sources.version()}


def test_commands_have_the_options_they_name() -> None:
    """Every option of proxyapp's own command exists."""
    commands = re.findall(r"^(?:.* )?proxyapp (--.+)$|`proxyapp (--[^`]+)`", TEXT, re.MULTILINE)
    asked = {
        word for pair in commands for word in re.findall(r"(?<!\S)--([a-z-]+)", " ".join(pair))
    }
    known = {option[0] for option in (*tap.Options.optFlags, *tap.Options.optParameters)}
    known |= {name.removeprefix("opt_").replace("_", "-") for name in vars(tap.Options)}
    assert asked - {"help", "client"} <= known


def test_anchors() -> None:
    """Links into the page lead to its headings."""
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    slugs = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= slugs


def test_firewall_is_right(tmp_path: Path) -> None:
    """nft takes the file."""
    file = tmp_path / "nftables.conf"
    file.write_text(the("nft"))
    nft = tool("nft")
    if os.geteuid() != 0:
        pytest.skip("only root can ask nft")
    sources.run([nft, "-c", "-f", file], missing="Operation not (permitted|supported)")


def test_dnsmasq_is_right(tmp_path: Path) -> None:
    """dnsmasq takes the file, and it names the address that clients are told."""
    file = tmp_path / "lan.conf"
    file.write_text(the("dnsmasq"))
    said = sources.run([tool("dnsmasq"), "--test", f"--conf-file={file}"])
    assert "syntax check OK" in said.stderr


# --- The container file ---


def test_container_copies_what_is_there() -> None:
    """What it copies exists, and is all that an installation needs."""
    copied = [
        shlex.split(line)[1:-1]
        for line in CONTAINERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    names = {name for names in copied for name in names}
    assert all((ROOT / name).exists() for name in names)
    assert {
        "setup.cfg",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "etc",
        "proxyapp",
        "twisted",
    } <= names


def test_container_starts_what_the_unit_starts() -> None:
    """The command is the unit's, and it runs as nobody in particular."""
    (line,) = re.findall(r"^ENTRYPOINT \[(.+)\]$", CONTAINERFILE, re.MULTILINE)
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    unit.read(ROOT / "etc" / "proxyapp.service", encoding="utf-8")
    assert [word.strip(' "') for word in line.split(",")] == unit["Service"]["ExecStart"].split()
    assert "\nUSER proxyapp\n" in CONTAINERFILE


# --- The gateway ---

# Three machines: the internet, this one with eth0 and eth1, and a device. Forwarding is on, so that
# it is the firewall that keeps the device in.
GATEWAY = r"""
set -eu
folder=$1
cd "$folder"
mount -t tmpfs run /run
trap 'kill $(jobs -p) 2>/dev/null' EXIT
on() { ip netns exec "$@"; }
ip link set lo up
for side in \
    "internet eth0 93.184.215.2/24 93.184.215.14/24" "device eth1 192.168.7.1/24 192.168.7.77/24"
do
    set -- $side
    ip netns add $1
    ip link add $2 type veth peer name port netns $1
    ip address add $3 dev $2
    ip link set $2 up
    on $1 ip link set lo up
    on $1 ip address add $4 dev port
    on $1 ip link set port up
done
on device ip route add default via 192.168.7.1
on internet ip route add default via 93.184.215.2
echo 1 >/proc/sys/net/ipv4/ip_forward
echo "page 1" >p1.txt
on internet "$PYTHON" -m http.server 80 >/dev/null 2>&1 &
direct() { on device curl -sS -m 20 http://93.184.215.14/p1.txt 2>/dev/null; }
for attempt in $(seq 100); do if direct >/dev/null; then break; fi; sleep 0.1; done
echo "without a firewall: $(direct)"

nft -f nftables.conf
dnsmasq --conf-file=lan.conf --user=root --dhcp-leasefile=leases --pid-file= -k 2>said-dns &
"$PYTHON" -c "$TWISTD" -n --pidfile= proxyapp --config proxyapp.ini >said 2>&1 &
for attempt in $(seq 600); do if grep -q 'configuration: ' said; then break; fi; sleep 0.1; done
echo "directly: $(direct || echo no way)"
device() { on device curl -sS -m 20 "$@" 2>&1; }
echo "proxy: $(device -x http://192.168.7.1:3128 http://93.184.215.14/p1.txt)"
echo "used: $(device -x http://192.168.7.1:3128 http://proxyapp.invalid/ | grep '^Yes')"
echo "settings: $(device http://192.168.7.1/wpad.dat | grep -o 'PROXY 192.168.7.1:3128')"
status=$(device -o /dev/null -w '%{http_code}' -x http://192.168.7.1:3128 http://192.168.1.1/)
echo "the router: $status"
echo "another port: $(device http://192.168.7.1:9/ | grep -o 'Failed to connect')"
line() {
    status=0
    on internet curl -sS -m 1 http://93.184.215.2:$1/ >/dev/null 2>&1 || status=$?
    echo "from the line: $status"
}
asking=
for port in 3128 8080 80 53; do line $port & asking="$asking $!"; done
wait $asking
on device "$PYTHON" "$DEVICE" 192.168.7.1 wpad.lan gateway example.com
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a device, and the internet, find out about a gateway that is set up as the page says."""
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    for name in ("unshare", "ip", "nft", "dnsmasq", "curl", "mount"):
        tool(name)
    folder = tmp_path_factory.mktemp("gateway")
    for name, language in {
        "nftables.conf": "nft",
        "lan.conf": "dnsmasq",
        "proxyapp.ini": "ini",
    }.items():
        (folder / name).write_text(the(language))
    started = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    environ = os.environ | {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "TWISTD": started,
        "DEVICE": str(landevice.__file__),
        "STATE_DIRECTORY": str(folder / "state"),
    }
    apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*apart, "/bin/bash", "-c", GATEWAY, "gateway", str(folder)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=sources.PATIENCE,
        check=False,
    )
    if re.search("Operation not (permitted|supported)|Unknown device type", done.stderr):
        pytest.skip("this machine makes no network namespaces, or none with a firewall")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_no_way_out_but_the_proxy(gateway: list[str]) -> None:
    """The device gets the page through the proxy; directly only as long as there is no firewall."""
    assert "without a firewall: page 1" in gateway
    assert "directly: no way" in gateway
    assert "proxy: page 1" in gateway
    assert "used: Yes: this page came through the proxy." in gateway


def test_nothing_private_through_the_proxy(gateway: list[str]) -> None:
    """Private addresses behind the line are refused, and other ports of the Pi are shut."""
    assert "the router: 403" in gateway
    assert "another port: Failed to connect" in gateway


def test_nobody_comes_in_by_the_line(gateway: list[str]) -> None:
    """Proxy, site and DNS let connections from there time out (curl's status 28)."""
    assert gateway.count("from the line: 28") == 4


def test_devices_find_their_settings(gateway: list[str]) -> None:
    """By DHCP, by name, and at the place that both lead to."""
    assert "settings: PROXY 192.168.7.1:3128" in gateway
    assert "option 252: http://192.168.7.1:8080/wpad.dat" in gateway
    assert "router: 192.168.7.1" in gateway
    assert "wpad.lan: 192.168.7.1" in gateway
    assert "gateway: 192.168.7.1" in gateway


def test_dns_is_no_way_out(gateway: list[str]) -> None:
    """Names of the internet aren't looked up for the LAN."""
    assert "example.com: refused" in gateway
