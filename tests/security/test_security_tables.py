"""The tables of attacks: long enough, each with its source, and as docs/security.md has them."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from tests.security import (
    test_security_floods,
    test_security_hops,
    test_security_logs,
    test_security_pages,
    test_security_requests,
    test_security_responses,
    test_security_site,
    test_security_targets,
)

ROOT = Path(__file__).parent.parent.parent
THEMES = (
    test_security_floods,
    test_security_hops,
    test_security_logs,
    test_security_pages,
    test_security_requests,
    test_security_responses,
    test_security_site,
    test_security_targets,
)
# A section of a standard, a number that can be looked up, or an issue as owner/name#number.
SOURCE = re.compile(
    r"RFC \d+ [0-9A-Z.]+|WHATWG URL [0-9.]+|CVE-\d{4}-\d{4,}|CWE-\d+|VU#\d+|[\w-]+/[\w-]+#\d+"
)


def rows() -> list[tuple[str, bytes]]:
    """Return the source, and the first bytes that are sent, of every row of every table."""
    tables = [
        value for theme in THEMES for value in vars(theme).values() if isinstance(value, list)
    ]
    found = [row for row in chain(*tables) if isinstance(row, tuple) and isinstance(row[0], str)]
    return [(row[0], next(each for each in row[1:] if isinstance(each, bytes))) for row in found]


def test_the_tables_are_long_enough() -> None:
    """There are several hundred different attacks."""
    assert len({sent for _, sent in rows()}) >= 300


def test_each_attack_has_a_source() -> None:
    """It is one that can be looked up."""
    assert not [source for source, _ in rows() if not SOURCE.fullmatch(source)]


def test_the_page_names_tests_that_exist() -> None:
    """What docs/security.md calls tested is tested, by the names that it gives."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    known = {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in [path.stem, *re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)]
    }
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named
    assert not named - known
