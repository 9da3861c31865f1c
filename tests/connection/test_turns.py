from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_websocket._connection.turns import Turns, find_turns


async def test_a_cancellation_is_seen_at_the_16th_call() -> None:
    turns = Turns()
    calls = 0
    with trio.CancelScope() as scope:
        scope.cancel()
        while True:
            await turns.begin()
            calls += 1
    assert calls == 15


async def test_15_calls_do_not_yield() -> None:
    turns = Turns()
    with trio.testing.assert_no_checkpoints():
        for _ in range(15):
            await turns.begin()


async def test_looking_for_a_cancellation_lets_nobody_else_run() -> None:
    turns = Turns()
    others = 0

    async def run_beside() -> None:
        nonlocal others
        others += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        for _ in range(256):
            await turns.begin()
        assert others == 0


async def test_the_budget_is_used_up_with_the_256th_call() -> None:
    turns = Turns()
    used_up: list[int] = []
    for call in range(1, 600):
        await turns.begin()
        if turns.is_used_up(1):
            used_up.append(call)
    assert used_up == [256, 512]


async def test_the_budget_is_used_up_with_256_kib() -> None:
    turns = Turns()
    used_up: list[int] = []
    for call in range(1, 20):
        await turns.begin()
        if turns.is_used_up(65_536):
            used_up.append(call)
    assert used_up == [4, 8, 12, 16]


async def test_a_call_that_stands_for_many_counts_as_many() -> None:
    turns = Turns()
    used_up: list[int] = []
    for call in range(1, 11):
        await turns.begin()
        if turns.is_used_up(1, calls=64):
            used_up.append(call)
    assert used_up == [4, 8]


@pytest.mark.parametrize("calls", [256, 1_000_000])
async def test_one_call_that_stands_for_256_uses_the_budget_up(calls: int) -> None:
    turns = Turns()
    for _ in range(3):
        await turns.begin()
        assert turns.is_used_up(1, calls=calls)


async def test_calls_that_are_free_need_no_more_than_a_look_at_the_counter() -> None:
    turns = Turns()
    free: list[int] = []
    used_up: list[int] = []
    for call in range(1, 513):
        if turns.free:
            turns.free -= 1
            free.append(call)
        else:
            await turns.begin()
            if turns.is_used_up(1):
                used_up.append(call)
    assert used_up == [256, 512]
    assert [call for call in range(1, 513) if call % 16] == free


async def test_a_cancellation_is_seen_at_the_16th_call_also_if_15_were_free() -> None:
    turns = Turns()
    calls = 0
    with trio.CancelScope() as scope:
        scope.cancel()
        while True:
            if turns.free:
                turns.free -= 1
            else:
                await turns.begin()
            calls += 1
    assert calls == 15


async def test_calls_that_fail_let_others_run_too() -> None:
    turns = Turns()
    others = 0

    async def run_beside() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        for _ in range(257 * 64):
            await turns.begin()
        # Whether it runs before or behind us in a turn is a matter of chance.
        assert 63 <= others <= 65
        nursery.cancel_scope.cancel()


def test_a_run_has_one_budget_and_the_next_run_another() -> None:
    async def find_twice() -> tuple[Turns, Turns]:
        await trio.lowlevel.checkpoint()
        return find_turns(), find_turns()

    first, again = trio.run(find_twice)
    second, _ = trio.run(find_twice)
    assert first is again
    assert second is not first


def test_outside_a_run_there_is_no_budget() -> None:
    with pytest.raises(RuntimeError):
        find_turns()
