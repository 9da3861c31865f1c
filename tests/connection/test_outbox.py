from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_websocket._connection.outbox import (
    MAX_BATCH_SIZE,
    MAX_WAITING_PONGS,
    Outbox,
    OutboxBroken,
)


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


def build_sink(room: int | None) -> Sink:
    return Sink() if room is None else NowSink(room)


class Senders:
    """Tasks that each send once, in the order in which they were started."""

    def __init__(self, outbox: Outbox, nursery: trio.Nursery) -> None:
        self.outcomes: dict[bytes, str] = {}
        self._outbox = outbox
        self._nursery = nursery

    async def start(self, data: bytes) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._nursery.start_soon(self._send, data, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _send(self, data: bytes, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await self._outbox.send(data)
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
            await bench.outbox.send(b"0123456789")
        assert sink.writes == [b"0123456789"]
        assert bench.outbox.is_idle


async def test_what_the_stream_does_not_take_at_once_is_left_to_the_writer() -> None:
    sink = NowSink(room=4)
    async with open_bench(sink) as bench:
        await bench.outbox.send(b"0123456789")
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
        await bench.outbox.send(b"5")
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
            await bench.outbox.send(data)
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
            await bench.outbox.send(b"second")
    assert bench.errors == [error]


async def test_a_send_that_fails_at_once_has_the_error_as_its_cause() -> None:
    sink = NowSink(room=10)
    sink.error = trio.BrokenResourceError()
    async with open_bench(sink) as bench:
        with pytest.raises(OutboxBroken) as caught:
            await bench.outbox.send(b"first")
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
                await bench.outbox.send(b"first")


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def close_when_blocked(outbox: Outbox) -> None:
    await trio.testing.wait_all_tasks_blocked()
    outbox.close()
