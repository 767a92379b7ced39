"""[upstream], and sharing in [autoconfig]: what is read, what is wrong, what stays secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxyapp import config
from proxyapp.config import ConfigError, lists, load
from proxyapp.config.upstreamsection import Upstream, parents
from proxyapp.config.values import Surroundings, WrongValue
from proxyapp.rules.parents import Parent

NOWHERE = Surroundings(None, {})


def reasons(text: str) -> tuple[str, ...]:
    """Return what is wrong with *text* as a list of parents."""
    with pytest.raises(WrongValue) as caught:
        parents(text, NOWHERE)
    return caught.value.reasons


def mistakes(tmp_path: Path, text: str) -> tuple[str, ...]:
    """Return the mistakes in an ini."""
    file = tmp_path / "x.ini"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, (), {})
    return tuple(each.removeprefix(str(file)) for each in caught.value.mistakes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("proxy.example:3128", "'proxy.example' has no scheme"),
        ("socks5://p.example:1080", "'socks5' is not spoken to parent proxies"),
        ("http://p.example", "'p.example' has no port behind its host"),
        ("http://p.example:", "'p.example' has no port behind its host"),
        ("http://p.example:x", "'p.example' has no port behind its host"),
        ("http://p.example:3128/path", "or something behind its port"),
        ("http://p.example:3128?x", "or something behind its port"),
        ("http://p.example:0", "'p.example' is no proxy: "),
        ("http://p.example:65536", "'p.example' is no proxy: "),
        ("http://p..example:1", "is no proxy: "),
        ("http://:3128", "is no proxy: "),
        ("http://", "has no port behind its host"),
        ("http://2001:db8::1:3128", "is no proxy: "),
        ("http://[2001:db8::x]:3128", "is no proxy: "),
        ("http://\u00e9.example:3128", "is no proxy: "),
        ("http://127.1:3128", "is no proxy: "),
        ("http://:pw@p.example:1", "the user for 'p.example' has no name"),
        ("http://@p.example:1", "the user for 'p.example' has no name"),
        ("http://a%3Ab:c@p.example:1", "has a colon in its name"),
        ("http://a:b%0Ac@p.example:1", "a character that no field may have"),
        ("http://p.example:1, http://P.example:1", "p.example:1 is there twice"),
        ("http://p.example:1, http://a:b@p.example:1", "p.example:1 is there twice"),
    ],
)
def test_wrong_parents(text: str, reason: str) -> None:
    """Each mistake names what it is about, and what would be right."""
    (told,) = reasons(text)
    assert reason in told
    assert "would be right" in told or "use another user" in told


@pytest.mark.parametrize(
    "text",
    [
        "http://ann:s3cret@p.example",
        "http://ann:s3cret@p.example:x",
        "ann:s3cret@p.example:3128",
        "ftp://ann:s3cret@p.example:3128",
        "http://ann:s3cret@p..example:3128",
        "http://ann:x,s3cret@p.example:3128",
        "http://ann:s3cret,x@p.example:3128",
        "http://ann:s3cret\nx@p.example:3128",
        "http://:s3cret@p.example:3128",
        "http://ann:s3cret%00@p.example:3128",
        "http://a%3Ann:s3cret@p.example:3128",
        "http://ann:s3cret@p.example:3128 ; a comment",
        "http://ann:s3cret@p.example:3128/x",
    ],
)
def test_no_mistake_shows_a_password(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with a parent, the message can be shown to anybody."""
    indented = text.replace("\n", "\n ")
    for told in mistakes(tmp_path, f"[upstream]\nproxy = {indented}\n"):
        assert "s3cret" not in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("http://p.example:3128", (Parent("http", "p.example", 3128),)),
        ("HTTP://P.Example:3128/", (Parent("http", "p.example", 3128),)),
        ("https://[2001:DB8::1]:443", (Parent("https", "2001:db8::1", 443),)),
        ("http://ann@p.example:1", (Parent("http", "p.example", 1, b"Basic YW5uOg=="),)),
        ("http://ann:pw@p.example:1", (Parent("http", "p.example", 1, b"Basic YW5uOnB3"),)),
        ("http://ann:p%40w%2C@p:1", (Parent("http", "p", 1, b"Basic YW5uOnBAdyw="),)),
        ("http://ann:p@w:x@p:1", (Parent("http", "p", 1, b"Basic YW5uOnBAdzp4"),)),
        ("http://\u00fc:\u00fc@p:1", (Parent("http", "p", 1, b"Basic w7w6w7w="),)),
    ],
)
def test_parents(text: str, expected: tuple[Parent, ...]) -> None:
    """Scheme, host, port, and the credentials decoded as RFC 3986 and 7617 have it."""
    assert parents(text, NOWHERE) == expected


