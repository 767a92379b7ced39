"""What to measure, for how long, and against whom: the command line as one frozen value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMANDS = (
    "forward",
    "tunnel",
    "static",
    "upgrade",
    "latency",
    "cache",
    "fetch",
    "idle",
    "workers",
    "all",
)
SUBJECTS = ("proxyapp", "squid", "tinyproxy", "nginx")


@dataclass(frozen=True)
class Options:
    """The command line; *seconds* is the length of one load, *settings* go to proxyapp's --set.

    *row* is a part of the names of the rows to measure; empty for all.
    """

    command: str
    subjects: tuple[str, ...] = SUBJECTS
    rounds: int = 3
    seconds: int = 5
    connections: int = 32
    idle_connections: int = 10_000
    json: Path | None = None
    settings: tuple[str, ...] = ()
    row: str = ""


def parse(arguments: Sequence[str]) -> Options:
    """Return the options in *arguments*; a mistake ends the process with status 2."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--subjects", type=subjects, default=SUBJECTS, metavar="NAME,NAME")
    parser.add_argument("--rounds", type=positive, default=Options.rounds)
    parser.add_argument("--seconds", type=positive, default=Options.seconds)
    parser.add_argument("--connections", type=positive, default=Options.connections)
    parser.add_argument("--idle-connections", type=positive, default=Options.idle_connections)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw rounds to FILE")
    parser.add_argument("--row", default="", metavar="TEXT", help="only rows with TEXT in the name")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE")
    parsed = parser.parse_args(arguments)
    return Options(
        command=parsed.command,
        subjects=parsed.subjects,
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        connections=parsed.connections,
        idle_connections=parsed.idle_connections,
        json=parsed.json,
        settings=tuple(parsed.set),
        row=parsed.row,
    )


def positive(text: str) -> int:
    """Return *text* as a whole number above zero; raises argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def subjects(text: str) -> tuple[str, ...]:
    """Return the subjects named in *text*, in our order; raises argparse.ArgumentTypeError."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(names.difference(SUBJECTS))
    if unknown or not names:
        wrong = ", ".join(unknown) or "nothing"
        raise argparse.ArgumentTypeError(f"{wrong}: the subjects are {', '.join(SUBJECTS)}")
    return tuple(name for name in SUBJECTS if name in names)
