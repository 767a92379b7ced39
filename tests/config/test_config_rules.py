"""Rules of the ini: [rule NAME], its values, and what can't be meant."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp import config
from proxyapp.config import Config, ConfigError, RuleSection, rulevalues
from proxyapp.config.values import Surroundings, WrongValue
from proxyapp.rules.access import Access, Question
from proxyapp.rules.domains import Domains
from proxyapp.rules.question import Action, Default
from proxyapp.rules.schedule import parse_schedule

USERS = "[auth]\nusers = memory:ann:x\n"


def load(folder: Path, text: str) -> Config:
    """Load an ini with *text* in *folder*."""
    file = folder / "proxyapp.ini"
    file.write_text(text, encoding="utf-8")
    return config.load(file, (), {})


def mistakes(folder: Path, text: str) -> list[str]:
    """Return the mistakes in an ini with *text*, without the name of its folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [mistake.replace(f"{folder}/", "") for mistake in caught.value.mistakes]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("action = block", "action: 'block' is not known; one of allow, deny, report would be"),
        ("clients = lan", "clients: 'lan' is not a network"),
        ("clients = @empty", "clients: '@empty' holds no network, so the rule would never match"),
        ("users = ann:x", "users: 'ann:x' is no user; a name without colons would be right"),
        ("domains = *.org", "domains: '*.org' is not a domain; .org would be right"),
        ("domains = @empty", "domains: '@empty' holds no name, so the rule would never match"),
        ("domains = @bad", "domains: bad line 2: 'a..b' is not a host"),
        ("ports = http", "ports: 'http' is not a port"),
        ("methods = GET (x)", "methods: '(x)' is no method; GET or another token would be right"),
        ("methods = get", "methods: 'get' is in lower case; GET would be right"),
        ("services = tunel", "services: 'tunel' is no service; tunnel would be right"),
        ("services = web", "services: 'web' is no service; proxy, tunnel, fetch, site would be"),
        ("when = Mon 18:00-18:00", "when: 18:00-18:00 ends when it begins; 00:00-24:00 is all day"),
        ("when = Workdays", "when: 'Workdays' is neither days nor times; Mon-Fri 08:00-18:00"),
        ("rate = fast", "rate: 'fast' is no rate; rates such as 50/s, 100/m or 2MiB/s would be"),
        ("quota = 5GiB", "quota: '5GiB' is no quota; 5GiB/day, or per week or month, would be"),
        ("message = \x01", "message: '\\x01' can't be shown; up to 500 printable characters would"),
        ("user = ann", "user: unknown option; users would be right"),
    ],
)
def test_wrong_values(tmp_path: Path, line: str, complaint: str) -> None:
    """Each mistake has its line, and says what would be right."""
    (tmp_path / "empty").write_text("# nobody\n")
    (tmp_path / "bad").write_text("a\na..b\n")
    head = "[rule x]\n" + ("" if line.startswith("action") else "action = allow\n")
    (mistake,) = mistakes(tmp_path, head + line)
    number = head.count("\n") + 1
    assert mistake.startswith(f"proxyapp.ini:{number}: [rule x] {complaint}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[rule]", ":1: [rule]: there is no name behind rule; [rule NAME] would be right"),
        ("[rules x]", ":1: [rules x]: unknown section; [rule x] would be right"),
        ("[rule a b]", ":1: [rule a b]: 'a b' is no name; letters, digits, and . _ - would be"),
        ("[rule \u00e4]\naction = deny", ":1: [rule \u00e4]: '\u00e4' is no name"),
        (
            "\n[rule x]\nports = 80\n",
            ":2: [rule x] action: is missing; allow, deny or report would be right",
        ),
        ("[rule x]\naction =\n", ":2: [rule x] action: is missing; allow, deny or report would"),
        ("[access]\ndefault = maybe", ":2: [access] default: 'maybe' is not known; one of allow,"),
        ("[dns]\nnat64_prefixes = 10.0.0.0/8", "'10.0.0.0/8' is no prefix of NAT64; an IPv6"),
        ("[dns]\nnat64_prefixes = 2001:db8::/44", "a prefix of 32, 40, 48, 56, 64, 96 bits would"),
    ],
)
def test_wrong_sections(tmp_path: Path, text: str, expected: str) -> None:
    """A rule has a name and an action; nobody guesses either."""
    found = mistakes(tmp_path, text)
    assert any(expected in mistake for mistake in found), found


