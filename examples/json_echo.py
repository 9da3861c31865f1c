"""Values as JSON: a server that sends each one back, and its client.

``json_dumps`` and ``json_loads``, options of every entry point, take other functions
than those of the module json.
"""

from __future__ import annotations

import trio

from trio_websocket import (
    WebSocketRequest,
    WebSocketServer,
    open_websocket_url,
    serve_websocket,
)


async def echo(request: WebSocketRequest) -> None:
    """Accept a client and send each value back; it is told if something is none."""
    connection = await request.accept()
    while True:
        try:
            value = await connection.get_json()
        except ValueError as error:
            await connection.send_json(error=str(error))
        else:
            await connection.send_json(value)


async def main() -> None:
    """Serve, and send some values."""
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, echo, "127.0.0.1", 0, None
        )
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}") as connection:
            await connection.send_json([1, 2.5, None])
            print("received:", await connection.get_json())
            await connection.send_json(name="Ada", is_admin=True)
            print("received:", await connection.get_json())
            await connection.send_text("this is no JSON")
            print("received:", await connection.get_json())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
