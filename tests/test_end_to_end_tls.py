"""Listeners with a certificate, as `ssl:` in the ini makes them."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from tests.certificates import server_context
from tests.conftest import StartAppliance

SIZE = 300_000  # too long for memory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to serve, with one file."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "long.bin").write_bytes(bytes(range(256)) * (SIZE // 256))
    return served


def ask(port: int, authority: Path, offered: list[str]) -> tuple[str | None, bytes]:
    """Return the protocol that was agreed upon, and the answer for the long file."""
    context = ssl.create_default_context(cafile=str(authority))
    if offered:
        context.set_alpn_protocols(offered)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(b"GET /long.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with secured.makefile("rb") as answer:
            return secured.selected_alpn_protocol(), answer.read()


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [([], None), (["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1")],
)
def test_files_over_tls(
    start_appliance: StartAppliance,
    tmp_path: Path,
    folder: Path,
    offered: list[str],
    agreed: str | None,
) -> None:
    """Whatever protocols a client offers beside ours, the handshake goes on and files come."""
    _, authority = server_context(tmp_path)
    key = tmp_path / "server.pem"
    listen = f"ssl:0:privateKey={key}:certKey={key}:interface=127.0.0.1"
    with start_appliance(f"[site]\nlisten = {listen}\nroot = {folder}\n") as running:
        protocol, answer = ask(running.site, authority, offered)
        assert f"site: https://127.0.0.1:{running.site}" in "\n".join(running.said)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert protocol == agreed
    assert body == (folder / "long.bin").read_bytes()
