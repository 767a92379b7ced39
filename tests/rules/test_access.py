"""Promises of proxyapp.rules.access: who may use what; test_guard has what may be reached."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.access import Access, Decision, Question, RuleLimits, Step
from proxyapp.rules.question import Action, Default
from tests.rules.rulestage import (
    MONDAY_10,
    SITE,
    AccessOptions,
    RuleOptions,
    access,
    networks,
    question,
    rule,
)


def _for_clients(*texts: str) -> Access:
    section = AccessOptions(networks(*texts), networks("0.0.0.0/0", "::/0"))
    return Access(section, frozenset((443,)), networks("127.0.0.0/8", "::1", "10.0.0.0/8"))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("2606:4700::1", False),
        ("::1", False),
        ("not an address", False),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("127.0.0.1", True),
        ("", True),
    ],
)
def test_clients_are_those_in_thenetworks(host: str, allowed: bool) -> None:
    """Only clients of the listed networks use proxy and tunnel, however their address is spelt."""
    access = _for_clients("127.0.0.0/8", "10.0.0.0/8", "fe80::/10")
    for service in ("proxy", "tunnel"):
        assert access.client(host, service).allowed is allowed
        assert access.client(host, service).rule == "[access] clients"


def test_site_clients_are_a_list_of_their_own() -> None:
    """The site asks site_clients, and neither memory disturbs the other."""
    access = _for_clients("10.0.0.0/8")
    assert not access.client("93.184.216.34", "proxy")
    assert access.client("93.184.216.34", "site")
    assert access.client("93.184.216.34", "site").rule == "[access] site_clients"
    assert not access.client("93.184.216.34", "proxy")


def test_a_unix_peer_needs_loopback() -> None:
    """The peer of a Unix socket is refused where loopback isn't listed."""
    assert not _for_clients("10.0.0.0/8").client("", "proxy")
    assert _for_clients("::1/128").client("", "proxy")


def test_no_networks_means_nobody() -> None:
    """The default is to deny."""
    assert not _for_clients().client("127.0.0.1", "proxy")


def test_reasons_of_client_decisions() -> None:
    """An admin can tell from the reason what to edit."""
    access = _for_clients("10.0.0.0/8")
    assert access.client("11.0.0.1", "proxy").reason == (
        "the client 11.0.0.1 is in no network that [access] clients lists"
    )
    assert access.client("10.0.0.1", "proxy").reason == (
        "the client 10.0.0.1 is in 10.0.0.0/8, which [access] clients lists"
    )
    assert access.client("x", "proxy").reason == (
        "the client x has no IP address that could be judged"
    )


@pytest.mark.parametrize(
    ("ports", "port", "allowed"),
    [
        (frozenset((443, 563)), 25, False),
        (frozenset[int](), 443, False),
        (frozenset((443, 563)), 443, True),
        (None, 25, True),
    ],
)
def test_tunnel_ports(ports: frozenset[int] | None, port: int, allowed: bool) -> None:
    """CONNECT reaches the listed ports; None lists all."""
    assert Access(AccessOptions(), ports, ()).tunnel_port(port).allowed is allowed


def test_reasons_of_port_decisions() -> None:
    """A refused port is told which ones there are."""
    access = Access(AccessOptions(), frozenset((8443, 443)), ())
    assert access.tunnel_port(25) == Decision(
        False, "[tunnel] ports", "port 25 is not one that [tunnel] ports allows (443, 8443)"
    )
    assert Access(AccessOptions(), frozenset(), ()).tunnel_port(1).reason.endswith("(none)")


@pytest.mark.parametrize(
    ("client", "allowed"),
    [("11.0.0.1", False), ("x", False), ("10.1.1.1", True), ("::ffff:10.1.1.1", True), ("", True)],
)
def test_who_may_upgrade(client: str, allowed: bool) -> None:
    """TLS upgrade is for its own list of clients, the first time and from memory."""
    access = _for_clients()
    assert access.may_upgrade_tls(client) is allowed
    assert access.may_upgrade_tls(client) is allowed


def test_memory_is_bounded() -> None:
    """A flood of clients and questions doesn't grow the memory, and is still judged rightly."""
    judge = access(rule("domains .bad"))
    for number in range(10_000):
        client = f"11.0.{number >> 8}.{number & 255}"
        assert judge.judge(question(client=client), 0)
        assert not judge.judge(question(host=f"{number}.bad"), 0)
    assert int(repr(judge).split()[3]) <= 8192


