"""A root file system to throw away: this machine's, with a layer on top that takes all writes.

What runs in it sees the same files and tools, has a loopback of its own, and changes nothing that
outlives it. What is in the layer at the end is what it has left.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging import sources

# Arguments: a folder, a file to put into /tmp of the root, and the script.
_OUTSIDE = r"""
set -eu
mount -t tmpfs throwaway "$1"
mkdir "$1/layer" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layer,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount --rbind /sys "$1/root/sys"
mkdir -p "$1/root/tmp" && mount -t tmpfs temporary "$1/root/tmp"
/usr/bin/python3 - <<'END'
import fcntl, socket, struct
loopback_up = struct.pack("16sh", b"lo", 1)  # IFF_UP
fcntl.ioctl(socket.socket(), 0x8914, loopback_up)  # SIOCSIFFLAGS
END
cp "$2" "$1/root/tmp/"
chroot "$1/root" /bin/bash -eu -o pipefail -c "$3" 2>&1 || echo "=== failed
$?"
echo "=== left"
cd "$1/layer"
find . -mindepth 1 -printf '%y %P\n'
"""
_SECTION = re.compile(r"^=== (\S+)\n(.*?)(?=^=== |\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stay:
    """What a script did in a root: *said*, by the lines `=== NAME` in it, and what it *left*.

    *left* are the files in the layer, and the folders that this machine doesn't have.
    """

    said: dict[str, str]
    left: frozenset[str]


@functools.cache
def obstacle() -> str:
    """Return why there can be no such root here; empty if there can."""
    if os.geteuid() != 0:
        return "only root can lay a file system over another one"
    if any(shutil.which(tool) is None for tool in ("unshare", "chroot", "mount")):
        return "unshare, chroot or mount is missing"
    probe = 'd=$(mktemp -d) && mount -t tmpfs t "$d" && mkdir "$d/a" "$d/b" "$d/c"'
    probe += ' && mount -t overlay o -o "lowerdir=/,upperdir=$d/a,workdir=$d/b" "$d/c"'
    probe += '; s=$?; umount "$d/c"; umount "$d"; rmdir "$d"; exit $s'
    done = subprocess.run([*_APART, probe], capture_output=True, text=True, check=False)
    return (
        ""
        if done.returncode == 0
        else "this machine lets nobody lay a file system over another one"
    )


# Mounts, network and processes of its own; all of them end with it.
_APART = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "/bin/sh", "-c")


def begin(script: str, folder: Path, file: Path) -> sources.Underway:
    """Begin to run *script* in such a root below *folder*, with *file* in /tmp."""
    command = [*_APART, _OUTSIDE, "sh", str(folder), str(file), script]
    return sources.Underway(command, folder.with_name(folder.name + "-said"))


def stay(begun: Mapping[str, sources.Underway], name: str) -> Stay:
    """Return what the script *name* did that has *begun*; skip where there can be no such root."""
    if obstacle():
        pytest.skip(obstacle())
    done = begun[name].result()
    said = dict(_SECTION.findall(done.stdout))
    entries = [line.partition(" ") for line in said.pop("left").splitlines()]
    left = {name for kind, _, name in entries if kind != "d" or not Path("/", name).is_dir()}
    return Stay(said, frozenset(left))
