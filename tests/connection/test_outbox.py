from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_websocket._connection.outbox import (
    MAX_BATCH_SIZE,
    MAX_SIZE_AT_ONCE,
    MAX_WAITING_PONGS,
    Outbox,
    OutboxBroken,
)
from trio_websocket._protocol.chosen_lane import LANE
from trio_websocket._protocol.frame_header import (
    Opcode,
    build_header,
    mask_payload,
)
from trio_websocket._protocol.lane import PYTHON_LANE
from trio_websocket._protocol.sliced_frame import SLICE_SIZE, SlicedFrame

Data = bytes | SlicedFrame


class Sink(trio.abc.SendStream):
    """A stream that takes what is sent, whenever the test lets it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_stalled = False
        self.error: Exception | None = None
        self._gate = trio.lowlevel.ParkingLot()

    def resume(self) -> None:
        self.is_stalled = False
        self._gate.unpark_all()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.resume()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_stalled:
            await self._gate.park()
        if self.error is not None:
            raise self.error
        self.writes.append(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("never asked")

    async def aclose(self) -> None:
        raise AssertionError("never closed here")


class NowSink(Sink):
    """A stream that also takes some bytes without waiting."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write_now(self, data: bytes | memoryview) -> int:
        if self.error is not None:
            raise self.error
        part = bytes(data[: self.room])
        self.room -= len(part)
        self.writes.append(part)
        return len(part)


async def send(outbox: Outbox, data: Data) -> None:
    """Send as a connection does."""
    position = outbox.hand_over(data)
    if position < len(data):
        await outbox.send_rest(data, position)


def build_sink(room: int | None) -> Sink:
    return Sink() if room is None else NowSink(room)


