"""websockets, its version for Trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

import trio
from assignment import HOST, Assignment, announce, take_assignment
from websockets.trio.client import connect
from websockets.trio.connection import Connection, broadcast
from websockets.trio.server import ServerConnection, serve

from .deflate_factories import build_client_extensions, build_server_extensions
from .link import Link
from .scenes import Stage
from .trio_loop import TrioLoop


class WebsocketsTrio:
    """websockets on Trio."""

    def __init__(self, assignment: Assignment, loop: TrioLoop) -> None:
        self._assignment = assignment
        self._loop = loop

    async def serve(self, handle: Callable[[Link], Awaitable[None]]) -> None:
        """Announce a port and serve on it for ever."""

        async def accept(connection: ServerConnection) -> None:
            await handle(make_link(connection))

        run = partial(
            serve,
            accept,
            0,
            host=HOST,
            ssl=self._assignment.make_server_context(),
            compression=None,
            extensions=build_server_extensions(self._assignment),
            ping_interval=None,
            max_size=None,
        )
        server = await self._loop.nursery.start(run)
        announce(server.listeners[0].socket.getsockname()[1])

    async def connect(self, port: int) -> Link:
        """Open a connection, which stays open."""
        manager = connect(
            f"{self._assignment.url}:{port}/",
            ssl=self._assignment.make_client_context(),
            compression=None,
            extensions=build_client_extensions(self._assignment),
            ping_interval=None,
            max_size=None,
            proxy=None,
        )
        # Never left: the connection is for the rest of the task, which is for ever.
        return make_link(await manager.__aenter__())

    async def broadcast(self, links: Sequence[Link], message: str | bytes) -> None:
        """Send a message on many connections."""
        await broadcast([cast(Connection, link.source) for link in links], message)


def make_link(connection: Connection) -> Link:
    """Make a link of a connection."""
    receive, send = connection.recv, connection.send

    async def answer() -> None:
        await send(await receive())

    return Link(connection, receive, send, answer)


def main() -> None:
    """Play the part of websockets on Trio."""
    assignment = take_assignment()
    loop = TrioLoop()
    stage = Stage(assignment, WebsocketsTrio(assignment, loop), loop)
    trio.run(loop.run_main, stage.play)


if __name__ == "__main__":
    main()
