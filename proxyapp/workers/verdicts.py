"""What a configuration says of tunnels that were opened under another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from proxyapp.config import Config
from proxyapp.config.judge import make_access, make_ways
from proxyapp.net import local
from proxyapp.rules.schedule import minute_of_week
from proxyapp.rules.stages import Stages
from proxyapp.workers.tunnels import Refusal, Tunnel, refusals


class Verdicts:
    """Judges by *config*; *now* is the local time."""

    def __init__(self, config: Config, now: Callable[[], time.struct_time]) -> None:
        self._access = make_access(config)
        self._ways = make_ways(config)
        self._asks_everybody = bool(config.auth.users) and config.auth.required
        self._now = now

    def on(self, tunnels: Iterable[Tunnel], ports: Mapping[str, Sequence[int]]) -> list[Refusal]:
        """Return those of *tunnels* that may not go on; *ports* are ours, by section."""
        stages = Stages(
            self._access, self._asks_everybody, local.is_own, ports["proxy"], self._ways
        )
        now = self._now()
        minute = minute_of_week(now.tm_wday, now.tm_hour, now.tm_min)
        return refusals(stages, tunnels, minute)
