from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from trio_websocket import CloseReason, WebSocketConnection, wrap_client_stream
from trio_websocket._protocol.state import ConnectionState
from trio_websocket.testing import RawPeer

from .rig import check_dropped

pytestmark = pytest.mark.usefixtures("ctrl_c")


class InterruptedStream(trio.abc.Stream):
    """A stream in the middle of which somebody presses Ctrl-C."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.is_armed = False

    def write_now(self, _: bytes | memoryview) -> int:
        """Take nothing, so that the writer has to."""
        self._interrupt()
        return 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._interrupt()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self._interrupt()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _interrupt(self) -> None:
        if self.is_armed:
            self.is_armed = False
            signal.raise_signal(signal.SIGINT)


async def connect(
    nursery: trio.Nursery,
) -> tuple[WebSocketConnection, RawPeer, InterruptedStream]:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = InterruptedStream(ours)
    peers: list[RawPeer] = []

    async def accept() -> None:
        peers.append(await RawPeer.accept(theirs))

    async with trio.open_nursery() as opening:
        opening.start_soon(accept)
        connection = await wrap_client_stream(nursery, stream, "localhost", "/")
    return connection, peers[0], stream


def test_ctrl_c_while_a_message_is_sent_tears_no_frame() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            connection, peer, stream = await connect(nursery)
            stream.is_armed = True
            with pytest.raises(KeyboardInterrupt):
                await connection.send_message("hello")
            await connection.send_message("again")
            # Nothing of the first had left, so all of it was withdrawn.
            assert (await peer.receive_frame()).payload == b"again"
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("payload", [b"message", b""])
def test_ctrl_c_while_the_reader_works_comes_out_of_the_main_task(
    payload: bytes,
) -> None:
    async def main() -> CloseReason | None:
        async with trio.open_nursery() as nursery:
            connection, peer, stream = await connect(nursery)
            stream.is_armed = True
            nursery.start_soon(peer.send_frame, 2, payload)
            with pytest.raises(KeyboardInterrupt):
                await trio.sleep_forever()
            # The connection lived on: the message is there, and the peer is answered.
            assert await connection.get_message() == payload
            await connection.send_message("still here")
            assert (await peer.receive_frame()).payload == b"still here"
            nursery.cancel_scope.cancel()
        return connection.closed

    reason = trio.run(main)
    assert reason is not None
    assert reason.code == 1006


def test_ctrl_c_while_a_connection_is_closed_comes_out_and_drops_the_stream() -> None:
    """W15."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            connection, peer, stream = await connect(nursery)

            @trio.lowlevel.enable_ki_protection
            async def interrupt() -> None:
                await peer.receive_close()
                await trio.testing.wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGINT)

            nursery.start_soon(interrupt)
            with pytest.raises(KeyboardInterrupt):
                await connection.aclose(4000)
            await connection.wait_closed()
            assert trio.current_time() == started
            assert connection.state is ConnectionState.CLOSED
            assert connection.closed is not None
            assert connection.closed.code == 4000
            await check_dropped(stream)
            assert await peer.receive_eof() == b""

    clock = trio.testing.MockClock(autojump_threshold=0)
    started = clock.current_time()
    trio.run(main, clock=clock)
