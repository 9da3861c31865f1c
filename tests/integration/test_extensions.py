"""Extensions of the program's on whole connections, in both roles."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar

import pytest
import trio
import trio.testing

from trio_websocket import (
    CloseCode,
    ConnectionClosed,
    InvalidHandshake,
    PerMessageDeflate,
    ProtocolViolation,
    WebSocketConnection,
    WebSocketRequest,
    connect_websocket_url,
    open_websocket,
    open_websocket_url,
    serve_websocket,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket.extensions import Extension, FrameExtension, MessageExtension
from trio_websocket.frames import Frame, FrameStream, Opcode

Makers = Sequence[Callable[[], object]]
MANY: list[str | bytes] = ["a", b"b", "c" * 99] * 9
Pair = tuple[WebSocketConnection, WebSocketConnection]


class Count(MessageExtension):
    """Numbers the messages, and wants them in order."""

    name: ClassVar[str] = "x-count"

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0

    def encode(self, kind: str, data: bytes) -> bytes | None:
        if data == b"unfit":
            raise ValueError("an unfit message")
        self.sent += 1
        return b"%d:%s" % (self.sent, data)

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        self.received += 1
        number, _, rest = data.partition(b":")
        if number != b"%d" % self.received:
            raise ValueError(f"message {self.received} is missing")
        return rest


class Turn(FrameExtension):
    """Turns each frame round."""

    name: ClassVar[str] = "x-turn"

    def encode(self, frame: Frame) -> Frame:
        return Frame(frame.opcode, bytes(frame.payload)[::-1], frame.fin, frame.rsv1)

    decode = encode


class Mark(MessageExtension):
    """Sends binary messages with a bit, and what is too large as it stands."""

    name: ClassVar[str] = "x-mark"
    reserved_bits: ClassVar[Collection[int]] = (2,)

    def encode(self, kind: str, data: bytes) -> bytes | None:
        return b"%d" % len(data) if kind == "bytes" else None

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        return bytes(int(data))


@asynccontextmanager
async def open_pair(
    client: Makers,
    server: Makers,
    *,
    is_compressed: bool = False,
    max_message_size: int = 2**20,
    message_queue_size: int = 1,
) -> AsyncGenerator[Pair]:
    """Open a client and a server that are connected in memory."""
    ours, theirs = trio.testing.memory_stream_pair()
    opened: list[WebSocketConnection] = []
    compression = PerMessageDeflate() if is_compressed else None

    async def accept() -> None:
        request = await wrap_server_stream(
            nursery,
            theirs,
            extensions=server,
            compression=compression,
            max_message_size=max_message_size,
            message_queue_size=message_queue_size,
        )
        opened.append(await request.accept())

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as opening:
            opening.start_soon(accept)
            connection = await wrap_client_stream(
                nursery,
                ours,
                "localhost",
                "/",
                extensions=client,
                compression=compression,
                max_message_size=max_message_size,
            )
        yield connection, opened[0]
        nursery.cancel_scope.cancel()


def find_names(connection: WebSocketConnection) -> list[str]:
    return [extension.name for extension in connection.extensions]


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        ([Count, Turn], [Turn, Count], ["x-count", "x-turn"]),
        ([Turn, Mark, Count], [Count, Turn], ["x-turn", "x-count"]),
        ([], [Count], []),
        ([Count], [], []),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
async def test_both_ends_use_what_both_of_them_have(
    client: Makers, server: Makers, expected: list[str], *, is_compressed: bool
) -> None:
    async with open_pair(client, server, is_compressed=is_compressed) as ends:
        assert [find_names(end) for end in ends] == [expected] * 2
        assert [end.compression is not None for end in ends] == [is_compressed] * 2
        for sender, receiver in (ends, ends[::-1]):
            for message in ("text" * 99, b"data" * 99, "", b"x" * 70_000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sender.send_message, message)
                    assert await receiver.get_message() == message
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send_messages, iter(MANY))
                for message in MANY:
                    assert await receiver.get_message() == message
        assert await ends[0].ping() >= 0


async def test_the_instances_belong_to_the_connection() -> None:
    makers = [Count]
    async with open_pair(makers, makers) as first, open_pair(makers, makers) as second:
        instances = [end.extensions[0] for end in (*first, *second)]
        assert len({*map(id, instances)}) == 4
        await first[0].send_message("x")
        assert await first[1].get_message() == "x"
        counts = [
            (extension.sent, extension.received)
            for extension in instances
            if isinstance(extension, Count)
        ]
        assert counts == [(1, 0), (0, 1), (0, 0), (0, 0)]


async def test_messages_in_parts_go_through_them() -> None:
    """Those of messages are given the whole, those of frames each part."""
    makers = [Count, Turn]
    async with open_pair(makers, makers) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            async with sender.message_writer() as writer:
                await writer.send("abc")
                await writer.send("def")
            assert await receiver.get_message() == "abcdef"
            await sender.send_message(b"0123456789", fragment_size=3)
            async with receiver.message_reader() as reader:
                assert await reader.read() == b"0123456789"
            await sender.send_message(bytearray(b"whole"))
            assert await receiver.get_message() == b"whole"


async def test_a_message_in_parts_that_an_extension_refuses_ends_the_connection() -> (
    None
):
    """Its beginning may be gone."""
    async with open_pair([Count], [Count]) as (client, server):
        with pytest.raises(ValueError, match="unfit"):
            async with client.message_writer() as writer:
                await writer.send(b"unfit")
        with pytest.raises(ConnectionClosed):
            await server.get_message()
        assert server.closed is not None
        assert server.closed.code == CloseCode.INTERNAL_ERROR


@pytest.mark.parametrize("is_compressed", [True, False])
async def test_a_message_over_the_limit_is_not_read_as_an_empty_one(
    *, is_compressed: bool
) -> None:
    async with open_pair([Count], [Count], is_compressed=is_compressed) as pair:
        client, server = pair
        await client.send_message(bytes(2**20 + 1))
        with pytest.raises(ConnectionClosed):
            async with server.message_reader() as reader:
                await reader.read()
        assert server.closed is not None
        assert server.closed.code == CloseCode.MESSAGE_TOO_BIG


class Picky(FrameExtension):
    """Refuses the third frame."""

    name: ClassVar[str] = "x-picky"

    def __init__(self) -> None:
        self.count = 0

    def encode(self, frame: Frame) -> Frame:
        self.count += 1
        if self.count == 3:
            raise ValueError("not the third")
        return frame

    def decode(self, frame: Frame) -> Frame:
        return frame


@pytest.mark.parametrize("fragment_size", [None, 10_000])
async def test_what_was_compressed_and_not_sent_is_not_referred_to(
    fragment_size: int | None,
) -> None:
    async with open_pair([Picky], [Picky], is_compressed=True) as (client, server):
        for number in range(5):
            message = f"pay {number} to Eve, " * 30
            if number == 2:
                with pytest.raises(ValueError, match="third"):
                    await client.send_message(message, fragment_size=fragment_size)
            else:
                await client.send_message(message, fragment_size=fragment_size)
                assert await server.get_message() == message


class Faulty(Count):
    """Has a mistake that shows at the third message."""

    name: ClassVar[str] = "x-faulty"

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        if data.endswith(b":bug"):
            raise KeyError(kind)
        return super().decode(kind, data, max_size)


@pytest.mark.parametrize("has_reader", [True, False])
async def test_a_mistake_in_an_extension_takes_no_message_along(
    *, has_reader: bool
) -> None:
    async with open_pair([Faulty], [Faulty], message_queue_size=0) as (client, server):
        for message in ("one", "two", "bug", "more"):
            await client.send_message(message)
        await trio.testing.wait_all_tasks_blocked(0.01)
        got: list[str | bytes] = []
        failures = 0
        with trio.fail_after(5):
            while True:
                try:
                    if has_reader:
                        async with server.message_reader() as reader:
                            got.append(await reader.read())
                    else:
                        got += await server.get_messages()
                except KeyError:
                    failures += 1
                except ConnectionClosed:
                    break
        assert got == ["one", "two"]
        assert failures == 1


async def test_two_extensions_of_one_bit_are_not_accepted_together() -> None:
    """S-64."""
    rival = type("Rival", (Mark,), {"name": "x-rival"})
    for makers in ([Mark, rival], [rival, Mark]):
        async with open_pair(makers, [Mark, rival]) as (client, server):
            assert find_names(client) == find_names(server)
            assert find_names(client) == [makers[0]().name]


async def test_a_message_that_an_extension_refuses_is_not_sent() -> None:
    async with open_pair([Count], [Count]) as (client, server):
        with pytest.raises(ValueError, match="an unfit message"):
            await client.send_message("unfit")
        with pytest.raises(ValueError, match="an unfit message"):
            await client.send_messages(["a", "unfit", "b"])
        await client.send_message("c")
        assert [await server.get_message() for _ in range(2)] == ["a", "c"]


async def test_a_message_that_becomes_too_large_ends_the_connection() -> None:
    async with open_pair([Mark], [Mark], max_message_size=99) as (client, server):
        await client.send_message(bytes(99))
        assert await server.get_message() == bytes(99)
        await client.send_message(bytes(100))
        with pytest.raises(ConnectionClosed) as caught:
            await server.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == CloseCode.MESSAGE_TOO_BIG


async def test_without_a_use_for_messages_one_over_the_limit_ends_the_connection() -> (
    None
):
    """What is not decoded may be needed for what follows."""
    async with open_pair([Count], [Count], max_message_size=9) as (client, server):
        async with server.cancel_on_close(discard=True):
            await client.send_message("0123456789")
            await client.send_message("x")
            await trio.sleep(math.inf)
        closed = server.closed
        assert closed is not None
        assert closed.code == CloseCode.MESSAGE_TOO_BIG


async def test_messages_are_not_decoded_once_we_have_closed() -> None:
    async with open_pair([Count], [Count]) as (client, server):
        await client.send_message("unread")
        await client.send_message("unread")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await client.wait_closed()
        assert client.closed is not None
        assert client.closed.code == CloseCode.NORMAL_CLOSURE


# A peer that speaks in frames.


@asynccontextmanager
async def open_against_frames(
    maker: Callable[[], Extension],
) -> AsyncGenerator[tuple[WebSocketConnection, FrameStream]]:
    """Open a server to a client that speaks in frames."""
    ours, theirs = trio.testing.memory_stream_pair()
    name = maker().name
    head = (
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Extensions: {name}\r\n\r\n"
    )
    async with trio.open_nursery() as nursery:
        await theirs.send_all(head.encode())
        request = await wrap_server_stream(nursery, ours, extensions=[maker])
        server = await request.accept()
        answer = await theirs.receive_some(None)
        assert f"\r\nSec-WebSocket-Extensions: {name}\r\n".encode() in answer
        yield server, FrameStream(theirs, client=True)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("maker", "frame", "code", "problem"),
    [
        (Count, Frame(Opcode.TEXT, b"2:x"), 1007, "message 1 is missing"),
        (Count, Frame(Opcode.TEXT, b"1:x", rsv3=True), 1002, ""),
        (Mark, Frame(Opcode.TEXT, b"x", rsv2=True), 1007, "invalid literal for int"),
    ],
)
async def test_what_cannot_be_decoded_fails_the_connection(
    maker: Callable[[], Extension], frame: Frame, code: int, problem: str
) -> None:
    async with open_against_frames(maker) as (server, peer):
        await peer.send_frame(frame)
        with pytest.raises(ConnectionClosed) as caught:
            await server.get_message()
        cause = caught.value.__cause__
        assert isinstance(cause, ProtocolViolation)
        assert cause.code == code
        assert problem in cause.problem
        closing = await peer.receive_frame()
        assert bytes(closing.payload[:2]) == code.to_bytes(2)


async def test_a_client_does_not_take_what_it_has_not_offered() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    intruder = type("Intruder", (Count,), {"confirm": refuse})
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            request = await wrap_server_stream(nursery, theirs, extensions=[Count])
            connection = await request.accept()
            with pytest.raises(ConnectionClosed):
                await connection.get_message()

        nursery.start_soon(accept)
        with pytest.raises(InvalidHandshake, match="x-count: not like this") as caught:
            await wrap_client_stream(
                nursery, ours, "localhost", "/", extensions=[intruder]
            )
        assert isinstance(caught.value.__cause__, ValueError)


def refuse(_extension: Extension, _accepted: object) -> None:
    raise ValueError("not like this")


# The entry points.


async def test_every_entry_point_takes_extensions() -> None:
    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async for message in connection:
            await connection.send_message(message)

    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, extensions=[Count, Turn])
        server = await nursery.start(serve, echo, "127.0.0.1", 0, None)
        url = f"ws://127.0.0.1:{server.port}/"
        async with (
            open_websocket_url(url, extensions=[Turn]) as by_url,
            open_websocket(
                "127.0.0.1", server.port, "/", use_ssl=False, extensions=(Count, Turn)
            ) as by_host,
            open_websocket_url(url) as plain,
        ):
            in_nursery = await connect_websocket_url(nursery, url, extensions=[Count])
            names = [find_names(each) for each in (by_url, by_host, in_nursery, plain)]
            assert names == [["x-turn"], ["x-count", "x-turn"], ["x-count"], []]
            for client in (by_url, by_host, in_nursery, plain):
                for message in ("h\u00e9llo", b"data" * 9999, "end"):
                    await client.send_message(message)
                    assert await client.get_message() == message
            await in_nursery.aclose()
        nursery.cancel_scope.cancel()


class Mistaken(Count):
    """Has a mistake in it."""

    name: ClassVar[str] = "x-mistaken"

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        raise KeyError(kind)


async def test_a_mistake_in_an_extension_ends_its_connection_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        async for message in connection:
            await connection.send_message(message)

    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, extensions=[Mistaken])
        server = await nursery.start(serve, echo, "127.0.0.1", 0, None)
        url = f"ws://127.0.0.1:{server.port}/"
        async with (
            open_websocket_url(url) as plain,
            open_websocket_url(url, extensions=[Mistaken]) as extended,
        ):
            await extended.send_message("x")
            with pytest.raises(ConnectionClosed):
                await extended.get_message()
            await plain.send_message("x")
            assert await plain.get_message() == "x"
        nursery.cancel_scope.cancel()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert errors
    for record in errors:
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], KeyError)


async def test_what_is_no_extension_is_refused_before_anything_is_sent() -> None:
    async with trio.open_nursery() as nursery:
        for makers, error in (([dict], TypeError), ([Count, Count], ValueError)):
            sent = trio.testing.MemorySendStream()
            stream = trio.StapledStream(sent, trio.testing.MemoryReceiveStream())
            with pytest.raises(error, match="extension"):
                await wrap_client_stream(
                    nursery, stream, "localhost", "/", extensions=makers
                )
            with pytest.raises(trio.WouldBlock):
                sent.get_data_nowait()


async def test_a_server_with_a_wrong_extension_leaves_the_request_unanswered() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            request = await wrap_server_stream(nursery, theirs, extensions=[dict])
            with pytest.raises(TypeError, match=r"^an extension must be "):
                await request.accept()
            await request.reject(503)

        nursery.start_soon(accept)
        with pytest.raises(Exception, match="503"):
            await wrap_client_stream(nursery, ours, "localhost", "/")
