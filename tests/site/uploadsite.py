"""A site that takes uploads: on a stage of the test's, or as a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from proxyapp.net import reactor as appliance_reactor
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site.confinement import Root
from proxyapp.site.files import Extras, StaticSite
from proxyapp.site.memory import Memory
from proxyapp.site.uploads import Uploads
from tests.appliance import environ
from tests.site.sitestage import KnownUsers, SiteStage

LIMIT = 1 << 20


@dataclass(frozen=True)
class SiteOptions:
    """[site], as far as files are concerned."""

    index: tuple[str, ...] = ("index.html",)
    precompressed: tuple[str, ...] = ()
    hidden: bool = False


def upload_site(
    top: Path, stage: SiteStage, reserved: Collection[bytes] = (), prefix: bytes = b""
) -> StaticSite:
    """Return the site of *top* that takes uploads."""
    root, clock = Root(top, Symlinks.INSIDE, hidden=False), stage.reactor.seconds
    uploads = Uploads(root, KnownUsers(), LIMIT, reserved, stage.in_thread, clock)
    return StaticSite(
        SiteOptions(),
        root,
        lambda path: (),
        Memory(clock),
        stage.in_thread,
        Extras(uploads=uploads),
        prefix,
    )


@contextmanager
def process(top: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the site as a process; give it and its port."""
    command = [sys.executable, "-m", "tests.site.uploadsite", str(top)]
    started = subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    try:
        yield started, int(started.stdout.readline())
    finally:
        started.kill()
        started.wait(10)
        started.stdout.close()


def main(top: str) -> None:
    """Serve *top* until somebody ends it; print the port."""
    appliance_reactor.install()
    from twisted.internet import reactor

    installed = cast(appliance_reactor.ApplianceReactor, reactor)
    stage = SiteStage(installed, lambda stage: upload_site(Path(top), stage))
    print(stage.port, flush=True)
    installed.run()


if __name__ == "__main__":
    main(sys.argv[1])