DENY = "[rule x]\naction = deny\n"
ALLOW = "[rule x]\naction = allow\n"
REPORT = "[rule x]\naction = report\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            DENY + "[rule y]\naction = allow\n",
            ":3: [rule y]: is never asked, because [rule x] at proxyapp.ini:1 matches everything;"
            " put it above that",
        ),
        (ALLOW + "ports = *\n[rule y]\naction = deny\n", ":4: [rule y]: is never asked, because"),
        (DENY + "users = ann\n", ":3: [rule x] users: nobody has a password, so it never matches"),
        (ALLOW + "services = site\nports = 80\n", ":4: [rule x] ports: requests to the site have"),
        (DENY + "services = site\ndomains = *\n", ":4: [rule x] domains: requests to the site"),
        (
            DENY + "rate = 1/s\n",
            ":3: [rule x] rate: a rule with action = deny lets nothing pass to be limited;"
            " action = allow would be right",
        ),
        (REPORT + "quota = 1GiB/day\n", ":3: [rule x] quota: a rule with action = report lets"),
        (ALLOW + "message = No\n", ":3: [rule x] message: nobody is ever refused by this rule"),
        (REPORT + "message = No\n", ":3: [rule x] message: nobody is ever refused by this rule"),
    ],
)
def test_contradictions(tmp_path: Path, text: str, expected: str) -> None:
    """A rule that can never do what it says is a mistake where it says so."""
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith("proxyapp.ini" + expected)


def test_every_shadowed_rule_is_named(tmp_path: Path) -> None:
    """The first rule that matches everything is the one that all others are behind."""
    text = "".join(f"[rule {name}]\naction = deny\n" for name in "abc")
    assert [mistake.partition(" ")[0] for mistake in mistakes(tmp_path, text)] == [
        "proxyapp.ini:3:",
        "proxyapp.ini:5:",
    ]


def test_reports_shadow_nothing(tmp_path: Path) -> None:
    """A rule that only reports lets the next one be asked."""
    assert len(load(tmp_path, REPORT + "[rule y]\naction = deny\n").rules) == 2


def test_defaults(tmp_path: Path) -> None:
    """Without rules everything is allowed; a rule that says nothing else is about everything."""
    given = config.load(None, (), {})
    assert (given.rules, given.access.default, given.dns.nat64_prefixes) == ((), Default.ALLOW, ())
    (rule,) = load(tmp_path, DENY).rules
    assert rule == RuleSection("x", action=Action.DENY)
    assert load(tmp_path, "[access]\ndefault =\n").access.default is Default.DENY


def test_a_rule_with_everything(tmp_path: Path) -> None:
    """Each option counts, and the rule knows where it stands."""
    (tmp_path / "ads").write_text("0.0.0.0 ads.example\n")
    text = "clients = 10.0.0.0/8, ::1\nusers = ann *\ndomains = @ads .org\nports = 80 443\n"
    text += "methods = GET\nservices = proxy, Tunnel\nwhen = Sat\n  Sun 08:00-09:00\n"
    text += "rate = 2MiB/s, 50/s\nquota = 5GiB / Week\nmessage = Ask\n  the office.\n"
    (rule,) = load(tmp_path, USERS + ALLOW + text).rules
    assert rule.place == f"{tmp_path}/proxyapp.ini:3"
    assert rule == RuleSection(
        name="x",
        action=Action.ALLOW,
        clients=(ip_network("10.0.0.0/8"), ip_network("::1")),
        users=frozenset(("ann", "*")),
        domains=Domains([b"ads.example", b".org"]),
        ports=frozenset((80, 443)),
        methods=frozenset((b"GET",)),
        services=frozenset(("proxy", "tunnel")),
        when=parse_schedule("Sat; Sun 08:00-09:00"),
        requests_per_second=50.0,
        bytes_per_second=2 * 1024 * 1024,
        quota_bytes=5 * 1024**3,
        quota_period="week",
        message="Ask the office.",
    )


def test_rules_keep_their_order(tmp_path: Path) -> None:
    """They come as they stand in the file, whatever their names, with other sections between."""
    text = "".join(
        f"[rule {name}]\naction = deny\nports = 1\n[site-rule {name}]\n" for name in "bca"
    )
    assert [rule.name for rule in load(tmp_path, text).rules] == ["b", "c", "a"]


