"""Which extensions are accepted, below the handshake (RFC 6455 section 9.1)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

import pytest

from trio_websocket._errors import InvalidHandshake
from trio_websocket._options import PerMessageDeflate
from trio_websocket._protocol.deflate import DeflateAgreement
from trio_websocket._protocol.extension import Extension, Parameters
from trio_websocket._protocol.extension_header import (
    build_extensions,
    parse_extensions,
)
from trio_websocket._protocol.negotiation import Accepted, Negotiation

from .sample_extensions import (
    Brackets,
    Count,
    OtherSuffix,
    Repeat,
    Shout,
    Sign,
    Suffix,
    Tuned,
)

WIDE = PerMessageDeflate(client_max_window_bits=15, server_max_window_bits=15)


class First(Count):
    """Wants the bit of compression."""

    name: ClassVar[str] = "x-first"
    reserved_bits: ClassVar[Collection[int]] = (1,)


def show(accepted: Accepted) -> list[str]:
    return [
        each.name if isinstance(each, Extension) else "permessage-deflate"
        for each in accepted.order
    ]


# The client.


def offer(
    extensions: Sequence[Extension], deflate: PerMessageDeflate | None = None
) -> str:
    return build_extensions(Negotiation(extensions, deflate).offer()).decode()


def test_offers_go_out_in_order_and_compression_behind_them() -> None:
    assert offer([Suffix(), Tuned(), Brackets()], WIDE) == (
        "x-suffix, x-tuned; level=5; strict, x-tuned, x-brackets,"
        " permessage-deflate; client_max_window_bits"
    )
    assert offer([]) == ""


class Shy(Suffix):
    """Is not offered."""

    def offer(self) -> Sequence[Parameters]:
        return []


class Wrong(Suffix):
    """Offers and accepts what cannot be written."""

    def offer(self) -> Sequence[Parameters]:
        return [{"a": "b c"}]

    def accept(self, offered: Mapping[str, str | None]) -> Parameters | None:
        assert not offered
        return self.offer()[0]


def test_an_offer_that_cannot_be_written_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot have the parameter 'a=b c'"):
        offer([Wrong()])


@pytest.mark.parametrize(
    ("extensions", "name"),
    [
        ([Suffix(), Brackets(), Suffix()], "x-suffix"),
        ([type("Mine", (Suffix,), {"name": "permessage-deflate"})()], None),
    ],
)
def test_a_name_cannot_be_used_twice(
    extensions: list[Extension], name: str | None
) -> None:
    sentence = f"there are two extensions of the name {name or 'permessage-deflate'}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Negotiation(extensions, WIDE)
    if name is None:
        assert offer(extensions) == "permessage-deflate"


def judge(
    answer: bytes,
    extensions: Iterable[Extension] = (),
    deflate: PerMessageDeflate | None = None,
) -> Accepted:
    negotiation = Negotiation([*extensions], deflate)
    negotiation.offer()
    return negotiation.judge(parse_extensions([answer]))


def test_a_server_may_accept_any_of_the_offers_in_any_order() -> None:
    extensions = [Suffix(), Tuned(), Shout()]
    accepted = judge(b'permessage-deflate, x-tuned; level="4"', extensions, WIDE)
    assert show(accepted) == ["permessage-deflate", "x-tuned"]
    assert accepted.extensions == (extensions[1],)
    assert accepted.compression == DeflateAgreement(
        server_no_context_takeover=False,
        client_no_context_takeover=False,
        server_max_window_bits=15,
        client_max_window_bits=15,
    )
    [tuned] = accepted.extensions
    assert isinstance(tuned, Tuned)
    assert tuned.agreed == 4
    accepted = judge(b"x-shout, permessage-deflate", extensions, WIDE)
    assert show(accepted) == ["x-shout", "permessage-deflate"]
    assert accepted.compression is not None
    nothing = judge(b"", extensions, WIDE)
    assert (nothing.extensions, nothing.compression) == ((), None)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"x-else", "the server chose the extension x-else, which was not offered"),
        (
            b"x-" + b"y" * 200,
            f"the server chose the extension x-{'y' * 98}, which was not offered",
        ),
        (
            b"permessage-deflate, x-shy",
            "the server chose the extension x-shy, which was not offered",
        ),
        (
            b"x-suffix, x-tuned; level=1, x-suffix",
            "the server chose an extension twice",
        ),
        (
            b"x-first, x-shout, permessage-deflate",
            (
                "the server chose the extensions x-first and permessage-deflate,"
                " which use the same reserved bit"
            ),
        ),
        (
            b"x-sign, x-shout",
            (
                "the server chose the extensions x-sign and x-shout, which use the same"
                " reserved bit"
            ),
        ),
        (
            b"x-suffix; a=1",
            "the server chose the extension x-suffix; a=1: it has no parameter a",
        ),
        (
            b"x-tuned; level=7",
            "the server chose the extension x-tuned; level=7: the level is 7",
        ),
        (
            b"x-tuned; level=1; level=1",
            "the extensions have a parameter twice in 'x-tuned; level=1; level=1'",
        ),
        (b"permessage-deflate; x", "the server accepts permessage-deflate; x"),
    ],
)
def test_an_answer_that_does_not_fit_fails_the_handshake(
    answer: bytes, problem: str
) -> None:
    shy = type("Hidden", (Shy,), {"name": "x-shy"})()
    extensions = [Suffix(), First(), Shout(), Sign(), Tuned(), shy]
    with pytest.raises(InvalidHandshake) as caught:
        judge(answer, extensions, WIDE)
    assert caught.value.problem == problem


# The server.


def answer(
    offers: bytes,
    extensions: Iterable[Extension],
    deflate: PerMessageDeflate | None = None,
) -> str:
    negotiation = Negotiation([*extensions], deflate)
    accepted, uses = negotiation.answer(parse_extensions([offers]))
    assert show(accepted) == [use.name for use in uses]
    return build_extensions(uses).decode()


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ("", ""),
        ("x-else, x-other; a=b", ""),
        ("x-brackets, x-suffix", "x-brackets, x-suffix"),
        ("x-suffix, x-brackets", "x-suffix, x-brackets"),
        # Parameters that are unknown, or there twice.
        ("x-suffix; a", ""),
        ("x-suffix; a, x-suffix", "x-suffix"),
        ("x-tuned; level=3; level=3, x-tuned; level=4", "x-tuned; level=4"),
        # Alternatives: the first that can be accepted wins.
        ("x-tuned; level=3; strict, x-tuned; level=7, x-tuned", "x-tuned; level=5"),
        ('x-tuned; level="2", x-tuned', "x-tuned; level=2"),
        # A ValueError declines.
        ("x-tuned; level=abc, x-suffix", "x-suffix"),
        # A bit goes to the first that wants it.
        ("x-shout, x-sign", "x-shout"),
        ("x-sign, x-shout, x-suffix", "x-sign, x-suffix"),
        ("x-repeat, x-sign, x-shout", "x-repeat, x-sign"),
        ("x-shout; a, x-sign", "x-sign"),
        # So it is with compression.
        (
            "permessage-deflate; x, permessage-deflate, x-first, x-shout",
            "permessage-deflate, x-shout",
        ),
        ("x-first, permessage-deflate, x-suffix", "x-first, x-suffix"),
        (
            (
                "x-suffix, permessage-deflate; server_max_window_bits=10, x-brackets,"
                " permessage-deflate"
            ),
            "x-suffix, permessage-deflate; server_max_window_bits=10, x-brackets",
        ),
    ],
)
def test_a_server_accepts_in_the_order_of_the_client(
    offers: str, expected: str
) -> None:
    """S-64."""
    extensions = [Tuned(), Sign(), Repeat(), First(), Shout(), Suffix(), Brackets()]
    assert answer(offers.encode(), extensions, WIDE) == expected


def test_two_offers_for_one_bit_give_it_to_the_first_of_them() -> None:
    """S-64."""
    for offers in ("x-repeat, x-shout", "x-shout, x-repeat"):
        for extensions in ([Repeat(), Shout()], [Shout(), Repeat()]):
            assert answer(offers.encode(), extensions) == offers.split(",")[0]


def test_a_server_without_compression_declines_it() -> None:
    assert answer(b"permessage-deflate, x-suffix", [Suffix()]) == "x-suffix"


def test_an_acceptance_that_cannot_be_written_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="cannot have the parameter 'a=b c'"):
        answer(b"x-suffix", [Wrong()])


# What is built of it.


@pytest.mark.parametrize("is_client", [True, False])
def test_compression_alone_needs_a_codec_and_extensions_need_a_stack(
    *, is_client: bool
) -> None:
    codec, stack = judge(b"permessage-deflate", [], WIDE).build(is_client=is_client)
    assert codec is not None
    assert stack is None
    accepted = judge(b"permessage-deflate, x-other-suffix", [OtherSuffix()], WIDE)
    codec, stack = accepted.build(is_client=is_client)
    assert codec is None
    assert stack is not None
    data, rsv = stack.encode_message("text", b"text" * 99)
    assert data.endswith(b"b")
    assert rsv == 4
    assert judge(b"").build(is_client=is_client) == (None, None)
