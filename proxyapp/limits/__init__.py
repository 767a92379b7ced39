"""How much each client may take of what a rule allows: requests, bandwidth, and quota."""

from proxyapp.limits.ledger import LedgerError
from proxyapp.limits.permits import Limits, Permit, build_limits
from proxyapp.limits.shared import MakeBucket, SharedBucket, own_bucket

__all__ = [
    "LedgerError",
    "Limits",
    "MakeBucket",
    "Permit",
    "SharedBucket",
    "build_limits",
    "own_bucket",
]
