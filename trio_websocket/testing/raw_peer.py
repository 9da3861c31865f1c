"""A peer that sends any bytes, in or out of order."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import trio

from .._protocol.frame_header import Opcode, build_header, mask_payload, parse_header
from .._stream import drop

_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3; tests want no chance
_MASKING_KEY = b"\x37\xfa\x21\x3d"  # RFC 6455 section 5.7
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame as it was on the wire (RFC 6455 section 5.2).

    Attributes:
        opcode: The number of its kind: 0 for a continuation, 1 for text, 2 for binary,
            8 for a Close, 9 for a ping, 10 for a pong.
        payload: Its bytes, unmasked.
        fin: Whether it is the last frame of its message.
        rsv: The three reserved bits, RSV1 as the highest: 0 to 7.
        is_masked: Whether it was masked.

    """

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    is_masked: bool = False


class RawPeer(trio.abc.AsyncResource):
    """One end of a stream that speaks frames and bytes without any rules.

    Use it to see how a program meets a peer that is rude, broken or slow. Nothing
    happens by itself: no ping is answered, no Close is returned, and only the calls to
    receive read anything. The keys of the handshake and of the masks are always the
    same, so that a test always runs in the same way::

        async def test_half_a_message_is_no_message():
            client_stream, server_stream = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_one, server_stream)
                async with await RawPeer.connect(client_stream) as peer:
                    await peer.send_frame(1, b"half", fin=False)
                    await peer.send_close(1001)
                    assert await peer.receive_close() == (1001, "")

    A stream that ends or breaks raises what the stream raises, and :exc:`EOFError`
    where something whole was awaited.

    Args:
        stream: The stream; closing the peer closes it.
        is_client: Whether frames are to be masked, as those of a client are.

    Attributes:
        stream: The stream.
        is_client: The role.
        head: What the other side sent in the handshake, with its blank line; empty
            before that.

    """

    def __init__(self, stream: trio.abc.Stream, *, is_client: bool = True) -> None:
        self.stream: trio.abc.Stream = stream
        self.is_client: bool = is_client
        self.head: bytes = b""
        self._received = bytearray()

    @classmethod
    async def connect(
        cls,
        stream: trio.abc.Stream,
        host: str = "localhost",
        path: str = "/",
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    ) -> Self:
        """Ask for a connection as a client does, and read the head of the answer.

        The answer is not judged: see ``head``.

        Args:
            stream: The stream.
            host: The value of the ``Host`` header.
            path: The request target.
            headers: Pairs of name and value, sent behind those of a correct request.

        Raises:
            EOFError: If the stream ends within the answer.

        """
        peer = cls(stream, is_client=True)
        lines = [
            b"GET %b HTTP/1.1" % _encode(path),
            b"Host: %b" % _encode(host),
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: %b" % _KEY,
            b"Sec-WebSocket-Version: 13",
        ]
        await peer.send_bytes(_build_head(lines, headers))
        await peer.receive_head()
        return peer

    @classmethod
    async def accept(
        cls,
        stream: trio.abc.Stream,
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        behind: bytes = b"",
    ) -> Self:
        """Read the head of a request and accept it as a server does.

        Args:
            stream: The stream.
            headers: Pairs of name and value, sent behind those of a correct answer.
            behind: Bytes to send together with the answer, behind it.

        Raises:
            EOFError: If the stream ends within the request.

        """
        peer = cls(stream, is_client=False)
        key = _find_key(await peer.receive_head())
        digest = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324  # RFC 6455 section 4.2.2
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: %b" % digest,
        ]
        await peer.send_bytes(_build_head(lines, headers) + behind)
        return peer

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def send_frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        masked: bool | None = None,
    ) -> None:
        """Send a frame; nothing is checked.

        Args:
            opcode: The number of its kind, 0 to 15.
            payload: Its bytes, before masking.
            fin: Whether it says that it is the last of its message.
            rsv: The three reserved bits, RSV1 as the highest: 0 to 7.
            masked: Whether to mask it; None does as the role demands.

        """
        is_masked = self.is_client if masked is None else masked
        key = _MASKING_KEY if is_masked else None
        header = build_header(opcode, len(payload), fin=fin, rsv=rsv, masking_key=key)
        body = payload if key is None else mask_payload(payload, key)
        await self.send_bytes(header + body)

    async def send_text(self, text: str) -> None:
        """Send a text message in one frame."""
        await self.send_frame(Opcode.TEXT, text.encode())

    async def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close frame; None as the code leaves it empty."""
        payload = b"" if code is None else code.to_bytes(2, "big")
        await self.send_frame(Opcode.CLOSE, payload + reason.encode())

    async def send_eof(self) -> None:
        """Say that nothing more will be sent, and go on receiving.

        Raises:
            TypeError: If the stream cannot be closed in one direction only, as TLS.

        """
        if not isinstance(self.stream, trio.abc.HalfCloseableStream):
            raise TypeError(f"{self.stream!r} cannot be half-closed")
        await self.stream.send_eof()

    async def receive_head(self) -> bytes:
        """Receive the head of an HTTP message, and keep it in ``head`` too.

        Raises:
            EOFError: If the stream ends within it.

        """
        await trio.lowlevel.checkpoint()
        while _HEAD_END not in self._received:
            await self._receive_more()
        self.head = self._take(self._received.find(_HEAD_END) + len(_HEAD_END))
        return self.head

    async def receive_frame(self) -> RawFrame:
        """Receive the next frame, whatever it is.

        Raises:
            EOFError: If the stream ends before a whole frame came.

        """
        await trio.lowlevel.checkpoint()
        header = parse_header(self._received)
        while header is None:
            await self._receive_more()
            header = parse_header(self._received)
        size = header.size + header.payload_length
        while len(self._received) < size:
            await self._receive_more()
        payload = self._take(size)[header.size :]
        key = header.masking_key
        return RawFrame(
            opcode=header.opcode,
            payload=payload if key is None else mask_payload(payload, key),
            fin=header.fin,
            rsv=header.rsv,
            is_masked=key is not None,
        )

    async def receive_close(self) -> tuple[int | None, str]:
        """Receive a Close frame and nothing else.

        Returns:
            The code, or None if the frame has none, and the reason.

        Raises:
            AssertionError: If the next frame is another, or its payload is one byte.
            EOFError: If the stream ends before.

        """
        frame = await self.receive_frame()
        if frame.opcode != Opcode.CLOSE or len(frame.payload) == 1:
            raise AssertionError(f"a Close frame was expected, not {frame!r}")
        if not frame.payload:
            return None, ""
        return int.from_bytes(frame.payload[:2], "big"), frame.payload[2:].decode()

    async def receive_eof(self) -> bytes:
        """Receive until the end of the stream, and return what came before it."""
        while data := await self.stream.receive_some():
            self._received += data
        return self._take(len(self._received))

    async def aclose(self) -> None:
        """Drop the stream, without a word."""
        await drop(self.stream)

    async def _receive_more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"the stream ended behind {bytes(self._received)!r}")
        self._received += data

    def _take(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data


def _build_head(
    lines: list[bytes], headers: Iterable[tuple[str | bytes, str | bytes]]
) -> bytes:
    more = [b"%b: %b" % (_encode(name), _encode(value)) for name, value in headers]
    return b"\r\n".join([*lines, *more]) + _HEAD_END


def _encode(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def _find_key(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            return value.strip()
    return b""
