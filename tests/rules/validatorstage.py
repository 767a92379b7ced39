"""What is known of a resource that requests set conditions for, and the fields of such requests."""

from __future__ import annotations

from proxyapp.rules.conditions import EntityTag, Validators
from proxyapp.wire.headers import Fields

SUNDAY = 784111777
SUNDAY_TEXT = b"Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE, AFTER = b"Sun, 06 Nov 1994 08:49:36 GMT", b"Sun, 06 Nov 1994 08:49:38 GMT"
VALIDATORS = Validators(EntityTag(b"a"), SUNDAY)
WEAK = Validators(EntityTag(b"a", is_weak=True), SUNDAY)
NOTHING_KNOWN = Validators(None, None)


def fields(**values: bytes) -> Fields:
    """Return fields; an underscore in a name stands for a hyphen."""
    return Fields([(name.replace("_", "-").encode(), value) for name, value in values.items()])
