"""Values that only the site has: response fields, path patterns, mounts, the realm."""

from __future__ import annotations

import importlib.util
import re

from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules import sitefields
from proxyapp.wire import headers

# Fields that we make ourselves, beside those that the rules about responses keep to themselves.
_OURS = sitefields.RESERVED | frozenset(
    b"age allow content-type proxy-authenticate proxy-authentication-info retry-after vary via"
    b" www-authenticate".split()
)
_TYPE = b"content-type"
# RFC 6838 section 4.2, and parameters.
_MEDIA_TYPE = re.compile(rb"[\w!#$&^+.-]+/[\w!#$&^+.-]+[ \t]*(?:;|\Z)")
# RFC 9111 section 5.2: token, or token=token, or token="text".
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_DIRECTIVE = re.compile(rf'{_TOKEN}(?:=(?:{_TOKEN}|"[ !#-\[\]-~]*"))?')
_SECONDS = re.compile(r"(?:max-age|s-maxage|stale-while-revalidate|stale-if-error)(?:=([0-9]+))?")
_CLASS = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*", re.ASCII)
_UNSAFE_IN_PATH = re.compile(r"[\x00-\x1f\x7f?#%\\*]")
_UNSAFE_IN_REALM = re.compile(r"[^ -~]")
_LONGEST_REALM = 128
# RFC 3986 sets no limit; clients do.
_LONGEST_PATH = 255
_TAKEN_PATHS = frozenset(("/wpad.dat", "/proxy.pac", "/setup"))


def response_fields(text: str, _: Surroundings) -> tuple[tuple[bytes, bytes], ...]:
    """Read fields of a response, `Name: value` one a line; a name may stand several times."""
    return _fields(text, _OURS)


def rule_fields(text: str, _: Surroundings) -> tuple[tuple[bytes, bytes], ...]:
    """Read fields as `response_fields` does; for some paths the admin may know the type better."""
    found = _fields(text, _OURS - {_TYPE})
    for name, value in found:
        if name.lower() == _TYPE and not _MEDIA_TYPE.match(value):
            right = "type/subtype, such as text/plain; charset=utf-8, would be right"
            raise WrongValue(f"{shown(value.decode('ascii'))} is no media type; {right}")
    return found


def _fields(text: str, ours: frozenset[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    found: list[tuple[bytes, bytes]] = []
    reasons: list[str] = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        try:
            found.append(_field(line, ours))
        except WrongValue as wrong:
            reasons += wrong.reasons
    if reasons:
        raise WrongValue(*reasons)
    return tuple(found)


def _field(line: str, ours: frozenset[bytes]) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    raw, text = name.encode("utf-8"), value.strip(" \t")
    if not colon:
        raise WrongValue(f"{shown(line)} is no field; Name: value would be right")
    if not headers.is_token(raw):
        raise WrongValue(f"{shown(name)} is no field name; a token (RFC 9110) would be right")
    if raw.lower() in ours:
        raise WrongValue(f"{name} is a field that proxyapp makes itself; leave it out")
    _check_ascii(value)
    if not text:
        raise WrongValue(f"{name} has no value; {name}: value would be right")
    return raw, text.encode("ascii")


def _check_ascii(value: str) -> None:
    if not value.isascii() or headers.UNSAFE_IN_VALUE.search(value.encode("ascii")):
        reason = "has a character that no field may have; printable ASCII would be right"
        raise WrongValue(f"{shown(value.strip())} {reason}")


def cache_control(text: str, _: Surroundings) -> bytes:
    """Read a Cache-Control value (RFC 9111 section 5.2); the empty text is none."""
    _check_ascii(text)
    directives = headers.split_list(text.encode("ascii"))
    for directive in (each.decode("ascii") for each in directives):
        seconds = _SECONDS.match(directive.lower())
        if not _DIRECTIVE.fullmatch(directive) or (
            seconds and seconds.end() == len(directive) and seconds[1] is None
        ):
            reason = f"{shown(directive)} is no directive; no-store or max-age=3600 would be right"
            raise WrongValue(reason)
    return b", ".join(directives)


def path_pattern(text: str, _: Surroundings) -> str:
    """Read a pattern of paths, as rules.sitefields has them."""
    try:
        sitefields.SiteRule(text, ())
    except ValueError as error:
        raise WrongValue(f"{shown(text)} is no pattern: {error}") from error
    return text


def mount_path(text: str, _: Surroundings) -> str:
    """Read the path of a mount: decoded, absolute, without a slash at its end."""
    if not text.startswith("/"):
        raise WrongValue(f"{shown(text)} is not absolute; {shown('/' + text)} would be right")
    if _UNSAFE_IN_PATH.search(text) or len(text.encode("utf-8")) > _LONGEST_PATH:
        reason = f"has a character that is no part of a name, or more than {_LONGEST_PATH} bytes"
        raise WrongValue(f"{shown(text)} {reason}; /files would be right")
    segments = [each for each in text.split("/") if each not in ("", ".")]
    right = "/" + "/".join(each for each in segments if each != "..")
    if right == "/":
        raise WrongValue(f"{shown(text)} is the site itself; [site] root says what is there")
    if right != text:
        raise WrongValue(f"{shown(text)} is not in its shortest form; {right} would be right")
    if text in _TAKEN_PATHS:
        raise WrongValue(f"{text} belongs to [autoconfig]; use another path")
    return text


def resource_name(text: str, _: Surroundings) -> str:
    """Read module:Class; that the class is there shows when it is built, for importing runs it."""
    if not text:
        return ""
    match = _CLASS.fullmatch(text)
    if match is None:
        raise WrongValue(f"{shown(text)} is no class; module:Class would be right")
    package = match[1].partition(".")[0]
    if not _is_installed(package):
        raise WrongValue(f"there is no module {package}; install it, or name another")
    return text


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def realm(text: str, _: Surroundings) -> str:
    """Read the name of the protection space (RFC 9110 section 11.5)."""
    if not text or len(text) > _LONGEST_REALM or _UNSAFE_IN_REALM.search(text):
        right = f"1 to {_LONGEST_REALM} printable ASCII characters would be right"
        raise WrongValue(f"{shown(text)} is no realm; {right}")
    return text
