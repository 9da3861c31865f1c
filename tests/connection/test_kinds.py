"""Messages of one kind: the calls that send or take text only, or binary only."""

from __future__ import annotations

import pytest
import trio

from trio_websocket import ConnectionClosed, ProtocolViolation, WebSocketConnection

from .rig import open_pair, open_rig, settle

BINARY = [b"data", bytearray(b"data"), memoryview(b"data")]


async def send(connection: WebSocketConnection, name: str, message: object) -> None:
    """Send what a type checker would not let pass."""
    await getattr(connection, name)(message)


async def test_text_is_sent_and_taken_as_text() -> None:
    async with open_pair() as (client, server):
        await client.send_text("h\u00e9llo")
        assert await server.get_text() == "h\u00e9llo"
        await client.send_text("")
        assert await server.get_message() == ""


@pytest.mark.parametrize("data", BINARY, ids=["bytes", "bytearray", "memoryview"])
async def test_anything_bytes_like_is_sent_and_taken_as_binary(
    data: bytes | bytearray | memoryview,
) -> None:
    async with open_pair() as (client, server):
        await client.send_bytes(data)
        message = await server.get_bytes()
        assert message == b"data"
        assert type(message) is bytes


@pytest.mark.parametrize("text", [*BINARY, None, 5])
async def test_what_is_no_text_is_not_sent_as_such(text: object) -> None:
    async with open_pair() as (client, server):
        kind = type(text).__name__
        with pytest.raises(
            TypeError, match=f"^a text message must be a str, not {kind}"
        ):
            await send(client, "send_text", text)
        await client.send_text("next")
        assert await server.get_text() == "next"


@pytest.mark.parametrize("data", ["text", None, 5, [1]])
async def test_what_is_not_bytes_like_is_not_sent_as_such(data: object) -> None:
    async with open_pair() as (client, server):
        kind = type(data).__name__
        words = f"^a binary message must be bytes-like, not {kind}$"
        with pytest.raises(TypeError, match=words):
            await send(client, "send_bytes", data)
        await client.send_bytes(b"next")
        assert await server.get_bytes() == b"next"


async def test_text_that_utf_8_cannot_carry_is_not_sent() -> None:
    async with open_pair() as (client, server):
        with pytest.raises(ValueError, match="surrogates not allowed"):
            await client.send_text("\ud800")
        await client.send_text("next")
        assert await server.get_text() == "next"


@pytest.mark.parametrize(
    ("wanted", "message", "problem"),
    [
        ("get_text", b"data", "a binary message came where text was wanted"),
        ("get_bytes", "text", "a text message came where binary was wanted"),
    ],
)
async def test_a_message_of_the_other_kind_ends_the_connection_with_1003(
    wanted: str, message: str | bytes, problem: str
) -> None:
    async with open_rig() as rig:
        opcode = 1 if isinstance(message, str) else 2
        payload = message.encode() if isinstance(message, str) else message
        await rig.peer.send_frame(opcode, payload)
        with pytest.raises(ConnectionClosed) as caught:
            await getattr(rig.connection, wanted)()
        assert isinstance(caught.value.__cause__, ProtocolViolation)
        assert caught.value.__cause__.code == 1003
        assert await rig.peer.receive_close() == (1003, problem)
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_message()


@pytest.mark.parametrize("wanted", ["get_text", "get_bytes"])
async def test_a_message_of_the_other_kind_behind_which_the_peer_closed_changes_nothing(
    wanted: str,
) -> None:
    async with open_pair() as (client, server):
        await client.send_message(b"data" if wanted == "get_text" else "text")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose, 4001, "bye")
            await settle()
            with pytest.raises(ConnectionClosed) as caught:
                await getattr(server, wanted)()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 4001


@pytest.mark.parametrize("wanted", ["get_text", "get_bytes"])
async def test_a_closed_connection_has_messages_of_no_kind(wanted: str) -> None:
    async with open_rig() as rig:
        await rig.connection.abort()
        with pytest.raises(ConnectionClosed):
            await getattr(rig.connection, wanted)()
        with pytest.raises(ConnectionClosed):
            await rig.connection.send_text("late")
        with pytest.raises(ConnectionClosed):
            await rig.connection.send_bytes(b"late")
