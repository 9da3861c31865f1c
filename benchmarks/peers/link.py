"""A connection of some library, as the scenes see it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sized
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


class Writer(Protocol):
    """Writes one message part by part."""

    async def send(self, part: str | bytes) -> None:
        """Send the next part."""


@dataclass(frozen=True, slots=True)
class Link:
    """What can be done with a connection.

    These are the methods of the library itself wherever they fit, so that nothing of
    ours is between them and the scene.

    Attributes:
        source: The connection as the library has it.
        receive: Takes a message.
        send: Sends a message of the kind that the scene is about.
        answer: Takes a message and sends it back.
        receive_many: Takes all messages at hand, if the library can do that.
        send_many: Sends many messages, if the library can do that.
        read_message: Reads a message part by part, if the library can do that.
        write_message: Writes a message part by part, if the library can do that.
        messages: Gives one message after the other, if that is asked for.

    """

    source: object
    receive: Callable[[], Awaitable[object]]
    send: Callable[[str | bytes], Awaitable[object]]
    answer: Callable[[], Awaitable[object]]
    receive_many: Callable[[], Awaitable[Sized]] | None = None
    send_many: Callable[[list[str | bytes]], Awaitable[object]] | None = None
    read_message: (
        Callable[[], AbstractAsyncContextManager[AsyncIterable[Sized]]] | None
    ) = None
    write_message: Callable[[], AbstractAsyncContextManager[Writer]] | None = None
    messages: AsyncIterable[object] | None = None
