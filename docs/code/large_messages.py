"""Messages that are read and written piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import trio

from trio_websocket import TextReader, WebSocketConnection

MOST = 10 * 2**30  # bytes
PART_SIZE = 2**16


async def save(connection: WebSocketConnection, path: Path) -> None:
    """Write the next message to a file while it arrives."""
    async with (
        connection.message_reader(max_bytes=MOST) as reader,
        await trio.open_file(path, "wb") as file,
    ):
        if isinstance(reader, TextReader):
            raise TypeError("a file comes in a binary message")
        async for part in reader:
            await file.write(part)


async def get_picture(connection: WebSocketConnection) -> bytes | None:
    """Take a message that begins with a kind of four letters; None if it is another."""
    async with connection.message_reader() as reader:
        if reader.kind == "text" or await reader.read_exactly(4) != b"PNG:":
            return None
        return await reader.read()


async def send_file(connection: WebSocketConnection, path: Path) -> None:
    """Send a file as one message."""
    async with (
        await trio.open_file(path, "rb") as file,
        connection.message_writer("bytes") as writer,
    ):
        while part := await file.read(PART_SIZE):
            await writer.send(part)


async def count(stop: int) -> AsyncGenerator[str]:
    """Count, a number a second."""
    for number in range(stop):
        yield f"{number}\n"
        await trio.sleep(1)


async def send_count(connection: WebSocketConnection) -> None:
    """Send one text message that lasts for ten seconds."""
    async with aclosing(count(10)) as parts:
        await connection.send_message(parts)


async def relay(source: WebSocketConnection, target: WebSocketConnection) -> None:
    """Pass on whatever comes, until one of the two connections ends."""
    while True:
        async with source.message_reader() as reader:
            await target.forward_message(reader)
