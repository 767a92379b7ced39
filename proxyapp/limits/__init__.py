"""How much each client may take of what a rule allows: requests, bandwidth, and quota."""

from proxyapp.limits.ledger import LedgerError
from proxyapp.limits.permits import Limits, Permit, build_limits

__all__ = ["LedgerError", "Limits", "Permit", "build_limits"]
