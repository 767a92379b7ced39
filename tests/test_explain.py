"""explain: the answer is the judge's own, and a question that makes no sense is said to."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.config import Config, Override, load
from proxyapp.config.judge import make_access, make_spellings
from proxyapp.config.rulesections import RuleSection
from proxyapp.explain import (
    BadQuestion,
    Explanation,
    explain,
    option_places,
    read_question,
)
from proxyapp.rules.access import Access
from proxyapp.rules.domains import Domains
from proxyapp.rules.question import Action, Question
from proxyapp.rules.schedule import minute_of_week, parse_schedule
from proxyapp.rules.stages import Stages
from proxyapp.rules.upgrade import Spellings

# Monday.
NOW = datetime(2026, 1, 5, 9, 30)
PLAIN = Spellings(b"", None)
OWN = ("127.0.0.1", "10.0.0.1")

INI = """\
[access]
destinations = public, .corp.example
clients = 10.0.0.0/8

[rule ads]
action = report
domains = .ads.example

[rule staff]
action = allow
users = ann
rate = 50/s, 2MiB/s
quota = 5GiB/day

[rule work-hours]
action = deny
domains = .news.example, .ads.example
when = Mon-Fri 08:00-18:00
message = News are for the evening.
    Thank you.

[auth]
users = file:users
required = no
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the ini and its users."""
    (tmp_path / "x.ini").write_text(INI)
    (tmp_path / "users").write_text("ann:secret\n")
    return tmp_path


def answer(text: str, path: Path | None, *overrides: str) -> Explanation:
    """Return the answer of the ini at *path* with *overrides* to a question."""
    config = load(path, overrides, {})
    access = make_access(config)
    has_users = bool(config.auth.users)
    stages = Stages(access, has_users and config.auth.required, OWN.__contains__, (3128,))
    places = option_places(path, [Override(each) for each in overrides])
    asked = read_question(text, NOW, make_spellings(config))
    return explain(asked, access, stages, places, has_users)


def facts(explanation: Explanation) -> dict[str, str]:
    """Return the first part of what is printed."""
    lines = str(explanation).partition("\n\n")[0].splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# --- Bad questions ---


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it begins with a method and a target"),
        ("GET", "it begins with a method and a target"),
        ("--client 10.0.0.7", "it begins with a method and a target"),
        ("GET --client 10.0.0.7", "it begins with a method and a target"),
        ("GET 'http://host/", "its quotes aren't closed"),
        ("GET http://host/ more", "'more' is none of --client, --user, --at, --address"),
        ("GET http://host/ --clint 10.0.0.7", "'--clint' is none of"),
        ("GET http://host/ --client", "there is nothing behind --client"),
        ("GET http://host/ --user a --user b", "--user is there twice"),
        ("GET http://host/ --client host", "--client 'host' is no IP address"),
        ("GET http://host/ --client 10.0.0.0/8", "is no IP address"),
        ("GET http://host/ --at noon", "--at 'noon' is no time; 2026-01-05T09:00 would be right"),
        ("GET http://host/ --at 2026-02-30T09:00", "is no time"),
        ("GET http://host/ --at 0001-01-01T00:00+14:00", "is no time"),
        ("GET http://host/ --address host2", "--address 'host2' is no IP address"),
        ("GET http://10.0.0.1/ --address 10.0.0.2", "there is no name in the target"),
        ("GET /index.html --address 10.0.0.2", "there is no name in the target"),
        ("G(T http://host/", "'G(T' is no method"),
        ("GÉT http://host/", "is no method"),
        ("GET http://hôst/", "can't be sent; names are written as xn--"),
        ("GET 'http://host/a b'", "can't be sent"),
        ("GET 'http://host/\x1b'", "can't be sent"),
        ("GET host", "refused before any rule: the request target is neither"),
        ("GET ftp://host/", "refused before any rule: only http and https"),
        ("GET http://127.1/", "refused before any rule: the target's host isn't an IPv4 address"),
        ("GET http://u:p@host/", "refused before any rule: the URL holds a user name"),
        ("CONNECT host", "refused before any rule: CONNECT needs host:port"),
        ("CONNECT http://host:443/", "refused before any rule"),
        ("OPTIONS *", "about the server itself"),
    ],
)
def test_bad_questions(text: str, complaint: str) -> None:
    """What can't be understood, or never reaches a rule, is said in words."""
    with pytest.raises(BadQuestion) as caught:
        read_question(text, NOW, PLAIN)
    assert complaint in str(caught.value)


@given(st.text())
def test_no_question_is_too_strange(text: str) -> None:
    """Any text is a question or a bad one."""
    try:
        asked = read_question(f"GET {text}", NOW, PLAIN)
    except BadQuestion as bad:
        assert str(bad)
    else:
        assert asked.at


