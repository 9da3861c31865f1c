"""WebSockets over a stream that you have: here the two ends of a socket pair.

Any ``trio.abc.Stream`` will do: a pipe, a tunnel, a stream in memory.
"""

from __future__ import annotations

import trio

from trio_websocket import wrap_client_stream, wrap_server_stream


async def be_client(stream: trio.abc.Stream) -> None:
    """Open a connection over one end, say something and print the answer."""
    async with trio.open_nursery() as nursery:
        connection = await wrap_client_stream(nursery, stream, "localhost", "/shout")
        await connection.send_message("hello over there")
        print("client:", await connection.get_message())
        await connection.aclose()


async def be_server(stream: trio.abc.Stream) -> None:
    """Accept the connection that the other end asks for, and answer in upper case."""
    async with trio.open_nursery() as nursery:
        request = await wrap_server_stream(nursery, stream)
        print("server:", request.path)
        connection = await request.accept()
        async for message in connection:
            await connection.send_message(message.upper())


async def main() -> None:
    """Run both ends."""
    left, right = trio.socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_client, trio.SocketStream(left))
        nursery.start_soon(be_server, trio.SocketStream(right))


if __name__ == "__main__":
    trio.run(main)
