from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from trio_websocket._connection.incoming_message import IncomingMessage, Part


def make_message(*, max_size: float = math.inf) -> IncomingMessage:
    return IncomingMessage(is_text=True, max_size=max_size)


def test_a_message_begins_without_parts_or_an_end() -> None:
    message = make_message(max_size=5)
    assert message.is_text
    assert not message.parts
    assert not message.is_over
    assert not message.is_whole
    assert not message.is_broken
    assert message.size_left == 5


def test_parts_are_kept_in_order_and_empty_ones_are_none() -> None:
    message = make_message()
    for part in ("a", "", "b"):
        message.add(part, is_last=False)
    assert not message.is_over
    message.add("", is_last=True)
    assert list(message.parts) == ["a", "b"]
    assert message.is_whole
    assert message.is_over


@pytest.mark.parametrize(
    ("whole", "max_size", "left"),
    [
        ("äb", 10, 7),
        (b"ab", 10, 8),
        ("äb", 2, -1),
        ("äb", math.inf, math.inf),
        ("", 0, 0),
    ],
)
def test_a_whole_message_is_measured_in_bytes(
    whole: Part, max_size: float, left: float
) -> None:
    message = make_message(max_size=max_size)
    message.complete(whole)
    assert list(message.parts) == [whole] * bool(whole)
    assert message.is_whole
    assert message.size_left == left


@pytest.mark.parametrize("discard", [True, False])
def test_a_message_that_breaks_off_amid_is_broken(*, discard: bool) -> None:
    message = make_message()
    message.add("a", is_last=False)
    message.break_off(discard=discard)
    assert list(message.parts) == ([] if discard else ["a"])
    assert message.is_broken
    assert message.is_over
    assert not message.is_whole


@pytest.mark.parametrize(
    ("is_taken", "discard", "is_broken"),
    [
        (True, True, False),
        (True, False, False),
        (False, False, False),
        (False, True, True),
    ],
)
def test_a_whole_message_breaks_only_if_some_of_it_is_dropped(
    *, is_taken: bool, discard: bool, is_broken: bool
) -> None:
    message = make_message()
    message.complete("a")
    if is_taken:
        message.parts.clear()
    message.break_off(discard=discard)
    assert message.is_broken == is_broken
    assert list(message.parts) == ["a"] * (not is_taken and not discard)


async def wait(message: IncomingMessage, log: list[str]) -> None:
    await message.wait()
    log.append("woken")


async def test_a_task_that_waits_is_woken_by_a_part_or_an_end(
    nursery: trio.Nursery,
) -> None:
    message, log = make_message(), list[str]()
    nursery.start_soon(wait, message, log)
    await trio.testing.wait_all_tasks_blocked()
    message.add("", is_last=False)
    await trio.testing.wait_all_tasks_blocked()
    assert log == []
    message.add("a", is_last=False)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["woken"]
    nursery.start_soon(wait, message, log)
    await trio.testing.wait_all_tasks_blocked()
    message.break_off(discard=False)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["woken"] * 2
    last = make_message()
    nursery.start_soon(wait, last, log)
    await trio.testing.wait_all_tasks_blocked()
    last.add("", is_last=True)
    await trio.testing.wait_all_tasks_blocked()
    assert log == ["woken"] * 3


async def test_who_gives_up_waiting_is_not_woken() -> None:
    message = make_message()
    with trio.CancelScope() as scope:
        scope.cancel()
        await message.wait()
    assert scope.cancelled_caught
    message.add("a", is_last=True)
    assert list(message.parts) == ["a"]
