"""A server that rejects a client with a reason, and a client that reads it."""

from __future__ import annotations

import trio

from trio_websocket import (
    ConnectionRejected,
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
)


async def greet(request: WebSocketRequest) -> None:
    """Greet who comes to /lobby, and tell the others that there is nothing else."""
    if request.path != "/lobby":
        await request.reject(
            404,
            extra_headers={"Content-Type": "text/plain"},
            body=b"there is only /lobby",
        )
        return
    connection = await request.accept()
    await connection.send_message("welcome")


async def visit(url: str) -> None:
    """Print the greeting, or why there was none."""
    try:
        async with open_websocket_url(url) as connection:
            print("accepted:", await connection.get_message())
    except ConnectionRejected as rejected:
        body = rejected.body or b""
        print(f"rejected: {rejected.status_code}, {body.decode()}")


async def main() -> None:
    """Serve, and visit two places of that server."""
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, greet, "127.0.0.1", 0, None
        )
        for path in ("/lobby", "/attic"):
            await visit(f"ws://127.0.0.1:{server.port}{path}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
