from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, replace
from typing import cast

import pytest

from trio_websocket._connection.arguments import CommonArgs
from trio_websocket._options import (
    CONN_TIMEOUT,
    MAX_MESSAGE_SIZE,
    MESSAGE_QUEUE_SIZE,
    RECEIVE_BYTES,
    ConnectionOptions,
    PerMessageDeflate,
    find_deflate,
)

DEFAULTS = ConnectionOptions()


def change(name: str, value: float) -> ConnectionOptions:
    """The defaults but for one of them."""
    return replace(DEFAULTS, **cast("CommonArgs", {name: value}))


def test_the_defaults_are_the_constants() -> None:
    assert (
        ConnectionOptions(
            message_queue_size=MESSAGE_QUEUE_SIZE,
            max_message_size=MAX_MESSAGE_SIZE,
            receive_buffer_size=RECEIVE_BYTES,
            connect_timeout=CONN_TIMEOUT,
            disconnect_timeout=CONN_TIMEOUT,
        )
        == ConnectionOptions()
    )
    assert (MESSAGE_QUEUE_SIZE, MAX_MESSAGE_SIZE) == (1, 1048576)
    assert (RECEIVE_BYTES, CONN_TIMEOUT) == (65536, 60)


def test_compression_is_a_name_or_says_how() -> None:
    options = PerMessageDeflate(level=1)
    assert find_deflate(None) is None
    assert find_deflate("deflate") == PerMessageDeflate()
    assert find_deflate(options) is options
    assert ConnectionOptions(compression="deflate").compression == "deflate"


@pytest.mark.parametrize("value", [True, 15, b"deflate", PerMessageDeflate])
def test_compression_of_another_type_is_a_type_error(value: object) -> None:
    words = '^compression must be "deflate", a PerMessageDeflate or None, not '
    with pytest.raises(TypeError, match=words):
        find_deflate(value)


@pytest.mark.parametrize("value", ["", "gzip", "Deflate"])
def test_compression_of_another_name_is_a_value_error(value: str) -> None:
    with pytest.raises(
        ValueError, match=f"^compression must be \"deflate\", not '{value}'$"
    ):
        find_deflate(value)


@pytest.mark.parametrize("value", [(), [], [dict], (dict, lambda: None)])
def test_extensions_are_a_sequence_of_what_makes_them(
    value: Sequence[Callable[[], object]],
) -> None:
    assert ConnectionOptions(extensions=value).extensions is value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "extensions must be a sequence of classes or functions, not None"),
        ("x", "extensions must be a sequence of classes or functions, not 'x'"),
        (dict, "extensions must be a sequence of classes or functions, not <class"),
        (["x"], "each of the extensions must be a class or a function, not 'x'"),
    ],
)
def test_extensions_of_another_type_are_a_type_error(
    value: Sequence[Callable[[], object]], sentence: str
) -> None:
    with pytest.raises(TypeError, match=f"^{sentence}"):
        ConnectionOptions(extensions=value)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULTS.connect_timeout = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["message_queue_size", "max_message_size"])
@pytest.mark.parametrize("value", [0, 1, 2**40, math.inf])
def test_a_size_is_any_number_from_0_to_infinity(name: str, value: float) -> None:
    assert getattr(change(name, value), name) == value


@pytest.mark.parametrize("name", ["message_queue_size", "max_message_size"])
@pytest.mark.parametrize("value", [1.5, 1.0, -math.inf, math.nan, "1", None, True])
def test_a_size_that_is_no_int_is_a_type_error(name: str, value: float) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be an int or math.inf, not "):
        change(name, value)


@pytest.mark.parametrize("name", ["message_queue_size", "max_message_size"])
def test_a_size_below_0_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be 0 or more, not -1$"):
        change(name, -1)


@pytest.mark.parametrize("value", [1, 4096, None])
def test_a_buffer_has_1_byte_or_more_or_any_size(value: int | None) -> None:
    assert ConnectionOptions(receive_buffer_size=value).receive_buffer_size == value


@pytest.mark.parametrize("value", [1.5, math.inf, "1", True])
def test_a_buffer_size_that_is_no_int_is_a_type_error(value: int) -> None:
    with pytest.raises(TypeError, match=r"^receive_buffer_size must be an int or None"):
        ConnectionOptions(receive_buffer_size=value)


@pytest.mark.parametrize("value", [0, -1])
def test_a_buffer_size_below_1_is_a_value_error(value: int) -> None:
    with pytest.raises(ValueError, match=r"^receive_buffer_size must be 1 or more"):
        ConnectionOptions(receive_buffer_size=value)


@pytest.mark.parametrize("name", ["connect_timeout", "disconnect_timeout"])
@pytest.mark.parametrize("value", [0, 0.0, 0.25, 60, math.inf])
def test_a_timeout_is_any_number_from_0_to_infinity(name: str, value: float) -> None:
    assert getattr(change(name, value), name) == value


@pytest.mark.parametrize("name", ["connect_timeout", "disconnect_timeout"])
@pytest.mark.parametrize("value", ["1", None, True, 1j])
def test_a_timeout_that_is_no_number_is_a_type_error(name: str, value: float) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a number of seconds, not "):
        change(name, value)


@pytest.mark.parametrize("name", ["connect_timeout", "disconnect_timeout"])
@pytest.mark.parametrize("value", [-1, -0.5, -math.inf, math.nan])
def test_a_timeout_below_0_or_nan_is_a_value_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be 0 or more, not "):
        change(name, value)
