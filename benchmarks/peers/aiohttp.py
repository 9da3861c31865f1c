"""aiohttp, its client and its server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import aiohttp
from aiohttp import web
from assignment import HOST, Assignment, announce, take_assignment
from deflated import WINDOW

from .link import Link
from .loop import AsyncioLoop, run_asyncio
from .scenes import Stage


class Aiohttp:
    """aiohttp on asyncio."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._session: aiohttp.ClientSession | None = None

    async def serve(self, handle: Callable[[Link], Awaitable[None]]) -> None:
        """Announce a port and serve on it for ever."""

        async def accept(request: web.BaseRequest) -> web.WebSocketResponse:
            connection = web.WebSocketResponse(
                compress=self._assignment.is_compressed, max_msg_size=0
            )
            await connection.prepare(request)
            await handle(self._make_link(connection))
            return connection

        # The low-level server: without the routes and signals of an application.
        server = web.Server(accept, access_log=None)
        runner = web.ServerRunner(server)
        await runner.setup()
        site = web.TCPSite(
            runner, HOST, 0, ssl_context=self._assignment.make_server_context()
        )
        await site.start()
        announce(runner.addresses[0][1])
        await asyncio.Event().wait()

    async def connect(self, port: int) -> Link:
        """Open a connection, which stays open."""
        if self._session is None:
            # No limit to the connections, and no jar that looks through cookies.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        connection = await self._session.ws_connect(
            f"{self._assignment.url}:{port}/",
            ssl=self._assignment.make_client_context() or True,
            compress=WINDOW if self._assignment.is_compressed else 0,
            max_msg_size=0,
        )
        return self._make_link(connection)

    async def broadcast(self, links: Sequence[Link], message: str | bytes) -> None:
        """Send a message on many connections, one after the other."""
        for link in links:
            await link.send(message)

    def _make_link(
        self, connection: web.WebSocketResponse | aiohttp.ClientWebSocketResponse
    ) -> Link:
        receive = connection.receive
        send_text, send_bytes = connection.send_str, connection.send_bytes

        async def answer() -> None:
            message = await receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                await send_text(message.data)
            else:
                await send_bytes(message.data)

        is_text = self._assignment.kind in {"ascii", "text", "json"}
        # It gets messages of the one kind only.
        send = cast(
            Callable[[str | bytes], Awaitable[object]],
            send_text if is_text else send_bytes,
        )
        return Link(connection, receive, send, answer)


def main() -> None:
    """Play the part of aiohttp."""
    assignment = take_assignment()
    stage = Stage(assignment, Aiohttp(assignment), AsyncioLoop())
    run_asyncio(assignment.loop, stage.play)


if __name__ == "__main__":
    main()