# --- Questions ---


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("GET http://HTTPS///a.example/", "a.example", 443),
        ("GET http://https:80//a.example:8443", "a.example", 8443),
        ("GET http://www.l.example/", "www.l.example", 443),
        ("GET http://l.example:8080/", "l.example", 8080),
        ("GET https://l.example:80/", "l.example", 80),
    ],
)
def test_ways_to_say_https(text: str, host: str, port: int) -> None:
    """The rules are asked about the host and port that would be dialled, however it is spelled."""
    spellings = Spellings(b"x-real-protocol", Domains([b".l.example"]))
    case = read_question(text, NOW, spellings).case
    assert (case.question.host, case.question.port, case.upgrades) == (host, port, True)


def test_prefix_before_no_host() -> None:
    """What stands where the host should is refused as the proxy refuses it."""
    with pytest.raises(BadQuestion) as caught:
        read_question("GET http://HTTPS///127.1/", NOW, PLAIN)
    assert "refused before any rule: the target's host isn't an IPv4 address" in str(caught.value)


def test_listed_hosts_come_from_the_ini(folder: Path) -> None:
    """[proxy] tls_upgrade_hosts and tls_upgrade_clients are those of the ini."""
    overrides = ("proxy.tls_upgrade_hosts=.l.example", "proxy.tls_upgrade_clients=192.0.2.1")
    text = "GET http://www.l.example/ --client 10.0.0.7"
    found = answer(text, folder / "x.ini", *overrides)
    assert found.decision.rule == "[proxy] tls_upgrade_clients"
    assert found.exit_status == 1
    assert found.asked.case.question.port == 443


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("GET http://A.example", Question("proxy", "127.0.0.1", None, b"GET", "a.example", 80)),
        (
            "CONNECT [::1]:443 --client=::1 --user=",
            Question("tunnel", "::1", "", b"CONNECT", "::1", 443),
        ),
        ("GET /a?b --client ''", Question("site", "", None, b"GET", "", 0)),
        (
            "PURGE https://a.example/ --user 'ann lee' --client 10.0.0.7",
            Question("proxy", "10.0.0.7", "ann lee", b"PURGE", "a.example", 443),
        ),
    ],
)
def test_questions(text: str, question: Question) -> None:
    """The form of the target says which service is asked; an option may stand with = or without."""
    asked = read_question(text, NOW, PLAIN)
    assert asked.case.question == question
    assert asked.case.upgrades == ("https" in text)
    assert (asked.at, asked.minute) == (NOW, minute_of_week(0, 9, 30))


@pytest.mark.parametrize(
    ("given_time", "minute"),
    [
        ("2026-01-11T23:59", minute_of_week(6, 23, 59)),
        ("2026-01-11 23:59:59", minute_of_week(6, 23, 59)),
        ("2026-01-06", minute_of_week(1, 0, 0)),
    ],
)
def test_the_time(given_time: str, minute: int) -> None:
    """Local time, in the ways of ISO 8601."""
    assert read_question(f"GET http://a/ --at '{given_time}'", NOW, PLAIN).minute == minute


# --- Answers ---

ASK = "GET http://www.news.example/ --client 10.0.0.7"


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("GET http://a.example/", 1, {"rule": "[access] clients", "place": "x.ini:3"}),
        (
            ASK,
            1,
            {
                "decision": "denied",
                "rule": "[rule work-hours]",
                "place": "x.ini:15",
                "message": "News are for the evening. Thank you.",
                "note": "the client is asked for a password; --user NAME says who it is then",
            },
        ),
        (f"{ASK} --user bob", 1, {"rule": "[rule work-hours]", "user": "bob"}),
        (f"{ASK} --user ann", 0, {"decision": "allowed", "place": "x.ini:9"}),
        (f"{ASK} --at 2026-01-05T19:00", 0, {"rule": "[access] default", "place": "the default"}),
        (f"{ASK} --user ann --address 10.9.9.9", 1, {"rule": "[access] destinations"}),
        (f"{ASK} --at 2026-01-05T19:00 --address 93.184.216.34", 0, {"at": "Mon 2026-01-05 19:00"}),
        ("GET http://10.0.0.1:3128/ --client 10.0.0.7", 1, {"rule": "-", "place": "-"}),
        ("CONNECT a.example:22 --client 10.0.0.7", 1, {"rule": "[tunnel] ports"}),
        ("GET / --client 8.8.8.8", 0, {"service": "site", "client": "8.8.8.8"}),
    ],
)
def test_answers(folder: Path, text: str, status: int, expected: dict[str, str]) -> None:
    """Decision, rule and place are there, and the exit status goes with them."""
    path = folder / "x.ini"
    explanation = answer(text, path)
    found = {name: value.replace(str(path), "x.ini") for name, value in facts(explanation).items()}
    assert found.items() >= expected.items()
    assert explanation.exit_status == status