def test_from_the_ini_to_a_decision(tmp_path: Path) -> None:
    """What was loaded is what the judge takes."""
    given = load(tmp_path, "[rule social]\naction = deny\ndomains = .social.example\n")
    access = Access(given.access, given.tunnel.ports, (), given.rules, given.dns.nat64_prefixes)
    question = Question("proxy", "10.0.0.7", None, b"GET", "www.social.example", 80)
    assert access.judge(question, 0).rule == "[rule social]"
    assert access.explain(question, 0)[-1].place == f"{tmp_path}/proxyapp.ini:1"


# --- Rates and quotas ---

NOWHERE = Surroundings(None, {})


@pytest.mark.parametrize(
    "text",
    [
        *("50", "50/", "/s", "50/x", "0/s", "-1/s", "1e3/s", "50 /s", "2MiB", "2XB/s", "0MiB/s"),
        *("50/s 60/s", "1MiB/s, 2MiB/s", "1.2.3/s", "9999999/s", "50/day", "./s", "2PiB/s"),
    ],
)
def test_what_no_rate_is(text: str) -> None:
    """A rate is a number of requests or bytes for some time, one of each kind at most."""
    with pytest.raises(WrongValue) as caught:
        rulevalues.requests_per_second(text, NOWHERE)
    assert "would be right" in str(caught.value)
    with pytest.raises(WrongValue):
        rulevalues.bytes_per_second(text, NOWHERE)


@pytest.mark.parametrize(
    ("text", "requests", "size"),
    [
        ("", 0.0, 0),
        ("50/s", 50.0, 0),
        ("120/m", 2.0, 0),
        ("120/min", 2.0, 0),
        ("1800/hour", 0.5, 0),
        ("0.5/s", 0.5, 0),
        ("2MiB/s", 0.0, 2 * 1024 * 1024),
        ("60KB/m", 0.0, 1000),
        ("1B/h", 0.0, 1),
        ("1.5KiB/s 3/s", 3.0, 1536),
        ("3/s,\n2kib/s", 3.0, 2048),
    ],
)
def test_rates(text: str, requests: float, size: int) -> None:
    """A number alone counts requests, one with a unit of size bytes."""
    assert rulevalues.requests_per_second(text, NOWHERE) == requests
    assert rulevalues.bytes_per_second(text, NOWHERE) == size


@pytest.mark.parametrize(
    "text", ["5GiB", "5GiB/", "/day", "5GiB/hour", "0/day", "x/day", "-1/day", "5GiB/day/week"]
)
def test_what_no_quota_is(text: str) -> None:
    """A quota is a size for a day, a week or a month."""
    with pytest.raises(WrongValue) as caught:
        rulevalues.quota_bytes(text, NOWHERE)
    assert "would be right" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size", "period"),
    [
        ("", 0, ""),
        ("5GiB/day", 5 * 1024**3, "day"),
        ("1TB/MONTH", 10**12, "month"),
        ("1.5KiB / week", 1536, "week"),
        ("100/day", 100, "day"),
    ],
)
def test_quotas(text: str, size: int, period: str) -> None:
    """Sizes are as everywhere."""
    assert rulevalues.quota_bytes(text, NOWHERE) == size
    assert rulevalues.quota_period(text, NOWHERE) == period


def test_messages() -> None:
    """A message may be in any language, and is one line."""
    assert rulevalues.message("Frag\n  im B\u00fcro", NOWHERE) == "Frag im B\u00fcro"
    assert rulevalues.message("", NOWHERE) == ""
    for text in ("x" * 501, "a\x00b", "a\x1bb", "a\x9bb"):
        with pytest.raises(WrongValue):
            rulevalues.message(text, NOWHERE)


@given(st.text(max_size=40).filter(lambda text: "@" not in text))
def test_values_are_read_or_refused(text: str) -> None:
    """No text makes a parser fail in another way than with its complaints."""
    for parse in (
        *(rulevalues.rule_name, rulevalues.action, rulevalues.clients, rulevalues.users),
        *(rulevalues.ports, rulevalues.methods, rulevalues.services, rulevalues.when),
        *(rulevalues.requests_per_second, rulevalues.bytes_per_second, rulevalues.quota_bytes),
        *(rulevalues.quota_period, rulevalues.message),
    ):
        try:
            parse(text, NOWHERE)
        except WrongValue as wrong:
            assert wrong.reasons
