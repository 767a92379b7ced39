"""Dials by way of parent proxies: a CONNECT to a parent in place of a connection to the origin.

Connections to parents are no sign of the line's health, since a parent may be on the LAN: `Parents`
keeps their health, and dialling them asks an uplink of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IProtocol, IReactorTime

from proxyapp import errors
from proxyapp.net.dial import Dialled, Dialler
from proxyapp.net.inquiry import Inquiry
from proxyapp.net.parents import ParentLost, Parents
from proxyapp.net.tls import TlsClient, adopt
from proxyapp.net.uplink import Uplink
from proxyapp.rules import hops
from proxyapp.rules.hops import Hop
from proxyapp.rules.parents import PARENT, Parent, Ways
from proxyapp.wire import writer
from proxyapp.wire.headers import NO_FIELDS, Fields
from proxyapp.wire.heads import HeadLimits
from proxyapp.wire.messages import ResponseHead
from proxyapp.wire.target import Origin

# How long the parent may take at most to answer for itself (s).
KNOCK_TIMEOUT = 5.0

_WHY: dict[type[errors.ExchangeError], str] = {
    errors.NameUnknown: "its name has no address",
    errors.NameTimeout: "no name server answered for its name",
    errors.ConnectRefused: "it refuses connections",
    errors.ConnectTimeout: "it does not answer",
    errors.OriginUnreachable: "there is no way to it",
    errors.CertificateRejected: "its certificate was not accepted",
    errors.TlsFailed: "it speaks no TLS that we accept",
    errors.ConnectionEnded: "it closes connections at once",
}

# Raises the Refused that says why no parent may be asked for this host and port.
JudgeName = Callable[[str, int], None]


class Diallers(NamedTuple):
    """Who connects to origins, and who to parents."""

    to_origins: Dialler
    to_parents: Dialler


class Patience(NamedTuple):
    """How long (s) the answer to CONNECT may take, and a TLS handshake behind it."""

    answer: float
    handshake: float


class ParentDialler:
    """Dials as a Dialler does, but origins that aren't direct by way of a parent.

    The Origin that stands for a parent, of the scheme PARENT, is dialled for requests that it gets
    in absolute-form. *judge* is asked about what parents are asked for.
    """

    def __init__(
        self,
        clock: IReactorTime,
        diallers: Diallers,
        tls: TlsClient,
        ways: Ways,
        hop: Hop,
        judge: JudgeName,
        uplink: Uplink,
        patience: Patience,
    ) -> None:
        self._clock = clock
        self._direct, self._to_parents = diallers
        self._tls = tls
        self._ways = ways
        self._hop = hop
        self._judge = judge
        self._uplink = uplink
        self._patience = patience
        self._by_key = {parent.where(PARENT): parent for parent in ways.parents}
        self.parents = Parents(ways.parents, clock, self._knock)

    def __repr__(self) -> str:
        return f"<ParentDialler {self.parents!r}>"

    async def dial(self, origin: Origin, protocol: IProtocol) -> Dialled:
        """See Dialler.

        Raises ParentLost for a parent, and for an origin behind one what `tunnel` does.
        """
        if origin.scheme == PARENT:
            return await self._reach(self._by_key[origin], protocol)
        if origin.scheme == "http":
            return await self._direct.dial(origin, protocol)
        return await self.tunnel(origin, protocol, NO_FIELDS)

    async def tunnel(self, origin: Origin, protocol: IProtocol, fields: Fields) -> Dialled:
        """Connect *protocol* to *origin*, for a client who has sent *fields*.

        Raises what `Dialler.dial` does, LoopDetected, AccessDenied where the parent refuses, and
        ParentFailed where none can be asked.
        """
        if self._ways.are_direct(origin.host):
            return await self._direct.dial(origin, protocol)
        hops.check_loop(fields, self._hop.pseudonym)
        self._judge(origin.host, origin.port)
        lost: ParentLost | None = None
        for parent in self.parents.order:
            try:
                return await self._connect(parent, origin, protocol, fields)
            except ParentLost as error:
                lost = lost or error
        assert lost is not None
        raise errors.ParentFailed(lost.reason) from lost

    # One parent.

    async def _reach(self, parent: Parent, protocol: IProtocol) -> Dialled:
        self._uplink.check_offline()
        try:
            return await self._to_parents.dial(parent.where(parent.scheme), protocol)
        except errors.OriginFault as error:
            raise self._lost(parent, error) from error

    def _lost(self, parent: Parent, error: errors.OriginFault) -> ParentLost:
        why = _WHY.get(type(error), "it can't be reached")
        self.parents.failed(parent, why)
        return ParentLost(f"the parent proxy {parent.name} can't be asked: {why}")

    async def _connect(
        self, parent: Parent, origin: Origin, protocol: IProtocol, fields: Fields
    ) -> Dialled:
        asking = self._connect_request(parent, origin, fields)
        inquiry = Inquiry(self._clock, asking, HeadLimits())
        dialled = await self._reach(parent, inquiry)
        try:
            head = await self._answer(parent, inquiry)
            self._check(parent, head)
            early = inquiry.take_rest()
            if origin.scheme != "https":
                adopt(inquiry.hand_over(), protocol)
                return dialled._replace(tls="", early=early)
            if early:
                raise errors.BadResponse("the parent proxy spoke where the origin's TLS begins")
            return await self._secure(inquiry, origin, protocol, dialled)
        except BaseException:
            inquiry.abort()
            raise

    def _connect_request(self, parent: Parent, origin: Origin, fields: Fields) -> bytes:
        authority = origin._replace(scheme="connect").authority
        hop = replace(self._hop, credentials=parent.lines)
        lines = hops.connect_lines(authority, fields, hop)
        return writer.request_head(b"CONNECT", authority, writer.section(lines))

    async def _answer(self, parent: Parent, inquiry: Inquiry) -> ResponseHead:
        """Wait for the answer to CONNECT; a parent that says none at all is lost."""
        inquiry.answered.addTimeout(self._patience.answer, self._clock)
        try:
            return await inquiry.answered
        except errors.ConnectionEnded as error:
            self.parents.doubted(parent)
            reason = f"the parent proxy {parent.name} closed the connection without an answer"
            raise ParentLost(reason) from error
        except errors.BadResponse as error:
            reason = f"the parent proxy {parent.name} sent something else than HTTP"
            raise errors.BadResponse(reason) from error
        except DeferredTimeout:
            self.parents.doubted(parent)
            reason = f"the parent proxy {parent.name} did not answer in time"
            raise errors.ResponseTimeout(reason) from None

    def _check(self, parent: Parent, head: ResponseHead) -> None:
        """Raise what it means where the answer to CONNECT isn't a tunnel."""
        if head.status == 407:
            raise self.parents.rejected(parent)
        self.parents.accepted(parent)
        if head.status >= 300:
            raise refusal(parent, head.status)

    async def _secure(
        self, inquiry: Inquiry, origin: Origin, protocol: IProtocol, dialled: Dialled
    ) -> Dialled:
        secured = self._tls.secure(inquiry.hand_over(), origin, protocol)
        secured.addTimeout(self._patience.handshake, self._clock)
        inquiry.transport.resumeProducing()
        try:
            return dialled._replace(tls=await secured)
        except DeferredTimeout:
            raise errors.ConnectTimeout("the origin did not answer in time") from None

    # Looking whether one answers.

    def _knock(self, parent: Parent) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look(parent))

    async def _look(self, parent: Parent) -> None:
        """Ask *parent* for something that it answers itself (RFC 9110 sections 7.6.2, 9.3.7)."""
        authority = parent.where("connect").authority
        lines = [b"Host: " + authority, b"Max-Forwards: 0", b"Connection: close"]
        asking = writer.request_head(b"OPTIONS", b"*", writer.section(lines))
        inquiry = Inquiry(self._clock, asking, HeadLimits())
        try:
            await self._to_parents.dial(parent.where(parent.scheme), inquiry)
            most = min(KNOCK_TIMEOUT, self._patience.answer)
            await inquiry.answered.addTimeout(most, self._clock)
        except DeferredTimeout:
            raise ParentLost("it takes requests and does not answer") from None
        except (errors.ConnectionEnded, errors.BadResponse) as error:
            if inquiry.transport is None:
                raise ParentLost(_WHY[errors.ConnectionEnded]) from error
            # It doesn't like the question, and is there.
        except errors.ExchangeError as error:
            raise ParentLost(_WHY.get(type(error), "it can't be reached")) from error
        finally:
            inquiry.abort()


def refusal(parent: Parent, status: int) -> errors.ExchangeError:
    """Return what it means for our client that *parent* answers CONNECT with *status*."""
    who = f"the parent proxy {parent.name}"
    if status == 508:
        return errors.LoopDetected(f"{who} says that the request goes round in a loop")
    if status == 429:
        return errors.Overloaded(f"{who} has too much to do")
    if status == 504:
        return errors.ConnectTimeout(f"{who} did not reach the origin in time")
    if status < 500:
        return errors.AccessDenied(f"{who} refuses it ({status})", rule="[upstream] proxy")
    return errors.OriginUnreachable(f"{who} can't reach the origin ({status})")
