"""What the processes of one service share: memory to count in, and a secret to sign with."""

from __future__ import annotations

from functools import partial

from proxyapp.limits import SharedBucket
from proxyapp.net.shared import SharedMemory
from proxyapp.service.among import Among

_CLIENTS, _TUNNELS = range(2)


def among(memory: SharedMemory, row: int, number: int, count: int, secret: bytes) -> Among:
    """Return what the process *number* of *count* is, which counts in *row* of *memory*."""
    cells = memory.cells()
    return Among(
        number,
        count,
        memory.counts(_CLIENTS, row),
        memory.counts(_TUNNELS, row),
        partial(SharedBucket, cells),
        cells,
        secret,
    )
