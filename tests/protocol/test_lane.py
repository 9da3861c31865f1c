"""Which lanes there are, what a program may do wrong, and what it leaves behind.

What they make of frames and messages is in test_lane_decode.py, test_lane_encode.py and
test_mask.py; what an engine makes of a stream with a lane, in test_properties.py.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from operator import methodcaller
from types import ModuleType
from typing import NamedTuple, Never

import pytest

import trio_websocket._protocol as package
from trio_websocket._protocol.frame_header import Opcode
from trio_websocket._protocol.lane import PYTHON_LANE, Lane, choose_lane

from .lanes import COMPILED, KEY, MANY, NAMES, build, build_frame, find_lane


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Lane:
    return find_lane(str(request.param))


# Which lane there is.


def test_the_lane_is_the_one_that_is_asked_for(lane: Lane) -> None:
    assert choose_lane(lane.name) == lane
    assert choose_lane("python") is PYTHON_LANE


def test_a_lane_is_called_by_its_name() -> None:
    assert PYTHON_LANE.name == "python"


def test_there_may_be_no_lane() -> None:
    assert choose_lane("off") is None


@pytest.mark.parametrize("wanted", ["C", "on", "Python", " "])
def test_a_lane_of_another_name_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="must be off, python or c") as caught:
        choose_lane(wanted)
    assert repr(wanted) in str(caught.value)


@pytest.mark.parametrize("wanted", [None, ""])
def test_the_compiled_lane_is_the_best_if_it_is_there(
    wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = ModuleType(COMPILED)
    for name in ("decode", "encode", "cut", "wrap", "encode_batch", "mask"):
        setattr(stand_in, name, getattr(PYTHON_LANE, name))
    monkeypatch.setattr(package, "_speedups", stand_in, raising=False)
    lane = choose_lane(wanted)
    assert lane is not None
    assert lane.name == "c"
    assert lane.encode is PYTHON_LANE.encode


@pytest.fixture
def without_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let importing the compiled lane fail, as where it was not built."""
    monkeypatch.setitem(sys.modules, COMPILED, None)
    monkeypatch.delattr(package, "_speedups", raising=False)


@pytest.mark.usefixtures("without_compiled")
@pytest.mark.parametrize("wanted", [None, ""])
def test_the_python_lane_is_the_best_if_nothing_was_compiled(
    wanted: str | None,
) -> None:
    assert choose_lane(wanted) is PYTHON_LANE


@pytest.mark.usefixtures("without_compiled")
def test_who_insists_on_the_compiled_lane_learns_that_it_was_not_built() -> None:
    with pytest.raises(ImportError, match="compiled lane was not built"):
        choose_lane("c")


