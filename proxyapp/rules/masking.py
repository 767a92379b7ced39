"""What of a URL is nobody's business: user names, passwords and signatures become `***`."""

from __future__ import annotations

import re

# User information (RFC 3986 section 3.2.1): after `//`, or at the start for authority-form; in a
# query, where `&` ends it; and percent-encoded, as in /fetch?url=http%3A%2F%2Fuser%3Apass%40host.
_USER_INFORMATION = re.compile(rb"(^|//)[^/?#]*@")
_USER_INFORMATION_IN_QUERY = re.compile(rb"(//)[^/?#&]*@")
_ENCODED_USER_INFORMATION = re.compile(
    rb"(?i)((?:/|%2f){2})(?:(?!%2f|%3f|%23|%26)[^/?#&])*(?:%40|@)"
)
# Whoever has a signed URL may fetch what it is for: signature= of /fetch, X-Amz-Signature= and the
# like of stores, also in a URL that is itself a parameter.
_SIGNATURE = re.compile(
    rb"(?i)((?:[?&]|%3f|%26)[a-z0-9_-]{0,32}signature(?:=|%3d))(?:(?!%26|%23)[^&#])*"
)


def masked(url: bytes) -> bytes:
    """Replace user names, passwords and signatures in *url*; tokens stand in any of the places."""
    if b"signature" in url.lower():
        url = _SIGNATURE.sub(rb"\1***", url)
    if b"@" not in url and b"%40" not in url:
        return url
    path, mark, query = url.partition(b"?")
    path = _USER_INFORMATION.sub(rb"\1***@", path)
    query = _USER_INFORMATION_IN_QUERY.sub(rb"\1***@", query)
    return _ENCODED_USER_INFORMATION.sub(rb"\1***@", path + mark + query)
