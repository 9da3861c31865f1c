"""An outbox over TLS, whose transport holds what does not leave at once."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest
import trio
import trio.testing

from trio_websocket._connection.outbox import MAX_BATCH_SIZE, Outbox, OutboxBroken
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.frame_header import Opcode, build_header
from trio_websocket._protocol.lane import PYTHON_LANE
from trio_websocket._protocol.sliced_frame import SLICE_SIZE, SlicedFrame

LARGE = 1_000_000


class Transport(trio.abc.Stream):
    """What lies beneath TLS.

    Attributes:
        is_slow: Whether to send waits, as it does for a turn or two with a socket.
        is_full: Whether nothing leaves, so that what is sent is held.
        error: What to send raises.
        most_held: The most bytes that were held.

    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.is_slow = False
        self.is_full = False
        self.error: Exception | None = None
        self.most_held = 0
        self._stream = stream
        self._held = bytearray()
        self._gate = trio.lowlevel.ParkingLot()

    def go_on(self) -> None:
        self.is_slow = self.is_full = False
        self._gate.unpark_all()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_slow:
            await self._gate.park()
        if self.error is not None:
            raise self.error
        if self.is_full:
            self._held += data
            self.most_held = max(self.most_held, len(self._held))
        else:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


class HoldingTransport(Transport):
    """One that takes all and holds what does not leave."""

    is_holding = False

    def hold(self) -> None:
        self.is_holding = True

    @property
    def has_held(self) -> bool:
        return bool(self._held)

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._held:
            while self.is_full:
                await self._gate.park()
            if self.error is not None:
                raise self.error
            held, self._held = self._held, bytearray()
            await self._stream.send_all(held)


class Bench:
    """An outbox over TLS, and the peer who reads what it sends."""

    def __init__(
        self,
        transport: Transport,
        stream: trio.SSLStream[trio.abc.Stream],
        peer: trio.SSLStream[trio.abc.Stream],
    ) -> None:
        self.errors: list[Exception] = []
        self.outcomes: list[str] = []
        self.transport = transport
        self.outbox = Outbox(stream, self.errors.append)
        self._peer = peer

    async def send(self, data: bytes | SlicedFrame) -> None:
        """Send as a connection does."""
        try:
            assert self.outbox.hand_over(data) == 0
            await self.outbox.send_rest(data, 0)
        except OutboxBroken:
            self.outcomes.append("broken")
        except trio.Cancelled:
            self.outcomes.append("cancelled")
            raise
        else:
            self.outcomes.append("sent")

    async def receive(self, size: int) -> bytes:
        """Decrypt so many bytes, and what comes with them."""
        received = b""
        while len(received) < size:
            received += await self._peer.receive_some()
        return received


Build = Callable[[trio.abc.Stream], Transport]


class OpenBench(Protocol):
    """Opens a bench for a block."""

    def __call__(
        self, build: Build = HoldingTransport
    ) -> AbstractAsyncContextManager[Bench]: ...


