"""Bytes of the wire, made by hand: handshakes, frames and the messages in them.

Nothing here checks what it reads. It serves ends that know each other.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import struct

TEXT = 1
BINARY = 2
PING = 9
RSV1 = 0x40
HEAD_END = b"\r\n\r\n"
REQUEST = (
    b"GET / HTTP/1.1\r\n"
    b"Host: 127.0.0.1\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
# RFC 6455 section 1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EXTENSIONS = b"Sec-WebSocket-Extensions: "
# Characters of one, two, three and four bytes.
_WORDS = "Grüße aus Ōsaka, 寿司 und 😀! "
# The shares of a chat: of 200 messages, with a ping after every 50.
_CHAT = [("ascii", 64)] * 140 + [("ascii", 1024)] * 50 + [("binary", 32768)] * 10
_MESSAGES_PER_PING = 50


def build_request(extension: str) -> bytes:
    """Build the request of an opening handshake that offers an extension."""
    return REQUEST[:-2] + _EXTENSIONS + extension.encode() + HEAD_END


def build_answer(request: bytes, extension: str = "") -> bytes:
    """Build the answer to an opening handshake (RFC 6455 section 4.2.2)."""
    accepted = b"\r\n" + _EXTENSIONS + extension.encode() if extension else b""
    key = b""
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            key = value.strip()
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + accepted + HEAD_END
    )


def build_message(kind: str, size: int) -> str | bytes:
    """Build a message of so many bytes."""
    if kind == "binary":
        return random.Random(size).randbytes(size)  # noqa: S311  # not a secret
    if kind == "ascii":
        return ("the quick brown fox jumps over the lazy dog; " * size)[:size]
    whole = _WORDS * (size // len(_WORDS.encode()))
    return whole + "." * (size - len(whole.encode()))


def build_frame(message: str | bytes, *, is_masked: bool, opcode: int = 0) -> bytes:
    """Build a final frame; the opcode is that of the message unless it is given."""
    payload = message.encode() if isinstance(message, str) else message
    opcode = opcode or (TEXT if isinstance(message, str) else BINARY)
    header = build_header(0x80 | opcode, len(payload), is_masked=is_masked)
    if not is_masked:
        return header + payload
    key = os.urandom(4)
    return header + key + mask(payload, key)


def build_header(first: int, size: int, *, is_masked: bool) -> bytes:
    """Build the header of a frame, but for the key that masks it."""
    mask_bit = 0x80 if is_masked else 0
    if size < 126:
        return struct.pack("!BB", first, mask_bit | size)
    if size < 65536:
        return struct.pack("!BBH", first, mask_bit | 126, size)
    return struct.pack("!BBQ", first, mask_bit | 127, size)


def measure_frame(data: bytes | bytearray) -> int:
    """Find the size of the frame that begins here; 0 if its header is not whole."""
    if len(data) < 2:
        return 0
    is_masked, size = data[1] & 0x80, data[1] & 0x7F
    start = {126: 4, 127: 10}.get(size, 2)
    if len(data) < start:
        return 0
    if start > 2:
        size = int.from_bytes(data[2:start], "big")
    return start + size + (4 if is_masked else 0)


def mask(payload: bytes, key: bytes) -> bytes:
    """Mask a payload (RFC 6455 section 5.3)."""
    size = len(payload)
    keys = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")
    return masked.to_bytes(size, "little")


def build_block(kind: str, size: int, *, is_masked: bool) -> bytes:
    """Build the frames that a flood repeats, some 256 KiB of them."""
    if kind == "mix":
        return _build_chat(is_masked=is_masked)
    count = max(2, 262144 // size)
    message = build_message(kind, size)
    return b"".join(build_frame(message, is_masked=is_masked) for _ in range(count))


def _build_chat(*, is_masked: bool) -> bytes:
    shares = list(_CHAT)
    random.Random(0).shuffle(shares)  # noqa: S311  # not a secret
    frames: list[bytes] = []
    for number, (kind, size) in enumerate(shares):
        if number % _MESSAGES_PER_PING == 0:
            frames.append(build_frame(b"ping", is_masked=is_masked, opcode=PING))
        frames.append(build_frame(build_message(kind, size), is_masked=is_masked))
    return b"".join(frames)