def test_a_decision_is_as_true_as_it_allows() -> None:
    """A caller that forgets `.allowed` isn't let through."""
    assert not Decision(False, "rule", "reason")
    assert Decision(True, "rule", "reason")


# --- Rules ---


def test_without_rules_the_default_decides() -> None:
    """What nobody has a rule about is allowed or denied as [access] default says."""
    allowed = access().judge(question(), 0)
    assert allowed == Decision(
        True, "[access] default", "no rule decides it, and [access] default allows it then"
    )
    for asked in (question(), SITE):
        denied = access(default=Default.DENY).judge(asked, 0)
        assert not denied
        assert denied.reason == "no rule decides it, and [access] default denies it then"


def test_clients_come_before_rules() -> None:
    """No rule lets in who isn't a client, and CONNECT reaches no port that isn't listed."""
    section = AccessOptions(networks("10.0.0.0/8"), networks("11.0.0.0/8"))
    judge = Access(section, frozenset((443,)), (), [rule("", Action.ALLOW)])
    assert judge.judge(question(client="11.0.0.1"), 0).rule == "[access] clients"
    assert judge.judge(question("fetch", client="x"), 0).rule == "[access] clients"
    assert judge.judge(SITE, 0).rule == "[access] site_clients"
    assert judge.judge(question("tunnel", port=25), 0).rule == "[tunnel] ports"
    assert judge.judge(question("tunnel", port=443), 0).rule == "[rule x]"
    assert judge.judge(question(port=25), 0).rule == "[rule x]"


ALLOW, DENY, REPORT = Action.ALLOW, Action.DENY, Action.REPORT


@pytest.mark.parametrize(
    ("actions", "allowed", "decided", "reported"),
    [
        ([DENY], False, "[rule 0]", ""),
        ([ALLOW, DENY], True, "[rule 0]", ""),
        ([DENY, ALLOW], False, "[rule 0]", ""),
        ([REPORT], True, "[access] default", "[rule 0]"),
        ([REPORT, DENY], False, "[rule 1]", "[rule 0]"),
        ([REPORT, REPORT, ALLOW, REPORT], True, "[rule 2]", "[rule 0]"),
    ],
)
def test_the_first_match_decides(
    actions: list[Action], allowed: bool, decided: str, reported: str
) -> None:
    """Of the rules that match, the first to allow or deny decides; reports before it are noted."""
    rules = [rule("", action, str(number)) for number, action in enumerate(actions)]
    decision = access(rule("ports 81", DENY, "other"), *rules).judge(question(), 0)
    assert (decision.allowed, decision.rule) == (allowed, decided)
    assert decision.reported == reported


def test_decisions_carry_message_and_limits() -> None:
    """What the rule wants to be said and kept comes with the decision; no limits are None."""
    limited = RuleOptions("slow", ALLOW, "", quota_bytes=7, quota_period="day", message="Enough!")
    decision = access(limited).judge(question(), 0)
    assert decision.limits == RuleLimits("slow", quota_bytes=7, quota_period="day")
    assert decision.message == "Enough!"
    assert access(rule("", ALLOW)).judge(question(), 0).limits is None


ANN = rule("users ann", ALLOW)


@pytest.mark.parametrize(
    ("rules", "default", "wants_user"),
    [
        ([], Default.DENY, False),
        ([ANN], Default.DENY, True),
        ([ANN], Default.ALLOW, False),
        ([rule("users bob")], Default.ALLOW, True),
        ([rule("users bob")], Default.DENY, False),
        ([rule("users bob", REPORT)], Default.DENY, False),
        ([rule(""), ANN], Default.ALLOW, False),
        ([ANN, rule("")], Default.ALLOW, True),
        ([RuleOptions("a", ALLOW, users=frozenset("*"), quota_bytes=1)], Default.ALLOW, True),
        (
            [RuleOptions("a", ALLOW, users=frozenset("*"), ports=frozenset((1,)))],
            Default.DENY,
            False,
        ),
    ],
)
def test_who_might_be_asked_for_a_password(
    rules: list[RuleOptions], default: Default, wants_user: bool
) -> None:
    """It is told where a user, and nothing else, was missing for another decision."""
    judge = access(*rules, default=default)
    assert judge.judge(question(), 0).wants_user is wants_user
    assert not judge.judge(question(user="zoe"), 0).wants_user


