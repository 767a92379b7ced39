"""site.threads: jobs of one strand keep their order, whoever gives up waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from proxyapp.site.threads import Strand

_T = TypeVar("_T")


class Pool:
    """See InThread: jobs run when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = Deferred()

        def run() -> None:
            try:
                result = job()
            except Exception:
                done.errback(Failure())
            else:
                done.callback(result)

        self.waiting.append(run)
        return done

    def turn(self) -> None:
        """Run what waits."""
        waiting, self.waiting = self.waiting, []
        for run in waiting:
            run()


def fails() -> None:
    """Fail."""
    raise OSError("no")


def test_one_after_the_other() -> None:
    """A job begins when the one before it is done, not before."""
    pool, done = Pool(), list[str]()
    strand = Strand(pool)
    for name in "abc":
        strand.run(name.upper).addCallback(done.append)
    for count in range(3):
        assert len(pool.waiting) == 1
        assert len(done) == count
        pool.turn()
    assert done == ["A", "B", "C"]
    assert not pool.waiting


def test_failure_is_the_waiters() -> None:
    """A job that fails tells who waits for it, and the next one runs all the same."""
    pool, found = Pool(), list[object]()
    strand = Strand(pool)
    strand.run(fails).addErrback(lambda why: found.append(why.type))
    strand.run(lambda: "next").addCallback(found.append)
    pool.turn()
    pool.turn()
    assert found == [OSError, "next"]


@pytest.mark.parametrize("is_running", [True, False])
def test_cancelled(is_running: bool) -> None:
    """Giving up ends the wait at once; the job still runs, and what is behind it comes after."""
    pool, ran, found = Pool(), list[str](), list[object]()
    strand = Strand(pool)
    if not is_running:
        strand.run(lambda: ran.append("first"))
    waiting = strand.run(lambda: ran.append("job")).addErrback(lambda why: found.append(why.type))
    waiting.cancel()
    assert found == [CancelledError]
    strand.run(lambda: ran.append("clear up"))
    while pool.waiting:
        assert len(pool.waiting) == 1
        pool.turn()
    assert ran[-2:] == ["job", "clear up"]
    assert found == [CancelledError]
