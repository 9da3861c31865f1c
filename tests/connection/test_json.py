"""Values as JSON, one in a message (L-56)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket._connection.arguments import CommonArgs

from .rig import open_pair, open_rig


@pytest.mark.parametrize(
    "value", [None, True, 5, 1.5, "text \u20ac", [], [1, [2]], {}, {"a": {"b": [None]}}]
)
async def test_a_value_comes_out_as_it_went_in(value: object) -> None:
    async with open_pair() as (client, server):
        await client.send_json(value)
        assert await server.get_json() == value


async def test_a_value_is_sent_as_text() -> None:
    async with open_pair() as (client, server):
        await client.send_json([1, "\u20ac"])
        assert json.loads(await server.get_text()) == [1, "\u20ac"]


async def test_fields_are_sent_as_an_object() -> None:
    async with open_pair() as (client, server):
        await client.send_json(kind="greeting", self=1, value=None)
        assert await server.get_json() == {"kind": "greeting", "self": 1, "value": None}
        await client.send_json()
        assert await server.get_json() == {}


async def test_a_value_and_fields_are_too_much() -> None:
    async with open_pair() as (client, server):
        with pytest.raises(ValueError, match="a value or fields, not both"):
            await client.send_json({}, kind=1)
        with pytest.raises(TypeError, match="one value at most, not 2"):
            await client.send_json(1, 2)
        await client.send_json(3)
        assert await server.get_json() == 3


async def test_what_json_cannot_say_is_not_sent() -> None:
    async with open_pair() as (client, server):
        with pytest.raises(TypeError, match="not JSON serializable"):
            await client.send_json(object())
        await client.send_json(3)
        assert await server.get_json() == 3


async def test_a_message_that_is_not_json_is_taken_and_told() -> None:
    async with open_pair() as (client, server):
        await client.send_text("{")
        await client.send_json(3)
        with pytest.raises(ValueError, match="Expecting property name"):
            await server.get_json()
        assert await server.get_json() == 3


async def test_a_binary_message_is_not_json() -> None:
    async with open_rig() as rig:
        await rig.peer.send_frame(2, b"[]")
        with pytest.raises(ConnectionClosed):
            await rig.connection.get_json()
        assert (await rig.peer.receive_close())[0] == 1003


@asynccontextmanager
async def open_with(
    options: CommonArgs,
) -> AsyncGenerator[tuple[WebSocketConnection, WebSocketConnection]]:
    """Open a client and a server with options, by the entry points."""
    ours, theirs = trio.testing.memory_stream_pair()
    accepted: list[WebSocketConnection] = []

    async def accept() -> None:
        request = await wrap_server_stream(nursery, theirs, **options)
        accepted.append(await request.accept())

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as opening:
            opening.start_soon(accept)
            client = await wrap_client_stream(nursery, ours, "h", "/", **options)
        yield client, accepted[0]
        nursery.cancel_scope.cancel()


async def test_other_functions_may_encode_and_decode() -> None:
    def dump(value: object) -> bytes:
        return f"<{value}>".encode()

    def load(text: str) -> object:
        return text.strip("<>")

    async with open_with({"json_dumps": dump, "json_loads": load}) as ends:
        for sender, receiver in (ends, ends[::-1]):
            await sender.send_json("h\u00e9llo")
            assert await receiver.get_text() == "<h\u00e9llo>"
            await sender.send_json(5)
            assert await receiver.get_json() == "5"


@pytest.mark.parametrize("name", ["json_dumps", "json_loads"])
async def test_what_is_no_function_is_refused(name: str) -> None:
    options: CommonArgs = {}
    options.update({name: "json"})  # type: ignore[misc]
    ours, _ = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        with pytest.raises(TypeError, match=f"^{name} must be a function, not 'json'$"):
            await wrap_client_stream(nursery, ours, "h", "/", **options)
