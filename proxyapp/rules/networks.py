"""Which of many networks is an address in?"""

from __future__ import annotations

from collections.abc import Iterable

from proxyapp.rules.addresses import Address, Network


class NetworkTable:
    """Networks by their size, so that a thousand of one size are looked through in one step."""

    def __init__(self, networks: Iterable[Network]) -> None:
        # Version and number of host bits -> the bits before those -> network; small ones first.
        sizes: dict[tuple[int, int], dict[int, Network]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            prefixes = sizes.setdefault((network.version, shift), {})
            prefixes[int(network.network_address) >> shift] = network
        self._sizes = tuple((*key, sizes[key]) for key in sorted(sizes))

    def __repr__(self) -> str:
        return f"<NetworkTable {sum(len(prefixes) for *_, prefixes in self._sizes)} networks>"

    def find(self, *literals: Address) -> Network | None:
        """Return the smallest network that has one of *literals* in it."""
        for version, shift, prefixes in self._sizes:
            for literal in literals:
                if literal.version == version:
                    network = prefixes.get(int(literal) >> shift)
                    if network is not None:
                        return network
        return None
