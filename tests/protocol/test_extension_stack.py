from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import pytest

from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.deflate import Codec, DeflateAgreement, build_codec
from trio_websocket._protocol.extension import Extension, FrameExtension, Kind
from trio_websocket._protocol.extension_stack import (
    BadExtended,
    Deflation,
    ExtensionStack,
)
from trio_websocket._protocol.frame import Frame
from trio_websocket._protocol.frame_header import Opcode

from .sample_extensions import (
    Braces,
    Brackets,
    OtherSuffix,
    Repeat,
    Shout,
    Sign,
    Suffix,
)

CONTINUATION, TEXT, BINARY, *_ = Opcode
KEY = b"\x9a\x00\xff\x42"
MANY = 2**40
AGREEMENT = DeflateAgreement(
    server_no_context_takeover=False,
    client_no_context_takeover=False,
    server_max_window_bits=15,
    client_max_window_bits=15,
)


def make_codec(*, window: int = 15) -> Codec:
    agreement = replace(AGREEMENT, client_max_window_bits=window)
    options = PerMessageDeflate(threshold=8)
    return build_codec(options, agreement, is_client=True)


def make_pair(*makers: Callable[[], Extension]) -> Sequence[ExtensionStack]:
    """Make the stacks of both ends."""
    return [ExtensionStack([make() for make in makers]) for _ in range(2)]


def deflate() -> Deflation:
    return Deflation(make_codec())


# Messages.


def test_what_is_sent_goes_through_in_order() -> None:
    stack = ExtensionStack([Suffix(), OtherSuffix(), Shout()])
    assert stack.encode_message("text", b"x") == (b"XAB", 3)
    assert stack.encode_message("bytes", b"x") == (b"xab", 0)


def test_what_is_received_goes_through_in_reverse() -> None:
    stack = ExtensionStack([Suffix(), OtherSuffix()])
    decode = stack.decode_message
    assert decode("text", b"xab", rsv=0, max_size=9) == b"x"
    with pytest.raises(BadExtended) as caught:
        decode("text", b"xba", rsv=0, max_size=9)
    assert caught.value.code == 1007
    assert caught.value.problem == (
        "the extension x-other-suffix cannot decode the message: it does not end with b"
    )


def test_only_messages_with_its_bits_are_decoded_by_an_extension_that_has_some() -> (
    None
):
    stack = ExtensionStack([Shout()])
    assert [stack.decodes(rsv) for rsv in range(4)] == [False, True, True, True]
    assert stack.decode_message("text", b"X", rsv=0, max_size=9) == b"X"
    assert stack.decode_message("text", b"X", rsv=3, max_size=9) == b"x"
    assert ExtensionStack([Suffix(), Shout()]).decodes(0)


def test_the_bits_of_an_extension_stand_together_or_not_at_all() -> None:
    stack = ExtensionStack([Shout(), deflate()])
    allowed = [rsv for rsv in range(8) if stack.allows(rsv)]
    assert allowed == [0, 3, 4, 7]
    stack = ExtensionStack([Repeat(), Sign()])
    assert [rsv for rsv in range(8) if stack.allows(rsv)] == [0, 1, 2, 3]
    assert stack.frame_bits == 1


@pytest.mark.parametrize(
    "makers", [(Suffix, deflate), (deflate, Suffix), (Shout, deflate, OtherSuffix)]
)
def test_messages_reach_the_other_end_as_they_were(
    makers: tuple[Callable[[], Extension], ...],
) -> None:
    ours, theirs = make_pair(*makers)
    for text in (b"text" * 99, b"text" * 99, b"t", b"", b"text" * 99):
        data, rsv = ours.encode_message("text", text)
        assert theirs.decode_message("text", data, rsv=rsv, max_size=999) == text


def test_compression_has_its_place_among_the_others() -> None:
    text = b"text" * 99
    data, rsv = ExtensionStack([Suffix(), deflate()]).encode_message("text", text)
    assert zlib.decompressobj(-15).decompress(data) == text + b"a"
    assert rsv == 4
    data, rsv = ExtensionStack([deflate(), Suffix()]).encode_message("text", text)
    assert zlib.decompressobj(-15).decompress(data.removesuffix(b"a")) == text
    assert rsv == 4


def test_a_message_may_be_left_uncompressed() -> None:
    stack = ExtensionStack([deflate(), Suffix()])
    long = b"text" * 99
    assert stack.encode_message("text", long, compress=False) == (long + b"a", 0)
    assert stack.encode_message("text", b"short") == (b"shorta", 0)
    mute = ExtensionStack([Deflation(make_codec(window=8))])
    mute.forget()  # there is nothing
    assert mute.encode_message("text", long) == (long, 0)


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 600_000])
@pytest.mark.parametrize("spare", [0, 1, MANY])
def test_compressed_messages_up_to_the_limit_are_inflated(
    size: int, spare: int
) -> None:
    ours, theirs = make_pair(deflate)
    data, rsv = ours.encode_message("bytes", bytes(size))
    decoded = theirs.decode_message("bytes", data, rsv=rsv, max_size=size + spare)
    assert decoded == bytes(size)


@pytest.mark.parametrize("limit", [0, 1, 262_143, 262_144, 599_999])
def test_no_more_than_one_byte_over_the_limit_is_inflated(limit: int) -> None:
    ours, theirs = make_pair(Suffix, deflate)
    data, rsv = ours.encode_message("bytes", bytes(600_000))
    decoded = theirs.decode_message("bytes", data, rsv=rsv, max_size=limit)
    assert len(decoded) == limit + 1


