"""permessage-deflate: what is agreed on, and the codec (RFC 7692)."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, cast

import pytest
from hypothesis import given, strategies as st

from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.deflate import (
    BadAgreement,
    BadCompression,
    DeflateAgreement,
    Deflator,
    Inflator,
    answer_offers,
    build_offers,
    judge_answer,
)
from trio_websocket._protocol.extension_header import (
    build_extensions,
    parse_extensions,
)

WIDE = PerMessageDeflate(client_max_window_bits=15, server_max_window_bits=15)
PLENTY = 1 << 24
TAKEN_OVER = pytest.mark.parametrize("is_taken_over", [True, False])
TAKEOVERS = st.fixed_dictionaries({"is_taken_over": st.booleans()})
LIMITS = pytest.mark.parametrize("limit", [1, 2, 4, 5, 6, PLENTY])


# The options.


class Make(Protocol):
    """The class, without the types of its values."""

    def __call__(self, **options: object) -> PerMessageDeflate: ...


make_options = cast("Make", PerMessageDeflate)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("client_max_window_bits", [8, 9, 15]),
        ("server_max_window_bits", [8, 9, 15]),
        ("client_no_context_takeover", [True, False]),
        ("server_no_context_takeover", [True, False]),
        ("level", [-1, 0, 9]),
        ("mem_level", [1, 9]),
        ("threshold", [0, 1, 2**40]),
    ],
)
def test_options_take_what_makes_sense(name: str, values: list[object]) -> None:
    for value in values:
        assert getattr(make_options(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("client_max_window_bits", 7, "must be 8 to 15, not 7"),
        ("client_max_window_bits", 16, "must be 8 to 15, not 16"),
        ("server_max_window_bits", -12, "must be 8 to 15, not -12"),
        ("level", 10, "must be -1 to 9, not 10"),
        ("mem_level", 0, "must be 1 to 9, not 0"),
        ("threshold", -1, "must be 0 or more, not -1"),
    ],
)
def test_options_refuse_a_value_out_of_range(name: str, value: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} {words}$"):
        make_options(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("client_max_window_bits", True, "an int"),
        ("server_max_window_bits", "12", "an int"),
        ("client_no_context_takeover", 1, "a bool"),
        ("server_no_context_takeover", None, "a bool"),
        ("level", 1.0, "an int"),
        ("mem_level", None, "an int"),
        ("threshold", "9", "an int"),
    ],
)
def test_options_refuse_a_value_of_another_type(
    name: str, value: object, kind: str
) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be {kind}, not "):
        make_options(**{name: value})


# What a client offers.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            PerMessageDeflate(),
            (
                "permessage-deflate; server_max_window_bits=12;"
                " client_max_window_bits=12,"
                " permessage-deflate; client_max_window_bits=12"
            ),
        ),
        (WIDE, "permessage-deflate; client_max_window_bits"),
        (
            replace(WIDE, client_max_window_bits=8),
            "permessage-deflate; client_max_window_bits=9",
        ),
        (
            replace(WIDE, server_max_window_bits=8),
            (
                "permessage-deflate; server_max_window_bits=8; client_max_window_bits,"
                " permessage-deflate; client_max_window_bits"
            ),
        ),
        (
            replace(WIDE, server_no_context_takeover=True),
            "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        ),
        (
            replace(WIDE, client_no_context_takeover=True, server_max_window_bits=10),
            (
                "permessage-deflate; client_no_context_takeover;"
                " server_max_window_bits=10; client_max_window_bits,"
                " permessage-deflate; client_no_context_takeover;"
                " client_max_window_bits"
            ),
        ),
    ],
)
def test_a_client_offers_what_it_wants(
    options: PerMessageDeflate, expected: str
) -> None:
    assert build_extensions(build_offers(options)).decode() == expected


# What a server answers.


def answer(options: PerMessageDeflate, offers: str) -> str | None:
    answered = answer_offers(options, parse_extensions([offers.encode()]))
    return None if answered is None else str(answered[1])


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        ("", ""),
        ("client_max_window_bits", ""),
        ("client_max_window_bits=15", ""),
        ("client_max_window_bits=10", "client_max_window_bits=10"),
        ("client_max_window_bits=8", "client_max_window_bits=8"),
        ("server_max_window_bits=15", "server_max_window_bits=15"),
        ("server_max_window_bits=9", "server_max_window_bits=9"),
        ("server_max_window_bits=8", "server_max_window_bits=8"),
        ("server_no_context_takeover", "server_no_context_takeover"),
        ("client_no_context_takeover", "client_no_context_takeover"),
        (
            (
                "client_max_window_bits; client_no_context_takeover;"
                " server_max_window_bits=11; server_no_context_takeover"
            ),
            (
                "server_no_context_takeover; client_no_context_takeover;"
                " server_max_window_bits=11"
            ),
        ),
    ],
)
def test_a_server_that_wants_nothing_accepts_what_is_offered(
    offer: str, expected: str
) -> None:
    assert answer(WIDE, f"permessage-deflate; {offer}".rstrip("; ")) == (
        f"permessage-deflate; {expected}".rstrip("; ")
    )


@pytest.mark.parametrize(
    ("options", "offer", "expected"),
    [
        (
            PerMessageDeflate(),
            "client_max_window_bits",
            "server_max_window_bits=12; client_max_window_bits=12",
        ),
        # A client that does not speak of its window cannot be held to one.
        (PerMessageDeflate(), "", "server_max_window_bits=12"),
        (
            PerMessageDeflate(),
            "server_max_window_bits=10; client_max_window_bits=13",
            "server_max_window_bits=10; client_max_window_bits=12",
        ),
        (
            replace(WIDE, client_no_context_takeover=True),
            "",
            "client_no_context_takeover",
        ),
        (
            replace(WIDE, server_no_context_takeover=True),
            "",
            "server_no_context_takeover",
        ),
    ],
)
def test_a_server_asks_for_what_it_wants(
    options: PerMessageDeflate, offer: str, expected: str
) -> None:
    whole = f"permessage-deflate; {offer}".rstrip("; ")
    assert answer(options, whole) == f"permessage-deflate; {expected}"


BAD_OFFERS = [
    "x",
    "Client_max_window_bits",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=abc",
    "client_max_window_bits=010",
    "client_max_window_bits=+9",
    "client_max_window_bits; client_max_window_bits",
    "client_max_window_bits=9; client_max_window_bits=9",
    "server_max_window_bits",
    "server_max_window_bits=0",
    "server_max_window_bits=9; server_max_window_bits=9",
    "server_no_context_takeover=1",
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover=true",
]


@pytest.mark.parametrize("offer", BAD_OFFERS)
def test_a_server_declines_an_offer_that_breaks_the_rules(offer: str) -> None:
    assert answer(WIDE, f"permessage-deflate; {offer}") is None
    # And takes the next one that does not.
    both = f"permessage-deflate; {offer}, permessage-deflate; server_max_window_bits=9"
    assert answer(WIDE, both) == "permessage-deflate; server_max_window_bits=9"


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "deflate-frame",
        "x-webkit-deflate-frame; no_context_takeover",
        "Permessage-Deflate",
        "permessage-bzip2, permessage-snappy",
    ],
)
def test_a_server_declines_what_is_not_permessage_deflate(offers: str) -> None:
    assert answer(WIDE, offers) is None


def test_a_server_takes_quoted_values() -> None:
    offer = 'deflate-frame, permessage-deflate; client_max_window_bits="10"'
    assert answer(WIDE, offer) == "permessage-deflate; client_max_window_bits=10"


def test_what_a_server_has_agreed_to_is_what_it_says() -> None:
    offers = parse_extensions([b"permessage-deflate; client_max_window_bits=10"])
    options = PerMessageDeflate(server_no_context_takeover=True)
    agreement, _ = answer_offers(options, offers) or pytest.fail("declined")
    assert agreement == DeflateAgreement(
        server_no_context_takeover=True,
        client_no_context_takeover=False,
        server_max_window_bits=12,
        client_max_window_bits=10,
    )


# How a client judges the answer.


def judge(options: PerMessageDeflate, accepted: str) -> DeflateAgreement:
    whole = f"permessage-deflate; {accepted}".rstrip("; ")
    [use] = parse_extensions([whole.encode()])
    return judge_answer(options, use)


@pytest.mark.parametrize(
    ("options", "accepted", "expected"),
    [
        (WIDE, "", DeflateAgreement(False, False, 15, 15)),
        (PerMessageDeflate(), "", DeflateAgreement(False, False, 15, 12)),
        (WIDE, "server_no_context_takeover", DeflateAgreement(True, False, 15, 15)),
        (WIDE, "client_no_context_takeover", DeflateAgreement(False, True, 15, 15)),
        (WIDE, "server_max_window_bits=8", DeflateAgreement(False, False, 8, 15)),
        (WIDE, "client_max_window_bits=8", DeflateAgreement(False, False, 15, 8)),
        (
            PerMessageDeflate(client_no_context_takeover=True),
            'server_max_window_bits=13; client_max_window_bits="12"',
            DeflateAgreement(False, True, 13, 12),
        ),
    ],
)
def test_a_client_agrees_to_what_it_has_offered(
    options: PerMessageDeflate, accepted: str, expected: DeflateAgreement
) -> None:
    assert judge(options, accepted) == expected


@pytest.mark.parametrize("accepted", [*BAD_OFFERS, "client_max_window_bits"])
def test_a_client_refuses_an_answer_that_breaks_the_rules(accepted: str) -> None:
    with pytest.raises(BadAgreement) as caught:
        judge(WIDE, accepted)
    assert caught.value.problem == f"the server accepts permessage-deflate; {accepted}"


def test_a_client_refuses_a_larger_window_than_it_has_offered() -> None:
    with pytest.raises(BadAgreement) as caught:
        judge(PerMessageDeflate(), "client_max_window_bits=13")
    assert caught.value.problem == (
        "the server accepts client_max_window_bits of 13, not 12"
    )


def test_a_client_insists_on_no_context_takeover_of_the_server() -> None:
    with pytest.raises(BadAgreement, match="does not accept server_no_context"):
        judge(PerMessageDeflate(server_no_context_takeover=True), "")


def test_the_sentence_about_a_bad_answer_is_short() -> None:
    with pytest.raises(BadAgreement) as caught:
        judge(WIDE, "x" * 10_000)
    assert len(str(caught.value)) < 200


WINDOWS = st.integers(8, 15)
OPTIONS = st.builds(
    PerMessageDeflate,
    client_max_window_bits=WINDOWS,
    server_max_window_bits=WINDOWS,
    client_no_context_takeover=st.booleans(),
    server_no_context_takeover=st.booleans(),
)


@given(OPTIONS, OPTIONS)
def test_both_ends_understand_each_other(
    client: PerMessageDeflate, server: PerMessageDeflate
) -> None:
    offers = parse_extensions([build_extensions(build_offers(client))])
    answered = answer_offers(server, offers)
    assert answered is not None
    theirs, use = answered
    ours = judge_answer(client, use)
    assert ours.server_max_window_bits == theirs.server_max_window_bits
    assert ours.server_max_window_bits <= min(
        client.server_max_window_bits, server.server_max_window_bits
    )
    # Who says that it will do with less does not have to be told.
    assert ours.client_max_window_bits <= theirs.client_max_window_bits
    assert ours.server_no_context_takeover == theirs.server_no_context_takeover
    assert ours.client_no_context_takeover >= theirs.client_no_context_takeover


# The codec.


def inflate(inflator: Inflator, *parts: bytes, limit: int = PLENTY) -> bytes:
    """Inflate a message that comes in parts, each as far as the limit goes."""
    message = b""
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        inflated = inflator.inflate(part, limit, is_last=is_last)
        message += inflated
        while len(inflated) == limit:
            inflated = inflator.inflate(b"", limit, is_last=is_last)
            message += inflated
        assert len(inflated) < limit
    return message


def make_inflator(window: int = 15, *, is_taken_over: bool = True) -> Inflator:
    return Inflator(window, is_taken_over=is_taken_over)


@LIMITS
@TAKEN_OVER
@pytest.mark.parametrize(
    "parts",
    [
        ["f248cdc9c90700"],
        ["f248cd", "c9c90700"],
        ["000500faff48656c6c6f00"],
        ["f348cdc9c9070000"],
        ["f248050000 00ffff cac9c90700"],
        ["f348cdc9c907", "00"],
        ["f348cdc9c90700"],  # without the byte that stands for the next stream
    ],
    ids=["one", "fragments", "stored", "last block", "two blocks", "cut", "bare"],
)
def test_the_examples_of_the_standard_are_inflated(
    parts: list[str], limit: int, *, is_taken_over: bool
) -> None:
    """RFC 7692 section 7.2.3, and what follows from it; twice, for what is kept."""
    inflator = make_inflator(is_taken_over=is_taken_over)
    for _ in range(2):
        wire = map(bytes.fromhex, parts)
        assert inflate(inflator, *wire, limit=limit) == b"Hello"


def test_a_message_may_refer_to_those_before() -> None:
    """RFC 7692 section 7.2.3.2."""
    inflator = make_inflator()
    assert inflate(inflator, bytes.fromhex("f248cdc9c90700")) == b"Hello"
    assert inflate(inflator, bytes.fromhex("f200110000")) == b"Hello"


def test_a_message_may_not_refer_to_those_before_if_so_agreed() -> None:
    inflator = make_inflator(is_taken_over=False)
    assert inflate(inflator, bytes.fromhex("f248cdc9c90700")) == b"Hello"
    with pytest.raises(BadCompression):
        inflate(inflator, bytes.fromhex("f200110000"))


@LIMITS
@TAKEN_OVER
def test_a_stream_may_end_anywhere_in_a_message(
    limit: int, *, is_taken_over: bool
) -> None:
    stream = bytes.fromhex("f348cdc9c90700")
    inflator = make_inflator(is_taken_over=is_taken_over)
    for _ in range(2):
        assert inflate(inflator, stream * 3 + b"\x00", limit=limit) == b"Hello" * 3
        assert inflate(inflator, stream, stream, limit=limit) == b"Hello" * 2


@TAKEN_OVER
@pytest.mark.parametrize(
    "wire",
    [
        "ff",  # no such kind of block
        "07",
        "000500faf048656c6c6f00",  # a length that contradicts itself
        "f248cdc9",  # cut off within a block
        "f248",
        "000500faff4865",
        "",  # nothing is not a block
    ],
)
def test_what_cannot_be_inflated_is_told(wire: str, *, is_taken_over: bool) -> None:
    inflator = make_inflator(is_taken_over=is_taken_over)
    with pytest.raises(BadCompression, match=r"^the compressed message "):
        inflate(inflator, bytes.fromhex(wire))


def test_what_is_cut_off_is_told_also_behind_other_messages() -> None:
    whole = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bytes(range(256)) * 8
    wire = whole.compress(data) + whole.flush(zlib.Z_SYNC_FLUSH)
    wire = wire.removesuffix(b"\x00\x00\xff\xff")
    for size in range(1, len(wire) - 1):
        inflator = make_inflator()
        assert inflate(inflator, bytes.fromhex("f248cdc9c90700")) == b"Hello"
        with pytest.raises(BadCompression):
            inflate(inflator, wire[:size])


def test_no_more_comes_into_being_than_is_asked_for() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    wire = bomb.compress(bytes(1 << 26)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(wire) < 100_000
    inflator = make_inflator()
    inflated = inflator.inflate(wire, 1_048_577, is_last=True)
    assert len(inflated) == 1_048_577


@LIMITS
def test_the_end_of_a_limit_is_not_the_end_of_a_message(limit: int) -> None:
    deflator = Deflator(15, is_taken_over=True, level=9, mem_level=8)
    inflator = make_inflator()
    for size in (limit - 1, limit, limit + 1, 3 * limit):
        data = b"a" * min(size, 10_000)
        wire = deflator.compress(data)
        assert inflate(inflator, wire, limit=limit) == data


@TAKEN_OVER
@pytest.mark.parametrize("level", [-1, 0, 1, 9])
@pytest.mark.parametrize("window", [9, 12, 15])
def test_what_was_compressed_is_inflated_again(
    window: int, level: int, *, is_taken_over: bool
) -> None:
    deflator = Deflator(window, is_taken_over=is_taken_over, level=level, mem_level=5)
    inflator = make_inflator(window, is_taken_over=is_taken_over)
    data = bytes(range(256)) * 100
    for message in (b"", b"a", data, b"", data, data[:1000]):
        wire = deflator.compress(memoryview(message))
        assert wire
        assert not wire.endswith(b"\x00\x00\xff\xff")
        assert inflate(inflator, wire) == message


def test_an_empty_message_is_one_byte() -> None:
    """RFC 7692 section 7.2.3.6."""
    for is_taken_over in (True, False):
        deflator = Deflator(15, is_taken_over=is_taken_over, level=-1, mem_level=8)
        for _ in range(3):
            assert deflator.compress(b"") in {b"\x00", b"\x02\x00"}


def test_a_context_that_is_kept_makes_messages_shorter() -> None:
    message = b'{"symbol": "BTCUSD", "price": 12345.6, "side": "buy"}'
    kept, fresh = (
        Deflator(12, is_taken_over=it, level=-1, mem_level=5) for it in (True, False)
    )
    assert kept.is_taken_over
    assert not fresh.is_taken_over
    assert len(kept.compress(message)) == len(fresh.compress(message))
    assert len(kept.compress(message)) < len(fresh.compress(message)) / 3


@TAKEN_OVER
def test_each_part_of_a_message_can_be_inflated_at_once(*, is_taken_over: bool) -> None:
    deflator = Deflator(15, is_taken_over=is_taken_over, level=-1, mem_level=8)
    inflator = make_inflator(is_taken_over=is_taken_over)
    for _ in range(2):
        for part in (b"first", b"", b"second"):
            wire = deflator.compress(part, is_last=False)
            assert inflator.inflate(wire, PLENTY, is_last=False) == part
        wire = deflator.compress(b"last")
        assert inflator.inflate(wire, PLENTY, is_last=True) == b"last"


@TAKEN_OVER
def test_a_message_may_end_with_an_empty_part(*, is_taken_over: bool) -> None:
    deflator = Deflator(15, is_taken_over=is_taken_over, level=-1, mem_level=8)
    inflator = make_inflator(is_taken_over=is_taken_over)
    for _ in range(2):
        parts = [deflator.compress(b"all", is_last=False), deflator.compress(b"")]
        assert inflate(inflator, *parts) == b"all"


@given(st.data())
def test_any_messages_in_any_parts_come_out_as_they_went_in(
    data: st.DataObject,
) -> None:
    window = data.draw(st.integers(9, 15))
    is_taken_over = data.draw(st.booleans())
    deflator = Deflator(window, is_taken_over=is_taken_over, level=-1, mem_level=5)
    inflator = make_inflator(window, is_taken_over=is_taken_over)
    pieces = st.binary(max_size=300) | st.just(b"abc" * 500)
    for parts in data.draw(st.lists(st.lists(pieces, min_size=1, max_size=3))):
        wire = b"".join(
            deflator.compress(part, is_last=number == len(parts) - 1)
            for number, part in enumerate(parts)
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=3)))
        chunks = [
            wire[start:end]
            for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)
        ]
        limit = data.draw(st.integers(1, 2000))
        assert inflate(inflator, *chunks, limit=limit) == b"".join(parts)


@given(st.binary(max_size=200), TAKEOVERS, st.integers(1, 500))
def test_any_bytes_are_inflated_or_refused(
    wire: bytes, takeover: dict[str, bool], limit: int
) -> None:
    with suppress(BadCompression):
        assert (
            len(make_inflator(**takeover).inflate(wire, limit, is_last=True)) <= limit
        )


@pytest.mark.parametrize(("count", "is_much"), [(63, False), (64, True), (9999, True)])
def test_a_peer_that_ends_its_stream_again_and_again_is_refused(
    count: int, *, is_much: bool
) -> None:
    """Each time costs two bytes there, and here as much as thousands."""
    inflator = Inflator(15, is_taken_over=True)
    payload = b"\x03\x00" * count + b"\x00"
    if is_much:
        with pytest.raises(BadCompression, match="too often"):
            inflator.inflate(payload, 1000, is_last=True)
    else:
        assert inflator.inflate(payload, 1000, is_last=True) == b""


def test_who_forgets_its_context_is_understood() -> None:
    deflator = Deflator(15, is_taken_over=True, level=6, mem_level=8)
    inflator = Inflator(15, is_taken_over=True)
    text = b"the same words once more"
    for is_lost in (False, True, False, False):
        compressed = deflator.compress(text)
        if is_lost:
            deflator.forget()
        else:
            assert inflator.inflate(compressed, 1000, is_last=True) == text
