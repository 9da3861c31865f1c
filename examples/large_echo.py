"""One message of a gibibyte, sent through an echo server in little memory.

Server and client are in this program. Neither holds more of the message than a part of
it: the client makes the parts as it sends them, the server forwards each as it comes,
and the client counts what comes back. That it is the same, a running hash tells.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator

import trio

from trio_websocket import (
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
)

MIB = 2**20
PART_SIZE = 2**16


async def echo(request: WebSocketRequest) -> None:
    """Accept a client and send each of its messages back while it arrives."""
    connection = await request.accept()
    while True:
        async with connection.message_reader() as reader:
            await connection.forward_message(reader)


class Parts:
    """The parts of a message, made one by one, and the hash of those made so far."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        """Make part after part; no two are the same."""
        block = os.urandom(PART_SIZE)
        while self._left:
            part = (self._left.to_bytes(8, "big") + block[8:])[: self._left]
            self._left -= len(part)
            self.hash.update(part)
            yield part


class Received:
    """What was received: how much, and its hash."""

    def __init__(self) -> None:
        self.size = 0
        self.hash = hashlib.sha256()

    async def take(self, connection: WebSocketConnection) -> None:
        """Take one message, part by part."""
        async with connection.message_reader() as reader:
            async for part in reader:
                data = part if isinstance(part, bytes) else part.encode()
                self.size += len(data)
                self.hash.update(data)


def measure_peak() -> float | None:
    """Find the most MiB that this process has held; None where that is not known."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


async def send_and_check(url: str, size: int) -> bool:
    """Send a message, compare what comes back, and print how it went."""
    parts, received = Parts(size), Received()
    since = trio.current_time()
    async with open_websocket_url(url) as connection, trio.open_nursery() as nursery:
        # Who sends all of it before it reads would wait for ever.
        nursery.start_soon(received.take, connection)
        await connection.send_message(parts)
    seconds = trio.current_time() - since
    print(f"{received.size:,} bytes there and back in {seconds:.1f} s,", end=" ")
    print(f"{received.size / seconds / MIB:.0f} MiB/s")
    peak = measure_peak()
    if peak is not None:
        print(f"peak memory of this program: {peak:.0f} MiB")
    is_same = received.hash.digest() == parts.hash.digest()
    print("what came back is", "the same" if is_same else "something else")
    return is_same


async def run(size: int) -> bool:
    """Serve, and send a message through it."""
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, echo, "127.0.0.1", 0, None
        )
        is_good = await send_and_check(f"ws://127.0.0.1:{server.port}", size)
        nursery.cancel_scope.cancel()
    return is_good


def main() -> int:
    """Read the command line, run it and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mebibytes", type=int, nargs="?", default=1024)
    return 0 if trio.run(run, parser.parse_args().mebibytes * MIB) else 1


if __name__ == "__main__":
    sys.exit(main())
