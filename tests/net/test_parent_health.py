"""The health of parents: who fails is passed over, looked at, and asked again when it is well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from proxyapp import errors
from proxyapp.net.parents import ParentLost, Parents
from proxyapp.rules.parents import Parent

ONE = Parent("http", "one.example", 3128, b"Basic c2VjcmV0")
TWO = Parent("http", "two.example", 3128)


class Health:
    """Two parents, and knocks that the test answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.knocks: list[tuple[Parent, Deferred[None]]] = []
        self.parents = Parents((ONE, TWO), self.clock, self._knock)
        self.said: list[str] = []

    def _knock(self, parent: Parent) -> Deferred[None]:
        knock: Deferred[None] = Deferred()
        self.knocks.append((parent, knock))
        return knock

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        if event.get("log_namespace") == "proxyapp.net.parents":
            self.said.append(formatEvent(event))

    def ends(self, error: errors.ExchangeError | None = None) -> None:
        """Answer the last knock."""
        _, knock = self.knocks[-1]
        if error is None:
            knock.callback(None)
        else:
            knock.errback(error)

    @property
    def hosts(self) -> list[str]:
        """The order of now."""
        return [parent.host.partition(".")[0] for parent in self.parents.order]


@contextmanager
def health() -> Iterator[Health]:
    """Yield parents; when they are stopped nothing runs any more."""
    stage = Health()
    globalLogPublisher.addObserver(stage)  # type: ignore[arg-type]  # it is one
    try:
        yield stage
        stage.parents.stop()
        assert not stage.clock.getDelayedCalls()
    finally:
        globalLogPublisher.removeObserver(stage)  # type: ignore[arg-type]  # it is one


def test_nothing_runs_while_all_is_well() -> None:
    """Answers of those that are well start nothing and are no news."""
    with health() as stage:
        stage.parents.answered(ONE)
        stage.parents.accepted(TWO)
        assert stage.hosts == ["one", "two"]
        assert not stage.clock.getDelayedCalls()
        assert not stage.said


def test_who_fails_is_looked_at_until_it_answers() -> None:
    """It goes to the end, is knocked at with growing pauses, and has its place again."""
    with health() as stage:
        stage.parents.failed(ONE, "it refuses connections")
        assert stage.hosts == ["two", "one"]
        for pause in (1, 2, 4, 8, 10, 10):
            stage.clock.advance(pause - 0.01)
            before = len(stage.knocks)
            stage.clock.advance(0.02)
            assert len(stage.knocks) == before + 1
            stage.ends(ParentLost("it refuses connections"))
        assert stage.hosts == ["two", "one"]
        stage.clock.advance(10)
        stage.ends()
        assert stage.hosts == ["one", "two"]
        assert [parent for parent, _ in stage.knocks] == [ONE] * 7
        assert stage.said[0].endswith("one.example:3128 is passed over: it refuses connections")
        assert stage.said[1].endswith("one.example:3128 answers again, after 45 s")
        assert len(stage.said) == 2


def test_many_who_fail_at_once_are_one_failure() -> None:
    """Requests that fail together, or try it as the last resort, don't put its next turn off."""
    with health() as stage:
        for _ in range(50):
            stage.parents.failed(ONE, "it does not answer")
        assert len(stage.clock.getDelayedCalls()) == 1
        assert len(stage.said) == 1
        stage.clock.advance(1)
        assert len(stage.knocks) == 1
        stage.parents.failed(ONE, "it does not answer")
        assert not stage.clock.getDelayedCalls()
        stage.ends()
        assert stage.hosts == ["one", "two"]


def test_a_request_that_succeeds_ends_it() -> None:
    """Whoever was the last resort and answered needs no knock."""
    with health() as stage:
        stage.parents.failed(ONE, "it does not answer")
        stage.parents.failed(TWO, "it does not answer")
        assert stage.hosts == ["one", "two"]
        stage.parents.accepted(TWO)
        assert stage.hosts == ["two", "one"]
        stage.parents.answered(ONE)
        assert not stage.clock.getDelayedCalls()
        assert not stage.knocks


def test_doubt_is_settled_by_a_knock() -> None:
    """A parent that didn't answer a request keeps its place until it doesn't answer a knock."""
    with health() as stage:
        stage.parents.doubted(ONE)
        stage.parents.doubted(ONE)
        assert stage.hosts == ["one", "two"]
        assert len(stage.knocks) == 1
        stage.ends()
        assert not stage.said
        stage.parents.doubted(ONE)
        stage.ends(ParentLost("it takes requests and does not answer"))
        assert stage.hosts == ["two", "one"]
        assert len(stage.clock.getDelayedCalls()) == 1
        stage.parents.doubted(ONE)
        assert len(stage.knocks) == 2


def test_a_failure_beside_a_knock() -> None:
    """While it is being looked at no second look is planned."""
    with health() as stage:
        stage.parents.doubted(ONE)
        stage.parents.failed(ONE, "it refuses connections")
        assert not stage.clock.getDelayedCalls()
        stage.ends(ParentLost("it refuses connections"))
        assert len(stage.clock.getDelayedCalls()) == 1
        assert len(stage.said) == 1


def test_stopping_in_the_middle() -> None:
    """Knocks are given up, and nothing begins anew."""
    with health() as stage:
        stage.parents.failed(ONE, "it does not answer")
        stage.clock.advance(1)
        stage.parents.failed(TWO, "it does not answer")
        stage.parents.stop()
        stage.parents.failed(TWO, "it does not answer")
        stage.parents.doubted(TWO)
        assert len(stage.knocks) == 1


def test_passwords_that_are_not_accepted() -> None:
    """The admin hears of it once until the parent lets us in, and never hears the password."""
    with health() as stage:
        for _ in range(3):
            error = stage.parents.rejected(ONE)
            assert error.reason == (
                "the parent proxy one.example:3128 doesn't accept the user and password"
                " of [upstream] proxy"
            )
        assert "has none for it" in stage.parents.rejected(TWO).reason
        assert len(stage.said) == 2
        stage.parents.accepted(ONE)
        stage.parents.rejected(ONE)
        assert len(stage.said) == 3
        assert "c2VjcmV0" not in "".join(stage.said) + repr(stage.parents)
        assert stage.hosts == ["one", "two"]
