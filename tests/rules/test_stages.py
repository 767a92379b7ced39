"""stages: a request is refused by the first that refuses it, in the order of the real way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import errors
from proxyapp.config import load
from proxyapp.config.judge import make_access
from proxyapp.proxy.destinations import Destinations
from proxyapp.rules.question import Question
from proxyapp.rules.stages import Case, Stages, decisive, is_address, is_settled

OWN = ("127.0.0.1", "10.0.0.1")


def stages(*overrides: str, asks_everybody: bool = False) -> Stages:
    """Return the stages of the defaults with *overrides*."""
    access = make_access(load(None, overrides, {}))
    return Stages(access, asks_everybody, OWN.__contains__, (3128,))


def question(
    host: str = "a.example", port: int = 80, service: str = "proxy", user: str | None = None
) -> Question:
    """Return a question of a client that may use everything."""
    return Question(service, "10.0.0.7", user, b"GET", host, port)


ELSEWHERE = "[access] destinations"
REFUSED = [
    ([], Case(question("10.9.9.9")), ELSEWHERE),
    ([], Case(question("a.example"), address="10.9.9.9"), ELSEWHERE),
    ([], Case(question("a.example"), address="::ffff:127.0.0.1"), ELSEWHERE),
    ([], Case(question("::ffff:7f00:1")), ELSEWHERE),
    ([], Case(question("x", 443, service="tunnel"), address="10.9.9.9"), ELSEWHERE),
    ([], Case(question("127.0.0.1", 3128)), ""),
    (["access.destinations=*"], Case(question("me.example", 3128), address="10.0.0.1"), ""),
    ([], Case(question("93.184.216.34", 22, service="tunnel")), "[tunnel] ports"),
    (["access.clients=11.0.0.0/8"], Case(question("93.184.216.34")), "[access] clients"),
    (["access.site_clients=::1"], Case(question("", 0, "site")), "[access] site_clients"),
    (
        ["proxy.tls_upgrade_clients="],
        Case(question("93.184.216.34", 443), upgrades=True),
        "[proxy] tls_upgrade_clients",
    ),
    # The first one counts.
    (["access.clients=11.0.0.0/8"], Case(question("10.9.9.9"), True), "[access] clients"),
    (["access.default=deny"], Case(question("10.9.9.9")), "[access] default"),
]


@pytest.mark.parametrize(("overrides", "case", "rule"), REFUSED)
def test_refused(overrides: list[str], case: Case, rule: str) -> None:
    """Each stage can refuse, and then it's settled, whatever comes behind."""
    judged = stages(*overrides).judge(case, 0)
    decision = decisive(judged)
    assert (decision.allowed, decision.rule) == (False, rule)
    assert is_settled(judged)


@pytest.mark.parametrize(
    ("overrides", "case"),
    [
        ([], Case(question("93.184.216.34"))),
        ([], Case(question("a.example"), address="93.184.216.34")),
        ([], Case(question("93.184.216.34", 443), upgrades=True)),
        (["access.destinations=*"], Case(question("a.example"))),
        (["access.destinations=.example"], Case(question("a.example", 443, "tunnel"))),
        ([], Case(question("", 0, "site"))),
    ],
)
def test_allowed(overrides: list[str], case: Case) -> None:
    """Where all allow, the rules have the word."""
    judged = stages(*overrides).judge(case, 0)
    assert decisive(judged) is judged[0].decision
    assert decisive(judged).allowed
    assert is_settled(judged)


@pytest.mark.parametrize("service", ["proxy", "fetch"])
def test_a_name_is_open(service: str) -> None:
    """What isn't known by its name waits for the address; nobody looks it up."""
    judged = stages().judge(Case(question("localhost", 80, service)), 0)
    assert judged[-1].decision is None
    assert decisive(judged).allowed
    assert not is_settled(judged)


def test_everybody_has_to_be_a_user() -> None:
    """[auth] required refuses who has no name, but for the site, and behind the rules."""
    strict = stages(asks_everybody=True)
    address = "93.184.216.34"
    assert decisive(strict.judge(Case(question(address)), 0)).rule == "[auth] required"
    assert decisive(strict.judge(Case(question(address, user="ann")), 0)).allowed
    assert decisive(strict.judge(Case(question("", 0, "site")), 0)).allowed
    denying = stages("access.default=deny", asks_everybody=True)
    assert decisive(denying.judge(Case(question(address)), 0)).rule == "[access] default"


hosts = st.sampled_from(["a.example", "93.184.216.34", "10.0.0.1", "::1", "64:ff9b::7f00:1"])
cases = st.builds(
    Case,
    st.builds(
        Question,
        st.sampled_from(["proxy", "tunnel", "fetch"]),
        st.sampled_from(["", "10.0.0.7", "11.0.0.1", "not an address"]),
        st.sampled_from([None, "ann"]),
        st.just(b"GET"),
        hosts,
        st.sampled_from([22, 443, 3128]),
    ),
    st.booleans(),
    st.sampled_from(["", "10.0.0.1", "93.184.216.34"]),
)


@given(cases, st.booleans())
def test_stopping_early_changes_nothing(case: Case, asks_everybody: bool) -> None:
    """Whoever wants only the outcome gets the same one."""
    asked = stages(asks_everybody=asks_everybody)
    whole, brief = asked.judge(case, 0), asked.judge_until_refused(case, 0)
    assert whole[: len(brief)] == brief
    assert decisive(whole) == decisive(brief)
    assert is_settled(whole) == is_settled(brief)


addresses = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(
        ["10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "fe80::1%a"]
    ),
)


@given(addresses, st.sampled_from([80, 3128]), st.sampled_from(["public", "*", "10.0.0.0/8"]))
def test_addresses_are_judged_as_dialling_does(address: str, port: int, listed: str) -> None:
    """What is said here of an address is what is said when it is about to be dialled."""
    access = make_access(load(None, [f"access.destinations={listed}"], {}))
    case = Case(question("a.example", port), address=address)
    stage = Stages(access, False, OWN.__contains__, (3128,)).judge(case, 0)[-1]
    assert stage.decision is not None
    refusal: errors.Refused | None = None
    try:
        Destinations(access, OWN.__contains__, (3128,))("a.example", address, port)
    except errors.Refused as refused:
        refusal = refused
    assert stage.decision.allowed == (refusal is None)
    if refusal is not None:
        assert (stage.decision.reason, stage.decision.rule) == (refusal.reason, refusal.rule)


@pytest.mark.parametrize("text", ["", "a.example", "10.0.0", "1.2.3.4.5", "[::1]", "10.0.0.1:80"])
def test_what_is_no_address(text: str) -> None:
    """Names, ports and brackets are none."""
    assert not is_address(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"])
def test_what_is_an_address(text: str) -> None:
    """Both families are, with or without a zone."""
    assert is_address(text)
