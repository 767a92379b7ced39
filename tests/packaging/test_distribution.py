"""What setup.cfg promises, and wheel and sdist that keep it."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging import sources

pytestmark = sources.PATIENT
ROOT = sources.ROOT
# What the script `twistd` does; the new environment has neither it nor Twisted of its own.
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
WHERE = """\
import proxyapp.tap, twisted.plugins
print(proxyapp.tap.__file__, *twisted.plugins.__path__)
"""
PLUGIN = "twisted/plugins/proxyapp_plugin.py"


def modules() -> set[str]:
    """Return the modules in the tree, as paths below its top."""
    return {str(path.relative_to(ROOT)) for path in ROOT.glob("proxyapp/**/*.py")} | {PLUGIN}


# --- setup.cfg ---


def test_every_package_is_listed() -> None:
    """setup.cfg has each package of the tree, the folder of plugins, and nothing else."""
    found = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("proxyapp/**/__init__.py")}
    listed = sources.setup()["options"]["packages"].split()
    assert sorted(listed) == sorted(
        {name.replace("/", ".") for name in found} | {"twisted.plugins"}
    )


def test_every_folder_is_a_package() -> None:
    """No module lies where setuptools wouldn't look for it."""
    for path in ROOT.glob("proxyapp/**/*.py"):
        assert (path.parent / "__init__.py").is_file(), path


def test_nothing_but_modules() -> None:
    """Pages and tables are modules as well: other files would need package_data."""
    others = {path for path in ROOT.glob("proxyapp/**/*") if path.is_file()}
    assert not {path for path in others if path.suffix not in (".py", ".pyc")}


def test_twisted_stays_a_folder() -> None:
    """With an __init__.py there Twisted would look for no plugins in it."""
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


def test_examples_are_installed() -> None:
    """Everything in etc/ goes to share/proxyapp."""
    listed = sources.setup()["options.data_files"]["share/proxyapp"].split()
    assert sorted(listed) == sorted(f"etc/{path.name}" for path in (ROOT / "etc").iterdir())


# --- Wheel and sdist ---


@pytest.fixture(scope="module")
def built(distribution: sources.Underway) -> Path:
    """The folder with both; the wheel is made of what the sdist holds."""
    distribution.result(missing="No module named build")
    return distribution.folder.parent / "dist"


@pytest.fixture
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel, open."""
    with zipfile.ZipFile(built / f"proxyapp-{sources.version()}-py3-none-any.whl") as found:
        yield found


def test_wheel_has_every_module(wheel: zipfile.ZipFile) -> None:
    """It holds the modules, the plugin among them, and no other."""
    names = {name for name in wheel.namelist() if name.endswith((".py", ".pyc", ".cache"))}
    assert names == modules()


def test_wheel_has_the_examples(wheel: zipfile.ZipFile) -> None:
    """The ini and the units are in it."""
    data = {name.rpartition("/share/proxyapp/")[2] for name in wheel.namelist()}
    assert {path.name for path in (ROOT / "etc").iterdir()} <= data


def test_wheel_says_what_it_needs(wheel: zipfile.ZipFile) -> None:
    """Version, Python and dependencies are those of setup.cfg."""
    metadata = wheel.read(f"proxyapp-{sources.version()}.dist-info/METADATA").decode()
    assert f"Version: {sources.version()}\n" in metadata
    assert f"Requires-Python: {sources.setup()['options']['python_requires']}\n" in metadata
    assert "Requires-Dist: twisted[tls]>=26.10\n" in metadata


def test_sdist_has_everything(built: Path) -> None:
    """Whoever has the sdist alone can read, test, and package."""
    with tarfile.open(built / f"proxyapp-{sources.version()}.tar.gz") as found:
        names = {name.partition("/")[2] for name in found.getnames()}
    folders = (".ci", "proxyapp", "twisted", "tests", "docs", "etc", "bench", "packaging")
    files = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    wanted = {str(path.relative_to(ROOT)) for path in files}
    litter = {name for name in wanted if "__pycache__" in name or name.endswith("dropin.cache")}
    assert wanted - litter | modules() <= names
    assert {"README.md", "CHANGELOG.md", "LICENSE", "setup.cfg", "pyproject.toml"} <= names
    assert not litter & names


@pytest.fixture(params=["-py3-none-any.whl", ".tar.gz"], ids=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Path:
    """Python of a new environment with one of them; what they need is borrowed from ours."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed in this environment")
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
    ]
    package = built / f"proxyapp-{sources.version()}{request.param}"
    sources.run([*pip, "install", "--no-deps", package])
    purelib = sources.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    ).stdout.strip()
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(purelib, "borrowed.pth").write_text("\n".join(sorted(ours)) + "\n")
    return python


def test_installed_plugin_is_listed(installed: Path, tmp_path: Path) -> None:
    """`twistd --help` has the subcommand, which is the installed one, and it works."""
    listed = sources.run([installed, "-P", "-c", TWISTD, "--help"], tmp_path).stdout
    assert "    proxyapp   " in listed
    tap, *folders = sources.run([installed, "-P", "-c", WHERE], tmp_path).stdout.split()
    assert Path(tap).is_relative_to(tmp_path)
    # One folder is ours; what is borrowed may have the plugin as well, of the same name.
    [folder] = [found for found in map(Path, folders) if found.is_relative_to(tmp_path)]
    assert (folder / Path(PLUGIN).name).is_file()
    checked = sources.run([installed, "-P", "-c", TWISTD, "proxyapp", "--check"], tmp_path).stdout
    assert checked.startswith("proxyapp: the configuration is right (the defaults)\n")
    assert (tmp_path / "venv" / "share" / "proxyapp" / "proxyapp.ini").is_file()
