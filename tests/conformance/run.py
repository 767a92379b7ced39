"""Runs a checkout of http-tests/cache-tests through a forward proxy and prints the score.

    python -m tests.conformance.run CHECKOUT [--proxy URL [--log FILE]] [--ini FILE] [--id ID ...]

See docs/conformance.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.appliance import start, wait_for

_HERE = Path(__file__).parent
_OLDEST_NODE = 18
_LONGEST_SECONDS = 900.0
_LISTENING = re.compile(r"^Listening on (http://127\.0\.0\.1:[0-9]+)/")
# What a summary counts, in this order; the suite's third kind ("check") only asks what caches do.
KINDS = ("required", "optimal")
_WORDS = {"required": "required", "optimal": "optional"}


class CannotRun(Exception):
    """The suite can't be run here; the text says what is missing."""


class Verdict(NamedTuple):
    """What came of one test.

    *verdict* is the suite's own word, which also knows tests whose set-up failed and tests
    that mean nothing since one that they depend on has failed.
    """

    id: str
    group: str
    name: str
    kind: str
    is_cdn: bool
    verdict: str
    reason: str

    @property
    def is_passed(self) -> bool:
        """Whether it counts."""
        return self.verdict == "pass"

    def __str__(self) -> str:
        return f"{self.id} [{self.verdict}] {self.reason}".rstrip()


@dataclass(frozen=True, slots=True)
class Score:
    """What came of a run; *sent* requests went out, *logged* of them are in the proxy's log.

    *logged* is None where nobody could look.
    """

    verdicts: tuple[Verdict, ...]
    sent: int
    logged: int | None

    def of(self, kind: str) -> list[Verdict]:
        """Return the verdicts that count for *kind*: those of tests for CDNs don't."""
        return [each for each in self.verdicts if each.kind == kind and not each.is_cdn]

    def passed(self, kind: str) -> int:
        """Return how many of *kind* passed."""
        return sum(each.is_passed for each in self.of(kind))

    def failed(self, kind: str) -> list[Verdict]:
        """Return those of *kind* that didn't pass."""
        return [each for each in self.of(kind) if not each.is_passed]

    def summary(self) -> str:
        """Return the score as text: two lines of figures, then what failed and why."""
        lines = [f"{_WORDS[kind]}: {self.passed(kind)} of {len(self.of(kind))}" for kind in KINDS]
        seen = "not looked at" if self.logged is None else str(self.logged)
        lines.append(f"requests sent: {self.sent}; in the proxy's log: {seen}")
        for kind in KINDS:
            if failed := self.failed(kind):
                lines += ["", f"{_WORDS[kind]}, not passed:", *(f"  {each}" for each in failed)]
        return "\n".join(lines)


# What is there.


def node() -> str:
    """Return the path of a Node that is new enough; raises CannotRun."""
    path = shutil.which("node")
    if path is None:
        raise CannotRun("Node isn't installed")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").partition(".")[0]) < _OLDEST_NODE:
        raise CannotRun(f"Node {_OLDEST_NODE} or later is needed, not {version.stdout.strip()}")
    return path


def check(checkout: Path) -> None:
    """Raise CannotRun unless *checkout* is one of the suite, with what it needs installed."""
    if not (checkout / "test-engine" / "client" / "runner.mjs").exists():
        raise CannotRun(f"{checkout} is no checkout of http-tests/cache-tests")
    if not (checkout / "node_modules" / "undici").exists():
        raise CannotRun(f"undici is missing: run `npm install --omit=dev` in {checkout}")


# Its parts.


@contextmanager
def origin(checkout: Path, folder: Path) -> Iterator[str]:
    """Run the suite's origin server, its words in *folder*; yield its URL."""
    said = folder / "origin.log"
    with said.open("wb") as words:
        process = subprocess.Popen(
            [node(), str(_HERE / "suite_origin.mjs"), str(checkout)],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
        )
    try:
        yield wait_for(lambda: _LISTENING.findall(said.read_text()), "origin of the suite")[0]
    finally:
        process.kill()
        process.wait()


def drive(checkout: Path, origin_url: str, proxy_url: str, ids: list[str]) -> Score:
    """Run the suite's client against *proxy_url*; raises CannotRun."""
    command = [node(), "--no-warnings", str(_HERE / "suite_client.mjs"), str(checkout)]
    done = subprocess.run(
        [*command, origin_url, proxy_url, *ids],
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )
    # The suite prints warnings of its own there; ours is the last line.
    last = done.stdout.rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        raise CannotRun(f"the suite's client failed:\n{done.stdout}{done.stderr}")
    found = json.loads(last)
    return Score(tuple(Verdict(**each) for each in found["tests"]), found["sent"], None)


def logged(log: Path, origin_url: str, sent: int) -> int:
    """Return how many lines of *log* are requests for absolute URLs of the origin.

    Waits until there are *sent*, if there soon are. A CONNECT has no `http://` in its line.
    """

    def count() -> int:
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return sum(f"{origin_url}/" in line for line in lines)

    with suppress(AssertionError):
        wait_for(lambda: count() >= sent, "line for each request")
    return count()


def run_through(
    checkout: Path, proxy_url: str, log: Path | None, folder: Path, ids: list[str]
) -> Score:
    """Run the suite through the proxy at *proxy_url*, and look into its *log*."""
    check(checkout)
    with origin(checkout, folder) as origin_url:
        score = drive(checkout, origin_url, proxy_url, ids)
        seen = None if log is None else logged(log, origin_url, score.sent)
    return Score(score.verdicts, score.sent, seen)


def run_product(checkout: Path, folder: Path, ini: str = "", ids: list[str] | None = None) -> Score:
    """Run the suite through the product, started for it in *folder* with the settings of *ini*."""
    check(checkout)
    with start(folder, ini) as running:
        url = f"http://127.0.0.1:{running.proxy}"
        return run_through(checkout, url, running.log, folder, ids or [])


# From the command line.


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run")
    parser.add_argument("checkout", type=Path, help="of http-tests/cache-tests")
    parser.add_argument("--proxy", metavar="URL", help="a running proxy, in place of the product")
    parser.add_argument("--log", type=Path, metavar="FILE", help="that proxy's request log")
    parser.add_argument("--ini", type=Path, metavar="FILE", help="settings for the product")
    parser.add_argument("--id", action="append", default=[], help="only this test (repeatable)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the verdicts go as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run what *arguments* ask for; return 1 if requests went past the proxy, 2 if nothing ran."""
    options = _options(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conformance-")))
        try:
            if options.proxy:
                score = run_through(
                    options.checkout, options.proxy.rstrip("/"), options.log, folder, options.id
                )
            else:
                ini = options.ini.read_text() if options.ini else ""
                score = run_product(options.checkout, folder, ini, options.id)
        except CannotRun as missing:
            print(missing, file=sys.stderr)
            return 2
    print(score.summary())
    if options.json:
        options.json.write_text(json.dumps([each._asdict() for each in score.verdicts], indent=1))
    return int(score.logged is not None and score.logged < score.sent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
