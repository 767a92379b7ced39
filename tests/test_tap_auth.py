"""tap: `--auth`, as other services of Twisted's have it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proxyapp import tap
from tests.appliance import command, environ


def parsed(*arguments: str) -> tap.Options:
    """Return the options that *arguments* make."""
    options = tap.Options()
    options.parseOptions(list(arguments))
    return options


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `twistd -n proxyapp` with *arguments* in *folder*."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environ() | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--auth", ""], None),
        (["--auth", "hunter2"], "the text is no known kind of users; file:PATH would be right"),
        (["--auth", "file:"], "names no file; file:/etc/proxyapp/htpasswd would be right"),
        (["--auth", "file:missing"], "can't be read (No such file or directory)"),
        (["--auth", "memory:hunter2"], "memory takes something else"),
        (["--auth", "memory:ann:x", "--auth", "memory:bob:y"], "is there twice, first at --auth"),
        (["--auth", "memory:ann:x", "--set", "auth.users="], "is there twice, first at --auth"),
    ],
)
def test_wrong_users(
    arguments: list[str], complaint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are mistakes of the configuration, told with the option's name and without a secret."""
    if complaint is None:
        assert parsed(*arguments).config.auth.users == ""
        return
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert complaint in told
    assert "--auth: [auth] users: " in told or "--set: [auth] users: " in told
    assert "hunter2" not in told


def test_users_of_the_command_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They replace the ini's; a file is looked for where the command is given."""
    (tmp_path / "etc").mkdir()
    ini = tmp_path / "etc" / "proxyapp.ini"
    ini.write_text("[auth]\nusers = memory:bob:y\nrealm = lab\n")
    (tmp_path / "htpasswd").write_text("ann:x\n")
    monkeypatch.chdir(tmp_path)
    auth = parsed("--config", str(ini), "--auth", "file:htpasswd").config.auth
    assert (auth.users, auth.realm) == (f"file:{tmp_path}/htpasswd", "lab")


def test_kinds_are_listed(tmp_path: Path) -> None:
    """--help-auth ends with the list, --help-auth-type with what one of them takes."""
    done = run(tmp_path, "--help-auth")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  memory  A colon-separated list" in done.stdout
    done = run(tmp_path, "--help-auth-type", "file")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("--auth file:ARGUMENT, where ARGUMENT is: path of a file")
    done = run(tmp_path, "--help-auth-type", "nonsense")
    assert done.returncode == 1
    assert "'nonsense' is no known kind of users; known: file, " in done.stdout
