"""A tunnel and a file on one of Twisted's own reactors: `python -m tests.net.stock MODULE`.

Prints as JSON which reactor ran, what it used instead of the kernel's ways, and whether all came.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import IO

importlib.import_module(sys.argv[1]).install()

from twisted.internet import reactor as running  # noqa: E402  # after the choice
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.endpoints import (  # noqa: E402
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone  # noqa: E402
from twisted.python.failure import Failure  # noqa: E402

from proxyapp.exchange import TakenOver  # noqa: E402
from proxyapp.net import reactor as appliance  # noqa: E402
from proxyapp.net import sendfile, splice, transport  # noqa: E402
from proxyapp.net.timers import Sweep  # noqa: E402
from proxyapp.net.transport import Transport  # noqa: E402
from proxyapp.proxy.relay import Relay  # noqa: E402
from proxyapp.proxy.tunnel import ConnectTunnelProtocol  # noqa: E402
from tests.net.loopback import opening  # noqa: E402

CONTENT = os.urandom(3 << 20)
found: dict[str, object] = {"reactor": type(running).__name__}


class Origin(Protocol):
    """Sends a file, then ends its output."""

    transport: Transport  # type: ignore[assignment]  # ITransport lacks what TCP's has

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def connectionMade(self) -> None:
        job = sendfile.send_file(self.transport, opening(self._file), 0, len(CONTENT))
        found["job"] = type(job).__name__
        job.done.addCallback(lambda _: transport.half_close(self.transport))


class Client(Protocol):
    """Reads to the end."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class OneProtocol(Factory):
    """Hands out the protocol it was given."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol


async def join(protocol: Protocol, served: Protocol) -> None:
    """Connect *protocol* to a new port that serves *served*."""
    endpoint = TCP4ServerEndpoint(running, 0, interface="127.0.0.1")
    port = await endpoint.listen(OneProtocol(served))
    address = TCP4ClientEndpoint(running, "127.0.0.1", port.getHost().port)
    await connectProtocol(address, protocol)


async def run() -> None:
    """Let a file come through a relay."""
    appliance.install()  # which must leave the reactor alone
    relay = Relay(Sweep(running), 60.0, 5.0)
    inside, outside = ConnectTunnelProtocol(relay.client), ConnectTunnelProtocol(relay.origin)
    client = Client()
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        await join(outside, Origin(file))
        await join(client, inside)
        while inside.transport is None:
            turn: Deferred[None] = Deferred()
            running.callLater(0, turn.callback, None)
            await turn
        found["splice"] = splice.splice(inside.transport, outside.transport, 5, print) is not None
        found["unsent"] = transport.unsent(inside.transport)
        ends = [TakenOver(each.transport, b"", has_ended=False) for each in (inside, outside)]
        relay.join(*ends)
        await client.lost
        await relay.done
    found["is_whole"] = client.received == CONTENT


def end(failure: Failure | None) -> None:
    """Stop, and keep what went wrong."""
    if failure is not None:
        found["failure"] = failure.getTraceback()
    running.stop()


def start() -> None:
    """Run, for half a minute at most."""
    done = Deferred.fromCoroutine(run())
    done.addTimeout(30, running)
    done.addBoth(end)


running.callWhenRunning(start)
running.run()
print(json.dumps(found))
