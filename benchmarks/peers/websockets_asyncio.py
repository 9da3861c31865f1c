"""websockets, its version for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from assignment import HOST, Assignment, announce, take_assignment
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection, broadcast
from websockets.asyncio.server import ServerConnection, serve

from .deflate_factories import build_client_extensions, build_server_extensions
from .link import Link
from .loop import AsyncioLoop, run_asyncio
from .scenes import Stage


class WebsocketsAsyncio:
    """websockets on asyncio."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    async def serve(self, handle: Callable[[Link], Awaitable[None]]) -> None:
        """Announce a port and serve on it for ever."""

        async def accept(connection: ServerConnection) -> None:
            await handle(make_link(connection))

        server = await serve(
            accept,
            HOST,
            0,
            ssl=self._assignment.make_server_context(),
            compression=None,
            extensions=build_server_extensions(self._assignment),
            ping_interval=None,
            max_size=None,
        )
        announce(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    async def connect(self, port: int) -> Link:
        """Open a connection, which stays open."""
        connection = await connect(
            f"{self._assignment.url}:{port}/",
            ssl=self._assignment.make_client_context(),
            compression=None,
            extensions=build_client_extensions(self._assignment),
            ping_interval=None,
            max_size=None,
            proxy=None,
        )
        return make_link(connection)

    async def broadcast(self, links: Sequence[Link], message: str | bytes) -> None:
        """Send a message on many connections."""
        broadcast([cast(Connection, link.source) for link in links], message)
        await asyncio.sleep(0)  # it waits for nobody, so others need a turn


def make_link(connection: Connection) -> Link:
    """Make a link of a connection."""
    receive, send = connection.recv, connection.send

    async def answer() -> None:
        await send(await receive())

    return Link(connection, receive, send, answer)


def main() -> None:
    """Play the part of websockets on asyncio."""
    assignment = take_assignment()
    stage = Stage(assignment, WebsocketsAsyncio(assignment), AsyncioLoop())
    run_asyncio(assignment.loop, stage.play)


if __name__ == "__main__":
    main()
