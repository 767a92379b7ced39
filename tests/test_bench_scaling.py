"""The bench of several workers: its arithmetic, its table and what it asks; no load is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import loads, options, scaling, subjects
from bench.scaling import HIT, LISTING, Played

ONE = Played(LISTING.name, 1, 1000, 2.0, 2.0, 0.1, 0)
TWO = Played(LISTING.name, 2, 1800, 2.0, 3.8, 0.2, 0)


@pytest.mark.parametrize(
    ("rounds", "gain"),
    [
        ([], 0.0),
        ([ONE], 0.0),
        ([TWO], 0.0),
        ([ONE._replace(requests=0), TWO], 0.0),
        ([ONE, TWO], 1.8),
        ([ONE, TWO, TWO._replace(requests=2), TWO], 1.8),
        ([ONE, TWO._replace(job=HIT.name)], 0.0),
    ],
)
def test_gain(rounds: list[Played], gain: float) -> None:
    """It is a ratio of medians, of one job; nothing is claimed where one side is missing."""
    assert scaling.gain(rounds, LISTING.name) == pytest.approx(gain)


@pytest.mark.parametrize(("requests", "is_good"), [(1600, False), (1800, True)])
def test_bar(requests: int, is_good: bool) -> None:
    """Two workers must do what was promised of them."""
    verdict = scaling.verdict([ONE, TWO._replace(requests=requests)], LISTING.name)
    assert verdict.endswith("ok" if is_good else "MISSED")


def test_table() -> None:
    """Each job has a row for one worker and one for two, with who kept the processors busy."""
    lines = scaling.scaling_table([ONE, TWO]).splitlines()
    one, two = (line.split() for line in lines[3:])
    assert one[-6:] == ["1", "500", "2,000", "1.00", "0.05", "0"]
    assert two[-10:] == ["2", "900", "2,111", "1.90", "0.10", "0", "1.80", ">=", "1.7", "ok"]


def test_table_of_nothing() -> None:
    """Without rounds there are only headings."""
    assert len(scaling.scaling_table([]).splitlines()) == 3


def test_failures() -> None:
    """Errors, and no answer at all, make figures worthless."""
    found = scaling.failures([ONE, TWO._replace(errors=3), TWO._replace(requests=0)])
    assert [each.rpartition(": ")[2] for each in found] == [
        "3 errors beside 1800 requests",
        "0 errors beside 0 requests",
    ]


class _Server:
    def __init__(self) -> None:
        self._seconds = 0.0

    def cpu_seconds(self) -> float:
        self._seconds += 1.0
        return self._seconds


class _Origin:
    port = 7


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return the names and ports that were asked for, in place of a load."""
    found: list[tuple[str, int]] = []

    def load(name: str, route: loads.Route, _size: loads.Size) -> loads.Load:
        found.append((name, route.proxy_port))
        return loads.Load(10, 100, 1.0, 0)

    monkeypatch.setattr(loads, "static", load)
    monkeypatch.setattr(loads, "forward", load)
    return found


def test_they_take_turns(asked: list[tuple[str, int]]) -> None:
    """Each is warmed up, then one and two workers take turns, so that neither is always first."""
    crews = [
        (workers, subjects.Subject("proxyapp", "", 10 + workers, _Server(), 20 + workers))  # type: ignore[arg-type]  # only its time is asked
        for workers in scaling.WORKERS
    ]
    chosen = options.Options("workers", rounds=2, json=Path())
    played = list(scaling.play(crews, _Origin(), chosen))  # type: ignore[arg-type]  # only its port is asked
    assert [each.workers for each in played] == [1, 2, 2, 1] * 2
    assert {each.cpu_seconds for each in played} == {1.0}
    assert asked[:6] == [("", port) for port in (21, 22, 21, 22, 22, 21)]
    assert asked[6:] == [("kept/1k.bin", port) for port in (11, 12, 11, 12, 12, 11)]
