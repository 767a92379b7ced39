"""The suite's runner: what it counts, and what it says where it can't run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conformance import run
from tests.conformance.run import CannotRun, Score, Verdict
from tests.conformance.stage import at


def verdict(id_: str, kind: str = "required", word: str = "pass", is_cdn: bool = False) -> Verdict:
    """Return a verdict."""
    return Verdict(id_, "group", "name", kind, is_cdn, word, "" if word == "pass" else "since")


SCORE = Score(
    (
        verdict("good"),
        verdict("bad", word="fail"),
        verdict("moot", word="dependency_fail"),
        verdict("theirs", is_cdn=True),
        verdict("fine", kind="optimal"),
        verdict("slow", kind="optimal", word="optional_fail"),
        verdict("curious", kind="check", word="yes"),
    ),
    sent=20,
    logged=None,
)


def test_what_counts() -> None:
    """Tests for CDNs and questions don't count; a test whose ground has gone isn't passed."""
    assert (SCORE.passed("required"), len(SCORE.of("required"))) == (1, 3)
    assert (SCORE.passed("optimal"), len(SCORE.of("optimal"))) == (1, 2)


def test_summary() -> None:
    """The summary has the figures first, then each test that failed and why."""
    assert SCORE.summary().splitlines() == [
        "required: 1 of 3",
        "optional: 1 of 2",
        "requests sent: 20; in the proxy's log: not looked at",
        "",
        "required, not passed:",
        "  bad [fail] since",
        "  moot [dependency_fail] since",
        "",
        "optional, not passed:",
        "  slow [optional_fail] since",
    ]


def test_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Node it says so."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CannotRun, match="Node isn't installed"):
        run.node()


def test_no_checkout(tmp_path: Path) -> None:
    """A folder that is no checkout is named; one without its packages is told what to do."""
    with pytest.raises(CannotRun, match="is no checkout of"):
        run.check(tmp_path)
    runner = tmp_path / "test-engine" / "client" / "runner.mjs"
    runner.parent.mkdir(parents=True)
    runner.write_text("")
    with pytest.raises(CannotRun, match="npm install"):
        run.check(tmp_path)


def test_only_absolute_urls_count(tmp_path: Path) -> None:
    """A tunnel to the origin isn't taken for a request that a cache could have answered."""
    log = tmp_path / "log"
    log.write_text("GET http://127.0.0.1:81/a\nCONNECT 127.0.0.1:81\nGET http://127.0.0.1:8/a\n")
    assert run.logged(log, "http://127.0.0.1:81", sent=1) == 1


def test_dates() -> None:
    """Dates in a line are counted from now."""
    assert at("Date: <-1>", 1.0) == "Date: Thu, 01 Jan 1970 00:00:00 GMT"
    assert at("Vary: Foo", 1.0) == "Vary: Foo"
