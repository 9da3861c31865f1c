from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from trio_websocket._protocol.frame_header import (
    MAX_CONTROL_PAYLOAD,
    MAX_HEADER_SIZE,
    FrameHeader,
    Opcode,
    build_header,
    mask_payload,
    may_become_shortest,
    measure_header,
    measure_shortest,
    parse_header,
)

KEY = bytes.fromhex("37fa213d")

# opcode, length, fin, rsv, key, the header
HEADERS = {
    "text_empty": (1, 0, True, 0, None, "81 00"),
    "text_hello": (1, 5, True, 0, None, "81 05"),
    "text_masked": (1, 5, True, 0, KEY, "81 85 37fa213d"),
    "first_fragment": (1, 3, False, 0, None, "01 03"),
    "last_fragment": (0, 2, True, 0, None, "80 02"),
    "ping": (9, 5, True, 0, None, "89 05"),
    "pong_masked": (10, 5, True, 0, KEY, "8a 85 37fa213d"),
    "close": (8, 2, True, 0, None, "88 02"),
    "length_125": (2, 125, True, 0, None, "82 7d"),
    "length_126": (2, 126, True, 0, None, "82 7e 007e"),
    "length_256": (2, 256, True, 0, None, "82 7e 0100"),
    "length_65535": (2, 65535, True, 0, KEY, "82 fe ffff 37fa213d"),
    "length_65536": (2, 65536, True, 0, None, "82 7f 0000000000010000"),
    "length_63_bits": (2, 2**63 - 1, True, 0, KEY, "82 ff 7fffffffffffffff 37fa213d"),
    "length_64_bits": (2, 2**64 - 1, True, 0, None, "82 7f ffffffffffffffff"),
    "rsv1": (1, 1, True, 4, None, "c1 01"),
    "rsv2": (1, 1, True, 2, None, "a1 01"),
    "rsv3": (1, 1, True, 1, None, "91 01"),
    "all_reserved": (15, 1, False, 7, None, "7f 01"),
}
Case = tuple[int, int, bool, int, bytes | None, str]


@pytest.mark.parametrize("case", HEADERS.values(), ids=HEADERS)
def test_a_header_is_written_as_the_rfc_has_it(case: Case) -> None:
    opcode, length, fin, rsv, key, text = case
    built = build_header(opcode, length, fin=fin, rsv=rsv, masking_key=key)
    assert built == bytes.fromhex(text)


@pytest.mark.parametrize("case", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_header_is_read_from_whatever_holds_it(
    kind: type[bytes | bytearray | memoryview], case: Case
) -> None:
    opcode, length, fin, rsv, key, text = case
    data = bytes.fromhex(text)
    expected = FrameHeader(fin, rsv, opcode, length, key, len(data))
    assert parse_header(kind(data + b"\xff\xff")) == expected
    assert measure_header(data[1]) == len(data)


@pytest.mark.parametrize("case", HEADERS.values(), ids=HEADERS)
def test_there_is_no_header_while_bytes_of_it_are_missing(case: Case) -> None:
    data = bytes.fromhex(case[-1])
    for size in range(len(data)):
        assert parse_header(data[:size]) is None


@pytest.mark.parametrize(
    ("text", "length", "size"),
    [
        ("82 7e 0000", 0, 4),
        ("82 7e 007d", 125, 4),
        ("82 7f 0000000000000001", 1, 10),
        ("82 ff 000000000000ffff 00000000", 65535, 14),
    ],
)
def test_a_length_that_is_written_too_long_is_read_as_it_is(
    text: str, length: int, size: int
) -> None:
    header = parse_header(bytes.fromhex(text))
    assert header is not None
    assert (header.payload_length, header.size) == (length, size)
    assert measure_shortest(header) < header.size


@pytest.mark.parametrize("case", HEADERS.values(), ids=HEADERS)
def test_a_header_that_was_written_here_is_as_short_as_can_be(case: Case) -> None:
    header = parse_header(bytes.fromhex(case[-1]))
    assert header is not None
    assert measure_shortest(header) == header.size


def test_the_longest_header_is_as_long_as_is_said() -> None:
    assert max(map(measure_header, range(256))) == MAX_HEADER_SIZE
    assert min(map(measure_header, range(256))) == 2


def test_the_longest_control_payload_needs_no_second_length() -> None:
    assert len(build_header(Opcode.PING, MAX_CONTROL_PAYLOAD)) == 2
    assert len(build_header(Opcode.PING, MAX_CONTROL_PAYLOAD + 1)) == 4


@given(
    header=st.builds(
        FrameHeader,
        fin=st.booleans(),
        rsv=st.integers(0, 7),
        opcode=st.integers(0, 15),
        payload_length=st.integers(0, 2**64 - 1) | st.integers(0, 70_000),
        masking_key=st.none() | st.binary(min_size=4, max_size=4),
        size=st.just(0),
    )
)
def test_what_was_written_is_read_again(header: FrameHeader) -> None:
    data = build_header(
        header.opcode,
        header.payload_length,
        fin=header.fin,
        rsv=header.rsv,
        masking_key=header.masking_key,
    )
    assert parse_header(data) == header._replace(size=len(data))
    assert measure_shortest(header) == len(data)


def test_masking_is_as_in_the_example_of_the_rfc() -> None:
    # RFC 6455 section 5.7, "Hello"
    assert mask_payload(b"Hello", KEY) == bytes.fromhex("7f 9f 4d 51 58")


@given(payload=st.binary(), key=st.binary(min_size=4, max_size=4))
def test_masking_is_exclusive_or_with_the_key_over_and_over(
    payload: bytes, key: bytes
) -> None:
    masked = mask_payload(payload, key)
    assert masked == bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    assert mask_payload(masked, key) == payload


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_a_header_is_the_same_as_that_of_wsproto(length: int) -> None:
    server = Connection(ConnectionType.SERVER)
    frame = bytes(server.send(BytesMessage(data=bytes(length))))
    assert frame == build_header(Opcode.BINARY, length) + bytes(length)


@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize(
    ("length", "code", "is_shortest"),
    [
        (125, 126, False),
        (126, 126, True),
        (65535, 126, True),
        (65535, 127, False),
        (65536, 127, True),
        (2**63 - 1, 127, True),
        (2**63, 127, False),
        (2**64 - 1, 127, False),
    ],
)
def test_the_form_of_a_length_is_judged_when_all_of_it_is_here(
    length: int, code: int, *, is_shortest: bool, is_masked: bool
) -> None:
    size = 2 if code == 126 else 8
    second = code | (0x80 if is_masked else 0)
    head = bytes([0x82, second]) + length.to_bytes(size) + KEY * is_masked
    for end in range(2, 2 + size):
        assert may_become_shortest(head[:end])
    for end in range(2 + size, len(head) + 1):
        assert may_become_shortest(memoryview(head)[:end]) == is_shortest


@pytest.mark.parametrize("length", [0, 1, 125])
def test_a_length_in_one_byte_is_in_its_shortest_form(length: int) -> None:
    assert may_become_shortest(bytes([0x82, 0x80 | length]))
    assert may_become_shortest(bytes([0x82, length, 0, 0, 0, 0, 0, 0, 0, 0]))
