from __future__ import annotations

import pytest

from trio_websocket._protocol.frame_header import Opcode, parse_header
from trio_websocket._protocol.part_decoder import PartDecoder

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY
EURO = "\u20ac".encode()


def test_bytes_are_as_they_are() -> None:
    decoder = PartDecoder(BINARY)
    assert decoder.opcode is BINARY
    assert decoder.decode(b"\xff", is_last=False) == b"\xff"
    assert decoder.decode(b"", is_last=True) == b""


@pytest.mark.parametrize("cut", range(len(EURO) + 1))
def test_a_character_may_be_spread_over_parts(cut: int) -> None:
    decoder = PartDecoder(TEXT)
    first = decoder.decode(EURO[:cut], is_last=False)
    second = decoder.decode(EURO[cut:], is_last=True)
    assert (first, second) == (("", "\u20ac") if cut < len(EURO) else ("\u20ac", ""))


@pytest.mark.parametrize("part", [b"\xff", EURO[:2] + b"a"])
def test_what_is_no_text_changes_nothing(part: bytes) -> None:
    decoder = PartDecoder(TEXT)
    with pytest.raises(UnicodeDecodeError):
        decoder.decode(part, is_last=False)
    assert decoder.decode(EURO, is_last=True) == "\u20ac"


def test_text_may_not_end_within_a_character() -> None:
    decoder = PartDecoder(TEXT)
    decoder.decode(EURO[:1], is_last=False)
    with pytest.raises(UnicodeDecodeError):
        decoder.decode(b"", is_last=True)


@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize(
    ("opcode", "part", "rest"), [(TEXT, b"a" + EURO[:2], EURO[:2]), (BINARY, b"a", b"")]
)
def test_a_recap_is_a_fragment_with_what_was_not_decoded(
    opcode: Opcode, part: bytes, rest: bytes, *, is_masked: bool
) -> None:
    decoder = PartDecoder(opcode)
    decoder.decode(part, is_last=False)
    recap = decoder.recap(is_masked=is_masked)
    header = parse_header(recap)
    assert header is not None
    assert (header.opcode, header.fin, header.rsv) == (opcode, False, 0)
    assert (header.masking_key is not None) is is_masked
    assert recap[header.size :] == rest
