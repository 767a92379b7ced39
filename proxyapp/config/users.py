"""Where users and their passwords are: our own `file:`, or a strcred description of Twisted's.

What is wrong is said without a word that could be a secret: `memory:` holds passwords itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from twisted.cred import strcred
from twisted.cred.credentials import IUsernamePassword

from proxyapp.config.lists import words
from proxyapp.config.values import Surroundings, WrongValue, shown
from proxyapp.rules.challenges import Scheme
from proxyapp.rules.passwordfile import MAX_PASSWORD_FILE, parse_password_file

_FILE = "file"
# Ours takes the place of Twisted's, which knows neither hashes nor changes of the file.
_FILE_FORMAT = "path of a file of users"
_FILE_HELP = """\
Each line of the file is name:password, with the password plain or as a hash of htpasswd (bcrypt,
argon2, SHA-crypt, apr1, MD5-crypt, {SHA}, {SSHA}), or name:realm:hash as htdigest writes it. Lines
that begin with # say nothing. A changed file counts within a second or two."""
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


def kinds() -> str:
    """Return the text of --help-auth: each kind of users, and what is to follow its colon."""
    known = {_FILE: _FILE_FORMAT, **_argument_formats()}
    width = max(map(len, known))
    lines = [f"  {kind:{width}}  {known[kind]}" for kind in sorted(known)]
    title = "--auth KIND[:ARGUMENT] says who has a password; --help-auth-type KIND says more."
    return "\n".join([title, "", f"  {'KIND':{width}}  ARGUMENT", *lines])


def about_kind(kind: str) -> str:
    """Return the text of --help-auth-type *kind*; raises WrongValue."""
    known = {_FILE: _FILE_FORMAT, **_argument_formats()}
    if kind not in known:
        raise WrongValue(f"{shown(kind)} is no known kind of users; known: {', '.join(known)}")
    text = _FILE_HELP if kind == _FILE else strcred.findCheckerFactory(kind).authHelp
    lines = [f"  {line.rstrip()}" for line in str(text).strip().splitlines()]
    return "\n".join([f"--auth {kind}:ARGUMENT, where ARGUMENT is: {known[kind]}", "", *lines])


def _argument_formats() -> Mapping[str, str]:
    """Return what follows the colon, for each kind that can check a name and a password."""
    return {
        factory.authType: str(factory.argStringFormat)
        for factory in strcred.findCheckerFactories()
        if IUsernamePassword in factory.credentialInterfaces and factory.authType != _FILE
    }


def schemes(text: str, _: Surroundings) -> tuple[Scheme, ...]:
    """Read the ways in which users are asked for their passwords."""
    known = {each.value: each for each in Scheme}
    right = f"{' or '.join(known)}, or both, would be right"
    found = []
    for word in words(text):
        if word.lower() not in known:
            raise WrongValue(f"{shown(word)} is no way to ask for a password; {right}")
        found.append(known[word.lower()])
    if not found:
        raise WrongValue(f"is empty, and users could not be asked; {right}")
    return tuple(dict.fromkeys(found))
