"""service.users: [auth] becomes what checks users, or a sentence for the admin."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.cred import strcred

from proxyapp.config import load
from proxyapp.net.reactor import ApplianceReactor
from proxyapp.service.users import UsersError, make_credentials


def test_a_plugin_that_fails_later(
    reactor: ApplianceReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says may hold a secret, so the admin is sent to --check."""
    config = load(None, ["auth.users=memory:ann:hunter2"], {})

    def fail(description: str) -> object:
        raise ValueError(description)

    monkeypatch.setattr(strcred, "makeChecker", fail)
    with pytest.raises(UsersError) as caught:
        make_credentials(config, reactor)
    assert str(caught.value) == "[auth] users can't be used; --check says more"


def test_nobody_has_a_password(reactor: ApplianceReactor) -> None:
    """Without users there is nothing to check."""
    assert make_credentials(load(None, (), {}), reactor) is None


def test_users(reactor: ApplianceReactor, tmp_path: Path) -> None:
    """The realm and the schemes are those of the ini."""
    (tmp_path / "htpasswd").write_text("ann:one\n")
    given = [f"auth.users=file:{tmp_path}/htpasswd", "auth.realm=lab", "auth.schemes=digest"]
    made = make_credentials(load(None, given, {}), reactor)
    assert made is not None
    first, second = (value for _, value in made.proxy_authentication_required().fields)
    assert first.startswith(b'Digest realm="lab", qop="auth", algorithm=SHA-256, ')
    assert b"algorithm=MD5, " in second
