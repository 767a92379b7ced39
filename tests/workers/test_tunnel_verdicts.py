"""Tunnels on their way to who judges them, and what a new configuration says of them."""

from __future__ import annotations

import time
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as some

from proxyapp import config
from proxyapp.rules.parents import DirectHosts, Parent, Ways
from proxyapp.rules.question import Question
from proxyapp.rules.record import Record
from proxyapp.wire.target import Origin
from proxyapp.workers.messages import BadMessage, Message, from_line, to_line
from proxyapp.workers.tunnels import Refusal, Tunnel, refusals_from, tunnel_of, tunnels_from
from proxyapp.workers.verdicts import Verdicts

_PORTS = {"proxy": [3128], "site": [8080]}
_MONDAY_NOON = time.struct_time((2026, 1, 5, 12, 0, 0, 0, 5, 0))


def tunnel(
    host: str = "example.com",
    port: int = 443,
    client: str = "192.168.7.9",
    user: str | None = None,
    address: str = "93.184.216.34",
) -> Tunnel:
    """Return a tunnel."""
    return Tunnel(1, Question("tunnel", client, user, b"CONNECT", host, port), address)


@given(
    some.integers(0, 10_000),
    some.text(max_size=20),
    some.none() | some.text(max_size=20),
    some.binary(max_size=10),
    some.integers(0, 65535),
)
def test_tunnels_travel(number: int, host: str, user: str | None, method: bytes, port: int) -> None:
    """A tunnel arrives as it was."""
    sent = Tunnel(number, Question("tunnel", "::1", user, method, host, port), "::2")
    line = to_line("judge", {"tunnels": [sent.to_json()]})
    assert tunnels_from(from_line(line)) == [sent]


def test_refusals_travel() -> None:
    """So does what is said of it."""
    sent = Refusal(7, "[rule strict]", "it says so")
    line = to_line("judged", {"refused": [sent.to_json()]})
    assert refusals_from(from_line(line)) == [sent]


@pytest.mark.parametrize("found", [{}, {"number": "x"}, {"number": 1, "rule": 2, "reason": "x"}])
def test_broken(found: dict[str, object]) -> None:
    """What lacks something is told."""
    with pytest.raises(BadMessage):
        tunnels_from(Message("judge", {"tunnels": [found]}))  # type: ignore[dict-item,list-item]
    with pytest.raises(BadMessage):
        refusals_from(Message("judged", {"refused": [found]}))  # type: ignore[dict-item,list-item]


def test_address_of_a_tunnel() -> None:
    """A tunnel has the address that was dialled for it, but not that of a parent proxy."""
    turn, connection = mock.Mock(), mock.Mock()
    turn.request.target.origin = Origin("http", "example.com", 443)
    turn.request.head.method = b"CONNECT"
    turn.record = Record(client_host="192.168.7.9", service="tunnel", upstream="[2001:db8::1]:443")
    connection.turn = turn
    ways = Ways((), DirectHosts(()))
    assert tunnel_of(1, connection, ways) == tunnel(address="2001:db8::1")
    parent = Parent("http", "10.0.0.1", 3128)
    assert tunnel_of(1, connection, Ways((parent,), DirectHosts(()))) == tunnel(address="")
    connection.turn = None
    assert tunnel_of(1, connection, ways) is None


@pytest.mark.parametrize(
    ("ini", "asked", "rule"),
    [
        ("", tunnel(), ""),
        ("[tunnel]\nports = 8443\n", tunnel(), "[tunnel] ports"),
        ("[access]\nclients = 10.0.0.0/8\n", tunnel(), "[access] clients"),
        ("", tunnel(address="10.1.2.3"), "[access] destinations"),
        ("", tunnel(host="10.1.2.3", address="10.1.2.3"), "[access] destinations"),
        ("[access]\ndestinations = public, 10.0.0.0/8\n", tunnel(address="10.1.2.3"), ""),
        ("[rule a]\naction = deny\ndomains = .example.com\n", tunnel(), "[rule a]"),
        ("[rule a]\naction = deny\ndomains = .example.org\n", tunnel(), ""),
        ("[rule a]\naction = deny\nwhen = Mon 11:00-13:00\n", tunnel(), "[rule a]"),
        ("[rule a]\naction = deny\nwhen = Tue\n", tunnel(), ""),
        ("[auth]\nusers = file:{folder}/users\n", tunnel(), "[auth] required"),
        ("[auth]\nusers = file:{folder}/users\n", tunnel(user="ann"), ""),
    ],
)
def test_verdicts(tmp_path: Path, ini: str, asked: Tunnel, rule: str) -> None:
    """A tunnel may go on if it could be opened now."""
    (tmp_path / "users").write_text("ann:secret\n")
    path = tmp_path / "x.ini"
    path.write_text(ini.format(folder=tmp_path))
    verdicts = Verdicts(config.load(path, [], {}), lambda: _MONDAY_NOON)
    found = verdicts.on([asked], _PORTS)
    assert [refusal.rule for refusal in found] == ([rule] if rule else [])
    assert all(refusal.number == 1 and refusal.reason for refusal in found)
