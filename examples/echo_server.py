"""A server that sends every message back, until Ctrl-C ends it."""

from __future__ import annotations

import argparse
import signal

import trio

from trio_websocket import WebSocketRequest, WebSocketServer, serve_websocket


async def echo(request: WebSocketRequest) -> None:
    """Accept a client and send each of its messages back."""
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def serve(port: int) -> None:
    """Serve until a signal comes; each client is told 1001 (going away) then."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            server: WebSocketServer = await nursery.start(
                serve_websocket, echo, "127.0.0.1", port, None
            )
            print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()
    print("stopped", flush=True)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free port")
    options = parser.parse_args()
    trio.run(serve, options.port)


if __name__ == "__main__":
    main()
