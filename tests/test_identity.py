"""service.identity: which hosts of URLs are this machine."""

from __future__ import annotations

import socket

import pytest

from proxyapp.service.identity import Identity

GIVEN = ("gateway.lan", "wpad.lan")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "lan",
        "gateway",
        "gateway.lan.example",
        "x.gateway.lan",
        "192.0.2.254",
        "2001:db8::1",
        "localhost.example",
    ],
)
def test_others(host: str) -> None:
    """A name that isn't given and an address that isn't ours are other machines."""
    assert not Identity(GIVEN).is_meant(host)


@pytest.mark.parametrize(
    "host", ["gateway.lan", "wpad.lan", "wpad.lan.", "localhost", "127.0.0.1", "127.9.9.9", "::1"]
)
def test_this_machine(host: str) -> None:
    """The names that are given, loopback's, and every address of ours are this machine."""
    assert Identity(GIVEN).is_meant(host)


def test_main_name() -> None:
    """The first name is the one that people are told."""
    assert Identity(GIVEN).name == "gateway.lan"
    assert repr(Identity(GIVEN)) == "<Identity gateway.lan, wpad.lan>"


def test_names_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is given, the machine's own names count."""
    monkeypatch.setattr(socket, "gethostname", lambda: "box.example")
    identity = Identity(())
    assert identity.name == "box.example"
    assert identity.is_meant("box")
    assert not identity.is_meant("gateway.lan")
