"""Endpoint descriptions, with Twisted's own parsers as the oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.internet.testing import MemoryReactor

from proxyapp.config.listeners import is_shareable, listeners
from proxyapp.config.values import Surroundings, WrongValue

NOWHERE = Surroundings(None, {})


def reasons(text: str) -> tuple[str, ...]:
    """Return what is wrong with *text*."""
    with pytest.raises(WrongValue) as caught:
        listeners(text, NOWHERE)
    return caught.value.reasons


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("3128", "tcp:3128 would be right"),
        ("foo:3128", "'foo:3128' is not an endpoint; tcp:3128"),
        ("tpc:3128", "tcp:... would be right"),
        ("TCP:3128", "tcp:... would be right"),
        (":3128", "is not an endpoint"),
        ("127.0.0.1:3128", "tcp:3128:interface=192.168.7.1 would be right"),
        ("tcp", "there is no port; tcp:PORT would be right"),
        ("tcp:", "there is no port"),
        ("tcp:http", "'http' is not a port; a number from 0 to 65535"),
        ("tcp:65536", "is not a port"),
        ("tcp:-1", "is not a port"),
        ("tcp:80:interface=eth0", "'eth0' is not an address"),
        ("tcp:80:interface=::1", r"a colon inside an address is written \:"),
        ("tcp:80:interfaces=127.0.0.1", "interface would be right"),
        ("tcp:80:port=81", "port is there twice"),
        ("tcp:80:127.0.0.1:50:1:2", "has too many parts"),
        ("tcp:80:backlog=many", "'many' is not a number"),
        ("tcp:80 tcp:81", "one endpoint a line is right"),
        ("tcp:80, tcp:81", "one endpoint a line is right"),
        ("unix:/run/x\\", "a backslash that hides nothing"),
        ("unix:", "there is no address; unix:ADDRESS would be right"),
        ("unix:/run/x:mode=rw", "'rw' is not a mode"),
        ("unix:/run/x:lockfile=yes", "neither 0 nor 1"),
        ("systemd:INET", "either index or name"),
        ("systemd:domain=INET:index=0:name=web", "either index or name"),
        ("systemd:domain=TCP:index=0", "'TCP' is not a domain"),
        ("tls:", "there is no path"),
        ("ssl:443:certkey=x.pem", "certKey would be right"),
        ("haproxy:80", "tcp:80 would be right"),
        ("haproxy", "is not an endpoint"),
    ],
)
def test_wrong_descriptions(text: str, complaint: str) -> None:
    """Each slip is told apart, with what was probably meant."""
    (reason,) = reasons(text)
    assert complaint in reason


def test_every_wrong_line_is_named() -> None:
    """One bad line doesn't hide the next."""
    assert len(reasons("tcp:x\ntcp:80\nfoo:1")) == 2


@pytest.mark.parametrize(
    "text",
    [
        "tcp:0",
        "tcp:3128",
        "tcp:port=3128:backlog=512",
        "tcp:8080:interface=192.168.7.1",
        r"tcp:8080:interface=\:\:1",
        "tcp6:8080",
        r"tcp6:8080:interface=fe80\:\:1",
        "unix:/run/x.sock",
        "unix:/run/x.sock:mode=660:lockfile=0",
        "tls:/etc/certificates:port=443",
        "haproxy:tcp:8080",
        "haproxy:unix:/run/x.sock:mode=600",
    ],
)
def test_right_descriptions(text: str) -> None:
    """They come as they were written, and Twisted takes them too."""
    assert listeners(text, NOWHERE) == (text,)
    endpoints.serverFromString(MemoryReactor(), text)


@pytest.mark.parametrize(
    "text",
    [
        "systemd:domain=INET:index=0",
        "systemd:INET6:name=web",
        "ssl:443:privateKey=key.pem:certKey=crt.pem",
    ],
)
def test_right_descriptions_of_what_is_not_here(text: str) -> None:
    """Inherited sockets and certificate files aren't looked at before listening."""
    assert listeners(text, NOWHERE) == (text,)


def test_one_a_line() -> None:
    """Lines are endpoints; no line at all is no listener."""
    assert listeners("tcp:1\n  tcp:2 \n\n", NOWHERE) == ("tcp:1", "tcp:2")
    assert listeners("", NOWHERE) == ()


@pytest.mark.parametrize(
    ("text", "shareable"),
    [
        ("tcp:0", True),
        ("tcp6:0", True),
        ("tcp:port=0:interface=127.0.0.1", True),
        ("haproxy:tcp:0", True),
        ("tcp:80", False),
        ("tcp:080", False),
        ("unix:0", False),
    ],
)
def test_shareable(text: str, shareable: bool) -> None:
    """Only a port that the kernel chooses may be asked for twice."""
    assert is_shareable(text) is shareable


@given(
    st.sampled_from(["tcp", "tcp6", "unix", "haproxy:tcp"]),
    st.lists(
        st.sampled_from(
            r"0 80 50 interface=127.0.0.1 interface=\:\: port=1 backlog=5 mode=600 lockfile=1"
            r"  /run/x 1.2.3.4 :: a=b \ =".split(" ")
        ),
        max_size=4,
    ),
)
def test_what_we_accept_twisted_accepts(prefix: str, arguments: list[str]) -> None:
    """A description that passes here never fails in Twisted's parser."""
    description = ":".join([prefix, *arguments])
    try:
        listeners(description, NOWHERE)
    except WrongValue:
        return
    endpoints.serverFromString(MemoryReactor(), description)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way than with its complaints."""
    try:
        listeners(text, NOWHERE)
    except WrongValue as wrong:
        assert wrong.reasons
