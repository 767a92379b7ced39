"""Who may prove to be a user, and how: [auth] becomes the credentials that all parts share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.cred.strcred import StrcredException
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from proxyapp.config import Config
from proxyapp.credentials import Credentials
from proxyapp.net.reactor import IApplianceReactor
from proxyapp.service.among import ALONE, Among

_T = TypeVar("_T")


class UsersError(Exception):
    """The users can't be had as the ini has it; the message is for the admin."""


def make_credentials(
    config: Config, reactor: IApplianceReactor, among: Among = ALONE
) -> Credentials | None:
    """Return what checks the users of [auth], or None where there are none; raises UsersError."""
    given = config.auth
    if not given.users:
        return None

    def in_thread(job: Callable[[], _T], /) -> Deferred[_T]:
        done: Deferred[_T] = deferToThreadPool(reactor, reactor.getThreadPool(), job)
        return done

    try:
        return Credentials(
            given.users,
            given.realm,
            given.schemes,
            in_thread,
            reactor.seconds,
            among.secret,
            among.failures,
        )
    except (StrcredException, OSError, ValueError) as error:
        raise UsersError("[auth] users can't be used; --check says more") from error
