"""compat: a private name of Twisted that has gone is noticed at once, and said."""

from __future__ import annotations

import pytest
from twisted.internet import tcp

import twisted
from proxyapp.net import compat


class Base:
    inherited = 1

    def prepare(self) -> None:
        self.set_in_a_method = 1


class Subclassed(Base):
    own = 1


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("gone",), "gone"),
        (("own", "gone"), "gone"),
        (("gone", "inherited", "lost"), "gone, lost"),
        (("Own",), "Own"),
    ],
)
def test_missing_name(names: tuple[str, ...], missing: str) -> None:
    """Each name that is missing is named, with the class and the release of Twisted."""
    with pytest.raises(compat.IncompatibleTwisted) as raised:
        compat.require(Subclassed, names)
    said = str(raised.value)
    assert f"Subclassed.{missing};" in said
    assert twisted.__version__ in said


@pytest.mark.parametrize("name", ["own", "inherited", "prepare", "set_in_a_method"])
def test_present_name(name: str) -> None:
    """Attributes of the class, of its bases, and those that methods set are all there."""
    compat.require(Subclassed, (name,))


def test_no_names() -> None:
    """Who needs nothing is content with anything."""
    compat.require(object, ())


def test_is_an_import_error() -> None:
    """Who imports the floor under a wrong Twisted sees an ImportError."""
    assert issubclass(compat.IncompatibleTwisted, ImportError)


def test_real_class() -> None:
    """What Twisted sets on instances only is found, and what it never had is not."""
    compat.require(tcp.Connection, ("_tempDataBuffer", "dataBuffer"))
    with pytest.raises(compat.IncompatibleTwisted, match=r"twisted\.internet\.tcp\.Connection"):
        compat.require(tcp.Connection, ("_neverThere",))
