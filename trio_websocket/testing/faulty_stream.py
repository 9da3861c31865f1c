"""A stream with the faults of a network.

Theory of operation
===================

Each direction is a ``_Flow``: what passes is held up at a gate, measured out in pieces
and counted. A fault that is switched on must also reach the call that is going on, so
there are two cancel scopes. One is around the whole call; a direction that fails
cancels it, and the call raises the fault. The other is around what the stream beneath
does to receive; whatever else changes cancels that one, and the call begins again at
the gate. Nothing is lost by that, since a stream of Trio that is cancelled while it
waits has received nothing. A call that sends is not begun again, because nobody could
tell how much of it was sent.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import trio
import trio.testing

from .._stream import drop


class _Flow:
    """One direction."""

    def __init__(self, verb: str, *, delay: float, max_size: int | None) -> None:
        if max_size is not None and max_size < 1:
            raise ValueError(f"a size must be 1 or more, not {max_size!r}")
        self.count = 0  # bytes that have passed
        self._verb = verb
        self._delay = delay
        self._max_size = max_size
        self._quota: int | None = None  # bytes that may pass before the cut
        self._fault: type[Exception] | None = None
        self._is_stalled = False
        self._is_busy = False
        self._gate = trio.lowlevel.ParkingLot()
        self._call = trio.CancelScope()
        self._step = trio.CancelScope()

    @property
    def is_used_up(self) -> bool:
        """Whether all has passed that may pass before the cut."""
        return self._quota == 0

    @contextmanager
    def use(self) -> Generator[None]:
        """Take the direction for one call; if it fails meanwhile, the call does."""
        if self._is_busy:
            msg = f"another task is {self._verb} on this stream"
            raise trio.BusyResourceError(msg)
        self._check()
        self._is_busy = True
        try:
            with trio.CancelScope() as self._call:
                yield
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # If the fault closed the stream under the call, the fault is the reason.
            self._check()
            raise
        finally:
            self._is_busy = False
        if self._call.cancelled_caught:
            self._check()

    async def delay(self) -> None:
        """Wait as long as each call has to."""
        await trio.sleep(self._delay)

    async def pass_gate(self) -> None:  # noqa: ASYNC910  # behind delay
        """Wait while the direction is stalled."""
        while self._is_stalled:
            await self._gate.park()

    @contextmanager
    def step(self) -> Generator[None]:
        """Do one thing that ends early if something changes."""
        with trio.CancelScope() as self._step:
            yield

    def interrupt(self) -> None:
        """End the step that is going on, if there is one."""
        self._step.cancel()

    def measure(self, size: int | None) -> int | None:
        """Tell how many of so many bytes may pass at once; None means any number."""
        sizes = [size, self._max_size, self._quota]
        return min((size for size in sizes if size is not None), default=None)

    def record(self, size: int) -> None:
        """Count bytes that have passed."""
        self.count += size
        if self._quota is not None:
            self._quota -= size

    def limit(self, size: int) -> None:
        """Let so many bytes pass before the cut."""
        if size < 0:
            raise ValueError(f"the number of bytes must be 0 or more, not {size!r}")
        self._quota = size
        self.interrupt()

    def stall(self) -> None:
        """Hold up whatever comes to the gate."""
        self._is_stalled = True
        self.interrupt()

    def resume(self) -> None:
        """Open the gate again."""
        self._is_stalled = False
        self._gate.unpark_all()

    def fail(self, fault: type[Exception]) -> None:
        """Have the call that is going on raise this, and all later ones."""
        if self._fault is not trio.ClosedResourceError:
            self._fault = fault
        self._call.cancel()

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault


class FaultyStream(trio.abc.Stream):
    """A stream around another that delays, cuts, swallows or ends what goes through.

    Put it between a connection and its stream, and switch faults on when the test wants
    them::

        async def test_a_message_is_lost_with_the_connection(autojump_clock):
            client_stream, server_stream = trio.testing.memory_stream_pair()
            faulty = FaultyStream(client_stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_one, server_stream)
                client = await wrap_client_stream(nursery, faulty, "localhost", "/")
                faulty.cut_after_sending(10)
                with pytest.raises(ConnectionClosed):
                    await client.send_message("longer than ten bytes")

    Without a fault it behaves as the stream beneath does, except that it cannot be
    half-closed. Faults can be switched on at any time, also in the middle of a call.

    Args:
        stream: The stream beneath, which belongs to this one.
        send_delay: Seconds that each call to send waits first.
        receive_delay: Seconds that each call to receive waits first.
        max_receive_size: The most bytes that one call receives; None for no limit.
        max_send_size: The most bytes that are sent at once; a call sends more of them
            in pieces, between which others get their turn. None for no limit.

    Raises:
        ValueError: If a size is less than 1.

    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        send_delay: float = 0.0,
        receive_delay: float = 0.0,
        max_receive_size: int | None = None,
        max_send_size: int | None = None,
    ) -> None:
        self._stream = stream
        self._sending = _Flow("sending", delay=send_delay, max_size=max_send_size)
        self._receiving = _Flow(
            "receiving", delay=receive_delay, max_size=max_receive_size
        )
        self._is_swallowing = False
        self._reading = trio.Lock()
        self._ahead = bytearray()  # received beneath, but not from here yet
        self._has_ended = False

    @property
    def bytes_sent(self) -> int:
        """How many bytes were sent so far, with those that were swallowed."""
        return self._sending.count

    @property
    def bytes_received(self) -> int:
        """How many bytes were received so far."""
        return self._receiving.count

    async def cut(self) -> None:
        """Cut the connection: this end is broken, and the other sees it end or break.

        Every call that is going on, and every later one, raises
        :exc:`trio.BrokenResourceError`.
        """
        self._sending.fail(trio.BrokenResourceError)
        self._receiving.fail(trio.BrokenResourceError)
        await drop(self._stream)

    def cut_after_sending(self, size: int) -> None:
        """Cut as soon as exactly so many more bytes have been sent.

        Args:
            size: The number of bytes; 0 cuts when the next call sends.

        Raises:
            ValueError: If it is less than 0.

        """
        self._sending.limit(size)

    def cut_after_receiving(self, size: int) -> None:
        """Cut as soon as exactly so many more bytes have been received.

        Args:
            size: The number of bytes; 0 cuts when the next call receives, or at once if
                one is waiting.

        Raises:
            ValueError: If it is less than 0.

        """
        self._receiving.limit(size)

    def swallow_sending(self) -> None:
        """Let what is sent from now on disappear, as if a cable were pulled."""
        self._is_swallowing = True

    def stall_sending(self) -> None:
        """Let calls to send wait, as if the peer did not read.

        A call that is going on is stalled before its next piece.
        """
        self._sending.stall()

    def resume_sending(self) -> None:
        """Let calls to send go on."""
        self._sending.resume()

    def stall_receiving(self) -> None:
        """Let calls to receive wait, as if the peer were silent."""
        self._receiving.stall()

    def resume_receiving(self) -> None:
        """Let calls to receive go on; what was sent meanwhile is not lost."""
        self._receiving.resume()

    async def end_receiving(self) -> None:
        """End what is received, as if the peer had closed its direction.

        What the peer has sent so far comes before the end: this waits until nothing
        more comes and all tasks are blocked.
        """
        self._receiving.interrupt()
        async with self._reading:
            if not self._has_ended:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_ahead)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
            self._has_ended = True
            self._receiving.interrupt()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it, unless a fault prevents that.

        Raises:
            trio.BrokenResourceError: If the connection was cut or is broken.
            trio.ClosedResourceError: If this stream was closed.
            trio.BusyResourceError: If another task is sending.

        """
        flow = self._sending
        rest = memoryview(data)
        with flow.use():
            await flow.delay()
            while True:
                await flow.pass_gate()
                size = flow.measure(len(rest))
                piece, rest = rest[:size], rest[size:]
                await self._send_piece(piece)
                flow.record(len(piece))
                if flow.is_used_up:
                    await self.cut()
                    if rest:
                        raise trio.BrokenResourceError
                if not rest:
                    return

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not have to wait."""
        with self._sending.use():
            await self._sending.delay()
            await self._sending.pass_gate()
            await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there, at least one byte; nothing at the end.

        Raises:
            trio.BrokenResourceError: If the connection was cut or is broken.
            trio.ClosedResourceError: If this stream was closed.
            trio.BusyResourceError: If another task is receiving.

        """
        flow = self._receiving
        data: bytes | None = None
        with flow.use():
            await flow.delay()
            while data is None:
                await flow.pass_gate()
                if flow.is_used_up:
                    await self.cut()
                    raise trio.BrokenResourceError
                with flow.step():
                    data = await self._receive_piece(flow.measure(max_bytes))
            data = data[: flow.measure(None)]  # the limit may be younger than the call
            flow.record(len(data))
            if flow.is_used_up:
                await self.cut()
        return data

    async def aclose(self) -> None:
        """Close the stream beneath."""
        self._sending.fail(trio.ClosedResourceError)
        self._receiving.fail(trio.ClosedResourceError)
        await self._stream.aclose()

    async def _send_piece(self, piece: memoryview) -> None:
        if self._is_swallowing:
            await trio.lowlevel.checkpoint()
        else:
            await self._stream.send_all(piece)

    async def _receive_piece(self, size: int | None) -> bytes:
        if self._ahead or self._has_ended:
            piece = bytes(self._ahead[:size])
            del self._ahead[:size]
            return piece  # noqa: ASYNC910  # behind delay
        async with self._reading:
            return bytes(await self._stream.receive_some(size))

    async def _read_ahead(self) -> None:  # noqa: ASYNC910  # a task of its own
        try:
            while data := await self._stream.receive_some():
                self._ahead += data
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nothing more comes
