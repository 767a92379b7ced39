"""Forwards http requests to parent proxies: in absolute-form, the next one where one fails."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace

from proxyapp import errors, stream
from proxyapp.exchange import (
    Forwarder,
    ForwardReply,
    ForwardReplyAround,
    Reply,
    Request,
    Responder,
)
from proxyapp.net.byparent import JudgeName
from proxyapp.net.parents import ParentLost, Parents
from proxyapp.proxy.forward import authority, may_repeat
from proxyapp.proxy.pool import HTTPConnectionPool
from proxyapp.proxy.upstream import Upstream
from proxyapp.rules import hops
from proxyapp.rules.parents import PARENT, Parent, Ways
from proxyapp.wire.framing import Framing
from proxyapp.wire.messages import OutgoingResponse
from proxyapp.wire.target import Origin


class ParentConnections:
    """The connections of *pool* to one *parent*, for requests to whatever origin."""

    def __init__(self, pool: HTTPConnectionPool, parent: Parent) -> None:
        self._pool = pool
        self._key = parent.where(PARENT)

    def __repr__(self) -> str:
        return f"<ParentConnections to {self._key.authority.decode()}>"

    def take_idle(self, origin: Origin) -> Upstream | None:
        """See Connections."""
        return self._pool.take_idle(self._key)

    async def getConnection(self, origin: Origin) -> Upstream:
        """See Connections; raises ParentLost where the parent can't be reached."""
        return await self._pool.getConnection(self._key)

    def drop_idle(self, origin: Origin) -> None:
        """See Connections."""
        self._pool.drop_idle(self._key)

    def release(self, upstream: Upstream) -> None:
        """See Connections."""
        self._pool.release(upstream)


class LoopCheck:
    """Stands before the cache, and all that is behind it: what we have seen goes no further.

    A parent that has us for its own parent sends a request back while the cache is filled by it,
    and to join that filling would be to wait for itself.
    """

    def __init__(self, behind: Responder, pseudonym: bytes) -> None:
        self._behind = behind
        self._pseudonym = pseudonym

    def respond(self, request: Request, reply: Reply) -> Coroutine[object, object, None]:
        """See Responder; raises LoopDetected."""
        hops.check_loop(request.head.fields, self._pseudonym)
        return self._behind.respond(request, reply)


class ParentForward:
    """Stands before *direct*, which gets the requests that go to no parent.

    Those of https go there too: their connections are tunnels through a parent, and the pool has
    them dialled so. *forwards* has for each parent what forwards to it.
    """

    def __init__(
        self,
        direct: Forwarder,
        ways: Ways,
        parents: Parents,
        forwards: Mapping[Parent, Forwarder],
        judge: JudgeName,
    ) -> None:
        self._direct = direct
        self._ways = ways
        self._parents = parents
        self._forwards = forwards
        self._judge = judge

    def __repr__(self) -> str:
        return f"<ParentForward {self._parents!r}>"

    def respond(self, request: Request, reply: ForwardReply) -> Coroutine[object, object, None]:
        """See Responder; raises DestinationDenied, LoopDetected, ParentFailed and what others do.

        Not a coroutine of its own: what is direct pays for the look and nothing more.
        """
        origin = request.target.origin
        if origin is None or origin.scheme != "http" or self._ways.are_direct(origin.host):
            return self._direct.respond(request, reply)
        return self._ask_parents(_absolute(request, origin), origin, reply)

    async def _ask_parents(self, request: Request, origin: Origin, reply: ForwardReply) -> None:
        self._judge(origin.host, origin.port)
        failure: errors.OriginFault | None = None
        for parent in self._parents.order:
            try:
                await self._forwards[parent].respond(
                    request, ParentReply(reply, parent, self._parents)
                )
                return
            except ParentLost as lost:
                failure = failure or errors.ParentFailed(lost.reason)
            except errors.ConnectionEnded as ended:
                # It may have died, or have had enough of this request.
                self._parents.doubted(parent)
                if reply.has_begun or not may_repeat(request):
                    raise
                failure = ended
            except errors.ResponseTimeout:
                self._parents.doubted(parent)
                raise
        assert failure is not None
        raise failure


class ParentReply(ForwardReplyAround):
    """Carries a parent's answer, but for one that asks for a password: that isn't the client's."""

    def __init__(self, inner: ForwardReply, parent: Parent, parents: Parents) -> None:
        super().__init__(inner)
        self._parent = parent
        self._parents = parents

    def pass_on(self, head: OutgoingResponse, body: bytes) -> None:
        """See Reply; raises ParentFailed."""
        self._check(head)
        self.inner.pass_on(head, body)

    def begin(self, head: OutgoingResponse, body: Framing, is_last: bool = False) -> stream.Sink:
        """See Reply; raises ParentFailed."""
        self._check(head)
        return self.inner.begin(head, body, is_last)

    def _check(self, head: OutgoingResponse) -> None:
        if head.status == 407:
            raise self._parents.rejected(self._parent)
        self._parents.accepted(self._parent)


def _absolute(request: Request, origin: Origin) -> Request:
    """Return *request* with its whole URL in place of the path (RFC 9112 section 3.2.2)."""
    target = request.target
    # RFC 9112 section 3.2.4: OPTIONS * travels without a path.
    path = b"" if target.path == b"*" else target.path
    return replace(request, target=replace(target, path=b"http://%b%b" % (authority(origin), path)))
