"""stages with parents: the tester says by which way, and judges what the running proxy judges."""

from __future__ import annotations

from datetime import datetime

import pytest

from proxyapp import errors, explain
from proxyapp.config import load
from proxyapp.config.judge import make_access, make_ways
from proxyapp.proxy.destinations import Destinations
from proxyapp.rules import replay
from proxyapp.rules.question import Question
from proxyapp.rules.replay import Was
from proxyapp.rules.stages import Case, Stages, decisive, is_settled
from proxyapp.rules.upgrade import Spellings

PARENTS = (
    "upstream.proxy=http://ann:s3cret@p.example:3128 http://q.example:3128",
    "upstream.direct=.corp.example, 192.0.2.0/24",
)
OWN = ("127.0.0.1", "10.0.0.1")


def stages(*overrides: str) -> Stages:
    """Return the stages of a gateway with parents, and *overrides*."""
    config = load(None, (*PARENTS, *overrides), {})
    return Stages(make_access(config), False, OWN.__contains__, (3128,), make_ways(config))


def case(host: str, port: int = 80, address: str = "") -> Case:
    """Return a request for *host*, which a log may know to have been at *address*."""
    return Case(Question("proxy", "10.0.0.7", None, b"GET", host, port), address=address)


TABLE = [
    ((), "www.example", True),
    ((), "10.1.2.3", False),
    ((), "localhost", False),
    ((), "127.0.0.1", False),
    ((), "93.184.216.34", True),
    (("access.destinations=10.0.0.0/8",), "10.1.2.3", True),
    (("access.destinations=10.0.0.0/8",), "www.example", False),
    (("access.destinations=www.example",), "www.example", True),
    (("access.destinations=*",), "localhost", True),
]


@pytest.mark.parametrize(("overrides", "host", "allowed"), TABLE)
def test_the_tester_agrees_with_the_proxy(
    overrides: tuple[str, ...], host: str, allowed: bool
) -> None:
    """What is sent to a parent is settled without an address, and as the proxy settles it."""
    judged = stages(*overrides).judge(case(host), 0)
    assert is_settled(judged)
    assert decisive(judged).allowed is allowed
    access = make_access(load(None, overrides, {}))
    judge = Destinations(access, OWN.__contains__, (3128,))
    if allowed:
        judge.by_parent(host, 80)
    else:
        with pytest.raises(errors.DestinationDenied) as raised:
            judge.by_parent(host, 80)
        assert raised.value.rule == decisive(judged).rule


def test_the_way_is_a_stage() -> None:
    """It names the parents in their order, without what is secret, or the list."""
    (_, way, destination) = stages().judge(case("www.example"), 0)
    assert way.name == "way"
    assert way.decision is not None
    assert way.decision.reason == (
        "it goes to the parent proxy p.example:3128, and if that fails to q.example:3128"
    )
    assert destination.decision is not None
    (_, way, destination) = stages().judge(case("a.corp.example"), 0)
    assert way.decision is not None
    assert way.decision.reason.startswith("[upstream] direct lists it")
    assert destination.decision is None


def test_the_address_in_a_log_is_the_parents() -> None:
    """It isn't judged, for it says nothing of the host; where the host is direct it is."""
    assert decisive(stages().judge(case("www.example", address="10.0.0.9"), 0)).allowed
    assert not decisive(stages().judge(case("a.corp.example", address="10.0.0.9"), 0)).allowed


def test_without_parents_there_is_no_such_stage() -> None:
    """Everything is as it was."""
    config = load(None, (), {})
    judge = Stages(make_access(config), False, OWN.__contains__, (3128,), make_ways(config))
    names = [stage.name for stage in judge.judge(case("www.example"), 0)]
    assert names == ["rules", "destination"]


def test_the_tester_shows_no_password() -> None:
    """--explain prints the way, and the parents by host and port."""
    config = load(None, PARENTS, {})
    asked = explain.read_question(
        "GET http://www.example/", datetime(2026, 1, 5), Spellings(b"", None)
    )
    found = explain.explain(asked, make_access(config), stages(), {}, has_users=False)
    assert "p.example:3128" in str(found)
    assert "s3cret" not in str(found)
    assert "allowed" in str(found)


def test_a_refusal_of_a_parent_is_none_of_ours() -> None:
    """A log line with one doesn't make --against say that a rule has changed."""
    was = replay._was_in_json("tunnel", 403, "http_request_denied", "[upstream] proxy")
    assert was is Was.PASSED
    assert replay._was_in_json("tunnel", 403, "http_request_denied", "") is Was.REFUSED