def test_what_cannot_be_inflated_is_bad_data() -> None:
    stack = ExtensionStack([deflate()])
    with pytest.raises(BadExtended) as caught:
        stack.decode_message("text", b"\xff\xff", rsv=4, max_size=9)
    assert caught.value.code == 1007
    assert caught.value.problem.startswith(
        "the extension permessage-deflate cannot decode the message: the compressed"
    )


class Bad(Suffix):
    """Returns what it may not, or tells what cannot be sent."""

    name: ClassVar[str] = "x-bad"

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        return cast("bytes", bytearray(data))

    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        if not data:
            raise ValueError("\ud800\u20ac")
        return cast("bytes", data.decode())


def test_a_result_that_is_not_bytes_is_a_type_error() -> None:
    stack = ExtensionStack([Bad()])
    sentence = "^the extension x-bad must return bytes, not "
    with pytest.raises(TypeError, match=f"{sentence}bytearray$"):
        stack.encode_message("text", b"x")
    with pytest.raises(TypeError, match=f"{sentence}str$"):
        stack.decode_message("text", b"x", rsv=0, max_size=9)


def test_the_sentence_of_an_error_can_be_sent_whatever_is_in_it() -> None:
    with pytest.raises(BadExtended) as caught:
        ExtensionStack([Bad()]).decode_message("text", b"", rsv=0, max_size=9)
    assert caught.value.problem.endswith("message: \\ud800\u20ac")


# Frames.


def test_frames_go_through_in_order_and_back_in_reverse() -> None:
    stack = ExtensionStack([Brackets(), Suffix(), Braces()])
    assert stack.build_frame(TEXT, b"x", None) == b"\x81\x05{[x]}"
    assert stack.decode_frame(TEXT, b"{[x]}", fin=True, rsv=0) == b"x"
    with pytest.raises(BadExtended) as caught:
        stack.decode_frame(TEXT, b"[{x}]", fin=True, rsv=0)
    assert caught.value.code == 1007
    assert caught.value.problem == (
        "the extension x-braces cannot decode the frame: no brackets around b'[{x}]'"
    )


def test_an_extension_of_frames_has_its_bits_on_any_frame() -> None:
    stack = ExtensionStack([Sign(), Shout()])
    assert stack.build_frame(TEXT, b"abc", None, fin=False) == b"\x11\x03cba"
    assert stack.build_frame(CONTINUATION, b"ab", None) == b"\x80\x02ab"
    assert stack.build_frame(CONTINUATION, b"abc", None) == b"\x90\x03cba"
    assert stack.decode_frame(CONTINUATION, b"cba", fin=True, rsv=1) == b"abc"
    assert stack.decode_frame(CONTINUATION, b"cba", fin=True, rsv=0) == b"cba"


@pytest.mark.parametrize("makers", [(), (Sign,)])
def test_a_frame_keeps_the_bits_of_its_message_and_is_masked_last(
    makers: tuple[Callable[[], Extension], ...],
) -> None:
    stack = ExtensionStack([make() for make in makers])
    wire = stack.build_frame(BINARY, b"ab", KEY, rsv=4)
    assert Frame.parse(wire) == Frame(BINARY, b"ab", rsv1=True, masking_key=KEY)


class Meddler(FrameExtension):
    """Returns whatever it is told to."""

    name: ClassVar[str] = "x-meddler"
    reserved_bits: ClassVar[Collection[int]] = (2,)

    def __init__(self, change: Callable[[Frame], object]) -> None:
        self._change = change

    def encode(self, frame: Frame) -> Frame:
        return cast("Frame", self._change(frame))

    decode = encode


CHANGES: dict[str, Callable[[Frame], object]] = {
    "fin": lambda frame: replace(frame, fin=not frame.fin),
    "opcode": lambda frame: replace(frame, opcode=BINARY),
    "rsv1": lambda frame: replace(frame, rsv1=not frame.rsv1),
    "rsv3": lambda frame: replace(frame, rsv3=True),
    "key": lambda frame: replace(frame, masking_key=KEY),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_extension_may_not_change_what_is_not_its_own(
    change: Callable[[Frame], object],
) -> None:
    stack = ExtensionStack([Meddler(change)])
    sentence = (
        "the extension x-meddler changes more of a frame than its payload and its own"
        " reserved bits"
    )
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        stack.build_frame(TEXT, b"x", KEY)
    with pytest.raises(BadExtended) as caught:
        stack.decode_frame(TEXT, b"x", fin=False, rsv=4)
    assert (caught.value.code, caught.value.problem) == (1002, sentence)


def test_an_extension_may_change_its_own_bits_both_ways() -> None:
    stack = ExtensionStack([Meddler(lambda frame: replace(frame, rsv2=not frame.rsv2))])
    assert stack.build_frame(TEXT, b"x", None) == b"\xa1\x01x"
    assert stack.decode_frame(TEXT, b"x", fin=True, rsv=0) == b"x"
    assert stack.decode_frame(TEXT, b"x", fin=True, rsv=2) == b"x"


def test_a_result_that_is_no_frame_is_a_type_error() -> None:
    stack = ExtensionStack([Meddler(lambda frame: None)])
    sentence = "^the extension x-meddler must return a Frame, not NoneType$"
    with pytest.raises(TypeError, match=sentence):
        stack.build_frame(TEXT, b"x", None)
    with pytest.raises(TypeError, match=sentence):
        stack.decode_frame(TEXT, b"x", fin=True, rsv=0)
