"""What is wrong in [upstream] only because of what stands elsewhere in the ini."""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxyapp.config.sections import Config
from proxyapp.rules.parents import Parent, literal_of

_PORT = re.compile(r"(?:haproxy:)*tcp6?:(?:port=)?([0-9]+)(?::|\Z)")
_LOOPBACK = re.compile(r"127\..*|::1")


def upstream_contradictions(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield section, option and reason of each."""
    if not config.upstream.proxy:
        return
    if not config.proxy.via:
        reason = "with a parent proxy a loop can only be seen by Via; on would be right"
        yield "proxy", "via", reason
    for parent in config.upstream.proxy:
        if _is_ourselves(config, parent):
            reason = f"{parent.name} is this proxy itself; name another one, or leave it out"
            yield "upstream", "proxy", reason


def _is_ourselves(config: Config, parent: Parent) -> bool:
    """Is *parent* this proxy, as far as the ini tells? Dialling tells the rest."""
    found = map(_PORT.match, config.proxy.listen)
    ports = {int(match[1]) for match in found if match is not None}
    names = config.proxyapp.hostnames
    is_here = bool(_LOOPBACK.fullmatch(literal_of(parent.host))) or parent.host in names
    return is_here and parent.port in ports
