"""What docs/explain.md shows is what the commands print, and what the page says."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from proxyapp import errors
from proxyapp.site.pages import error_page
from tests.appliance import TWISTD, environ
from tests.test_readme import blocks, doc

TEXT = doc("explain.md")
EXAMPLES = blocks(TEXT, "")
COMMANDS = [example for example in EXAMPLES if example.startswith("$ ")]


@pytest.mark.parametrize("example", COMMANDS, ids=range(len(COMMANDS)))
def test_commands(tmp_path: Path, example: str) -> None:
    """Each command prints what stands below it, in the folder that the page describes."""
    (tmp_path / "proxyapp.ini").write_text(*blocks(TEXT, "ini"))
    (tmp_path / "access.log").write_text(*blocks(TEXT, "squid"))
    (tmp_path / "users").write_text("ann:secret\nbob:secret\n")
    command, _, shown = example.partition("\n")
    _, twistd, *arguments = shlex.split(command)
    assert twistd == "twistd"
    done = subprocess.run(
        [sys.executable, "-c", TWISTD, *arguments],
        cwd=tmp_path,
        env=environ() | {"TZ": "UTC0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.replace(str(tmp_path), "/etc/proxyapp") == shown


def test_the_page() -> None:
    """So is the page of a refusal."""
    refused = errors.AccessDenied(
        "[rule work-hours] denies what matches its times and domains",
        rule="[rule work-hours]",
        message="News are for the evening.",
    )
    _, body = error_page(
        refused, None, method=b"GET", url=b"http://www.news.example/", request_id="k3x7q20001"
    )
    assert body.decode() == EXAMPLES[-1]
