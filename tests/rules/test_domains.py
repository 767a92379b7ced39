"""Promises of proxyapp.rules.domains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyapp.rules.domains import Domains, parse_domain
from tests.rules.rulestage import domains

LISTED = domains("www.example.com", ".ads.example", "nas", "192.0.2.7", "2001:DB8::7", ".xn--p1ai")


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("", ""),
        (".", ""),
        ("example.com", ""),
        ("a.www.example.com", ""),
        ("ww.example.com", ""),
        ("www.example.co", ""),
        ("www.example.com\nnas", ""),
        ("example", ""),
        ("badads.example", ""),
        ("ads.example.com", ""),
        ("*", ""),
        ("192.0.2.70", ""),
        ("b\u00fccher.example", ""),
        ("::1:", ""),
        ("www.example.com", "www.example.com"),
        ("WWW.Example.COM.", "www.example.com"),
        ("nas", "nas"),
        ("ads.example", ".ads.example"),
        ("a.b.c.ads.example", ".ads.example"),
        ("x.xn--p1ai", ".xn--p1ai"),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:0::7", "2001:db8::7"),
    ],
)
def test_where_hosts_are_listed(host: str, entry: str) -> None:
    """A name stands for itself, a suffix for itself and what is below it, whole labels only."""
    assert LISTED.find(host) == entry


def test_every_host() -> None:
    """The star is every host, but what has none."""
    everything = domains("*", ".example")
    assert everything.find("a.example") == ".example"
    assert everything.find("::1") == everything.find("a") == "*"
    assert everything.find("") == ""


def test_nothing_is_listed() -> None:
    """The empty list has nobody in it."""
    assert Domains(()).find("example.com") == ""
    assert Domains(()).size == 0


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("*.example.com", "'*.example.com' is not a domain; .example.com would be right"),
        ("a.*.example", "is not a host; a name or .domain would be right"),
        ("http://example.com", "is not a host"),
        ("example.com/x", "is not a host"),
        ("example.com:80", "is not a host"),
        ("||ads.example^", "is not a host"),
        ("a..b", "is not a host"),
        ("..b", "is not a host"),
        (".", "is not a host"),
        ("a b", "is not a host"),
        ("x" * 64 + ".example", "is not a host"),
        (".".join(["x" * 60] * 5), "is not a host"),
        ("10.0.0.0/8", "is not a host"),
        ("1.2.3", "is not a host"),
        ("2130706433", "is not a host"),
        ("a.0x7f", "is not a host"),
        (".2.1", "is not a host"),
        ("[::1]", "is not a host"),
        ("b\u00fc cher", "its xn-- form would be right"),
        ("\ud800", "its xn-- form would be right"),
        ("\u3002", "its xn-- form would be right"),
    ],
)
def test_what_is_no_domain(word: str, complaint: str) -> None:
    """What no host could be in is refused, with what was probably meant."""
    with pytest.raises(ValueError, match="would be right") as caught:
        parse_domain(word)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("word", "entry"),
    [
        ("*", b"*"),
        ("Example.COM", b"example.com"),
        ("example.com.", b"example.com"),
        (".Example.com", b".example.com"),
        ("_dmarc.a-.example", b"_dmarc.a-.example"),
        ("3com.com", b"3com.com"),
        ("192.0.2.7", b"192.0.2.7"),
        ("::FFFF:192.0.2.7", b"192.0.2.7"),
        ("2001:DB8:0::7", b"2001:db8::7"),
        ("b\u00fccher.example", b"xn--bcher-kva.example"),
        (".B\u00dcCHER.example", b".xn--bcher-kva.example"),
        ("stra\u00dfe.example", b"xn--strae-oqa.example"),
        ("\u4f8b\u3002\u516c\u53f8", b"xn--fsq.xn--55qx5d"),
    ],
)
def test_what_domains_are(word: str, entry: bytes) -> None:
    """An entry is spelled as it is asked for: lower case, xn--, the shortest form of an address."""
    assert parse_domain(word) == entry


def test_repetitions_count_for_eq_as_one() -> None:
    """Two lists of the same names are equal, in whatever order."""
    assert domains("a", "b", "a") == domains("b", "a")
    assert hash(domains("a")) == hash(domains("a"))
    assert domains("a") != domains("b")
    assert domains("a") != "a"
    assert repr(domains("a", "b")) == "<Domains 2 names>"


LABELS = st.from_regex(r"[a-c]{1,2}", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@given(st.lists(NAMES), st.lists(NAMES), NAMES)
def test_as_one_by_one(exact: list[str], suffixes: list[str], host: str) -> None:
    """A host is found exactly where comparing it with each entry would find it."""
    listed = domains(*exact, *("." + suffix for suffix in suffixes))
    is_listed = host in exact or any(f".{host}".endswith("." + suffix) for suffix in suffixes)
    assert bool(listed.find(host)) is is_listed


@given(st.text(max_size=30))
def test_any_word_is_read_or_refused(word: str) -> None:
    """No word fails in another way, and what is read is found under its own spelling."""
    try:
        entry = parse_domain(word)
    except ValueError:
        return
    assert parse_domain(entry.decode()) == entry
    if entry != b"*":
        assert Domains([entry]).find(entry.decode().removeprefix("."))


@given(st.text(max_size=300))
def test_any_host_is_looked_up(host: str) -> None:
    """A host may be any text."""
    LISTED.find(host)
