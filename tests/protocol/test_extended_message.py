from __future__ import annotations

import pytest

from trio_websocket._protocol.extended_message import ExtendedMessage
from trio_websocket._protocol.extension import Extension
from trio_websocket._protocol.extension_stack import ExtensionStack
from trio_websocket._protocol.frame import Frame, FrameParser
from trio_websocket._protocol.frame_header import Opcode

from .sample_extensions import Brackets, Shout, Suffix

CONTINUATION, TEXT, BINARY = Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY
KEY = b"\x9a\x00\xff\x42"


def begin(
    *extensions: Extension, opcode: Opcode = TEXT, key: bytes | None = None
) -> ExtendedMessage:
    return ExtendedMessage(
        opcode, lambda: key, ExtensionStack(extensions), compress=True
    )


def build(
    message: ExtendedMessage,
    data: bytes,
    *,
    is_last: bool = False,
    max_size: int | None = None,
) -> list[Frame]:
    frames = message.build(data, is_last=is_last, max_size=max_size)
    return FrameParser().feed(b"".join(map(bytes, frames)))


def look(frames: list[Frame]) -> list[tuple[int, bytes, bool]]:
    return [(frame.opcode, bytes(frame.payload), frame.fin) for frame in frames]


def test_an_extension_of_messages_is_given_the_whole() -> None:
    message = begin(Suffix())
    assert build(message, b"one") == []
    assert build(message, b"two") == []
    assert look(build(message, b"", is_last=True)) == [(TEXT, b"onetwoa", True)]


def test_what_was_changed_is_cut() -> None:
    message = begin(Suffix(), Shout(), opcode=TEXT)
    build(message, b"abcd")
    frames = build(message, b"e", is_last=True, max_size=4)
    assert look(frames) == [(TEXT, b"ABCD", False), (CONTINUATION, b"EA", True)]
    assert [(frame.rsv2, frame.rsv3) for frame in frames] == [
        (True, True),
        (False, False),
    ]


def test_an_extension_knows_what_kind_of_message_it_is() -> None:
    message = begin(Shout(), opcode=BINARY)
    assert look(build(message, b"a", is_last=True)) == [(BINARY, b"a", True)]


def test_an_extension_of_frames_is_given_each_part_at_once() -> None:
    message = begin(Brackets())
    assert look(build(message, b"one")) == [(TEXT, b"[one]", False)]
    assert look(build(message, b"abc", max_size=2)) == [
        (CONTINUATION, b"[ab]", False),
        (CONTINUATION, b"[c]", False),
    ]
    assert look(build(message, b"", is_last=True)) == [(CONTINUATION, b"[]", True)]


def test_the_frames_of_a_client_are_masked() -> None:
    (frame,) = build(begin(Suffix(), key=KEY), b"b", is_last=True)
    assert frame.masking_key == KEY


class Mistaken(Brackets):
    """Changes what it may not in the second frame."""

    def __init__(self) -> None:
        self.count = 0

    def encode(self, frame: Frame) -> Frame:
        self.count += 1
        if self.count > 1:
            raise ValueError("no")
        return super().encode(frame)


def test_no_frame_is_built_if_one_cannot_be() -> None:
    message = begin(Mistaken())
    with pytest.raises(ValueError, match="no"):
        message.build(b"abcd", is_last=True, max_size=2)
