"""A slow origin, as a process of its own: it thinks, then sends its body bit by bit."""

from __future__ import annotations

import asyncio
import sys
import time

from bench import servers

THINK_SECONDS = 0.3
BODY_SECONDS = 0.7
BODY_BYTES = 70_000
PIECES = 14
# The body begins with the time at which it began: one clock runs for all processes of a machine.
STAMP_BYTES = 24


def stamp(now: float) -> bytes:
    """Return the beginning of a body that is sent *now*."""
    return b"%*.9f" % (STAMP_BYTES, now)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request on one connection."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(THINK_SECONDS)
            began = time.monotonic()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % BODY_BYTES + stamp(began))
            left = BODY_BYTES - STAMP_BYTES
            for number in range(PIECES):
                size = left // (PIECES - number)
                writer.write(bytes(size))
                left -= size
                due = began + BODY_SECONDS * (number + 1) / PIECES
                await asyncio.sleep(max(0.0, due - time.monotonic()))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port: int) -> None:
    """Serve on *port* until the process is ended."""
    server = await asyncio.start_server(serve, servers.LOOPBACK, port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
