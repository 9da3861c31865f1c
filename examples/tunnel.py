"""TCP connections through a WebSocket, both ends of the tunnel in one program.

``tunnel.py serve TARGET_HOST TARGET_PORT`` is the far end: for each WebSocket it dials
the target. ``tunnel.py listen URL`` is the near end: for each TCP connection it opens a
WebSocket to that. Ctrl-C ends either of them.

A WebSocket has no half-close. So when a TCP connection says that it will send no more,
its WebSocket is closed: what was sent before arrives, and what would still come back
does not. What speaks in turns, such as HTTP, never notices.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from trio_websocket import (
    WebSocketError,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
)

GRACE = 5  # seconds that a TCP connection may take to end when its tunnel has ended

Start = Callable[[trio.Nursery], Awaitable[int]]


def log(text: str) -> None:
    """Say what goes wrong."""
    print(text, file=sys.stderr, flush=True)


async def join(tcp: trio.SocketStream, tunnel: trio.abc.Stream) -> None:
    """Carry bytes both ways until either end is done, then close both."""

    async def send() -> None:
        async for data in tcp:
            await tunnel.send_all(data)
        await tunnel.aclose()

    async def receive() -> None:
        async for data in tunnel:
            await tcp.send_all(data)
        await tcp.send_eof()
        # To close a socket that has unread bytes could take back what was just sent.
        nursery.cancel_scope.deadline = trio.current_time() + GRACE

    async def run(carry: Callable[[], Awaitable[None]]) -> None:
        try:
            await carry()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            nursery.cancel_scope.cancel()

    async with tcp, tunnel, trio.open_nursery() as nursery:
        nursery.start_soon(run, send)
        nursery.start_soon(run, receive)


async def enter_tunnel(url: str, tcp: trio.SocketStream) -> None:
    """Open a WebSocket for a TCP connection, the near end."""
    try:
        async with tcp, open_websocket_url(url) as connection:
            await join(tcp, connection.as_stream())
    except WebSocketError as error:
        log(str(error))


async def leave_tunnel(host: str, port: int, request: WebSocketRequest) -> None:
    """Dial the target for a WebSocket, the far end."""
    try:
        tcp = await trio.open_tcp_stream(host, port)
    except OSError as error:
        log(str(error))
        await request.reject(502, body=b"the target cannot be reached")
        return
    async with tcp:
        connection = await request.accept()
        await join(tcp, connection.as_stream())


async def start_near_end(url: str, port: int, nursery: trio.Nursery) -> int:
    """Listen for TCP connections, and return the port."""
    [listener] = await trio.open_tcp_listeners(port, host="127.0.0.1")
    enter = partial(enter_tunnel, url)
    nursery.start_soon(trio.serve_listeners, enter, [listener])
    address: tuple[str, int] = listener.socket.getsockname()
    return address[1]


async def start_far_end(
    host: str, target: int, port: int, nursery: trio.Nursery
) -> int:
    """Serve WebSockets, and return the port."""
    leave = partial(leave_tunnel, host, target)
    server: WebSocketServer = await nursery.start(
        serve_websocket, leave, "127.0.0.1", port, None
    )
    return server.port


async def run_until_signal(start: Start) -> int:
    """Run one end until Ctrl-C or SIGTERM, and return the exit code."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            try:
                port = await start(nursery)
            except OSError as error:
                log(str(error))
                return 1
            print(f"listening on 127.0.0.1:{port}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()
    print("stopped", flush=True)
    return 0


def main() -> int:
    """Read the command line, run one end and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listen = commands.add_parser("listen", help="the near end: TCP to WebSocket")
    listen.add_argument("url", help="the far end, such as ws://127.0.0.1:8000")
    listen.add_argument("--port", type=int, default=7000, help="0 takes any free port")
    serve = commands.add_parser("serve", help="the far end: WebSocket to TCP")
    serve.add_argument("host", help="of the target")
    serve.add_argument("target", type=int, metavar="port", help="of the target")
    serve.add_argument("--port", type=int, default=8000, help="0 takes any free port")
    options = parser.parse_args()
    start: Start
    if options.command == "listen":
        start = partial(start_near_end, options.url, options.port)
    else:
        start = partial(start_far_end, options.host, options.target, options.port)
    return trio.run(run_until_signal, start)


if __name__ == "__main__":
    sys.exit(main())