def test_users_are_told_apart() -> None:
    """What was decided for one user isn't used for another, nor for nobody."""
    judge = access(ANN, default=Default.DENY)
    assert not judge.judge(question(), 0)
    assert judge.judge(question(user="ann"), 0)
    assert not judge.judge(question(user="bob"), 0)


def test_times_pass() -> None:
    """With the minute, what is remembered by a rule with times is forgotten; else it is kept."""
    timed = access(rule("when Mon 08:00-10:01"))
    answers = [timed.judge(question(), MONDAY_10 + minute).allowed for minute in (0, 1, 0)]
    assert answers == [False, True, False]
    timeless = access(rule("ports 80"))
    assert timeless.judge(question(), 0) is timeless.judge(question(), 1)


# --- Explanations ---


def test_an_explanation_has_every_stop() -> None:
    """An admin reads what was looked at, in order, where it stands, and what it said."""
    judge = access(
        rule("ports 443", DENY, "a"), rule("domains .com", REPORT, "bb"), rule("", DENY, "ccc")
    )
    assert judge.explain(question(), 0) == (
        Step(
            "[access] clients",
            "",
            "passed over",
            "the client 10.0.0.7 is in 0.0.0.0/0, which [access] clients lists",
        ),
        Step("[rule a]", "x.ini:1", "passed over", "port 80 is none of its ports"),
        Step(
            "[rule bb]",
            "x.ini:2",
            "reported",
            "www.example.com is in its domains, by .com",
        ),
        Step("[rule ccc]", "x.ini:3", "matched", "it matches everything"),
    )


def test_an_explanation_ends_where_the_decision_does() -> None:
    """A refusal before the rules is the last stop; without a match, the default is."""
    judge = _for_clients("10.0.0.0/8")
    assert [step.verdict for step in judge.explain(question(client="11.0.0.1"), 0)] == ["matched"]
    steps = judge.explain(question("tunnel", port=25), 0)
    assert [step.rule for step in steps] == ["[access] clients", "[tunnel] ports"]
    assert steps[-1].verdict == "matched"
    assert judge.explain(question(), 0)[-1].rule == "[access] default"


CONDITIONS = ["", "ports 80", "users ann", "users *", "services proxy", "methods GET"]
CONDITIONS += ["domains .com *", "domains www.example.com", "when Mon 10:00-11:00"]
CONDITIONS += ["clients 10.0.0.0/24 ::/8"]
RULES = st.lists(st.builds(rule, st.sampled_from(CONDITIONS), st.sampled_from(Action)), max_size=6)
QUESTIONS = st.builds(
    question,
    st.sampled_from(["proxy", "tunnel", "fetch"]),
    st.sampled_from(["10.0.0.7", "", "2001:db8::1", "::ffff:10.0.0.8"]),
    st.sampled_from([None, "ann", "bob"]),
    st.sampled_from([b"GET", b"POST"]),
    st.sampled_from(["www.example.com", "example.org", "192.0.2.1", "2001:db8::2"]),
    st.sampled_from([80, 443]),
) | st.just(SITE)


@given(RULES, st.sampled_from(Default), QUESTIONS, st.sampled_from([0, MONDAY_10, 10079]))
def test_explanations_agree_with_decisions(
    rules: list[RuleOptions], default: Default, asked: Question, minute: int
) -> None:
    """The last stop of an explanation is the decision, whatever the rules."""
    judge = access(*rules, default=default)
    decision, steps = judge.judge(asked, minute), judge.explain(asked, minute)
    assert steps[-1].rule == decision.rule
    assert [step.verdict for step in steps].count("matched") == 1
    assert ("reported" in [step.verdict for step in steps]) is bool(decision.reported)
    assert judge.judge(asked, minute) == decision


@given(RULES, QUESTIONS)
def test_wanting_a_user_is_meant(rules: list[RuleOptions], asked: Question) -> None:
    """Where no user is wanted, none could change whether it is allowed."""
    judge = access(*rules)
    decision = judge.judge(asked._replace(user=None), 0)
    if not decision.wants_user:
        for user in ("ann", "bob"):
            assert judge.judge(asked._replace(user=user), 0).allowed is decision.allowed
