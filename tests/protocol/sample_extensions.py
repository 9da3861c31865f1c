"""Extensions for tests: simple ones, so that each byte on the wire can be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from trio_websocket._protocol.extension import (
    FrameExtension,
    Kind,
    MessageExtension,
    Parameters,
)
from trio_websocket._protocol.frame import Frame


class Suffix(MessageExtension):
    """Puts its letter behind every message."""

    name: ClassVar[str] = "x-suffix"
    letter: ClassVar[bytes] = b"a"

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        return data + self.letter

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        if not data.endswith(self.letter):
            raise ValueError(f"it does not end with {self.letter.decode()}")
        return data.removesuffix(self.letter)


class OtherSuffix(Suffix):
    """The same with another letter."""

    name: ClassVar[str] = "x-other-suffix"
    letter: ClassVar[bytes] = b"b"


class Shout(MessageExtension):
    """Sends text in upper case, with a bit that says so; takes it in lower case."""

    name: ClassVar[str] = "x-shout"
    reserved_bits: ClassVar[Collection[int]] = (2, 3)

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        return data.upper() if kind == "text" and data else None

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        return data.lower()


class Repeat(MessageExtension):
    """Takes a number instead of so many bytes."""

    name: ClassVar[str] = "x-repeat"
    reserved_bits: ClassVar[Collection[int]] = [2]

    def __init__(self) -> None:
        self.limits: list[int] = []

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        raise AssertionError

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        self.limits.append(max_size)
        return b"." * int(data)


class Count(MessageExtension):
    """Numbers the messages, and wants them in order: state of a connection."""

    name: ClassVar[str] = "x-count"

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        self.sent += 1
        return b"%d:%s" % (self.sent, data)

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        self.received += 1
        number, _, rest = data.partition(b":")
        if int(number) != self.received:
            raise ValueError(f"message {self.received} is missing")
        return rest


class Brackets(FrameExtension):
    """Puts brackets around each frame."""

    name: ClassVar[str] = "x-brackets"
    left: ClassVar[bytes] = b"["
    right: ClassVar[bytes] = b"]"

    def encode(self, frame: Frame) -> Frame:
        return replace(frame, payload=self.left + bytes(frame.payload) + self.right)

    def decode(self, frame: Frame) -> Frame:
        payload = bytes(frame.payload)
        if not (payload.startswith(self.left) and payload.endswith(self.right)):
            raise ValueError(f"no brackets around {payload!r}")
        return replace(frame, payload=payload[1:-1])


class Braces(Brackets):
    """The same with braces."""

    name: ClassVar[str] = "x-braces"
    left: ClassVar[bytes] = b"{"
    right: ClassVar[bytes] = b"}"


class Sign(FrameExtension):
    """Turns each frame with an odd number of bytes round, and sets a bit on it."""

    name: ClassVar[str] = "x-sign"
    reserved_bits: ClassVar[Collection[int]] = (3,)

    def encode(self, frame: Frame) -> Frame:
        payload = bytes(frame.payload)
        if len(payload) % 2 == 0:
            return frame
        return replace(frame, payload=payload[::-1], rsv3=True)

    def decode(self, frame: Frame) -> Frame:
        if not frame.rsv3:
            return frame
        return replace(frame, payload=bytes(frame.payload)[::-1])


class Tuned(MessageExtension):
    """Negotiates a level from 1 to 9: the lower one of what both ends want."""

    name: ClassVar[str] = "x-tuned"
    level = 5

    def __init__(self) -> None:
        self.agreed = 0

    def offer(self) -> Sequence[Parameters]:
        return [{"level": self.level, "strict": True, "old": False}, {"level": None}]

    def accept(self, offered: Mapping[str, str | None]) -> Parameters | None:
        if "strict" in offered:
            return None
        self.agreed = min(self.level, int(offered.get("level") or 9))
        return {"level": self.agreed}

    def confirm(self, accepted: Mapping[str, str | None]) -> None:
        self.agreed = int(accepted.get("level") or 0)
        if not 1 <= self.agreed <= self.level:
            raise ValueError(f"the level is {self.agreed}")

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        return None

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        return data
