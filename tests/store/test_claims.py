"""Claims: one process fetches, whatever becomes of it, and the others see how far it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxyapp.store.claims import Claims, Sight, State

KEY = b"http://a.example/thing"


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    """Return claims in a new folder."""
    made = Claims(tmp_path / "fetching")
    made.prepare()
    return made


def test_free(claims: Claims) -> None:
    """What nobody fetches is free, before and after."""
    assert claims.look(KEY) == Sight(State.FREE)
    claim = claims.claim(KEY)
    assert claim is not None
    claim.release()
    assert claims.look(KEY) == Sight(State.FREE)


def test_one_at_a_time(claims: Claims, tmp_path: Path) -> None:
    """Another process's claim fails until the first is released; other keys are free."""
    elsewhere = Claims(tmp_path / "fetching")
    first = claims.claim(KEY)
    assert first is not None
    assert elsewhere.claim(KEY) is None
    other = claims.claim(b"http://a.example/other")
    assert other is not None
    first.release()
    other.release()
    again = elsewhere.claim(KEY)
    assert again is not None
    again.release()


def test_twice_by_ourselves(claims: Claims) -> None:
    """Within a process nobody waits for a claim; the first one tells the others."""
    first, second = claims.claim(KEY), claims.claim(KEY)
    assert first is not None
    assert second is not None
    second.growing(5)
    assert claims.look(KEY) == Sight(State.AWAITED)
    second.release()
    assert claims.look(KEY) == Sight(State.AWAITED)
    first.release()
    assert claims.look(KEY) == Sight(State.FREE)


def test_what_others_see(claims: Claims) -> None:
    """They see what came, as soon as it's known."""
    claim = claims.claim(KEY)
    assert claim is not None
    assert claims.look(KEY) == Sight(State.AWAITED)
    claim.growing(0x1234ABCD)
    assert claims.look(KEY) == Sight(State.GROWING, 0x1234ABCD)
    claim.release()
    alone = claims.claim(KEY)
    assert alone is not None
    assert claims.look(KEY) == Sight(State.AWAITED)
    alone.alone()
    assert claims.look(KEY) == Sight(State.ALONE)
    alone.release()


CLAIMING = """\
import sys, time
from pathlib import Path
from proxyapp.store.claims import Claims
claim = Claims(Path(sys.argv[1])).claim(sys.argv[2].encode())
claim.growing(7)
print("claimed", flush=True)
time.sleep(60)
"""


def test_killed_process(claims: Claims, tmp_path: Path) -> None:
    """The claim of a process that was killed is nobody's, and its file goes at the next start."""
    command = [sys.executable, "-c", CLAIMING, str(tmp_path / "fetching"), KEY.decode()]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        assert claims.claim(KEY) is None
        assert claims.look(KEY) == Sight(State.GROWING, 7)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert claims.look(KEY) == Sight(State.FREE)
    claims.prepare()
    assert not list((tmp_path / "fetching").iterdir())


def test_folder_is_gone(claims: Claims, tmp_path: Path) -> None:
    """Whoever removes the folder gets an error, and no endless loop."""
    (tmp_path / "fetching").rmdir()
    with pytest.raises(OSError, match="No such file"):
        claims.claim(KEY)
    assert claims.look(KEY) == Sight(State.FREE)
