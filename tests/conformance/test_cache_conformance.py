"""The cache keeps RFC 9111: every required case of the public suite, in our own words.

The ids are those of http-tests/cache-tests, whose own run is in test_cache_suite.py. The
cases are played at the same time, since they wait more than they work, and judged one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.appliance import start
from tests.conformance import cases_freshness, cases_optional, cases_reuse, cases_storing
from tests.conformance.case import Case
from tests.conformance.stage import Scripts, play_all
from tests.origin import Origin

_AT_ONCE = 48

REQUIRED = [*cases_freshness.REQUIRED, *cases_storing.REQUIRED, *cases_reuse.REQUIRED]
# Without these, a cache that stores nothing would pass most of the others.
USEFUL = [
    *cases_freshness.FRESH,
    *cases_storing.LISTED,
    *cases_reuse.KEPT,
    *cases_optional.OPTIONAL,
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield what is wrong with each case by its id; "" is nothing."""
    with start(tmp_path_factory.mktemp("conformance")) as running, Origin(Scripts()) as origin:
        yield play_all([*REQUIRED, *USEFUL], running.proxy, origin, _AT_ONCE)


@pytest.mark.parametrize("case", REQUIRED, ids=str)
def test_required(case: Case, outcomes: dict[str, str]) -> None:
    """What the suite requires of every cache."""
    assert outcomes[case.id] == ""


@pytest.mark.parametrize("case", USEFUL, ids=str)
def test_useful(case: Case, outcomes: dict[str, str]) -> None:
    """What makes it a cache: answers that may be reused are."""
    assert outcomes[case.id] == ""


def test_the_table_is_whole() -> None:
    """Each of the 150 required cases is there once, and no id is used twice."""
    ids = [case.id for case in (*REQUIRED, *USEFUL)]
    assert len(REQUIRED) == 150
    assert len(set(ids)) == len(ids)
