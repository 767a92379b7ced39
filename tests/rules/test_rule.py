"""Promises of proxyapp.rules.rule: what a rule matches, and how that is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxyapp.rules import addresses
from proxyapp.rules.question import Action, Question, RuleLimits
from proxyapp.rules.rule import CONDITIONS, Rule, conditions
from tests.rules.rulestage import MONDAY_10, SITE, RuleOptions, question, rule

LITERALS = (addresses.parse("10.0.0.7"),)

LACKING = [
    ("services tunnel fetch", question()),
    ("services proxy", SITE),
    ("ports 443 8080", question()),
    ("ports 80", SITE),
    ("methods POST get", question()),
    ("when Mon-Fri 08:00-10:00", question()),
    ("clients 10.0.1.0/24 ::/0", question()),
    ("domains .example.org example.com", question()),
    ("domains *", SITE),
    ("users ann", question()),
    ("users *", question()),
    ("users ann", question(user="Ann")),
    ("users ann", question(user="")),
]
MET = [
    ("services tunnel proxy", question()),
    ("ports 443 80", question()),
    ("methods GET", question()),
    ("when Mon-Fri 08:00-18:00", question()),
    ("clients ::/0 10.0.0.0/24", question()),
    ("domains .example.com", question()),
    ("domains *", question(host="2001:db8::1")),
    ("users bob ann", question(user="ann")),
    ("users *", question(user="ann")),
]


@pytest.mark.parametrize(("text", "asked"), LACKING)
def test_what_isn_t_met_is_named(text: str, asked: Question) -> None:
    """A request that lacks one condition doesn't match, whatever else is met."""
    option = text.partition(" ")[0]
    assert Rule(rule(text)).lacking(asked, LITERALS, MONDAY_10) == option


@pytest.mark.parametrize(("text", "asked"), [*MET, ("", question()), ("", SITE)])
def test_what_is_met(text: str, asked: Question) -> None:
    """One value of each list is enough; a rule without conditions is about everything."""
    assert Rule(rule(text)).lacking(asked, LITERALS, MONDAY_10) == ""


def test_all_conditions_count() -> None:
    """A rule matches what meets all of its conditions, and nothing less."""
    options = RuleOptions()
    for text, _ in MET:
        name = text.partition(" ")[0]
        options = replace(options, **{name: getattr(rule(text), name)})
    assert conditions(options) == CONDITIONS
    whole, asked = Rule(options), question(user="ann")
    assert whole.lacking(asked, LITERALS, MONDAY_10) == ""
    wrong = [
        asked._replace(service="tunnel2"),
        asked._replace(port=81),
        asked._replace(method=b"get"),
        asked._replace(host="example.org", user=None),
    ]
    assert [whole.lacking(each, LITERALS, MONDAY_10) for each in wrong] == [
        *("services", "ports", "methods"),
        "users" if options.domains and options.domains.everything else "domains",
    ]


@pytest.mark.parametrize(
    ("text", "asked", "reason"),
    [
        ("services tunnel", question(), "proxy is none of its services"),
        ("ports 443", question(), "port 80 is none of its ports"),
        ("ports 443", SITE, "it is about ports, and the site has none"),
        ("methods POST", question(), "GET is none of its methods"),
        ("when Sun", question(), "it is not the time, Sun"),
        ("clients 11.0.0.0/8", question(), "the client 10.0.0.7 is in none of its networks"),
        ("domains .org", question(), "www.example.com is none of its domains"),
        ("domains .org", SITE, "it is about domains, and the site has none"),
        ("users ann", question(), "it is about users, and the client did not say who it is"),
        ("users ann", question(user="bob"), "bob is none of its users"),
    ],
)
def test_reasons_to_pass_over(text: str, asked: Question, reason: str) -> None:
    """An admin can tell from the reason what to edit."""
    judged = Rule(rule(text))
    assert judged.why_not(judged.lacking(asked, LITERALS, MONDAY_10), asked) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it matches everything"),
        ("services proxy", "proxy is one of its services"),
        ("ports 80", "port 80 is one of its ports"),
        ("methods GET", "GET is one of its methods"),
        ("when Mon", "it is the time, Mon"),
        ("clients 10.0.0.0/8 10.0.0.0/24", "the client 10.0.0.7 is in 10.0.0.0/24"),
        ("domains .com", "www.example.com is in its domains, by .com"),
        ("domains www.example.com", "www.example.com is in its domains"),
        ("users *", "ann is one of its users"),
    ],
)
def test_reasons_to_match(text: str, reason: str) -> None:
    """What was found is named, so that a wrong entry of a long list is found too."""
    assert Rule(rule(text)).why(question(user="ann"), LITERALS) == reason


def test_the_peer_of_a_unix_socket_is_this_machine() -> None:
    """It has no address to show."""
    judged, asked = Rule(rule("clients ::1")), question(client="")
    assert judged.why(asked, (addresses.parse("::1"),)) == "the client this machine is in ::1/128"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (rule(""), "[rule x] denies all"),
        (rule("", Action.ALLOW), "[rule x] allows all"),
        (rule("ports 80"), "[rule x] denies what matches its ports"),
        (replace(rule("when Mon"), users=frozenset("a")), "matches its times and users"),
        (
            replace(rule("when Mon"), users=frozenset("a"), ports=frozenset()),
            "matches its ports, times and users",
        ),
    ],
)
def test_decisions_have_reasons(options: RuleOptions, reason: str) -> None:
    """Who is refused by a rule is told which, and by which of its conditions."""
    assert Rule(options).decision.reason.endswith(reason)


def test_what_a_rule_says() -> None:
    """Its decision has its name as the ini spells it, its words, and its limits."""
    options = RuleOptions("a", Action.ALLOW, requests_per_second=0.5, message="Slowly")
    decision = Rule(options).decision
    assert (decision.allowed, decision.rule, decision.message) == (True, "[rule a]", "Slowly")
    assert decision.limits == RuleLimits("a", requests_per_second=0.5)
    assert Rule(replace(options, requests_per_second=0.0)).decision.limits is None
    assert repr(Rule(rule("ports 80"))) == "<Rule x: deny by ('ports',)>"
