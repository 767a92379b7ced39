"""The master's sockets: who gets which, and when one is closed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp.workers.slots import NotListening, Opened, Slots

_ANY = ("site", "tcp:0:interface=127.0.0.1")


@pytest.fixture
def slots() -> Iterator[Slots]:
    """Yield slots; what they have is closed afterwards."""
    made = Slots()
    yield made
    made.close()


def at(port: int) -> tuple[str, str]:
    """Return the place that is this port on loopback."""
    return "site", f"tcp:{port}:interface=127.0.0.1"


def connects(port: int) -> bool:
    """Does somebody listen there?"""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def numbers(opened: list[Opened]) -> list[int]:
    """Return the descriptors of all."""
    return [each.fileno() for several in opened for each in several.sockets]


def test_a_socket_for_each_worker(slots: Slots) -> None:
    """All of them are on one port, also where the kernel chose it."""
    (opened,) = slots.open([_ANY], 3)
    assert len({each.getsockname() for each in opened.sockets}) == 1
    assert [len(opened.of(number, 3)) for number in range(3)] == [1, 1, 1]
    assert connects(opened.port)


def test_fewer_workers(slots: Slots) -> None:
    """No socket is closed, and none is left without a worker."""
    (before,) = slots.open([_ANY], 3)
    again = slots.open([_ANY], 2)
    assert again[0] is before
    given = [each.fileno() for number in range(2) for each in before.of(number, 2)]
    assert sorted(given) == sorted(numbers(again))


def test_more_workers(slots: Slots) -> None:
    """Those that are there stay, and others join them."""
    before = numbers(slots.open([_ANY], 1))
    assert numbers(slots.open([_ANY], 3))[:1] == before


def test_two_that_the_kernel_chooses(slots: Slots) -> None:
    """The same description twice is two ports, and they are the same two again."""
    first = slots.open([("proxy", _ANY[1]), _ANY], 1)
    assert first[0].port != first[1].port
    assert slots.open([("proxy", _ANY[1]), _ANY], 1) == first


def test_a_choice_that_is_named_now(slots: Slots) -> None:
    """Who writes the port down that the kernel had chosen keeps the socket."""
    (chosen,) = slots.open([_ANY], 1)
    assert slots.open([at(chosen.port)], 1) == [chosen]


def test_what_is_not_wanted_any_more(slots: Slots) -> None:
    """It is closed when it is said so, not before."""
    (chosen,) = slots.open([_ANY], 1)
    port = chosen.port
    kept = slots.open([("proxy", "tcp:0:interface=127.0.0.2")], 1)
    assert connects(port)
    slots.keep_only(kept)
    assert not connects(port)
    assert repr(slots) == "<Slots of 1 addresses>"


def test_address_in_use(slots: Slots) -> None:
    """Somebody else's port is no place for us, even if he would share it; nothing stays open."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        (before,) = slots.open([_ANY], 1)
        places = [_ANY, ("proxy", "tcp:0:interface=127.0.0.3"), at(other.getsockname()[1])]
        with pytest.raises(NotListening, match=r"cannot listen on tcp:.*: Address already in use"):
            slots.open(places, 2)
        assert len(before.sockets) == 1
        assert repr(slots) == "<Slots of 1 addresses>"


def test_wider_address(slots: Slots) -> None:
    """One of our addresses may be replaced by one that overlaps with it."""
    (narrow,) = slots.open([_ANY], 1)
    wide = slots.open([("site", f"tcp:{narrow.port}")], 1)
    slots.keep_only(wide)
    assert connects(wide[0].port)


@pytest.mark.parametrize("description", ["systemd:domain=INET:index=0", "tcp:80:interface=8.8.8.8"])
def test_what_cannot_be(slots: Slots, description: str) -> None:
    """What can't be opened is told with its description."""
    with pytest.raises(NotListening, match="cannot listen on"):
        slots.open([("site", description)], 1)


def test_unix_socket(slots: Slots, tmp_path: Path) -> None:
    """There is one for all, with its mode, and it is removed at the end."""
    path = tmp_path / "s"
    (opened,) = slots.open([("site", f"unix:{path}:mode=600")], 3)
    assert opened.is_shared
    assert [opened.of(number, 3) for number in range(3)] == [opened.sockets] * 3
    assert path.stat().st_mode & 0o777 == 0o600
    slots.close()
    assert list(tmp_path.iterdir()) == []


def test_unix_socket_of_another(slots: Slots, tmp_path: Path) -> None:
    """A path that another process listens at is left alone, and one of the dead is taken."""
    place = ("site", f"unix:{tmp_path}/s")
    slots.open([place], 1)
    with pytest.raises(NotListening, match="another process listens there"):
        Slots().open([place], 1)
    (tmp_path / "t.lock").symlink_to("999999999")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "t"))
    assert slots.open([place, ("site", f"unix:{tmp_path}/t")], 1)


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("unix:{0}/no/s", "{0}/no/s: No such file"),
        ("ssl:0:privateKey={0}/k", ": {0}/k: No such file"),
    ],
)
def test_what_is_not_there(slots: Slots, tmp_path: Path, endpoint: str, told: str) -> None:
    """A folder or a certificate that is missing is told in words."""
    with pytest.raises(NotListening, match=re.escape(told.format(tmp_path))):
        slots.open([("site", endpoint.format(tmp_path))], 1)


def test_back(slots: Slots) -> None:
    """What was opened in vain is closed again."""
    slots.open([_ANY], 1)
    before = slots.counts
    (more, other) = slots.open([_ANY, ("proxy", "tcp:0:interface=127.0.0.2")], 2)
    slots.back_to(before)
    assert len(more.sockets) == 1
    assert [each.fileno() for each in other.sockets] == [-1, -1]
