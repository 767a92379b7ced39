"""Promises of proxyapp.rules.priorities."""

from __future__ import annotations

import syslog

import pytest

from proxyapp.rules.priorities import Level, prefixed, priority


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (Level.DEBUG, syslog.LOG_DEBUG),
        (Level.INFO, syslog.LOG_INFO),
        (Level.WARN, syslog.LOG_WARNING),
        (Level.ERROR, syslog.LOG_ERR),
        (Level.CRITICAL, syslog.LOG_CRIT),
    ],
)
def test_numbers_are_those_of_syslog(level: Level, number: int) -> None:
    """The journal and syslog count alike."""
    assert priority(level) == number
    assert prefixed("text", level) == f"<{number}>text"


def test_each_line_has_its_prefix() -> None:
    """The journal reads line by line, so that a second line without one could have any."""
    assert prefixed("one\n<0>two\n", Level.ERROR) == "<3>one\n<3><0>two\n<3>"
