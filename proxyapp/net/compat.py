"""The private names of Twisted that this package relies on, checked when they are imported."""

from __future__ import annotations

import inspect

import twisted


class IncompatibleTwisted(ImportError):
    """This release of Twisted no longer has a private name that we subclass."""


def require(cls: type, names: tuple[str, ...]) -> None:
    """Raise IncompatibleTwisted unless *cls* has, or uses on its instances, each of *names*."""
    missing = [name for name in names if not (hasattr(cls, name) or name in _used_names(cls))]
    if missing:
        raise IncompatibleTwisted(
            f"Twisted {twisted.__version__} has no {cls.__module__}.{cls.__name__}."
            f"{', '.join(missing)}; proxyapp needs a release of Twisted that has it"
        )


def _used_names(cls: type) -> set[str]:
    """Return the attribute names that the methods of *cls* and its bases mention."""
    found: set[str] = set()
    for base in cls.__mro__:
        for _, function in inspect.getmembers(base, inspect.isfunction):
            found.update(function.__code__.co_names)
    return found
