"""What happens on the connections while they are measured, for any async library."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import deflated
from assignment import Assignment, hear_port, skip
from counterpart import OPENINGS_AT_ONCE, STREAMED_SIZE
from frames import build_message
from meter import Meter, Scales
from rows import MIB

from .link import Link
from .loop import Loop

# Messages in a call that takes many of them.
BATCH = 64
# Time for a server to be done with its last connection before its memory is read.
SETTLING_TIME = 0.3
# The clock is read after so many bytes, or this many messages.
_BYTES_PER_TICK = 262144
_MOST_PER_TICK = 256
# Echoes are some 20 times slower than floods.
_MOST_ECHOES_PER_TICK = 16


class Library(Protocol):
    """A library under test."""

    async def serve(self, handle: Callable[[Link], Awaitable[None]]) -> None:
        """Announce a port and serve on it for ever."""

    async def connect(self, port: int) -> Link:
        """Open a connection, which stays open."""

    async def broadcast(self, links: Sequence[Link], message: str | bytes) -> None:
        """Send a message on many connections."""


def find_chunk(assignment: Assignment) -> int:
    """Find how many messages may pass between two looks at the clock."""
    most = _MOST_PER_TICK
    if assignment.scene in {"ask", "answer"}:
        most = _MOST_ECHOES_PER_TICK
    return max(1, min(most, _BYTES_PER_TICK // assignment.size))


def build_messages(assignment: Assignment) -> Sequence[str | bytes]:
    """Build the messages that are sent one after the other, and then again."""
    if assignment.kind == "json":
        return deflated.build_pool(assignment.size)
    kind = "binary" if assignment.kind == "mix" else assignment.kind
    return [build_message(kind, assignment.size)]


class Stage:
    """Plays the scene of an assignment with a library, on its event loop."""

    def __init__(self, assignment: Assignment, library: Library, loop: Loop) -> None:
        self._assignment = assignment
        self._library = library
        self._loop = loop
        self._meter = Meter(assignment)
        self._scales = Scales(assignment)
        self._links: list[Link] = []
        self._opened = 0
        self._port = 0
        self._chunk = find_chunk(assignment)
        self._pool = build_messages(assignment)
        self._messages: Iterator[str | bytes] = itertools.cycle(self._pool)
        self._scenes: dict[str, Callable[[Link], Awaitable[None]]] = {
            "receive": self._receive,
            "send": self._send,
            "read": self._read,
            "write": self._write,
            "ask": self._ask,
            "answer": self._answer,
            "chat": self._answer,
            "open": self._open,
            "hold": self._hold,
            "broadcast": self._broadcast,
        }

    async def play(self) -> None:
        """Be a server or a client, for ever."""
        bystander = self._meter.bystander
        if bystander is not None:
            self._loop.start(lambda: bystander.nap(self._loop.sleep))
        if self._assignment.role == "server":
            await self._library.serve(self._scenes[self._assignment.scene])
            return
        self._port = hear_port()
        at_once = OPENINGS_AT_ONCE if self._assignment.scene == "open" else 1
        for _ in range(at_once):
            self._loop.start(self._join)
        await self._loop.sleep(self._assignment.time_limit)

    async def _join(self) -> None:
        # A task for each connection, as on a server; each starts the next one.
        link = await self._library.connect(self._port)
        self._opened += 1
        is_endless = self._assignment.scene == "open"
        if is_endless or self._opened < self._assignment.connections:
            self._loop.start(self._join)
        await self._scenes[self._assignment.scene](link)

    async def _receive(self, link: Link) -> None:
        if self._assignment.style == "many":
            await self._receive_many(link)
        elif self._assignment.style == "for":
            await self._receive_each(link)
        receive, chunk, tick = link.receive, self._chunk, self._meter.tick
        while True:
            for _ in range(chunk):
                await receive()
            tick(chunk)

    async def _receive_each(self, link: Link) -> None:
        if link.messages is None:
            skip("has no async for")
        chunk, tick = self._chunk, self._meter.tick
        left = chunk
        async for _ in link.messages:
            left -= 1
            if not left:
                tick(chunk)
                left = chunk

    async def _receive_many(self, link: Link) -> None:
        receive_many, chunk, tick = link.receive_many, self._chunk, self._meter.tick
        if receive_many is None:
            skip("has no get_messages")
        while True:
            count = 0
            while count < chunk:
                count += len(await receive_many())
            tick(count)

    async def _send(self, link: Link) -> None:
        for _ in range(self._assignment.tasks - 1):
            self._loop.start(lambda: self._send_on(link))
        await self._send_on(link)

    async def _send_on(self, link: Link) -> None:
        if self._assignment.style == "many":
            await self._send_many(link)
        send, messages = link.send, self._messages
        chunk, tick = self._chunk, self._meter.tick
        while True:
            for message in itertools.islice(messages, chunk):
                await send(message)
            tick(chunk)

    async def _send_many(self, link: Link) -> None:
        send_many, tick = link.send_many, self._meter.tick
        batch = list(itertools.islice(self._messages, BATCH))
        if send_many is None:
            skip("has no send_messages")
        while True:
            await send_many(batch)
            tick(BATCH)

    async def _ask(self, link: Link) -> None:
        send, receive, messages = link.send, link.receive, self._messages
        chunk, tick = self._chunk, self._meter.tick
        while True:
            for message in itertools.islice(messages, chunk):
                await send(message)
                await receive()
            tick(chunk)

    async def _answer(self, link: Link) -> None:
        # With many connections each has a few messages only, so they count one by one.
        chunk = self._chunk if self._assignment.connections == 1 else 1
        answer, tick = link.answer, self._meter.tick
        while True:
            for _ in range(chunk):
                await answer()
            tick(chunk)

    async def _read(self, link: Link) -> None:
        """Read large messages part by part, or as many bytes in whole ones."""
        tick, read_message = self._meter.tick, link.read_message
        if self._assignment.style == "whole":
            while True:
                await link.receive()
                tick(MIB)
        if read_message is None:
            skip("has no message_reader")
        while True:
            count = 0
            async with read_message() as parts:
                async for part in parts:
                    count += len(part)
                    if count >= MIB:
                        tick(count)
                        count = 0
            tick(count)

    async def _write(self, link: Link) -> None:
        """Write such messages."""
        tick, write_message = self._meter.tick, link.write_message
        if self._assignment.style == "whole":
            message = build_message("binary", MIB)
            while True:
                await link.send(message)
                tick(MIB)
        if write_message is None:
            skip("has no message_writer")
        (part,) = self._pool
        parts_per_tick = MIB // self._assignment.size
        while True:
            async with write_message() as writer:
                for _ in range(STREAMED_SIZE // MIB):
                    for _ in range(parts_per_tick):
                        await writer.send(part)
                    tick(MIB)

    async def _open(self, link: Link) -> None:
        self._meter.tick(1)
        await link.receive()

    async def _hold(self, link: Link) -> None:
        if self._scales.add():
            self._loop.start(self._weigh)
        await link.receive()

    async def _weigh(self) -> None:
        await self._loop.sleep(SETTLING_TIME)
        self._scales.weigh()

    async def _broadcast(self, link: Link) -> None:
        self._links.append(link)
        if len(self._links) == self._assignment.connections:
            self._loop.start(self._broadcast_on)
        await link.receive()

    async def _broadcast_on(self) -> None:
        while True:
            await self._library.broadcast(self._links, self._pool[0])
            self._meter.tick(len(self._links))