class Senders:
    """Tasks that each send once, in the order in which they were started."""

    def __init__(self, outbox: Outbox, nursery: trio.Nursery) -> None:
        self.outcomes: dict[Data, str] = {}
        self._outbox = outbox
        self._nursery = nursery

    async def start(self, data: Data) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._nursery.start_soon(self._send, data, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _send(self, data: Data, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await send(self._outbox, data)
            except OutboxBroken:
                self.outcomes[data] = "broken"
            else:
                self.outcomes[data] = "sent"
        if scope.cancelled_caught:
            self.outcomes[data] = "cancelled"


class Bench:
    """An outbox with its writer's nursery, and what it says about errors."""

    def __init__(self, sink: Sink, nursery: trio.Nursery) -> None:
        self.errors: list[Exception] = []
        self.nursery = nursery
        self.outbox = Outbox(sink, self.errors.append)
        self.senders = Senders(self.outbox, nursery)


@asynccontextmanager
async def open_bench(sink: Sink, *, is_started: bool = True) -> AsyncGenerator[Bench]:
    async with trio.open_nursery() as nursery:
        bench = Bench(sink, nursery)
        if is_started:
            bench.outbox.start(nursery)
        yield bench
        await bench.outbox.flush()
        bench.outbox.close()


async def test_bytes_leave_in_the_order_of_the_calls() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        for data in (b"1", b"3", b"5"):
            await bench.senders.start(data)
            bench.outbox.post(str(int(data) + 1).encode())
        sink.resume()
        await bench.outbox.flush()
    assert b"".join(sink.writes) == b"123456"


async def test_concurrent_senders_share_one_write() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        for data in (b"1", b"2", b"3", b"4"):
            await bench.senders.start(data)
        sink.resume()
    assert sink.writes == [b"1", b"234"]
    assert set(bench.senders.outcomes.values()) == {"sent"}


async def test_a_shared_write_has_a_limit() -> None:
    sink = Sink()
    half = bytes(MAX_BATCH_SIZE // 2)
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        for data in (b"first", b"a" + half[1:], b"b" + half[1:], b"c" + half[1:]):
            await bench.senders.start(data)
        sink.resume()
    assert [len(write) for write in sink.writes] == [5, len(half) * 2, len(half)]


async def test_a_send_returns_when_its_bytes_were_handed_over() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        await bench.senders.start(b"1")
        assert not bench.senders.outcomes
        sink.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.senders.outcomes == {b"1": "sent"}


async def test_a_cancelled_send_of_which_nothing_was_handed_over_is_withdrawn() -> None:
    """T11."""
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        await bench.senders.start(b"1")
        scope = await bench.senders.start(b"2")
        await bench.senders.start(b"3")
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        sink.resume()
    assert b"".join(sink.writes) == b"13"
    assert bench.senders.outcomes == {b"1": "sent", b"2": "cancelled", b"3": "sent"}


async def test_a_cancelled_send_that_is_being_written_leaves_whole() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        scope = await bench.senders.start(b"1")
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.senders.outcomes == {b"1": "cancelled"}
        await bench.senders.start(b"2")
        sink.resume()
    assert sink.writes == [b"1", b"2"]


async def test_the_writer_outlives_a_cancellation_until_the_outbox_is_closed() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        bench.outbox.post(b"1")
        await trio.testing.wait_all_tasks_blocked()
        bench.nursery.cancel_scope.cancel()
        sink.resume()
        await bench.outbox.flush_without_waiting()
        assert sink.writes == [b"1"]


async def test_what_the_stream_takes_at_once_is_sent_without_a_turn() -> None:
    sink = NowSink(room=10)
    async with open_bench(sink) as bench:
        with trio.testing.assert_no_checkpoints():
            await send(bench.outbox, b"0123456789")
        assert sink.writes == [b"0123456789"]
        assert bench.outbox.is_idle


async def test_what_the_stream_does_not_take_at_once_is_left_to_the_writer() -> None:
    sink = NowSink(room=4)
    async with open_bench(sink) as bench:
        await send(bench.outbox, b"0123456789")
        assert sink.writes == [b"0123", b"456789"]


async def test_bytes_never_overtake_those_that_wait() -> None:
    sink = NowSink(room=1)
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        await bench.senders.start(b"12")
        sink.room = 100
        await bench.senders.start(b"3")
        bench.outbox.post(b"4")
        sink.resume()
        await bench.outbox.flush()
        await send(bench.outbox, b"5")
    assert b"".join(sink.writes) == b"12345"


async def test_a_send_of_which_the_socket_took_a_part_leaves_whole() -> None:
    """S-76."""
    sink = NowSink(room=4)
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        scope = await bench.senders.start(b"0123456789")
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        await bench.senders.start(b"abc")
        sink.resume()
    assert b"".join(sink.writes) == b"0123456789abc"


async def test_a_part_that_waits_for_the_writer_is_not_withdrawn() -> None:
    sink = NowSink(room=4)
    async with open_bench(sink, is_started=False) as bench:
        scope = await bench.senders.start(b"0123456789")
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        bench.outbox.start(bench.nursery)
        await bench.outbox.flush()
    assert b"".join(sink.writes) == b"0123456789"


async def test_of_many_waiting_pongs_the_oldest_are_dropped() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        bench.outbox.post(b"first;")
        await trio.testing.wait_all_tasks_blocked()
        for number in range(100):
            bench.outbox.post(b"%d;" % number, is_pong=True)
            if number == 10:
                bench.outbox.post(b"no pong;")
        sink.resume()
        await bench.outbox.flush()
    newest = [b"%d" % number for number in range(100 - MAX_WAITING_PONGS, 100)]
    assert b"".join(sink.writes).split(b";")[:-1] == [b"first", b"no pong", *newest]


async def test_a_pong_of_which_a_part_was_written_is_not_dropped() -> None:
    sink = NowSink(room=3)
    async with open_bench(sink, is_started=False) as bench:
        for number in range(100):
            bench.outbox.post(b"pong %d;" % number, is_pong=True)
        bench.outbox.start(bench.nursery)
        await bench.outbox.flush()
    pongs = b"".join(sink.writes).split(b";")[:-1]
    newest = [b"pong %d" % number for number in range(100 - MAX_WAITING_PONGS, 100)]
    assert pongs == [b"pong 0", *newest]


async def test_what_was_posted_before_the_start_leaves_with_it() -> None:
    sink = Sink()
    async with open_bench(sink, is_started=False) as bench:
        bench.outbox.post(b"1")
        bench.outbox.post(b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert not sink.writes
        assert not bench.outbox.is_idle
        bench.outbox.start(bench.nursery)
        await bench.outbox.flush()
        assert sink.writes == [b"12"]


async def test_the_writer_ends_when_nothing_is_left_and_starts_again() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        for data in (b"1", b"2"):
            await send(bench.outbox, data)
            await bench.outbox.flush()
            await trio.testing.wait_all_tasks_blocked()
            assert not bench.nursery.child_tasks
            assert bench.outbox.is_idle
    assert sink.writes == [b"1", b"2"]


@pytest.mark.parametrize("room", [None, 1, 100])
async def test_whoever_posts_is_told_when_it_was_written(room: int | None) -> None:
    sink = build_sink(room)
    written: list[str] = []
    async with open_bench(sink) as bench:
        bench.outbox.post(b"first", on_written=lambda: written.append("first"))
        bench.outbox.post(b"second", on_written=lambda: written.append("second"))
        await bench.outbox.flush()
    assert written == ["first", "second"]


@pytest.mark.parametrize("room", [None, 0, 3])
async def test_a_write_that_fails_breaks_the_outbox(room: int | None) -> None:
    sink = build_sink(room)
    written: list[str] = []
    error = trio.BrokenResourceError("gone")
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        for data in (b"first", b"second"):
            await bench.senders.start(data)
        bench.outbox.post(b"third", on_written=lambda: written.append("third"))
        sink.fail(error)
        await bench.outbox.flush()
        assert bench.outbox.is_broken
        await bench.senders.start(b"fourth")
        bench.outbox.post(b"fifth", on_written=lambda: written.append("fifth"))
    outcomes = bench.senders.outcomes
    assert outcomes == dict.fromkeys((b"first", b"second", b"fourth"), "broken")
    assert bench.errors == [error]
    assert not written


@pytest.mark.parametrize(
    "error", [trio.BrokenResourceError(), trio.ClosedResourceError(), OSError()]
)
async def test_a_write_that_fails_at_once_breaks_the_outbox(error: Exception) -> None:
    sink = NowSink(room=10)
    sink.error = error
    async with open_bench(sink) as bench:
        bench.outbox.post(b"first")
        with pytest.raises(OutboxBroken):
            await send(bench.outbox, b"second")
    assert bench.errors == [error]


async def test_a_send_that_fails_at_once_has_the_error_as_its_cause() -> None:
    sink = NowSink(room=10)
    sink.error = trio.BrokenResourceError()
    async with open_bench(sink) as bench:
        with pytest.raises(OutboxBroken) as caught:
            await send(bench.outbox, b"first")
    assert caught.value.__cause__ is sink.error


async def test_closing_wakes_every_sender_and_stops_the_writer() -> None:
    sink = Sink()
    sink.is_stalled = True
    async with open_bench(sink) as bench:
        for data in (b"first", b"second"):
            await bench.senders.start(data)
        bench.outbox.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not bench.nursery.child_tasks
    assert bench.senders.outcomes == {b"first": "broken", b"second": "broken"}
    assert not bench.errors
    assert not sink.writes


async def test_flushing_waits_until_all_has_left() -> None:
    sink = Sink()
    sink.is_stalled = True
    async with open_bench(sink) as bench:
        bench.outbox.post(b"first")
        with trio.CancelScope() as scope:
            bench.nursery.start_soon(cancel_when_blocked, scope)
            await bench.outbox.flush()
        assert scope.cancelled_caught
        sink.resume()
        await bench.outbox.flush()
        assert sink.writes == [b"first"]


async def test_flushing_ends_when_the_outbox_is_closed() -> None:
    sink = Sink()
    sink.is_stalled = True
    async with open_bench(sink) as bench:
        bench.outbox.post(b"first")
        bench.nursery.start_soon(close_when_blocked, bench.outbox)
        await bench.outbox.flush()
        assert not sink.writes


async def test_flushing_without_waiting_gives_up_on_a_stream_that_waits() -> None:
    sink = Sink()
    sink.is_stalled = True
    async with open_bench(sink) as bench:
        bench.outbox.post(b"first")
        await bench.outbox.flush_without_waiting()
        assert not bench.outbox.is_idle
        bench.outbox.close()
        await bench.outbox.flush_without_waiting()


async def test_flushing_without_waiting_sends_what_the_stream_takes() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        bench.outbox.post(b"first")
        with trio.CancelScope() as scope:
            scope.cancel()
            await bench.outbox.flush_without_waiting()
        assert sink.writes == [b"first"]
        assert not scope.cancelled_caught


async def test_what_is_not_an_error_of_a_stream_goes_through_the_writer() -> None:
    sink = Sink()
    sink.error = ZeroDivisionError()
    with pytest.RaisesGroup(ZeroDivisionError):
        async with open_bench(sink) as bench:
            with pytest.raises(OutboxBroken):
                await send(bench.outbox, b"first")


# Large frames.


KEY = b"\x37\xfa\x21\x3d"
PATTERN = bytes(range(251))  # a prime, so that no slice looks like another
LARGE = 300_000


def make_frame(
    size: int = LARGE, *, is_masked: bool = True, shift: int = 0
) -> tuple[SlicedFrame, bytes]:
    """Make a large frame, and what is to stand on the wire."""
    payload = (PATTERN * (size // 251 + 2))[shift : shift + size]
    key = KEY if is_masked else None
    frame = SlicedFrame(Opcode.BINARY, payload, key, LANE or PYTHON_LANE)
    header = build_header(Opcode.BINARY, size, masking_key=key)
    return frame, header + (mask_payload(payload, KEY) if is_masked else payload)


@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize(
    "room",
    [
        None,
        *(0, 1, 9, 10, 13, 14, 15),  # within its header, and behind it
        *(SLICE_SIZE - 1, SLICE_SIZE, SLICE_SIZE + 1, 2 * SLICE_SIZE, LARGE),
        LARGE + 13,
        LARGE + 14,
    ],
)
async def test_a_large_frame_leaves_whole_whatever_the_stream_takes_at_once(
    room: int | None, *, is_masked: bool
) -> None:
    sink = build_sink(room)
    frame, wire = make_frame(is_masked=is_masked)
    async with open_bench(sink) as bench:
        await send(bench.outbox, b"before")
        if isinstance(sink, NowSink) and room is not None:
            sink.room = room
        await send(bench.outbox, frame)
        await send(bench.outbox, b"behind")
    assert b"".join(sink.writes) == b"before" + wire + b"behind"


@pytest.mark.parametrize("room", [None, 2 * LARGE])
async def test_a_large_frame_leaves_in_slices(room: int | None) -> None:
    sink = build_sink(room)
    async with open_bench(sink) as bench:
        await send(bench.outbox, make_frame()[0])
    assert len(sink.writes) == 3
    assert max(map(len, sink.writes)) == SLICE_SIZE


async def test_a_large_frame_that_the_stream_takes_is_sent_without_a_turn() -> None:
    sink = NowSink(room=2 * LARGE)
    frame, wire = make_frame()
    async with open_bench(sink) as bench:
        with trio.testing.assert_no_checkpoints():
            await send(bench.outbox, frame)
    assert b"".join(sink.writes) == wire


async def test_a_very_large_frame_gives_others_a_turn() -> None:
    sink = NowSink(room=10 * MAX_SIZE_AT_ONCE)
    frame, wire = make_frame(3 * MAX_SIZE_AT_ONCE)
    async with open_bench(sink) as bench:
        with trio.testing.assert_no_checkpoints():
            position = bench.outbox.hand_over(frame)
        assert MAX_SIZE_AT_ONCE <= position < MAX_SIZE_AT_ONCE + SLICE_SIZE
        assert b"".join(sink.writes) == wire[:position]
        await bench.outbox.send_rest(frame, position)
    assert b"".join(sink.writes) == wire


class CountingSink(NowSink):
    """A stream that takes all at once, but for some time at first.

    Attributes:
        waits: How often somebody sent in a way that lets others run.

    """

    def __init__(self) -> None:
        super().__init__(room=0)
        self.waits = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await super().send_all(data)
        self.waits += 1
        self.room = 100 * MAX_SIZE_AT_ONCE


async def test_the_writer_lets_others_run_now_and_then() -> None:
    sink = CountingSink()
    frame, wire = make_frame(3 * MAX_SIZE_AT_ONCE)
    async with open_bench(sink) as bench:
        await send(bench.outbox, frame)
    assert b"".join(sink.writes) == wire
    assert sink.waits == 4


@pytest.mark.parametrize("room", [1, SLICE_SIZE + 1000])
async def test_a_cancelled_send_of_which_a_slice_was_cut_leaves_whole(
    room: int,
) -> None:
    """S-76."""
    sink = NowSink(room)
    frame, wire = make_frame()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        scope = await bench.senders.start(frame)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.senders.outcomes == {frame: "cancelled"}
        await bench.senders.start(b"behind")
        sink.resume()
    assert b"".join(sink.writes) == wire + b"behind"


async def test_a_cancelled_send_of_a_large_frame_that_only_waits_is_withdrawn() -> None:
    """T11."""
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        await bench.senders.start(b"first")
        scope = await bench.senders.start(make_frame()[0])
        await bench.senders.start(b"last")
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        sink.resume()
    assert sink.writes == [b"first", b"last"]


@pytest.mark.parametrize("room", [None, 0, 100_000])
async def test_large_and_small_frames_of_many_senders_do_not_mix(
    room: int | None,
) -> None:
    sink = build_sink(room)
    wires: list[bytes] = []
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        for number in range(12):
            if number % 3 == 0:
                frame, wire = make_frame(LARGE + number, shift=number)
                await bench.senders.start(frame)
            else:
                wire = b"small %d" % number
                await bench.senders.start(wire)
            wires.append(wire)
            bench.outbox.post(b"posted")
            wires.append(b"posted")
        sink.resume()
        await bench.outbox.flush()
    assert b"".join(sink.writes) == b"".join(wires)
    assert set(bench.senders.outcomes.values()) == {"sent"}


async def test_a_stream_that_breaks_within_a_large_frame_breaks_the_outbox() -> None:
    sink = Sink()
    async with open_bench(sink) as bench:
        sink.is_stalled = True
        frame, _ = make_frame()
        await bench.senders.start(frame)
        sink.fail(trio.BrokenResourceError("gone"))
        await bench.outbox.flush()
        assert bench.outbox.is_broken
    assert bench.senders.outcomes == {frame: "broken"}
    assert bench.errors == [sink.error]


async def test_closing_stops_the_writer_within_a_large_frame() -> None:
    sink = NowSink(room=SLICE_SIZE + 1000)
    sink.is_stalled = True
    async with open_bench(sink) as bench:
        frame, wire = make_frame()
        await bench.senders.start(frame)
        bench.outbox.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not bench.nursery.child_tasks
    assert bench.senders.outcomes == {frame: "broken"}
    assert b"".join(sink.writes) == wire[: SLICE_SIZE + 1000]


class MeetingSink(NowSink):
    """A stream that takes bytes only when another thread has some for its own."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__(room=2 * LARGE)
        self._barrier = barrier

    def write_now(self, data: bytes | memoryview) -> int:
        self._barrier.wait(timeout=10)
        return super().write_now(data)


def test_frames_of_two_runs_in_two_threads_do_not_mix() -> None:
    barrier = threading.Barrier(2)
    sinks = [MeetingSink(barrier) for _ in range(2)]
    frames = [make_frame(shift=shift) for shift in range(2)]

    async def send_one(number: int) -> None:
        async with open_bench(sinks[number]) as bench:
            await send(bench.outbox, frames[number][0])

    threads = [
        threading.Thread(target=trio.run, args=(send_one, number))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sink, (_, wire) in zip(sinks, frames, strict=True):
        assert b"".join(sink.writes) == wire


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def close_when_blocked(outbox: Outbox) -> None:
    await trio.testing.wait_all_tasks_blocked()
    outbox.close()
