"""The packages, built once for all tests of them, and what is done with them beside the tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.packaging import sources, throwaway

_HERE = Path(__file__).parent
_MISSING = "(?<=--- ).* (is missing|has no venv): .*"


@pytest.fixture(scope="session")
def wanted(request: pytest.FixtureRequest) -> frozenset[str]:
    """The names of all fixtures that tests of this run ask for."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function))
    return frozenset(name for item in items for name in item.fixturenames)


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sources.Underway]:
    """Wheel and sdist as they are built; they come to the folder `dist` of the working folder."""
    folder = tmp_path_factory.mktemp("distribution")
    command: list[str | Path] = [sys.executable, "-m", "build", "--outdir", folder / "dist"]
    started = sources.Underway(command, folder / "said", sources.copy(folder))
    yield started
    started.end()


@pytest.fixture(scope="session")
def package(
    request: pytest.FixtureRequest,
    wanted: frozenset[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The Debian package, as its one command builds it."""
    for tool in ("dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: this is no Debian")
    if "distribution" in wanted:
        request.getfixturevalue("distribution")  # begins
    build = sources.ROOT / "packaging" / "debian" / "build"
    said = sources.run([build, tmp_path_factory.mktemp("debian")], missing=_MISSING)
    return Path(said.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def lives(
    package: Path, wanted: frozenset[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, sources.Underway]]:
    """What is done with the Debian package, all of it at the same time, by name.

    `life` and `boot` are the scripts of these names; `lintian` is only there if it is installed.
    """
    started: dict[str, sources.Underway] = {
        name: throwaway.begin(
            (_HERE / f"{name}.sh").read_text(), tmp_path_factory.mktemp(name), package
        )
        for name in ("life", "boot")
        if name in wanted and not throwaway.obstacle()
    }
    if shutil.which("lintian") is not None:
        command: list[str | Path] = ["lintian", "--fail-on", "error", package]
        started["lintian"] = sources.Underway(command, tmp_path_factory.mktemp("lintian") / "said")
    yield started
    for each in started.values():
        each.end()
