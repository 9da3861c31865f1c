from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, cast

import pytest

from trio_websocket._protocol.extension import (
    Extension,
    Kind,
    MessageExtension,
    find_mask,
    make_extensions,
)

from .sample_extensions import Brackets, Count, Repeat, Shout, Suffix


def test_each_call_makes_extensions_of_its_own() -> None:
    makers = [Suffix, lambda: Count(), Brackets]  # noqa: PLW0108  # any function will do
    first, second = make_extensions(makers), make_extensions(makers)
    assert [each.name for each in first] == ["x-suffix", "x-count", "x-brackets"]
    assert not {*map(id, first)} & {*map(id, second)}
    assert make_extensions([]) == []


def test_by_default_an_extension_is_negotiated_without_parameters() -> None:
    extension = Suffix()
    assert extension.offer() == [{}]
    assert extension.accept({}) == {}
    assert extension.accept({"x": None}) is None
    extension.confirm({})
    with pytest.raises(ValueError, match=r"^it has no parameter x$"):
        extension.confirm({"x": "1", "y": None})


def test_reserved_bits_are_counted_from_the_highest() -> None:
    assert [find_mask(each) for each in (Suffix(), Shout(), Repeat())] == [0, 3, 2]


class Lone(Extension):
    name: ClassVar[str] = "x-lone"


class Nameless(Suffix):
    name: ClassVar[str] = cast("str", None)


class Spaced(Suffix):
    name: ClassVar[str] = "x suffix"


class Fourth(Suffix):
    reserved_bits: ClassVar[Collection[int]] = (1, 4)


@pytest.mark.parametrize(
    ("maker", "error", "sentence"),
    [
        (
            Lone,
            TypeError,
            r"an extension must be a MessageExtension or a FrameExtension, not <.*Lone",
        ),
        (
            lambda: None,
            TypeError,
            "an extension must be a MessageExtension or a FrameExtension, not None",
        ),
        (Nameless, TypeError, "the name of Nameless must be a str, not None"),
        (
            Spaced,
            ValueError,
            "the name of an extension must be a token, not 'x suffix'",
        ),
        (
            Fourth,
            ValueError,
            "the extension x-suffix is wrong: a reserved bit is 1, 2 or 3, not 4",
        ),
    ],
)
def test_what_cannot_be_an_extension_is_told_apart(
    maker: type, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=f"^{sentence}"):
        make_extensions([maker])


class Half(MessageExtension):
    name: ClassVar[str] = "x-half"

    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        raise AssertionError


def test_an_extension_has_to_say_both_what_it_does_and_how_to_undo_it() -> None:
    with pytest.raises(TypeError, match="decode"):
        make_extensions([Half])
