"""Conversations with other implementations: websockets and aiohttp, both roles.

They run on asyncio, in a thread.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

import aiohttp
import aiohttp.web
import pytest
import trio
import websockets
import websockets.asyncio.client
import websockets.asyncio.server

from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    Endpoint,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)
from trio_websocket._options import Compression

from .asyncio_thread import run_in_thread

TLS = ssl.SSLContext | None
StartPeer = Callable[[TLS], AbstractAsyncContextManager[int]]
TalkAsPeer = Callable[[str, TLS], Awaitable[list[object]]]

MESSAGES: list[str | bytes] = ["text", "", b"bytes", b"", "ü" * 100_000, bytes(2**20)]
MAX_SIZE = 2**21


async def serve_one_of_websockets(
    connection: websockets.asyncio.server.ServerConnection,
) -> None:
    async for message in connection:
        match message:
            case "ping":
                await (await connection.ping())
                await connection.send("pong")
            case "fragments":
                await connection.send(["a", "b", "c"])
            case "close":
                await connection.close(4000, "bye")
            case _:
                await connection.send(message)


def reject_some_of_websockets(
    connection: websockets.asyncio.server.ServerConnection,
    request: websockets.Request,
) -> websockets.Response | None:
    if request.path == "/reject":
        return connection.respond(403, "not you\n")
    return None


@asynccontextmanager
async def start_websockets(context: TLS) -> AsyncGenerator[int]:
    async with websockets.asyncio.server.serve(
        serve_one_of_websockets,
        "127.0.0.1",
        0,
        ssl=context,
        max_size=MAX_SIZE,
        subprotocols=[websockets.Subprotocol("chat")],
        process_request=reject_some_of_websockets,
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def serve_one_of_aiohttp(
    request: aiohttp.web.Request,
) -> aiohttp.web.StreamResponse:
    if request.path == "/reject":
        return aiohttp.web.Response(status=403, text="not you\n")
    connection = aiohttp.web.WebSocketResponse(
        protocols=["chat"], max_msg_size=MAX_SIZE
    )
    await connection.prepare(request)
    async for message in connection:
        match message.data:
            case "ping":
                await connection.ping()
                await connection.send_str("pong")
            case "fragments":
                await connection.send_str("abc")  # it cannot send them
            case "close":
                await connection.close(code=4000, message=b"bye")
            case str(text):
                await connection.send_str(text)
            case data:
                await connection.send_bytes(data)
    return connection


@asynccontextmanager
async def start_aiohttp(context: TLS) -> AsyncGenerator[int]:
    application = aiohttp.web.Application()
    application.router.add_get("/{path:.*}", serve_one_of_aiohttp)
    runner = aiohttp.web.AppRunner(application)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def talk_as_websockets(url: str, context: TLS) -> list[object]:
    async with websockets.asyncio.client.connect(
        url,
        ssl=context,
        max_size=MAX_SIZE,
        subprotocols=[websockets.Subprotocol("chat")],
        proxy=None,
    ) as connection:
        heard: list[object] = [connection.subprotocol]
        for message in MESSAGES:
            await connection.send(message)
            heard.append(await connection.recv())
        await connection.send(["a", "b", "c"])
        heard.append(await connection.recv())
        await (await connection.ping())
        await connection.send("close")
        with pytest.raises(websockets.ConnectionClosed):
            await connection.recv()
        heard += [connection.close_code, connection.close_reason]
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.asyncio.client.connect(f"{url}reject", ssl=context, proxy=None)
    response = caught.value.response
    return [*heard, response.status_code, response.body]


async def talk_as_aiohttp(url: str, context: TLS) -> list[object]:
    async with aiohttp.ClientSession() as session:
        # First of all, since closing takes it some turns of the loop.
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(f"{url}reject", ssl=context or True)
        async with session.ws_connect(
            url, ssl=context or True, protocols=["chat"], max_msg_size=MAX_SIZE
        ) as connection:
            heard: list[object] = [connection.protocol]
            for message in MESSAGES:
                if isinstance(message, str):
                    await connection.send_str(message)
                else:
                    await connection.send_bytes(message)
                heard.append((await connection.receive()).data)
            await connection.ping()
            await connection.send_str("abc")  # it cannot send fragments
            heard.append((await connection.receive()).data)
            await connection.send_str("close")
            end = await connection.receive()
            heard += [end.data, end.extra]
    body = b"not you\n"  # which it does not show
    return [*heard, caught.value.status, body]


async def stream_back_as_websockets(
    connection: websockets.asyncio.server.ServerConnection,
) -> None:
    """Take messages fragment by fragment, and tell how many there were."""
    with suppress(websockets.ConnectionClosed):
        while True:
            fragments = [part async for part in connection.recv_streaming()]
            await connection.send(str(len(fragments)))
            nothing = "" if isinstance(fragments[0], str) else b""
            await connection.send(nothing.join(fragments))  # type: ignore[arg-type]


@asynccontextmanager
async def start_streaming_websockets(context: TLS) -> AsyncGenerator[int]:
    async with websockets.asyncio.server.serve(
        stream_back_as_websockets, "127.0.0.1", 0, ssl=context, max_size=MAX_SIZE
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@asynccontextmanager
async def serve_ours(context: TLS) -> AsyncGenerator[int]:
    async def handle(request: WebSocketRequest) -> None:
        if request.path == "/reject":
            await request.reject(403, body=b"not you\n")
            return
        connection = await request.accept(subprotocol="chat")
        async for message in connection:
            if message == "close":
                await connection.aclose(4000, "bye")
            else:
                await connection.send_message(message)

    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, handle, "127.0.0.1", 0, context)
        server = await nursery.start(serve)
        [endpoint] = server.listeners
        assert isinstance(endpoint, Endpoint)
        yield endpoint.port
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("start", [start_websockets, start_aiohttp])
async def test_our_client_gets_on_with_their_server(
    start: StartPeer,
    scheme: str,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    is_secure = scheme == "wss"
    peer = partial(start, server_tls if is_secure else None)
    async with run_in_thread(peer) as port:
        url = f"{scheme}://127.0.0.1:{port}/"
        context = client_tls if is_secure else None
        async with open_websocket_url(url, context, subprotocols=["chat"]) as client:
            assert client.subprotocol == "chat"
            for message in MESSAGES:
                await client.send_message(message)
                assert await client.get_message() == message
            assert await client.ping() > 0
            await client.send_message("ping")
            assert await client.get_message() == "pong"
            await client.send_message("fragments")
            assert await client.get_message() == "abc"
            await client.send_message("close")
            with pytest.raises(ConnectionClosed):
                await client.get_message()
        assert client.closed is not None
        assert (client.closed.code, client.closed.reason) == (4000, "bye")
        async with open_websocket_url(url, context, subprotocols=["chat"]) as client:
            await client.aclose(1001, "our turn")
        assert client.close_received is not None
        with pytest.raises(ConnectionRejected) as caught:
            await open_websocket_url(f"{url}reject", context).__aenter__()
        assert caught.value.status_code == 403
        assert caught.value.body == b"not you\n"


# Over TLS aiohttp's client leaves its socket behind when its loop ends.
@pytest.mark.parametrize(
    ("talk", "scheme"),
    [
        (talk_as_websockets, "ws"),
        (talk_as_websockets, "wss"),
        (talk_as_aiohttp, "ws"),
    ],
)
async def test_our_server_gets_on_with_their_client(
    talk: TalkAsPeer,
    scheme: str,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    is_secure = scheme == "wss"
    async with serve_ours(server_tls if is_secure else None) as port:
        url = f"{scheme}://127.0.0.1:{port}/"
        conversation = partial(talk, url, client_tls if is_secure else None)

        async def converse() -> list[object]:
            return await conversation()

        heard = await trio.to_thread.run_sync(lambda: asyncio.run(converse()))
    assert heard == ["chat", *MESSAGES, "abc", 4000, "bye", 403, b"not you\n"]


COMPRESSIONS = pytest.mark.parametrize("compression", [None, "deflate"])
TEXT_PARTS = ["text ", "\u20ac" * 50_000, " in parts " * 1000]
DATA_PARTS = [b"data ", bytes(300_000), bytes(range(256)) * 100]


@COMPRESSIONS
async def test_websockets_reads_each_part_of_a_message(
    compression: Compression,
) -> None:
    async with (
        run_in_thread(partial(start_streaming_websockets, None)) as port,
        open_websocket_url(
            f"ws://127.0.0.1:{port}/",
            compression=compression,
            max_message_size=MAX_SIZE,
        ) as client,
    ):
        assert (client.compression is None) is (compression is None)
        for _ in range(2):
            async with client.message_writer() as writer:
                for text in TEXT_PARTS:
                    await writer.send(text)
            assert await client.get_message() == "4"  # the last is empty
            assert await client.get_message() == "".join(TEXT_PARTS)
            await client.send_message(DATA_PARTS)
            assert await client.get_message() == "4"
            assert await client.get_message() == b"".join(DATA_PARTS)
            await client.send_message(DATA_PARTS[2], fragment_size=1000, compress=False)
            assert await client.get_message() == "26"
            assert await client.get_message() == DATA_PARTS[2]


@COMPRESSIONS
async def test_aiohttp_reads_messages_in_parts(compression: Compression) -> None:
    async with (
        run_in_thread(partial(start_aiohttp, None)) as port,
        open_websocket_url(
            f"ws://127.0.0.1:{port}/",
            compression=compression,
            max_message_size=MAX_SIZE,
        ) as client,
    ):
        assert (client.compression is None) is (compression is None)
        for _ in range(2):
            async with client.message_writer(fragment_size=1000) as writer:
                for text in TEXT_PARTS:
                    await writer.send(text)
            assert await client.get_message() == "".join(TEXT_PARTS)
            await client.send_message(DATA_PARTS)
            assert await client.get_message() == b"".join(DATA_PARTS)
            await client.send_message(DATA_PARTS[1], fragment_size=140_000)
            assert await client.get_message() == DATA_PARTS[1]


async def stream_to_websockets(url: str) -> list[list[str | bytes]]:
    async with websockets.asyncio.client.connect(
        url, max_size=MAX_SIZE, proxy=None
    ) as connection:
        return [[part async for part in connection.recv_streaming()] for _ in range(2)]


async def stream_to_aiohttp(url: str) -> list[list[str | bytes]]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=MAX_SIZE, compress=15) as connection,
    ):
        return [[(await connection.receive()).data] for _ in range(2)]


@COMPRESSIONS
@pytest.mark.parametrize("talk", [stream_to_websockets, stream_to_aiohttp])
async def test_their_client_reads_each_part_of_our_server(
    talk: Callable[[str], Awaitable[list[list[str | bytes]]]], compression: Compression
) -> None:
    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        for parts in (TEXT_PARTS, DATA_PARTS):
            await connection.send_message(parts)
        await connection.wait_closed()

    async def converse() -> list[list[str | bytes]]:
        return await talk(f"ws://127.0.0.1:{endpoint.port}/")

    async with trio.open_nursery() as nursery:
        serve = partial(
            serve_websocket, handle, "127.0.0.1", 0, None, compression=compression
        )
        server = await nursery.start(serve)
        [endpoint] = server.listeners
        assert isinstance(endpoint, Endpoint)
        heard = await trio.to_thread.run_sync(lambda: asyncio.run(converse()))
        nursery.cancel_scope.cancel()
    if talk is stream_to_websockets:
        assert heard == [[*TEXT_PARTS, ""], [*DATA_PARTS, b""]]
    else:
        assert heard == [["".join(TEXT_PARTS)], [b"".join(DATA_PARTS)]]
