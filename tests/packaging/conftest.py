"""The Debian package, built once for all tests of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.packaging import sources

_MISSING = "(?<=--- ).* (is missing|has no venv): .*"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package, as its one command builds it."""
    for tool in ("dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: this is no Debian")
    build = sources.ROOT / "packaging" / "debian" / "build"
    said = sources.run([build, tmp_path_factory.mktemp("debian")], missing=_MISSING)
    return Path(said.stdout.splitlines()[-1])
