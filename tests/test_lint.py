"""Linter, formatter and type checker are tests like others."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(tool: str, *arguments: str) -> None:
    """Run *tool* on the checkout; fail with what it says."""
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed; the test extra has it")
    command = [sys.executable, "-m", tool, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    if done.returncode:
        pytest.fail(f"{tool} {' '.join(arguments)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_check() -> None:
    """Nothing in the tree offends the linter."""
    run("ruff", "check", "--no-cache", "--output-format=concise", ".")


def test_ruff_format() -> None:
    """Every file is as the formatter would write it."""
    run("ruff", "format", "--no-cache", "--check", ".")


def test_mypy() -> None:
    """The product is typed strictly, interfaces of zope included."""
    if importlib.util.find_spec("mypy_zope") is None:
        pytest.skip("mypy-zope is not installed; the test extra has it")
    run("mypy", "--strict", "proxyapp", "twisted/plugins")