# What is wrong in a program.


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("decode", ()),
        ("decode", (b"", 0, True, 1)),
        ("decode", (b"", 0, True, 1, 1, 1)),
        ("decode", ("text", 0, True, 1, 1)),
        ("decode", (None, 0, True, 1, 1)),
        ("decode", (5, 0, True, 1, 1)),
        ("decode", (b"\x81\0", "0", True, 1, 1)),
        ("decode", (b"\x81\0", None, True, 1, 1)),
        ("decode", (b"\x81\0", 0, True, None, 1)),
        ("decode", (b"\x81\0", 0, True, 1.5, 1)),
        ("decode", (b"\x81\0", 0, True, 1, None)),
        ("decode", (b"\x81\0", 0, True, 1, "1")),
        ("encode", ()),
        ("encode", ("text",)),
        ("encode", ("text", None, None)),
        ("encode", (None, None)),
        ("encode", (5, KEY)),
        ("encode", (bytearray(b"x"), None)),
        ("encode", (memoryview(b"x"), KEY)),
        ("encode", ("text", "1234")),
        ("encode", ("text", 1234)),
        ("cut", ()),
        ("cut", (b"", 0, True, 1)),
        ("cut", ("text", 0, True, 1, 1)),
        ("cut", (b"\xc1\0", "0", True, 1, 1)),
        ("cut", (b"\xc1\0", 0, True, None, 1)),
        ("cut", (b"\xc1\0", 0, True, 1, "1")),
        ("wrap", ()),
        ("wrap", (0xC1, b"x")),
        ("wrap", (0xC1, "x", None)),
        ("wrap", (0xC1, bytearray(b"x"), None)),
        ("wrap", (0xC1, b"x", "1234")),
        ("wrap", ("1", b"x", None)),
        ("encode_batch", ()),
        ("encode_batch", (["x"], 0, None)),
        ("encode_batch", (["x"], 0, None, 9, 9)),
        ("encode_batch", (None, 0, None, 9)),
        ("encode_batch", (5, 0, None, 9)),
        ("encode_batch", (["x"], None, None, 9)),
        ("encode_batch", (["x"], "0", None, 9)),
        ("encode_batch", (["x"], 0, 5, 9)),
        ("encode_batch", (["x"], 0, "1234", 9)),
        ("encode_batch", (["x"], 0, None, None)),
        ("encode_batch", (["x"], 0, None, "9")),
    ],
    ids=str,
)
def test_an_argument_of_another_type_is_refused(
    lane: Lane, name: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(TypeError):
        methodcaller(name, *arguments)(lane)


def test_arguments_have_no_names(lane: Lane) -> None:
    with pytest.raises(TypeError):
        methodcaller("encode", "text", masking_key=None)(lane)


class Shrinking(Sequence[object]):
    """Messages of which one is gone when it is asked for."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: object) -> Never:
        raise IndexError(index)


class Undecided:
    def __bool__(self) -> bool:
        raise LookupError


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("encode_batch", (Shrinking(), 0, None, 99), IndexError),
        ("decode", (b"\x81\0", 0, Undecided(), 1, 1), LookupError),
        ("cut", (b"\xc1\0", 0, Undecided(), 1, 1), LookupError),
    ],
    ids=["messages", "side", "other_side"],
)
def test_an_exception_of_an_argument_comes_through(
    lane: Lane, name: str, arguments: tuple[object, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        methodcaller(name, *arguments)(lane)


# What is left behind.


class Inputs(NamedTuple):
    stream: bytes
    text: str
    binary: bytes
    surrogate: str
    keys: bytes


@pytest.fixture(params=[None, KEY], ids=["unmasked", "masked"])
def inputs(request: pytest.FixtureRequest) -> Inputs:
    key = None if request.param is None else KEY
    texts = ["", "é" * 1000, "€" * 1800]
    frames = [*(build(text, key) for text in texts), build(b"x" * 3000, key)]
    bad = build_frame(Opcode.TEXT, b"x" * 3000 + b"\xff", key)
    keys = bytes(19)
    return Inputs(
        b"".join(frames) + bad, "aé€" * 901, b"y" * 3001, "b\ud800" * 500, keys
    )


def use_everything(lane: Lane, inputs: Inputs) -> None:
    """Call each function in each way it can end, with the same objects every time."""
    stream, text, binary, surrogate, keys = inputs
    key, target = keys[:4], bytearray(4000)
    compressed = build_frame(Opcode.TEXT, binary, None, rsv=4)
    compressed += build_frame(Opcode.TEXT, binary, KEY, rsv=4)
    for is_client in (True, False):
        lane.decode(stream, 0, is_client, MANY, MANY)
        lane.cut(compressed, 0, is_client, MANY, MANY)
    for each in (None, key):
        lane.wrap(0xC1, binary, each)
    for message in (text, binary):
        lane.encode(message, None)
        lane.encode(message, key)
    for max_size in (MANY, 5000, 0):
        lane.encode_batch([text, binary, text, surrogate], 0, None, max_size)
        lane.encode_batch([text, binary, text, inputs], 0, keys, max_size)
    lane.mask(target, binary, 1, 3000, key)
    for name, *arguments in (
        ("decode", stream, -1, True, 1, 1),
        ("decode", stream, 0, True, None, 1),
        ("decode", stream, 0, Undecided(), 1, 1),
        ("cut", compressed, -1, True, 1, 1),
        ("cut", compressed, 0, Undecided(), 1, 1),
        ("wrap", 0xC1, text, None),
        ("wrap", 0xC1, binary, keys),
        ("wrap", text, binary, None),
        ("encode", surrogate, None),
        ("encode", inputs, None),
        ("encode", text, keys),
        ("encode_batch", [text, binary], 3, None, MANY),
        ("encode_batch", [text, binary], 0, key, MANY),
        ("encode_batch", Shrinking(), 0, None, MANY),
        ("mask", target, binary, 1, 0, key),
        ("mask", target, binary, 0, 1, keys),
        ("mask", target, text, 0, 1, key),
        ("mask", binary, binary, 0, 1, key),
    ):
        with pytest.raises((TypeError, ValueError, LookupError)):
            methodcaller(name, *arguments)(lane)


@pytest.mark.skipif(
    not hasattr(sys, "getrefcount"), reason="this Python does not count references"
)
def test_no_reference_is_kept_and_none_is_lost(lane: Lane, inputs: Inputs) -> None:
    use_everything(lane, inputs)
    before = [sys.getrefcount(item) for item in inputs]
    for _ in range(50):
        use_everything(lane, inputs)
    assert [sys.getrefcount(item) for item in inputs] == before


@pytest.mark.skipif(
    find_spec("_tracemalloc") is None, reason="this Python does not trace memory"
)
def test_no_memory_is_left_behind(lane: Lane, inputs: Inputs) -> None:
    import tracemalloc  # noqa: PLC0415  # not everywhere, see above

    def measure(count: int) -> int:
        for _ in range(count):
            use_everything(lane, inputs)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        measure(5)  # what is made only once
        before = measure(1)
        after = measure(100)
    finally:
        tracemalloc.stop()
    smallest = sys.getsizeof(1)  # left behind each time, this would be a hundred
    assert after - before < 50 * smallest
