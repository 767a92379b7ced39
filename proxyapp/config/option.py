"""What is known of one option, declared at the field that holds its value.

The declaration is a dataclass field of the parser's type, so that the type checker holds parser
and field together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from proxyapp.config.values import Parser, Surroundings

T = TypeVar("T")

_NOWHERE = Surroundings(None, MappingProxyType({}))


class Option(NamedTuple):
    """What is known of one option.

    *default* is its text in the shipped ini; *found* finds the true one where that depends on the
    machine. An option without a *sentence* is another's second value and has no line of its own:
    it is read from the text of *name*.
    """

    name: str
    parse: Callable[[str, Surroundings], object]
    default: str
    found: Callable[[Surroundings], str] | None
    sentence: str

    def default_text(self, surroundings: Surroundings) -> str:
        """Return the text that counts where the option isn't given."""
        return self.default if self.found is None else self.found(surroundings)


def option(
    parse: Parser[T],
    default: str,
    sentence: str,
    found: Callable[[Surroundings], str] | None = None,
    name: str = "",
) -> T:
    """Declare a field of a section, and what `Option` says of it."""
    known = Option(name, parse, default, found, sentence)
    return field(
        default_factory=lambda: parse(known.default_text(_NOWHERE), _NOWHERE),
        metadata={"option": known},
    )
