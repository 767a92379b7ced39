"""[auth] users: the file is read with the ini, and no message tells a password."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from twisted.cred import strcred

from proxyapp.config import users as users_module
from proxyapp.config.users import about_kind, kinds, schemes, users
from proxyapp.config.values import Surroundings, WrongValue
from proxyapp.rules.challenges import Scheme


def reasons(text: str, folder: Path) -> tuple[str, ...]:
    """Return what is wrong with *text* in an ini in *folder*."""
    with pytest.raises(WrongValue) as caught:
        users(text, Surroundings(folder / "proxyapp.ini", {}))
    return caught.value.reasons


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file:", "names no file; file:/etc/proxyapp/htpasswd would be right"),
        ("file:missing", "can't be read (No such file or directory)"),
        ("file:.", "is no file; one of name:password lines would be right"),
        ("file:pipe", "is no file"),
        ("file:empty", "holds no user; name:password lines would be right"),
        ("file:htpasswd\nfile:other", "is more than one line"),
        ("htpasswd", "the text is no known kind of users; file:PATH would be right"),
        ("/etc/hunter2", "the text is no known kind of users"),
        ("fiel:htpasswd", "'fiel' is no known kind of users; file:PATH would be right"),
        ("anonymous", "no known kind of users"),
        ("sshkey:/etc", "'sshkey' is no known kind of users"),
        ("memory:ann:hunter2:bob", "memory takes something else: A colon-separated list"),
    ],
)
def test_wrong_users(tmp_path: Path, text: str, complaint: str) -> None:
    """Each slip is told apart, and none of the messages quotes a secret."""
    (tmp_path / "empty").write_text("# nobody\n")
    os.mkfifo(tmp_path / "pipe")
    (reason,) = reasons(text, tmp_path)
    assert complaint in reason
    assert "hunter2" not in reason


def test_known_kinds_are_named(tmp_path: Path) -> None:
    """The message lists what this machine has, without those that check no password."""
    (reason,) = reasons("pam", tmp_path)
    assert "(known: file, memory, unix" in reason
    assert "sshkey" not in reason


def test_wrong_lines_are_named(tmp_path: Path) -> None:
    """Each line that is wrong is a mistake of its own, with its number and without its text."""
    file = tmp_path / "htpasswd"
    file.write_text("ann:x\nhunter2\nbob:$9$hunter2\nann:hunter2\n")
    found = reasons("file:htpasswd", tmp_path)
    assert [reason.partition(": ")[0] for reason in found] == [
        f"{file} line {number}" for number in (2, 3, 4)
    ]
    assert "the user is there twice, first in line 1" in found[2]
    assert "hunter2" not in "".join(found)


def test_many_wrong_lines(tmp_path: Path) -> None:
    """The wrong file gives a screenful of mistakes, not thousands."""
    (tmp_path / "htpasswd").write_text("hunter2\n" * 1000)
    found = reasons("file:htpasswd", tmp_path)
    assert len(found) == 21
    assert found[-1] == f"{tmp_path}/htpasswd: 980 more lines are wrong"


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """It isn't read in part."""
    (tmp_path / "htpasswd").write_text("ann:x\nbob:y\n")
    with mock.patch.object(users_module, "MAX_PASSWORD_FILE", 8):
        (reason,) = reasons("file:htpasswd", tmp_path)
    assert "is larger than" in reason


def test_a_plugin_that_fails(tmp_path: Path) -> None:
    """What a plugin says may quote what it was given, so it isn't shown."""
    with mock.patch.object(strcred, "makeChecker", side_effect=OSError("hunter2")):
        (reason,) = reasons("memory:ann:hunter2", tmp_path)
    assert reason.startswith("memory takes something else: ")
    assert "hunter2" not in reason


def test_right_users(tmp_path: Path) -> None:
    """A path starts at the ini and comes absolute; other descriptions come as they are."""
    (tmp_path / "my users").write_text("ann:x\n")
    at = Surroundings(tmp_path / "proxyapp.ini", {})
    assert users("", at) == ""
    assert users("file:my users", at) == f"file:{tmp_path}/my users"
    assert users(f"file:{tmp_path}/my users", at) == f"file:{tmp_path}/my users"
    assert users("memory:ann:x", at) == "memory:ann:x"


@pytest.mark.parametrize("is_there", [True, False])
def test_unix_needs_what_newer_pythons_lack(tmp_path: Path, is_there: bool) -> None:
    """Without the modules that it is made of, it would let nobody in."""
    spec = object() if is_there else None
    with mock.patch.object(users_module, "find_spec", return_value=spec):
        if is_there:
            assert users("unix", Surroundings(None, {})) == "unix"
        else:
            assert "this version of Python" in reasons("unix", tmp_path)[0]


# --- How they are asked ---


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty, and users could not be asked; basic or digest, or both, would be right"),
        (" , ", "is empty"),
        ("negotiate", "'negotiate' is no way to ask for a password; basic or digest"),
        ("basic digest ntlm", "'ntlm' is no way"),
    ],
)
def test_wrong_schemes(text: str, complaint: str) -> None:
    """An unknown one is no scheme, and none is not enough."""
    with pytest.raises(WrongValue) as caught:
        schemes(text, Surroundings(None, {}))
    assert complaint in caught.value.reasons[0]


def test_schemes() -> None:
    """Each counts once, in any case."""
    at = Surroundings(None, {})
    assert schemes("digest", at) == (Scheme.DIGEST,)
    assert schemes("BASIC, digest basic", at) == (Scheme.BASIC, Scheme.DIGEST)


# --- What the command says ---


def test_kinds() -> None:
    """Ours is among them, once, and none that checks no password."""
    lines = kinds().splitlines()
    listed = [line.split()[0] for line in lines[3:]]
    assert listed == sorted(set(listed))
    assert {"file", "memory", "unix"} <= set(listed)
    assert "sshkey" not in listed
    assert "path of a file of users" in kinds()


def test_about_kinds() -> None:
    """Ours explains its lines, Twisted's what their plugins say; others are a mistake."""
    assert "name:realm:hash" in about_kind("file")
    assert about_kind("memory").startswith("--auth memory:ARGUMENT, where ARGUMENT is: A colon")
    for kind in ("", "sshkey", "nonsense"):
        with pytest.raises(WrongValue, match="is no known kind of users; known: file, "):
            about_kind(kind)