def test_several_parents_in_order(tmp_path: Path) -> None:
    """They may stand on lines of their own, and their order stays."""
    file = tmp_path / "x.ini"
    file.write_text(
        "[upstream]\nproxy = http://b.example:1,\n  http://a:s3cret@a.example:2\n"
        "direct = .corp.example, 10.0.0.0/8, private, *.x.example\n"
    )
    given = load(file, (), {})
    assert [each.name for each in given.upstream.proxy] == ["b.example:1", "a.example:2"]
    assert given.upstream.direct == (".corp.example", "10.0.0.0/8", "private", "*.x.example")
    assert "s3cret" not in repr(given)
    assert config.load(None, (), {}).upstream == Upstream((), ())


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[upstream]\ndirect = *\n", ":2: [upstream] direct: '*' is every host"),
        (
            "[proxy]\nvia = off\n[upstream]\nproxy = http://p.example:1\n",
            ":2: [proxy] via: with a parent proxy a loop can only be seen by Via",
        ),
        (
            "[upstream]\nproxy = http://127.0.0.1:3128\n",
            ":2: [upstream] proxy: 127.0.0.1:3128 is this proxy itself",
        ),
        (
            "[proxy]\nlisten = tcp:1\n tcp:81:interface=10.0.0.1\n"
            "[upstream]\nproxy = http://p.example:1 http://localhost:81\n",
            ":5: [upstream] proxy: localhost:81 is this proxy itself",
        ),
        (
            "[proxyapp]\nhostnames = gw.lan\n[upstream]\nproxy = http://GW.lan:3128\n",
            ":4: [upstream] proxy: gw.lan:3128 is this proxy itself",
        ),
        (
            "[autoconfig]\nproxy = a.example:1*2, b.example:1\n",
            ":2: [autoconfig] proxy: weights count where share = yes is",
        ),
        (
            "[autoconfig]\nshare = yes\nproxy = a.example:1\n",
            ":2: [autoconfig] share: there is one proxy at most to spread hosts over",
        ),
    ],
)
def test_contradictions(tmp_path: Path, text: str, mistake: str) -> None:
    """What only goes wrong together is found before anything runs."""
    (told,) = mistakes(tmp_path, text)
    assert told.startswith(mistake)


@pytest.mark.parametrize(
    "text",
    [
        "[proxy]\nvia = off\n",
        "[upstream]\nproxy = http://127.0.0.1:3129\n",
        "[upstream]\nproxy = http://10.0.0.1:3128\n",
        "[proxy]\nlisten =\n[upstream]\nproxy = http://127.0.0.1:3128\n",
        "[upstream]\ndirect = .corp.example\n",
    ],
)
def test_no_contradictions(tmp_path: Path, text: str) -> None:
    """What can work is let alone."""
    file = tmp_path / "x.ini"
    file.write_text(text)
    load(file, (), {})


# --- Sharing ---


@pytest.mark.parametrize("text", ["a.example:1*0", "a.example:1*17", "a.example:1*999999999"])
def test_wrong_weights(text: str) -> None:
    """A weight is a small number."""
    with pytest.raises(WrongValue, match=r"has no weight; \*1 to \*16 would be right"):
        lists.gateways(text, NOWHERE)


@pytest.mark.parametrize("text", ["a.example:1*", "a.example:1*x", "*2", "a.example*2"])
def test_wrong_gateways_with_weights(text: str) -> None:
    """What isn't host:port isn't with a star behind it either."""
    with pytest.raises(WrongValue):
        lists.gateways(text, NOWHERE)


@pytest.mark.parametrize(
    ("text", "gateways", "weights"),
    [
        ("", (), ()),
        ("a.example:1", ("a.example:1",), ()),
        ("a.example:1, b.example:2*1", ("a.example:1", "b.example:2"), ()),
        ("a.example:1 b.example:2*3", ("a.example:1", "b.example:2"), (1, 3)),
        ("[fd00::1]:1*16, b.example:2", ("[fd00::1]:1", "b.example:2"), (16, 1)),
    ],
)
def test_weights(text: str, gateways: tuple[str, ...], weights: tuple[int, ...]) -> None:
    """A weight stands behind its gateway, and is 1 where none does."""
    assert lists.gateways(text, NOWHERE) == gateways
    assert lists.gateway_weights(text, NOWHERE) == weights
