"""Messages that other implementations send, read while they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Protocol

import aiohttp
import pytest
import trio
import websockets.asyncio.client

from trio_websocket import (
    BytesReader,
    Endpoint,
    TextReader,
    WebSocketRequest,
    serve_websocket,
)
from trio_websocket._options import Compression

FRAGMENTS = ["é€", "", "😀 " * 50_000, "x"]
MESSAGE = "".join(FRAGMENTS)


class Talk(Protocol):
    """A client that says it all, and tells what it heard."""

    async def __call__(self, port: int, *, is_compressed: bool) -> list[object]: ...


async def handle(request: WebSocketRequest) -> None:
    """Forward one message, tell the size of one, leave one, and forward the last."""
    connection = await request.accept()
    async with connection.message_reader() as reader:
        await connection.forward_message(reader)
    async with connection.message_reader() as reader:
        assert isinstance(reader, TextReader)
        await connection.send_json(sum([len(part) async for part in reader]))
    async with connection.message_reader() as reader:
        await reader.read(5)
    async with connection.message_reader() as reader:
        assert isinstance(reader, BytesReader)
        await connection.forward_message(reader, fragment_size=1000)
    await connection.aclose(4000)


async def talk_as_websockets(port: int, *, is_compressed: bool) -> list[object]:
    async with websockets.asyncio.client.connect(
        f"ws://127.0.0.1:{port}/",
        compression="deflate" if is_compressed else None,
        proxy=None,
    ) as connection:

        async def send_slowly() -> AsyncGenerator[str]:
            for fragment in FRAGMENTS:
                await asyncio.sleep(0)
                yield fragment

        heard: list[object] = []
        await connection.send(send_slowly())
        heard.append(await connection.recv())
        await connection.send(FRAGMENTS)
        heard.append(await connection.recv())
        await connection.send(FRAGMENTS)
        await connection.send([b"a" * 3000, b"", b"b"])
        heard.append(await connection.recv())
        await connection.wait_closed()
        return [*heard, connection.close_code]


async def talk_as_aiohttp(port: int, *, is_compressed: bool) -> list[object]:
    """It sends no fragments, but large frames."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"ws://127.0.0.1:{port}/", compress=15 if is_compressed else 0
        ) as connection,
    ):
        await connection.send_str(MESSAGE)
        heard = [(await connection.receive()).data]
        await connection.send_str(MESSAGE)
        heard.append((await connection.receive()).data)
        await connection.send_str(MESSAGE)
        await connection.send_bytes(b"a" * 3000 + b"b")
        heard.append((await connection.receive()).data)
        return [*heard, (await connection.receive()).data]


@pytest.mark.parametrize("talk", [talk_as_websockets, talk_as_aiohttp])
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_what_others_send_is_read_while_it_arrives(
    talk: Talk, compression: Compression, nursery: trio.Nursery
) -> None:
    serve = partial(
        serve_websocket, handle, "127.0.0.1", 0, None, compression=compression
    )
    server = await nursery.start(serve)
    [endpoint] = server.listeners
    assert isinstance(endpoint, Endpoint)

    async def converse() -> list[object]:
        return await talk(endpoint.port, is_compressed=compression is not None)

    heard = await trio.to_thread.run_sync(lambda: asyncio.run(converse()))
    assert heard == [MESSAGE, str(len(MESSAGE)), b"a" * 3000 + b"b", 4000]
