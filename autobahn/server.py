"""A server that echoes, for the fuzzing client of the Autobahn test suite."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from functools import partial

import trio

from trio_websocket import (
    ConnectionClosed,
    PerMessageDeflate,
    WebSocketRequest,
    serve_websocket,
)

# The longest message of the suite (cases 9.1.6 and 9.2.6) has 16 MiB.
MAX_MESSAGE_SIZE = 16 * 1024 * 1024
# With the largest windows, so that every limit is the suite's. How hard to try makes no
# difference to the suite, but for its time.
COMPRESSION = PerMessageDeflate(
    client_max_window_bits=15, server_max_window_bits=15, level=1
)


async def echo(request: WebSocketRequest) -> None:
    """Accept a connection and send each message back."""
    connection = await request.accept()
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.send_message(await connection.get_message())


async def serve(host: str, port: int) -> None:
    """Serve until cancelled, and print the address once connections are accepted."""
    run = partial(
        serve_websocket,
        echo,
        host,
        port,
        ssl_context=None,
        max_message_size=MAX_MESSAGE_SIZE,
        compression=COMPRESSION,
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(run)
        print(f"ws://{host}:{server.port}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to bind to")
    parser.add_argument(
        "--port", type=int, default=0, help="the port (default: any that is free)"
    )
    options = parser.parse_args(arguments)
    host: str = options.host
    port: int = options.port
    try:
        trio.run(serve, host, port)
    except* KeyboardInterrupt:  # it comes out of the nursery in a group
        pass


if __name__ == "__main__":
    main()
