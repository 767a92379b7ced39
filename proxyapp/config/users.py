"""Where users and their passwords are: our own `file:`, or a strcred description of Twisted's.

What is wrong is said without a word that could be a secret: `memory:` holds passwords itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from twisted.cred import strcred
from twisted.cred.credentials import IUsernamePassword

from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules.passwordfile import MAX_PASSWORD_FILE, parse_password_file

_FILE = "file"
_MOST_FAULTS = 20


def users(text: str, surroundings: Surroundings) -> str:
    """Read a description of users; `file:` is read and checked, and its path made absolute."""
    kind, colon, rest = text.partition(":")
    if not text:
        return ""
    if "\n" in text:
        raise WrongValue("is more than one line; one description would be right")
    if kind == _FILE:
        return f"{_FILE}:{_checked_file(rest, surroundings)}"
    _check_description(kind, text, is_named=bool(colon))
    return text


def _checked_file(name: str, surroundings: Surroundings) -> Path:
    if not name:
        raise WrongValue("names no file; file:/etc/proxyapp/htpasswd would be right")
    file = surroundings.folder / name
    found = parse_password_file(_content(file))
    faults = [f"{file} line {fault.line}: {fault.reason}" for fault in found.faults]
    if len(faults) > _MOST_FAULTS:
        faults[_MOST_FAULTS:] = [f"{file}: {len(faults) - _MOST_FAULTS} more lines are wrong"]
    if faults:
        raise WrongValue(*faults)
    if not found.users:
        raise WrongValue(f"{str(file)!r} holds no user; name:password lines would be right")
    return file


def _content(file: Path) -> bytes:
    # A pipe would be opened for ever.
    if file.exists() and not file.is_file():
        raise WrongValue(f"{str(file)!r} is no file; one of name:password lines would be right")
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_PASSWORD_FILE + 1)
    except OSError as error:
        reason = f"{str(file)!r} can't be read ({error.strerror}); a readable file would be right"
        raise WrongValue(reason) from error
    if len(content) > MAX_PASSWORD_FILE:
        raise WrongValue(f"{str(file)!r} is larger than {MAX_PASSWORD_FILE >> 20} MiB; split it")
    return content


def _check_description(kind: str, text: str, is_named: bool) -> None:
    known = _argument_formats()
    if kind not in known:
        # Without a colon the whole text would be shown, and it may be the secret.
        what = f"{shown(kind)} is" if is_named else "the text is"
        right = f"file:PATH would be right (known: file, {', '.join(sorted(known))})"
        raise WrongValue(f"{what} no known kind of users; {right}")
    if kind == "unix" and not all(map(find_spec, ("crypt", "spwd"))):
        raise WrongValue("unix can't be checked by this version of Python; file:PATH can")
    try:
        strcred.makeChecker(text)
    except Exception as error:
        # Whatever a plugin raises: its text may quote what it was given.
        raise WrongValue(f"{kind} takes something else: {known[kind]}") from error


def _argument_formats() -> Mapping[str, str]:
    """Return what follows the colon, for each kind that can check a name and a password."""
    return {
        factory.authType: str(factory.argStringFormat)
        for factory in strcred.findCheckerFactories()
        if IUsernamePassword in factory.credentialInterfaces and factory.authType != _FILE
    }
