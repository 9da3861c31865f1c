"""Frames over any stream, one by one, without a connection's rules."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace

import trio

from .._protocol.frame import Frame, FrameParser

_KEY_SIZE = 4


class FrameStream(trio.abc.AsyncResource):
    """A stream of frames, for those who test or build protocols.

    It begins where the opening handshake has ended. It sends and receives what it is
    told to: nobody answers a ping or a Close, or puts fragments together, or looks at
    text. A client masks what it sends (RFC 6455 section 5.3).

    ``async for`` gives one frame after the other until the stream ends.

    Many tasks may send and many may receive; each frame is sent whole and goes to one
    task.

    Args:
        stream: Any stream. It belongs to this one from now on.
        client: Whether this end is the client.
        received: What was received behind the handshake already.
        max_payload_size: The most bytes that a received payload may have; `math.inf`
            means no limit.

    Attributes:
        stream: The stream beneath.

    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        client: bool,
        received: bytes = b"",
        max_payload_size: float = 2**20,
    ) -> None:
        self.stream: trio.abc.Stream = stream
        self._is_client = client
        self._parser = FrameParser(
            is_masked=not client, max_payload_size=max_payload_size
        )
        self._unparsed = received
        self._frames: deque[Frame] = deque()
        self._sending = trio.StrictFIFOLock()
        self._receiving = trio.StrictFIFOLock()
        self._is_torn = False

    async def send_frame(self, *frames: Frame) -> None:
        """Send frames, in one write.

        A client masks each with a key of its own, if it was not given one.

        Raises:
            ValueError: If a server is to send a frame with a masking key. Nothing was
                sent then.
            trio.BrokenResourceError: If the stream is broken, or a send before this one
                was cancelled when a part of a frame had left.
            trio.ClosedResourceError: If the stream was closed.

        Cancellation:
            A part of a frame may have left; then nothing can be sent any more.

        """
        data = b"".join([self._prepare(frame).pack() for frame in frames])
        async with self._sending:
            if self._is_torn:
                raise trio.BrokenResourceError("a frame was sent in part")
            self._is_torn = True
            await self.stream.send_all(data)
            self._is_torn = False

    async def receive_frame(self) -> Frame:
        """Receive the next frame; its payload is unmasked.

        Raises:
            trio.EndOfChannel: If the stream has ended behind a frame.
            trio.BrokenResourceError: If it has ended within one, or is broken.
            trio.ClosedResourceError: If the stream was closed.
            ValueError: If what came is no frame, or one that is masked and should not
                be, or the other way round, or is over the limit.

        Cancellation:
            Nothing is lost.

        """
        async with self._receiving:
            while not self._frames:
                await self._receive_more()
            return self._frames.popleft()

    async def receive_frames(self, count: int) -> list[Frame]:
        """Receive so many frames, no more and no fewer.

        Raises:
            ValueError: As `receive_frame`, or if the count is negative.
            trio.EndOfChannel: As `receive_frame`; frames that came before stay to be
                received.

        Cancellation:
            Nothing is lost.

        """
        if count < 0:
            raise ValueError(f"the count must be 0 or more, not {count}")
        async with self._receiving:
            while len(self._frames) < count:
                await self._receive_more()
            return [self._frames.popleft() for _ in range(count)]

    def __aiter__(self) -> FrameStream:
        return self

    async def __anext__(self) -> Frame:
        try:
            return await self.receive_frame()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Close the stream beneath; a Close frame is yours to send before."""
        await self.stream.aclose()

    def _prepare(self, frame: Frame) -> Frame:
        if not self._is_client:
            if frame.masking_key is not None:
                raise ValueError("a server does not mask its frames")
            return frame
        if frame.masking_key is not None:
            return frame
        return replace(frame, masking_key=os.urandom(_KEY_SIZE))

    async def _receive_more(self) -> None:  # noqa: ASYNC910  # its lock has had a turn
        # What came with the handshake, or what is wrong behind the frames before.
        received, self._unparsed = self._unparsed, b""
        frames = self._parser.feed(received)
        if frames:
            self._frames += frames
            return  # noqa: ASYNC910  # as above
        data = await self.stream.receive_some()
        if not data:
            self._end()
        self._frames += self._parser.feed(data)

    def _end(self) -> None:
        if self._parser.is_between_frames:
            raise trio.EndOfChannel
        raise trio.BrokenResourceError("the stream has ended within a frame")
