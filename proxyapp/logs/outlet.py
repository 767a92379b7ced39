"""The way of whole lines to a sink that takes them late, in parts, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from proxyapp.logs.sinks import Sink

# Half a minute at a thousand requests a second; more would only delay the loss.
MAX_WAITING = 4 * 1024 * 1024
# How long `close` waits for a reader that takes nothing, and for one that takes little at a time.
_CLOSE_STEP = 100
_CLOSE_STEPS = 10
_CLOSE_DEADLINE = 5.0


class Outlet:
    """Keeps lines until the sink has taken them, up to a bound, and changes from file to file.

    *what* it is called, and *say* tells the admin of trouble, once as long as it lasts. *bound* is
    in bytes. *lost* counts lines since the last time that it was told.
    """

    def __init__(
        self, sink: Sink, what: str, say: Callable[[str], None], bound: int = MAX_WAITING
    ) -> None:
        self._sink = sink
        self._what = what
        self._say = say
        self._bound = bound
        # Begins at the beginning of a line, of which *_written* bytes are already in the sink.
        self._waiting = b""
        self._written = 0
        self.lost = 0
        self._is_stuck = False
        self.is_failing = False

    def __repr__(self) -> str:
        return f"<Outlet to {self.name}, {self.waiting} lines waiting, {self.lost} lost>"

    @property
    def name(self) -> str:
        """What the sink is called."""
        return self._sink.name

    @property
    def has_waiting(self) -> bool:
        """Is there anything that the sink has not taken?"""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many lines the sink has not taken."""
        return self._waiting.count(b"\n")

    def put(self, octets: bytes, lines: int) -> None:
        """Take charge of *octets*, so many whole *lines*, or drop them if too much waits."""
        if not self._waiting or len(self._waiting) + len(octets) <= self._bound:
            self._waiting += octets
            return
        if not self.lost:
            size = len(self._waiting)
            self._say(f"{self._called} takes nothing: {size} bytes wait, lines are dropped")
        self.lost += lines

    def push(self, patience: int = 0) -> None:
        """Hand over what the sink takes; wait *patience* ms until it takes the first."""
        if self._waiting:
            self._keep_up()
            self._send(patience)

    def reopen(self) -> None:
        """Go on in what has the sink's name now; what waits still goes to the old one."""
        try:
            fresh = self._sink.reopened()
        except OSError as error:
            self._report_stuck(error)
            return
        if fresh is self._sink:
            return
        if self._waiting:
            self._send(0)
        self._follow(fresh)
        if self._waiting:
            self._send(0)

    def close(self, seconds: Callable[[], float]) -> None:
        """Hand over what waits, patiently but not for ever, and close the sink."""
        if self._waiting:
            self._keep_up()
        deadline = seconds() + _CLOSE_DEADLINE
        idle_steps = 0
        while self._waiting and idle_steps < _CLOSE_STEPS and seconds() < deadline:
            if not self._send(_CLOSE_STEP):
                idle_steps = _CLOSE_STEPS if self.is_failing else idle_steps + 1
        self._close_sink()
        self.lost += self.waiting
        self._waiting = b""
        self._report_lost()

    def _keep_up(self) -> None:
        """Go on in the file that lines are for by now."""
        try:
            fresh = self._sink.current()
        except OSError as error:
            self._report_stuck(error)
            return
        self._is_stuck = False
        if fresh is not self._sink:
            self._follow(fresh)

    def _follow(self, fresh: Sink) -> None:
        self._close_sink()
        self._sink = fresh
        self._written = 0  # a line that the old file has a part of is written whole to the new one

    def _send(self, patience: int) -> int:
        """Hand over what waits, and keep what's left from the beginning of its line."""
        try:
            taken = self._sink.send(memoryview(self._waiting)[self._written :], patience)
        except OSError as error:
            self._report_failure(error)
            return 0
        position = self._written + taken
        begin = self._waiting.rfind(b"\n", 0, position) + 1
        self._waiting = self._waiting[begin:]
        self._written = position - begin
        if not self._waiting:
            self.is_failing = False
            self._report_lost()
        return taken

    def _close_sink(self) -> None:
        try:
            self._sink.close()
        except OSError as error:  # some file systems tell only now that they are full
            self._report_failure(error)

    @property
    def _called(self) -> str:
        return f"The {self._what} {self.name}"

    def _report_failure(self, error: OSError) -> None:
        if not self.is_failing:
            self._say(f"{self._called} can't be written ({error.strerror}); lines wait in memory")
        self.is_failing = True

    def _report_stuck(self, error: OSError) -> None:
        if not self._is_stuck:
            reason = f"can't go on in a new file ({error.strerror}); the old one goes on"
            self._say(f"{self._called} {reason}")
        self._is_stuck = True

    def _report_lost(self) -> None:
        lost, self.lost = self.lost, 0
        if lost:
            self._say(f"{lost} lines of the {self._what} {self.name} were lost")
