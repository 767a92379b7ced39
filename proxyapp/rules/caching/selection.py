"""Which stored responses the admin means: by URL, by what URLs begin with, by tag, by pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxyapp import errors
from proxyapp.rules.caching import keys
from proxyapp.rules.caching.rules import CacheRule, CacheRules
from proxyapp.wire.target import Form, Target, parse_target

# Of a selection, and of a URL: as long as a client's may be, and no longer.
LONGEST = 16 * 1024
TAG = b"tag:"
_EVERYTHING = (b"", b"*")
# What stands in a key in place of a host that several share.
_JOINED = b"://" + keys.JOINED.encode("ascii")


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of the stored responses: all whose keys begin with *prefix* and that have *tag*.

    Empty ones don't select. *key* is the one key that is meant, None for any; *pattern* is what
    the whole key has to match as well.
    """

    key: bytes | None = None
    prefix: bytes = b""
    tag: bytes = b""
    pattern: re.Pattern[bytes] | None = None

    def has(self, key: bytes) -> bool:
        """Is *key*, which begins as it has to, one of them?"""
        return self.pattern is None or self.pattern.fullmatch(key) is not None


def parse_url(url: bytes) -> Target:
    """Return what *url* names; raises BadRequest where nobody could ask for it."""
    if len(url) > LONGEST:
        raise errors.BadRequest(f"the URL has more than {LONGEST} bytes")
    if any(octet <= 0x20 or octet >= 0x7F for octet in url):
        raise errors.BadRequest("the URL has characters that must be percent-encoded")
    # What is no URL at all would be told what is wrong with it in a request.
    target = parse_target(b"GET", url) if b"://" in url else None
    if target is None or target.form is not Form.ABSOLUTE:
        raise errors.BadRequest("this isn't a complete URL, such as http://host/path")
    return target


def key_of(url: bytes, rules: CacheRules) -> bytes:
    """Return the key under which *url* is stored, if it is; a key stands for itself.

    Raises BadRequest.
    """
    if _JOINED in url[: len("https") + len(_JOINED)]:
        return url
    target = parse_url(url)
    assert target.origin is not None
    return keys.key(target.origin, target.path, rules.find(target.origin, target.path))


def rule_of(key: bytes, rules: CacheRules) -> CacheRule:
    """Return the rule by which what has this *key* is stored, as far as the key tells."""
    _, is_joined, rest = key.partition(_JOINED)
    if is_joined:
        name = re.split(rb"[/:]", rest, maxsplit=1)[0].decode("latin-1")
        return next((rule for rule in rules.rules if rule.key.host == name), rules.default)
    try:
        target = parse_url(key)
    except errors.BadRequest:
        return rules.default
    assert target.origin is not None
    return rules.find(target.origin, target.path)


def parse_selection(what: bytes, rules: CacheRules) -> Selection:
    """Read URL, PREFIX* or tag:TAG; `*` is everything. Raises BadRequest."""
    if len(what) > LONGEST:
        raise errors.BadRequest(f"what is selected has more than {LONGEST} bytes")
    if what in _EVERYTHING:
        return Selection()
    if what.startswith(TAG):
        tag = what.removeprefix(TAG).strip()
        if not tag:
            raise errors.BadRequest("there is no tag behind tag:")
        return Selection(tag=tag)
    if what.endswith(b"*"):
        return Selection(prefix=_prefix(what[:-1]))
    return Selection(key=key_of(what, rules))


def parse_pattern(what: bytes, rules: CacheRules) -> Selection:
    """Read what parse_selection reads, and stars elsewhere too: `*.deb`, `http://a.*/x*`.

    Raises BadRequest.
    """
    if b"*" not in what[:-1] or what.startswith(TAG) or len(what) > LONGEST:
        return parse_selection(what, rules)
    first, *others = what.split(b"*")
    *between, last = map(re.escape, others)
    # Atomic groups: what was found is never looked for again, so stars cost no more than one walk.
    groups = b"".join(b"(?>.*?%b)" % part for part in between)
    pattern = re.compile(b"%b%b.*%b" % (re.escape(_prefix(first)), groups, last), re.DOTALL)
    return Selection(prefix=_prefix(first), pattern=pattern)


def _prefix(text: bytes) -> bytes:
    """Return what keys begin with: scheme and host in lower case, without the scheme's port."""
    start = text.find(b"://") + 3
    if start < 3:
        return text.lower()
    end = text.find(b"/", start)
    if end < 0 or _JOINED in text[:end]:
        return text.lower() if end < 0 else text
    origin = parse_url(text[:end]).origin
    assert origin is not None
    return b"%b://%b%b" % (origin.scheme.encode("ascii"), origin.authority, text[end:])