def test_every_rule_on_the_way(folder: Path) -> None:
    """Each step has a line with its place and the reason, the last one decides."""
    text = "GET http://x.ads.example/ --client 10.0.0.7"
    said = str(answer(text, folder / "x.ini")).replace(f"{folder}/", "")
    section = said.split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in section] == [
        "the",
        "passed",
        "reported",
        "passed",
        "matched",
    ]
    assert section[2].startswith("  reported     [rule ads]         x.ini:5   x.ads.example is in")
    assert section[3].endswith("the client did not say who it is")
    assert "reported: [rule ads] would deny it, and only reports\n" in said


def test_beside_the_rules(folder: Path) -> None:
    """What is asked behind the rules is there: TLS, and the address or that there is none."""
    said = str(answer("GET https://a.example/ --client 10.0.0.7", folder / "x.ini"))
    first, second = said.partition("beside the rules:\n")[2].splitlines()
    assert first.split()[:3] == ["TLS", "upgrade", "allowed"]
    assert second.split()[:2] == ["destination", "open"]
    assert "--address A asks about one" in said
    said = str(answer("GET http://a.corp.example/ --client 10.0.0.7", folder / "x.ini"))
    assert "destination  allowed" in said
    assert "note:" not in said


def test_limits_are_told(folder: Path) -> None:
    """What a client may have of it is part of the answer."""
    told = facts(answer(f"{ASK} --user ann", folder / "x.ini"))["limits"]
    assert told == "50 requests/s, 2097152 bytes/s, 5368709120 bytes/day for each client"


@pytest.mark.parametrize(
    ("overrides", "text", "note"),
    [
        (["auth.users="], "GET http://1.1.1.1/ --user ann", "[auth] users is empty here"),
        (["auth.users=memory:a:b"], "GET http://1.1.1.1/", "the client is asked for a password"),
    ],
)
def test_notes_about_users(overrides: list[str], text: str, note: str) -> None:
    """A user whom nobody can prove to be, and a password that everybody needs, are pointed out."""
    assert facts(answer(text, None, *overrides))["note"].startswith(note)


def test_places_of_options(folder: Path) -> None:
    """An option of the command stands above the file's, and one that nobody gave is a default."""
    path = folder / "x.ini"
    place = {"place": "--set"}
    assert facts(answer(ASK, path, "access.clients=::1")).items() >= place.items()
    assert facts(answer(ASK, None, "access.clients=::1")).items() >= place.items()
    assert facts(answer("CONNECT 1.1.1.1:22", None))["place"] == "the default"


# --- The same opinion ---


def _rule(name: str, conditions: dict[str, object]) -> RuleSection:
    return RuleSection(name=name, place=f"x.ini:{len(name)}", **conditions)  # type: ignore[arg-type]


_conditions = st.fixed_dictionaries(
    {"action": st.sampled_from(Action)},
    optional={
        "clients": st.sampled_from([(ip_network("10.0.0.0/8"),), (ip_network("::/0"),)]),
        "users": st.sampled_from([frozenset({"ann"}), frozenset({"*"})]),
        "domains": st.sampled_from([Domains([b".example"]), Domains([b"a.example"])]),
        "ports": st.just(frozenset({80})),
        "methods": st.just(frozenset({b"GET"})),
        "services": st.just(frozenset({"proxy", "site"})),
        "when": st.just(parse_schedule("Mon-Fri 08:00-18:00")),
    },
)
_rules = st.lists(st.builds(_rule, st.sampled_from(["a", "bb", "ccc"]), _conditions), max_size=6)
_questions = st.tuples(
    st.sampled_from(
        ["GET http://a.example/", "POST http://b.example:81/", "CONNECT x.org:443", "GET /"]
    ),
    st.sampled_from(["", " --user ann", " --user bob"]),
    st.sampled_from(["", " --client 10.0.0.7", " --client 8.8.8.8", " --client ''"]),
    st.sampled_from(["", " --at 2026-01-10T09:00"]),
).map("".join)


@given(rules=_rules, text=_questions, default=st.sampled_from(["allow", "deny"]))
def test_never_a_second_opinion(rules: list[RuleSection], text: str, default: str) -> None:
    """Whatever the rules, the last step and the decision are what the judge says when asked."""
    config: Config = load(None, [f"access.default={default}", "access.destinations=*"], {})
    access = Access(config.access, frozenset({443}), (), rules)
    stages = Stages(access, False, OWN.__contains__, ())
    asked = read_question(text, NOW, PLAIN)
    explanation = explain(asked, access, stages, {}, has_users=True)
    decision = access.judge(asked.case.question, asked.minute)
    assert explanation.decision == explanation.rules == decision
    assert explanation.exit_status == (0 if decision.allowed else 1)
    *before, last = explanation.steps
    assert (last.rule, last.verdict) == (decision.rule, "matched")
    assert all(step.verdict != "matched" for step in before)
    reported = [step.rule for step in before if step.verdict == "reported"]
    assert reported[:1] == ([decision.reported] if decision.reported else [])
    assert f"decision: {'allowed' if decision.allowed else 'denied'}\n" in str(explanation)