@pytest.fixture
def open_bench(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> OpenBench:
    """Open a bench for a block; its outbox is not started."""

    @asynccontextmanager
    async def open_one(
        build: Build = HoldingTransport,
    ) -> AsyncGenerator[Bench]:
        ours, theirs = trio.testing.memory_stream_pair()
        transport = build(ours)
        stream = trio.SSLStream[trio.abc.Stream](
            transport, server_tls, server_side=True, https_compatible=True
        )
        peer = trio.SSLStream[trio.abc.Stream](
            theirs, client_tls, server_hostname="localhost", https_compatible=True
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.do_handshake)
            nursery.start_soon(peer.do_handshake)
        yield Bench(transport, stream, peer)
        await trio.aclose_forcefully(stream)

    return open_one


def make_large_frame() -> tuple[SlicedFrame, bytes]:
    payload = bytes(range(250)) * (LARGE // 250)
    frame = SlicedFrame(Opcode.BINARY, payload, None, LANE or PYTHON_LANE)
    return frame, build_header(Opcode.BINARY, LARGE) + payload


async def test_a_transport_is_told_to_hold_from_the_beginning(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench:
        assert isinstance(bench.transport, HoldingTransport)
        assert bench.transport.is_holding


@pytest.mark.parametrize("size", [1, 1000, MAX_BATCH_SIZE])
async def test_a_sender_encrypts_in_its_own_task(
    open_bench: OpenBench, size: int
) -> None:
    """No writer is started for it."""
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"x" * size)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        bench.transport.go_on()
        assert await bench.receive(size) == b"x" * size


async def test_what_is_larger_than_a_batch_is_left_to_the_writer(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, bytes(MAX_BATCH_SIZE + 1))
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        bench.transport.go_on()
        assert len(await bench.receive(MAX_BATCH_SIZE + 1)) == MAX_BATCH_SIZE + 1


async def test_a_send_that_is_cancelled_while_it_encrypts_leaves_whole(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_and_go_on, scope, bench.transport)
            await bench.send(b"first")
        await bench.send(b"second")
        assert await bench.receive(11) == b"firstsecond"
        assert bench.outcomes == ["sent", "sent"]


async def cancel_and_go_on(scope: trio.CancelScope, transport: Transport) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    transport.go_on()


async def test_a_sender_waits_until_what_is_held_has_left(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_full = True
        nursery.start_soon(bench.send, b"message")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.outcomes == []
        bench.transport.go_on()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.outcomes == ["sent"]
        assert bench.outbox.is_idle
        assert await bench.receive(7) == b"message"


async def test_a_send_cancelled_while_its_bytes_are_held_ends_at_once(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_full = True
        async with trio.open_nursery() as senders:
            senders.start_soon(bench.send, b"held")
            await trio.testing.wait_all_tasks_blocked()
            senders.cancel_scope.cancel()
        assert bench.outcomes == ["cancelled"]
        nursery.start_soon(bench.send, b" and behind")
        await trio.testing.wait_all_tasks_blocked()
        bench.transport.go_on()
        assert await bench.receive(15) == b"held and behind"


async def test_what_is_held_for_a_sender_that_was_cancelled_leaves_by_itself(
    open_bench: OpenBench,
) -> None:
    """Also if it was cancelled while it was encrypting."""
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        async with trio.open_nursery() as senders:
            senders.start_soon(bench.send, b"held")
            await trio.testing.wait_all_tasks_blocked()
            senders.cancel_scope.cancel()
            bench.transport.go_on()
            bench.transport.is_full = True
        assert bench.outcomes == ["cancelled"]
        await trio.testing.wait_all_tasks_blocked()
        bench.transport.go_on()
        assert await bench.receive(4) == b"held"


async def test_what_comes_while_a_sender_encrypts_leaves_behind_it(
    open_bench: OpenBench,
) -> None:
    written: list[str] = []
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"1")
        await trio.testing.wait_all_tasks_blocked()
        bench.outbox.post(b"2", is_pong=True)
        nursery.start_soon(bench.send, b"3")
        await trio.testing.wait_all_tasks_blocked()
        bench.outbox.post(b"4", on_written=lambda: written.append("4"))
        assert not written
        bench.transport.go_on()
        assert await bench.receive(4) == b"1234"
    assert bench.outcomes == ["sent", "sent"]
    assert written == ["4"]


async def test_an_outbox_may_be_started_while_a_sender_encrypts(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"1")
        await trio.testing.wait_all_tasks_blocked()
        bench.outbox.post(b"2")
        bench.outbox.start(nursery)
        await trio.testing.wait_all_tasks_blocked()
        bench.transport.go_on()
        assert await bench.receive(2) == b"12"
    assert not bench.errors


async def test_flushing_waits_for_a_sender_that_encrypts(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"1")
        await trio.testing.wait_all_tasks_blocked()
        await bench.outbox.flush_without_waiting()
        assert not bench.outbox.is_idle
        nursery.start_soon(bench.outbox.flush)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        bench.transport.go_on()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks


@pytest.mark.parametrize("is_full", [True, False])
async def test_an_outbox_may_be_closed_while_a_sender_encrypts(
    open_bench: OpenBench, *, is_full: bool
) -> None:
    """Then the writer has no home any more."""
    async with open_bench() as bench, trio.open_nursery() as senders:
        async with trio.open_nursery() as nursery:
            bench.outbox.start(nursery)
            bench.transport.is_slow = True
            senders.start_soon(bench.send, b"1")
            await trio.testing.wait_all_tasks_blocked()
            bench.outbox.close()
        bench.transport.go_on()
        bench.transport.is_full = is_full
    assert bench.outcomes == ["broken"]


async def test_closing_wakes_a_sender_whose_bytes_are_held(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_full = True
        nursery.start_soon(bench.send, b"held")
        await trio.testing.wait_all_tasks_blocked()
        bench.outbox.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
    assert bench.outcomes == ["broken"]


async def test_a_stream_that_is_dropped_while_a_sender_encrypts_is_no_news(
    open_bench: OpenBench,
) -> None:
    """Who has closed the outbox knows why."""
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"1")
        await trio.testing.wait_all_tasks_blocked()
        bench.outbox.close()
        bench.transport.error = trio.ClosedResourceError()
        bench.transport.go_on()
    assert bench.outcomes == ["broken"]
    assert bench.errors == []


async def test_a_stream_that_breaks_while_a_sender_encrypts_breaks_the_outbox(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"1")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(bench.send, b"2")
        bench.transport.error = trio.BrokenResourceError("gone")
        bench.transport.go_on()
    assert bench.outcomes == ["broken", "broken"]
    assert bench.errors == [bench.transport.error]
    assert bench.outbox.is_broken


async def test_a_stream_that_breaks_while_bytes_are_held_breaks_the_outbox(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_full = True
        nursery.start_soon(bench.send, b"1")
        await trio.testing.wait_all_tasks_blocked()
        bench.transport.error = trio.BrokenResourceError("gone")
        bench.transport.go_on()
    assert bench.outcomes == ["broken"]
    assert bench.errors == [bench.transport.error]


async def test_of_a_large_frame_no_more_than_a_slice_is_held(
    open_bench: OpenBench,
) -> None:
    frame, wire = make_large_frame()
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_full = True
        nursery.start_soon(bench.send, frame)
        await trio.testing.wait_all_tasks_blocked()
        assert SLICE_SIZE < bench.transport.most_held < SLICE_SIZE + 2000
        bench.transport.go_on()
        assert await bench.receive(len(wire)) == wire
    assert bench.outcomes == ["sent"]


async def test_of_what_waits_no_more_than_a_slice_is_held_either(
    open_bench: OpenBench,
) -> None:
    async with open_bench() as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_full = True
        nursery.start_soon(bench.send, bytes(3 * SLICE_SIZE))
        nursery.start_soon(bench.send, bytes(10))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.transport.most_held < SLICE_SIZE + 2000
        bench.transport.go_on()
        size = 3 * SLICE_SIZE + 10
        assert await bench.receive(size) == bytes(size)


async def test_tls_over_a_stream_that_holds_nothing_is_left_to_the_writer(
    open_bench: OpenBench,
) -> None:
    frame, wire = make_large_frame()
    async with open_bench(Transport) as bench, trio.open_nursery() as nursery:
        bench.outbox.start(nursery)
        bench.transport.is_slow = True
        nursery.start_soon(bench.send, b"before")
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        nursery.start_soon(bench.send, frame)
        await trio.testing.wait_all_tasks_blocked()
        bench.transport.go_on()
        assert await bench.receive(6 + len(wire)) == b"before" + wire
