"""Hosts spread over several gateways: by weight, alike in PAC and Python, and the fail-over."""

from __future__ import annotations

from collections import Counter

import dukpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyapp.rules import sharing
from proxyapp.rules.autoconfig import DIRECT, pac_text, route

GATEWAYS = ("gw1.lan.example:3128", "gw2.lan.example:3128", "gw3.lan.example:3128")
HOSTS = tuple(f"host{number}.example" for number in range(600))


def answers(gateways: tuple[str, ...], weights: tuple[int, ...], *hosts: str) -> list[str]:
    """Return what the PAC says for each of *hosts*, in an engine of ES5."""
    engine = dukpy.JSInterpreter()
    engine.evaljs(pac_text(gateways, (), weights) + "\nnull;")
    code = """dukpy.hosts.map(function (host) {
        return FindProxyForURL("http://" + host + "/", host);
    });"""
    said: list[str] = engine.evaljs(code, hosts=hosts)
    return said


def tried(answer: str) -> list[str]:
    """Return the proxies of a PAC's answer, in the order in which a browser tries them."""
    return [each.removeprefix("PROXY ") for each in answer.split("; ")]


def reached(answer: str, gone: str) -> str:
    """Return the proxy that a browser uses while *gone* doesn't answer."""
    return next(each for each in tried(answer) if each != gone)


def test_without_weights_the_order_is_the_list() -> None:
    """Who doesn't ask for sharing gets the PAC there was before it."""
    assert pac_text(GATEWAYS, ()) == pac_text(GATEWAYS, (), ())
    assert "shared" not in pac_text(GATEWAYS, ())
    assert set(answers(GATEWAYS, (), *HOSTS[:9])) == {"PROXY " + "; PROXY ".join(GATEWAYS)}


def test_every_answer_has_every_gateway() -> None:
    """Each host has an order of its own of all of them, and DIRECT isn't in it."""
    said = answers(GATEWAYS, (1, 1, 1), *HOSTS)
    for answer in said:
        assert sorted(tried(answer)) == sorted(GATEWAYS)
    assert len(set(said)) == 6


@pytest.mark.parametrize("weights", [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 16, 3)])
def test_shares_are_those_of_the_weights(weights: tuple[int, ...]) -> None:
    """Of many hosts each gateway is the first for as many as its weight says."""
    many = [f"h{number}.example" for number in range(6000)]
    firsts = Counter(sharing.order(host, GATEWAYS, weights)[0] for host in many)
    for gateway, weight in zip(GATEWAYS, weights, strict=True):
        expected = weight / sum(weights)
        assert abs(firsts[gateway] / len(many) - expected) < 0.03


@pytest.mark.parametrize("gone", GATEWAYS)
def test_when_one_is_gone(gone: str) -> None:
    """A browser goes on to the next in the answer: only the lost one's hosts move, to both others.

    It is as if the gateway were not in the ini: taking it out moves nothing else.
    """
    said = answers(GATEWAYS, (1, 1, 1), *HOSTS)
    left = tuple(gateway for gateway in GATEWAYS if gateway != gone)
    without = answers(left, (1, 1), *HOSTS)
    took_over: Counter[str] = Counter()
    for answer, later in zip(said, without, strict=True):
        stand_in = reached(answer, gone)
        assert stand_in == tried(later)[0]
        if tried(answer)[0] == gone:
            took_over[stand_in] += 1
        else:
            assert stand_in == tried(answer)[0]
    assert sorted(took_over) == sorted(left)
    assert min(took_over.values()) > sum(took_over.values()) / 4


def test_more_weight_only_takes() -> None:
    """A gateway that becomes heavier gets hosts from the others; none goes anywhere else."""
    for host in HOSTS:
        before = sharing.order(host, GATEWAYS, (1, 1, 1))[0]
        after = sharing.order(host, GATEWAYS, (1, 3, 1))[0]
        assert after in (before, GATEWAYS[1])


def test_case_and_final_dot_change_nothing() -> None:
    """However a host is spelled, it has the same gateway."""
    said = answers(GATEWAYS, (1, 1, 1), "www.example", "WWW.Example", "www.example.")
    assert len(set(said)) == 1


def test_what_is_near_goes_direct_still() -> None:
    """Private hosts and the gateways themselves need no proxy."""
    near = ("printer", "10.0.0.1", "gw2.lan.example")
    assert answers(GATEWAYS, (1, 1, 1), *near) == [DIRECT] * 3


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=4),
    st.lists(st.text("abcXYZ019.-_", min_size=1, max_size=40), min_size=1, max_size=20),
)
def test_pac_and_python_agree(weights: list[int], hosts: list[str]) -> None:
    """Whatever host and weights, both ways to say it are one rule."""
    gateways = tuple(f"g{number}.example:3128" for number in range(len(weights)))
    given_weights = tuple(weights)
    expected = [route(host, gateways, (), given_weights) for host in hosts]
    assert answers(gateways, given_weights, *hosts) == expected


def test_the_script_is_as_plain_as_the_rest() -> None:
    """It is ES3 in ASCII, without what only some engines have, and lines that can be read."""
    pac = pac_text(GATEWAYS, (), (1, 16, 2))
    assert pac.isascii()
    for word in ("Math.imul", "=>", "let ", "const ", ".map(", "forEach", "codePointAt"):
        assert word not in pac
    assert len(pac) < 6000


def test_no_configuration_writes_code() -> None:
    """What is called a gateway stays inside a literal."""
    hostile = '"); evil(); ("'
    said = answers((f"{hostile}:1", "b.example:1"), (1, 1), "www.example")
    assert f"PROXY {hostile}:1" in said[0]
