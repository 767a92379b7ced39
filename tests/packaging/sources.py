"""The sources as a fresh checkout has them, and builds of them in folders of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Seconds that one command may take. They are many, since a machine that does much else builds and
# compiles slowly, and what is tested is not how fast it is.
PATIENCE = 600
# The mark of tests that may wait for several of them.
PATIENT = pytest.mark.timeout(3 * PATIENCE)
# Matches nothing.
NEVER = r"(?!)"
# What lies about in a checkout and isn't part of it.
_LITTER = shutil.ignore_patterns(
    ".*", "__pycache__", "*.pyc", "*.egg-info", "build", "dist", "dropin.cache", "node_modules"
)
# How pip, apt and the scripts that use them say that nobody out there answers.
_NO_INDEX = re.compile(
    "No matching distribution|Could not find a version|NewConnectionError|ConnectTimeout"
    "|Name or service not known|Temporary failure in name resolution|Network is unreachable"
)


def setup() -> ConfigParser:
    """Return setup.cfg."""
    found = ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


def version() -> str:
    """Return the version that setup.cfg has."""
    return setup()["metadata"]["version"]


def copy(folder: Path) -> Path:
    """Copy the sources into *folder*, since setuptools leaves litter; return where they are."""
    target = folder / "proxyapp-sources"
    shutil.copytree(ROOT, target, ignore=_LITTER)
    # Not litter, though they look like it.
    for name in (".ci", "packaging"):
        shutil.copytree(ROOT / name, target / name, dirs_exist_ok=True)
    return target


def _environ() -> dict[str, str]:
    """Return an environment in which only what is installed is found: pytest-xdist adds to it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class Underway:
    """A command that runs while something else is done; what it says goes to files in *folder*."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, cwd: Path | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir()
        self._said, self._complained = folder / "out", folder / "err"
        with self._said.open("wb") as out, self._complained.open("wb") as err:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env=_environ(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def result(self, missing: str = NEVER) -> subprocess.CompletedProcess[str]:
        """Await its end; fails and skips as run() does."""
        status = self._process.wait(PATIENCE)
        out, err = (path.read_text(errors="replace") for path in (self._said, self._complained))
        return _judged(subprocess.CompletedProcess(self._process.args, status, out, err), missing)

    def end(self) -> None:
        """End it if it still runs, since nobody wants to know any more."""
        self._process.terminate()
        self._process.wait(PATIENCE)


def run(
    command: Sequence[str | Path], cwd: Path | None = None, missing: str = NEVER
) -> subprocess.CompletedProcess[str]:
    """Run *command*; fail with what it says.

    The test is skipped where the command reached no index of packages, or says what *missing*
    matches: that it lacks a tool.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return _judged(done, missing)


def _judged(
    done: subprocess.CompletedProcess[str], missing: str
) -> subprocess.CompletedProcess[str]:
    said = done.stdout + done.stderr
    if done.returncode and (found := re.search(missing, said, re.MULTILINE)):
        pytest.skip(found[0])
    if done.returncode and _NO_INDEX.search(said):
        pytest.skip("no index of Python packages is within reach")
    assert done.returncode == 0, said
    return done
