"""Pings that are not waited for, and pings that the program answers itself."""

from __future__ import annotations

import pytest
import trio

from trio_websocket import ConnectionClosed, WebSocketConnection
from trio_websocket._options import ConnectionOptions

from .rig import open_rig, settle

PING, PONG, CLOSE, TEXT = 9, 10, 8, 1


async def test_a_ping_may_be_sent_without_waiting_for_its_pong() -> None:
    """L-57."""
    async with open_rig() as rig:
        await rig.connection.ping(b"a", wait=False)
        await rig.connection.ping(b"a", wait=False)  # nobody waits for the first
        for _ in range(2):
            frame = await rig.peer.receive_frame()
            assert (frame.opcode, frame.payload) == (PING, b"a")
        await rig.peer.send_frame(PONG, b"a")
        await rig.peer.send_frame(TEXT, b"still here")
        assert await rig.connection.get_message() == "still here"
        assert rig.connection.latency is None


async def test_pings_without_waiting_let_others_run() -> None:
    async with open_rig() as rig, trio.open_nursery() as nursery:
        ran = trio.Event()

        async def run() -> None:
            await trio.lowlevel.checkpoint()
            ran.set()

        nursery.start_soon(run)
        for _ in range(1000):
            await rig.connection.ping(wait=False)
        assert ran.is_set()


async def test_pings_are_not_answered_if_the_program_says_so() -> None:
    """L-51, A-15."""
    pings: list[tuple[WebSocketConnection, bytes]] = []
    options = ConnectionOptions(
        auto_pong=False,
        on_ping=lambda connection, payload: pings.append((connection, payload)),
    )
    async with open_rig(options=options) as rig:
        await rig.peer.send_frame(PING, b"one")
        await rig.peer.send_frame(PING, b"")
        await settle()
        assert pings == [(rig.connection, b"one"), (rig.connection, b"")]
        await rig.connection.pong(b"one")
        frame = await rig.peer.receive_frame()
        assert (frame.opcode, frame.payload) == (PONG, b"one")


async def test_a_ping_is_answered_before_the_program_is_told() -> None:
    pings: list[bytes] = []
    options = ConnectionOptions(on_ping=lambda _, payload: pings.append(payload))
    async with open_rig(options=options) as rig:
        await rig.peer.send_frame(PING, b"x")
        frame = await rig.peer.receive_frame()
        assert (frame.opcode, frame.payload) == (PONG, b"x")
        assert pings == [b"x"]


async def test_a_ping_behind_our_close_is_nobodys_business() -> None:
    pings: list[bytes] = []
    options = ConnectionOptions(on_ping=lambda _, payload: pings.append(payload))
    async with open_rig(options=options) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.connection.aclose)
        assert (await rig.peer.receive_frame()).opcode == CLOSE
        await rig.peer.send_frame(PING, b"late")
        await rig.peer.send_frame(CLOSE, b"\x03\xe8")
    assert not pings


async def test_a_function_that_fails_ends_the_connection_and_is_the_cause() -> None:
    failure = RuntimeError("no")

    def fail(connection: WebSocketConnection, payload: bytes) -> None:
        raise failure

    async with open_rig(options=ConnectionOptions(on_ping=fail)) as rig:
        await rig.peer.send_frame(PING)
        with pytest.raises(ConnectionClosed) as caught:
            await rig.connection.get_message()
        assert caught.value.__cause__ is failure
        assert (await rig.peer.receive_frame()).opcode == PONG
        assert (await rig.peer.receive_close())[0] == 1011


async def test_text_may_be_taken_as_bytes() -> None:
    async with open_rig() as rig:
        for _ in range(2):
            await rig.peer.send_frame(TEXT, "grün".encode())
            await rig.peer.send_frame(2, b"\xff")
            assert await rig.connection.get_message(decode=False) == "grün".encode()
            assert await rig.connection.get_message(decode=False) == b"\xff"


async def test_text_of_a_long_queue_may_be_taken_as_bytes() -> None:
    options = ConnectionOptions(message_queue_size=0)
    async with open_rig(options=options) as rig:
        for number in range(20):
            await rig.peer.send_frame(TEXT, b"%d" % number)
        await settle()
        for number in range(20):
            message = await rig.connection.get_message(decode=False)
            assert message == b"%d" % number
