"""This library, and its predecessor 0.12.2, which has the same import name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import deflated
import trio
from assignment import HOST, Assignment, announce, skip, take_assignment

import trio_websocket

from .link import Link
from .scenes import Stage
from .trio_loop import TrioLoop


class TrioWebsocket:
    """The library, in the manner of all its versions."""

    def __init__(self, assignment: Assignment, loop: TrioLoop) -> None:
        self._assignment = assignment
        self._loop = loop
        # The older version knows none of it.
        self._options: dict[str, object] = {}
        if assignment.is_compressed:
            self._options["compression"] = trio_websocket.PerMessageDeflate(
                client_max_window_bits=deflated.WINDOW,
                server_max_window_bits=deflated.WINDOW,
                level=deflated.LEVEL,
                mem_level=deflated.MEM_LEVEL,
            )

    async def serve(self, handle: Callable[[Link], Awaitable[None]]) -> None:
        """Announce a port and serve on it for ever."""

        async def accept(request: trio_websocket.WebSocketRequest) -> None:
            await handle(make_link(await request.accept()))

        run = partial(
            trio_websocket.serve_websocket,
            accept,
            HOST,
            0,
            self._assignment.make_server_context(),
            **self._options,
        )
        server = await self._loop.nursery.start(run)
        announce(server.port)

    async def connect(self, port: int) -> Link:
        """Open a connection, which stays open."""
        connection = await trio_websocket.connect_websocket_url(
            self._loop.nursery,
            f"{self._assignment.url}:{port}/",
            self._assignment.make_client_context(),
            **self._options,
        )
        return make_link(connection)

    async def broadcast(self, links: Sequence[Link], message: str | bytes) -> None:
        """Send a message on many connections, one after the other."""
        for link in links:
            await link.send(message)


def make_link(connection: trio_websocket.WebSocketConnection) -> Link:
    """Make a link of a connection."""
    get, send = connection.get_message, connection.send_message

    async def answer() -> None:
        await send(await get())

    return Link(
        connection,
        get,
        send,
        answer,
        receive_many=getattr(connection, "get_messages", None),
        send_many=getattr(connection, "send_messages", None),
        read_message=getattr(connection, "message_reader", None),
        write_message=getattr(connection, "message_writer", None),
        messages=connection,
    )


def check_lane(wanted: str) -> None:
    """Skip the measurement if the library does not run in the lane."""
    lane: str | None = getattr(trio_websocket, "lane", None)
    if wanted and lane != wanted:
        skip("has no lanes" if lane is None else f"runs in the lane {lane}")


def main() -> None:
    """Play the part of this library."""
    assignment = take_assignment()
    check_lane(assignment.lane)
    loop = TrioLoop()
    stage = Stage(assignment, TrioWebsocket(assignment, loop), loop)
    trio.run(loop.run_main, stage.play)


if __name__ == "__main__":
    main()
