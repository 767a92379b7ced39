"""Where conformance cases are played: an origin that speaks by the script, and the client."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from email.utils import formatdate

from tests.conformance.case import Case, Comes, Step
from tests.origin import Origin, Visit
from tests.talk import Head, Response, Talk

_DATE = re.compile(r"<([+-][0-9]+)>")
_BODILESS = (204, 304)
_IF_NONE_MATCH = b"if-none-match"
_IF_MODIFIED_SINCE = b"if-modified-since"


class Mismatch(Exception):
    """What came isn't what a case says."""


def at(line: str, now: float) -> str:
    """Return *line* with its dates counted from *now*."""
    return _DATE.sub(lambda found: formatdate(now + int(found[1]), usegmt=True), line)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


def _values(head: Head, name: str) -> list[str]:
    return [value.decode("latin-1") for value in head.all(name.encode("ascii"))]


def _has(head: Head, line: str) -> bool:
    """Whether *head* has the field of *line*; one without a colon may have any value."""
    name, value = _split(line)
    values = _values(head, name)
    return (value in values or value == ", ".join(values)) if ":" in line else bool(values)


class Script:
    """What the origin knows of the case that is played: its steps, and the requests that came."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.now = time.time()
        self.came: dict[int, Head] = {}
        self._said: dict[str, bytes] = {}

    def answer(self, visit: Visit) -> None:
        """Answer by the step that the request names."""
        visit.read_body()
        number = int(visit.head.one(b"step"))
        step = self.case.steps[number - 1]
        self.now = time.time()
        status = self._status(step, visit.head)
        says = [at(line, self.now) for line in _dated(step.says)]
        self._said = {_split(line)[0].lower(): _split(line)[1].encode() for line in says}
        self.came[number] = visit.head
        if step.hangs_up:
            visit.is_last = True
            return
        body = self.case.body.encode() if status not in _BODILESS else b""
        hints = ["HTTP/1.1 103 Early Hints", *step.hints, ""] if step.hints else []
        lines = [f"HTTP/1.1 {status} As Planned", f"Step: {number}", *says]
        # A coding that nobody knows is read until close (RFC 9112 section 6.3).
        visit.is_last = any(line.startswith("Transfer-Encoding:") for line in says)
        length = [] if visit.is_last or status in _BODILESS else [f"Content-Length: {len(body)}"]
        head = "\r\n".join([*hints, *lines, *length, "", ""])
        visit.answer(head.encode("latin-1"), body)

    def _status(self, step: Step, head: Head) -> int:
        if step.comes is not Comes.VALIDATED:
            return step.status
        tag, modified = self._said.get("etag"), self._said.get("last-modified")
        if tag is not None and head.all(_IF_NONE_MATCH) == [tag]:
            return 304
        if modified is not None and head.all(_IF_MODIFIED_SINCE) == [modified]:
            return 304
        return step.status


def _dated(says: tuple[str, ...]) -> tuple[str, ...]:
    """Return *says* with a Date, as every origin with a clock has one (RFC 9110 section 6.6.1)."""
    return says if any(line.startswith("Date:") for line in says) else ("Date: <+0>", *says)


class Scripts:
    """Serves the origin's connections: each path is a case's."""

    def __init__(self) -> None:
        self._scripts: dict[bytes, Script] = {}

    def begin(self, case: Case) -> Script:
        """Return the script of *case*, at whose path requests are answered from now on."""
        script = self._scripts[b"/" + case.id.encode("ascii")] = Script(case)
        return script

    def __call__(self, talk: Talk) -> None:
        """See tests.origin.Serve."""
        while True:
            head = talk.head()
            visit = Visit(talk, head)
            self._scripts[visit.target.partition(b"?")[0]].answer(visit)
            if visit.is_last:
                return


# The client.


def _request(case: Case, number: int, step: Step, origin: Origin[Scripts], now: float) -> bytes:
    query = f"?{step.query}" if step.query else ""
    lines = [
        f"{step.method} http://{origin.authority}/{case.id}{query} HTTP/1.1",
        f"Host: {origin.authority}",
        f"Step: {number}",
        *(at(line, now) for line in step.asks),
    ]
    if step.content:
        lines.append(f"Content-Length: {len(step.content)}")
    return "\r\n".join([*lines, "", step.content]).encode("latin-1")


def _final(talk: Talk, method: str) -> tuple[Response, list[Head]]:
    """Return the final response, and the heads of interim ones before it."""
    interim: list[Head] = []
    while (response := talk.response(method.encode("ascii"))).status < 200:
        interim.append(response.head)
    return response, interim


def play(case: Case, proxy: int, origin: Origin[Scripts]) -> str:
    """Take the steps of *case* through the proxy at port *proxy*; return what is wrong, or ""."""
    script = origin.served.begin(case)
    for number, step in enumerate(case.steps, 1):
        with Talk(socket.create_connection(("127.0.0.1", proxy), timeout=10)) as talk:
            talk.send(_request(case, number, step, origin, script.now))
            try:
                response, interim = _final(talk, step.method)
            except (OSError, EOFError) as gone:
                return f"step {number}: no answer ({gone})"
        try:
            _check_source(step, number, response, script)
            _check_answer(case, step, response, script)
            _check_rest(step, number, interim, script)
        except Mismatch as wrong:
            shown = response.head.raw.decode("latin-1").replace("\r\n", "\n    ")
            return f"step {number}: {wrong}\n    {shown}"
        time.sleep(step.pause)
    return ""


def _expect(is_right: bool, otherwise: str) -> None:
    if not is_right:
        raise Mismatch(otherwise)


def _check_source(step: Step, number: int, response: Response, script: Script) -> None:
    """Raise Mismatch unless the answer comes from where it must."""
    said = _values(response.head, "Step")
    if step.comes is Comes.ORIGIN:
        _expect(said == [str(number)], "this should have come from the origin")
    elif step.comes is Comes.CACHE:
        from_store = len(said) == 1 and int(said[0]) < number
        unchanged = response.status == 304 and number not in script.came
        _expect(from_store or unchanged, "this should have come from the cache")
    elif step.comes is Comes.VALIDATED:
        asked = script.came.get(number)
        conditions = asked and (asked.all(_IF_NONE_MATCH) or asked.all(_IF_MODIFIED_SINCE))
        _expect(bool(conditions), "the origin should have been asked whether it has changed")


def _check_answer(case: Case, step: Step, response: Response, script: Script) -> None:
    """Raise Mismatch unless status, fields and body are as they must be."""
    head, status = response.head, response.status
    wanted = (case.steps[0].status if step.comes is Comes.CACHE else step.status) or 200
    wanted = step.seen if step.seen else wanted
    _expect(step.seen is None or status == wanted, f"the status should be {wanted}")
    for line in step.has:
        _expect(_has(head, at(line, script.now)), f"there should be {at(line, script.now)}")
    for line in step.lacks:
        _expect(not _has(head, line), f"there should be no {line}")
    if step.older_than is not None:
        ages = _values(head, "Age")
        is_older = len(ages) == 1 and int(ages[0]) > step.older_than
        _expect(is_older, f"Age should be over {step.older_than}")
    text = case.body if step.text is None else step.text
    if step.seen is not None and status not in _BODILESS:
        _expect(response.body.decode("latin-1") == text, f"the body should be {text!r}")


def _check_rest(step: Step, number: int, interim: list[Head], script: Script) -> None:
    """Raise Mismatch unless the origin got what it must, and interim answers came if any do."""
    for line in step.reaches:
        asked = script.came.get(number)
        _expect(asked is not None and _has(asked, line), f"{line} should reach the origin")
    hints = step.hints if step.comes is Comes.ORIGIN else ()
    _expect(len(interim) == bool(hints), f"there should be {int(bool(hints))} interim answers")
    for line in hints:
        _expect(_has(interim[0], line), f"the interim answer should have {line}")


def play_all(
    cases: list[Case], proxy: int, origin: Origin[Scripts], at_once: int
) -> dict[str, str]:
    """Play *cases*, *at_once* at a time; return what is wrong with each by its id."""
    found: dict[str, str] = {}
    waiting = list(reversed(cases))

    def work() -> None:
        with suppress(IndexError):
            while True:
                case = waiting.pop()
                found[case.id] = play(case, proxy, origin)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
