"""Compressed conversations with websockets and aiohttp, in both roles.

They run on asyncio, in a thread. Each of them says what it has understood to be agreed
on, in its own words, and each end must have understood the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import aiohttp.web
import pytest
import trio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

from trio_websocket import (
    ConnectionClosed,
    DeflateAgreement,
    Endpoint,
    PerMessageDeflate,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)
from trio_websocket._options import Compression

from .asyncio_thread import run_in_thread

MAX_SIZE = 2**21
WINDOWS = range(9, 16)  # all that zlib can compress with
ALONE = PerMessageDeflate(
    client_no_context_takeover=True, server_no_context_takeover=True
)
NOISE = random.Random(7).randbytes(20_000)  # noqa: S311  # not a secret
LARGE = NOISE + bytes(300_000) + NOISE  # some of it cannot be compressed
# In the first of them what follows refers to the beginning, if the window is large.
MESSAGES: list[str | bytes] = [
    NOISE * 2,
    "",
    b"",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "\u00fc\u20ac\U0001f600" * 20_000,
    LARGE,
    b"The quick brown fox jumps over the lazy dog.",
]
PARTS = ["The quick brown fox ", "", "jumps over the lazy dog. " * 99, "The end"]
SMALL = [f"number {number} of many small messages" for number in range(200)]
Conversation = Callable[[str], Awaitable[tuple[str, list[object]]]]


def make_options(window: int) -> PerMessageDeflate:
    return PerMessageDeflate(
        client_max_window_bits=window, server_max_window_bits=window
    )


def make_agreement(window: int) -> DeflateAgreement:
    return DeflateAgreement(False, False, window, window)


# What websockets calls what was agreed on: a list of extensions.


def show_for_websockets(agreement: DeflateAgreement | None, *, is_client: bool) -> str:
    if agreement is None:
        return "[]"
    takeovers = (
        agreement.server_no_context_takeover,
        agreement.client_no_context_takeover,
    )
    windows = (agreement.server_max_window_bits, agreement.client_max_window_bits)
    remote, local = (0, 1) if is_client else (1, 0)
    return (
        "[PerMessageDeflate("
        f"remote_no_context_takeover={takeovers[remote]}, "
        f"local_no_context_takeover={takeovers[local]}, "
        f"remote_max_window_bits={windows[remote]}, "
        f"local_max_window_bits={windows[local]})]"
    )


# Their servers, our client.


@asynccontextmanager
async def start_websockets(
    factory: ServerPerMessageDeflateFactory | None,
) -> AsyncGenerator[int]:
    async def handle(connection: ServerConnection) -> None:
        await connection.send(str(connection.protocol.extensions))
        async for message in connection:
            await connection.send(PARTS if message == "fragments" else message)

    async with serve(
        handle,
        "127.0.0.1",
        0,
        max_size=MAX_SIZE,
        compression=None,
        extensions=None if factory is None else [factory],
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@asynccontextmanager
async def start_aiohttp(*, compress: bool) -> AsyncGenerator[int]:
    async def handle(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        connection = aiohttp.web.WebSocketResponse(
            max_msg_size=MAX_SIZE, compress=compress
        )
        await connection.prepare(request)
        await connection.send_str(str(int(connection.compress)))
        async for message in connection:
            match message.data:
                case "fragments":
                    await connection.send_str("".join(PARTS))  # it cannot send them
                case str(text):
                    await connection.send_str(text)
                case data:
                    await connection.send_bytes(data)
        return connection

    application = aiohttp.web.Application()
    application.router.add_get("/", handle)
    runner = aiohttp.web.AppRunner(application)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def talk(client: WebSocketConnection) -> None:
    """Have every message sent back, compressed on either side or not."""
    for message in MESSAGES:
        for compress in (True, False):
            await client.send_message(message, compress=compress)
            assert await client.get_message() == message
    await client.send_message("fragments")
    assert await client.get_message() == "".join(PARTS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_messages, [*SMALL])
        assert [await client.get_message() for _ in SMALL] == SMALL


@pytest.mark.parametrize(
    ("options", "factory", "expected"),
    [
        ("deflate", ServerPerMessageDeflateFactory(), make_agreement(12)),
        (
            ALONE,
            ServerPerMessageDeflateFactory(),
            DeflateAgreement(True, True, 12, 12),
        ),
        (
            PerMessageDeflate(server_no_context_takeover=True),
            ServerPerMessageDeflateFactory(),
            DeflateAgreement(True, False, 12, 12),
        ),
        (
            PerMessageDeflate(client_no_context_takeover=True),
            ServerPerMessageDeflateFactory(),
            DeflateAgreement(False, True, 12, 12),
        ),
        (
            make_options(15),
            ServerPerMessageDeflateFactory(
                server_no_context_takeover=True,
                client_no_context_takeover=True,
                server_max_window_bits=9,
                client_max_window_bits=10,
            ),
            DeflateAgreement(True, True, 9, 10),
        ),
        (
            "deflate",
            # zlib cannot compress with it, so that our messages are plain.
            ServerPerMessageDeflateFactory(client_max_window_bits=8),
            DeflateAgreement(False, False, 12, 8),
        ),
        (
            # It declines the offer with that window, and accepts the other one.
            PerMessageDeflate(server_max_window_bits=8),
            ServerPerMessageDeflateFactory(),
            DeflateAgreement(False, False, 15, 12),
        ),
        *(
            (make_options(window), ServerPerMessageDeflateFactory(), expected)
            for window in WINDOWS
            for expected in [make_agreement(window)]
        ),
        ("deflate", None, None),
        (None, ServerPerMessageDeflateFactory(), None),
    ],
)
async def test_our_client_and_a_server_of_websockets(
    options: Compression,
    factory: ServerPerMessageDeflateFactory | None,
    expected: DeflateAgreement | None,
) -> None:
    async with run_in_thread(partial(start_websockets, factory)) as port:
        url = f"ws://127.0.0.1:{port}/"
        async with open_websocket_url(
            url, max_message_size=MAX_SIZE, compression=options
        ) as client:
            assert client.compression == expected
            theirs = show_for_websockets(expected, is_client=False)
            assert await client.get_message() == theirs
            await talk(client)


@pytest.mark.parametrize(
    ("options", "compress", "expected"),
    [
        ("deflate", True, make_agreement(12)),
        # It does not say that it knows of the client's promise, and need not.
        (ALONE, True, DeflateAgreement(True, True, 12, 12)),
        *((make_options(window), True, make_agreement(window)) for window in WINDOWS),
        (
            # It declines the offer with that window, and accepts the other one.
            PerMessageDeflate(server_max_window_bits=8),
            True,
            DeflateAgreement(False, False, 15, 12),
        ),
        ("deflate", False, None),
        (None, True, None),
    ],
)
async def test_our_client_and_a_server_of_aiohttp(
    options: Compression, *, compress: bool, expected: DeflateAgreement | None
) -> None:
    async with run_in_thread(partial(start_aiohttp, compress=compress)) as port:
        url = f"ws://127.0.0.1:{port}/"
        async with open_websocket_url(
            url, max_message_size=MAX_SIZE, compression=options
        ) as client:
            assert client.compression == expected
            # It tells the window that it compresses with.
            window = 0 if expected is None else expected.server_max_window_bits
            assert await client.get_message() == str(window)
            await talk(client)


# Our server, their clients.


async def talk_as_websockets(
    url: str, factory: ClientPerMessageDeflateFactory | None
) -> tuple[str, list[object]]:
    async with connect(
        url,
        max_size=MAX_SIZE,
        compression=None,
        extensions=None if factory is None else [factory],
        proxy=None,
    ) as connection:
        heard: list[object] = []
        for message in [*MESSAGES, PARTS]:
            await connection.send(message)
            heard += [await connection.recv(), await connection.recv()]
        for message in SMALL:
            await connection.send(message)
        heard += [await connection.recv() for _ in range(2 * len(SMALL))]
        return str(connection.protocol.extensions), heard


async def talk_as_aiohttp(url: str, compress: int) -> tuple[str, list[object]]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, max_msg_size=MAX_SIZE, compress=compress) as connection,
    ):
        heard: list[object] = []
        # It cannot send fragments.
        for message in [*MESSAGES, "".join(PARTS), *SMALL]:
            if isinstance(message, str):
                await connection.send_str(message)
            else:
                await connection.send_bytes(message)
            heard += [await connection.receive(), await connection.receive()]
        data = [each.data for each in heard if isinstance(each, aiohttp.WSMessage)]
        assert len(data) == len(heard)
        return str(connection.compress), data


async def listen_to(
    conversation: Conversation, options: Compression
) -> tuple[DeflateAgreement | None, str]:
    """Serve for a conversation, and find what each end believes to be agreed on.

    Each message is sent back twice: as it is sent by itself, and uncompressed.
    """
    agreed: list[DeflateAgreement | None] = []

    async def handle(request: WebSocketRequest) -> None:
        connection = await request.accept()
        agreed.append(connection.compression)
        try:
            while True:
                message = await connection.get_message()
                await connection.send_message(message)
                await connection.send_message(message, compress=False)
        except ConnectionClosed:
            pass

    async with trio.open_nursery() as nursery:
        start = partial(
            serve_websocket,
            handle,
            "127.0.0.1",
            0,
            None,
            max_message_size=MAX_SIZE,
            compression=options,
        )
        server = await nursery.start(start)
        [endpoint] = server.listeners
        assert isinstance(endpoint, Endpoint)
        url = f"ws://127.0.0.1:{endpoint.port}/"

        async def converse() -> tuple[str, list[object]]:
            return await conversation(url)

        theirs, heard = await trio.to_thread.run_sync(lambda: asyncio.run(converse()))
        nursery.cancel_scope.cancel()
    sent = [*MESSAGES, "".join(PARTS), *SMALL]
    assert heard == [message for message in sent for _ in range(2)]
    return agreed[0], theirs


@pytest.mark.parametrize(
    ("options", "factory", "expected"),
    [
        ("deflate", ClientPerMessageDeflateFactory(), make_agreement(12)),
        (
            "deflate",
            ClientPerMessageDeflateFactory(client_max_window_bits=None),
            DeflateAgreement(False, False, 12, 15),
        ),
        (
            "deflate",
            ClientPerMessageDeflateFactory(
                server_no_context_takeover=True, client_no_context_takeover=True
            ),
            DeflateAgreement(True, True, 12, 12),
        ),
        (
            "deflate",
            ClientPerMessageDeflateFactory(server_no_context_takeover=True),
            DeflateAgreement(True, False, 12, 12),
        ),
        (
            PerMessageDeflate(client_no_context_takeover=True),
            ClientPerMessageDeflateFactory(),
            DeflateAgreement(False, True, 12, 12),
        ),
        (ALONE, ClientPerMessageDeflateFactory(), DeflateAgreement(True, True, 12, 12)),
        (
            # zlib cannot compress with it, so that our messages are plain.
            "deflate",
            ClientPerMessageDeflateFactory(server_max_window_bits=8),
            DeflateAgreement(False, False, 8, 12),
        ),
        *(
            (
                make_options(15),
                ClientPerMessageDeflateFactory(
                    server_max_window_bits=window, client_max_window_bits=window
                ),
                make_agreement(window),
            )
            for window in WINDOWS
        ),
        *(
            (make_options(window), ClientPerMessageDeflateFactory(), expected)
            for window in (9, 15)
            for expected in [make_agreement(window)]
        ),
        ("deflate", None, None),
        (None, ClientPerMessageDeflateFactory(), None),
    ],
)
async def test_our_server_and_a_client_of_websockets(
    options: Compression,
    factory: ClientPerMessageDeflateFactory | None,
    expected: DeflateAgreement | None,
) -> None:
    conversation = partial(talk_as_websockets, factory=factory)
    ours, theirs = await listen_to(conversation, options)
    assert ours == expected
    assert theirs == show_for_websockets(expected, is_client=True)


@pytest.mark.parametrize(
    ("options", "compress", "expected", "window"),
    [
        ("deflate", 15, make_agreement(12), 12),
        (ALONE, 15, DeflateAgreement(True, True, 12, 12), 12),
        (
            PerMessageDeflate(server_no_context_takeover=True),
            15,
            DeflateAgreement(True, False, 12, 12),
            12,
        ),
        # It asks for a window of the server's, and takes what it is given itself.
        *(
            (make_options(15), window, DeflateAgreement(False, False, window, 15), 15)
            for window in WINDOWS
            if window < 15
        ),
        *(
            (make_options(window), 15, make_agreement(window), window)
            for window in (9, 15)
        ),
        ("deflate", 0, None, 0),
        (None, 15, None, 0),
    ],
)
async def test_our_server_and_a_client_of_aiohttp(
    options: Compression,
    compress: int,
    expected: DeflateAgreement | None,
    window: int,
) -> None:
    conversation = partial(talk_as_aiohttp, compress=compress)
    ours, theirs = await listen_to(conversation, options)
    assert ours == expected
    assert theirs == str(window)
