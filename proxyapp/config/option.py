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
    it is read from the text of *name*. The shipped ini shows *example* where it is given, as it is
    in named sections. The text of one that *is_secret* stands in no message.
    """

    name: str
    parse: Callable[[str, Surroundings], object]
    default: str
    found: Callable[[Surroundings], str] | None
    sentence: str
    example: str = ""
    is_secret: bool = False

    def default_text(self, surroundings: Surroundings) -> str:
        """Return the text that counts where the option isn't given."""
        return self.default if self.found is None else self.found(surroundings)


class Heading(NamedTuple):
    """How the name in the heading of a named section is read, and what to write there."""

    field: str
    parse: Callable[[str, Surroundings], object]
    placeholder: str


def option(
    parse: Parser[T],
    default: str,
    sentence: str,
    found: Callable[[Surroundings], str] | None = None,
    name: str = "",
    example: str = "",
    is_secret: bool = False,
) -> T:
    """Declare a field of a section, and what `Option` says of it."""
    known = Option(name, parse, default, found, sentence, example, is_secret)
    return field(
        default_factory=lambda: parse(known.default_text(_NOWHERE), _NOWHERE),
        metadata={"option": known},
        repr=not is_secret,
    )


def heading(parse: Parser[T], placeholder: str) -> T:
    """Declare the field of a named section that its heading holds, as in `[mount /files]`."""
    declared: T = field(metadata={"heading": Heading("", parse, placeholder)})
    return declared


def place() -> str:
    """Declare the field of a named section that says where its heading stands, as FILE:LINE."""
    declared: str = field(default="", metadata={"place": True}, compare=False)
    return declared
