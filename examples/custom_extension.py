"""An extension of your own: each message carries a checksum.

Both ends must have it. Where the peer has it not, messages go as they are.
"""

from __future__ import annotations

import zlib
from typing import ClassVar

import trio

from trio_websocket import WebSocketRequest, open_websocket_url, serve_websocket
from trio_websocket.extensions import MessageExtension

SIZE = 4  # bytes of a checksum


class Checksum(MessageExtension):
    """Puts a checksum behind each message, and looks at it at the other end."""

    name: ClassVar[str] = "x-checksum"

    def encode(self, kind: str, data: bytes) -> bytes:
        """Put the checksum behind a message."""
        return data + zlib.crc32(data).to_bytes(SIZE)

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        """Take the checksum off, if it is right."""
        content, checksum = data[:-SIZE], data[-SIZE:]
        if checksum != zlib.crc32(content).to_bytes(SIZE):
            raise ValueError("the checksum is wrong")
        return content


async def echo(request: WebSocketRequest) -> None:
    """Send every message back."""
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def serve(
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve clients with and without the extension."""
    await serve_websocket(
        echo, "127.0.0.1", 0, None, extensions=[Checksum], task_status=task_status
    )


async def main() -> None:
    """Talk to a server with and without the extension."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        url = f"ws://127.0.0.1:{server.port}/"
        for extensions in ([Checksum], []):
            async with open_websocket_url(url, extensions=extensions) as connection:
                print("agreed on:", [each.name for each in connection.extensions])
                await connection.send_message("hello")
                print("received:", await connection.get_message())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
