"""The public cache suite through the product, where Node and a checkout of the suite are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance import cases_freshness, cases_optional, cases_reuse, cases_storing
from tests.conformance.run import CannotRun, Score, run_product

CHECKOUT = "PROXYAPP_CACHE_TESTS"
REQUIRED = 150
# Of 98: docs/conformance.md says why the others aren't passed.
LEAST_OPTIONAL = 92


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> Score:
    """Return what came of the run; skip where there is nothing to run."""
    checkout = os.environ.get(CHECKOUT)
    if not checkout:
        pytest.skip(f"{CHECKOUT} names no checkout of http-tests/cache-tests")
    try:
        return run_product(Path(checkout).resolve(), tmp_path_factory.mktemp("suite"))
    except CannotRun as missing:
        pytest.skip(str(missing))


@pytest.mark.timeout(600)
def test_requests_went_through_the_proxy(score: Score) -> None:
    """Each request that the suite sent is in the request log: it didn't test its own origin."""
    assert score.sent > len(score.verdicts)
    assert score.logged == score.sent


@pytest.mark.timeout(600)
def test_required(score: Score) -> None:
    """All required tests pass."""
    assert score.passed("required") == len(score.of("required")) == REQUIRED, score.summary()


@pytest.mark.timeout(600)
def test_optional(score: Score) -> None:
    """The optional tests pass, but for those that ask for too much."""
    assert score.passed("optimal") >= LEAST_OPTIONAL, score.summary()


@pytest.mark.timeout(600)
def test_our_table_is_theirs(score: Score) -> None:
    """Our own table has every required test of the suite, and no optional one that isn't there."""
    tables = (cases_freshness, cases_storing, cases_reuse)
    ours = {case.id for table in tables for case in table.REQUIRED}
    assert ours == {each.id for each in score.of("required")}
    optional = {case.id for case in cases_optional.OPTIONAL}
    assert optional <= {each.id for each in score.of("optimal")}
