from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_websocket._connection.message_lock import LockBroken, MessageLock

from .rig import settle


class Queue:
    """Tasks that take a lock one after the other, and hold it until they are told.

    Attributes:
        holders: Those that had it, in their order.
        broken: Those that were told that their turn will not come.

    """

    def __init__(self, lock: MessageLock) -> None:
        self.holders: list[int] = []
        self.broken: list[int] = []
        self._lock = lock

    async def take_and_give_back(self, number: int) -> None:
        try:
            await self._lock.acquire()
        except LockBroken:
            self.broken.append(number)
        else:
            self.holders.append(number)
            self._lock.release()

    async def join(self, nursery: trio.Nursery, number: int) -> trio.CancelScope:
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await self.take_and_give_back(number)

        nursery.start_soon(wait)
        await settle()
        return scope


async def test_a_free_lock_is_taken_without_a_turn() -> None:
    lock = MessageLock()
    with trio.testing.assert_no_checkpoints():
        await lock.acquire()
    assert not lock.is_free
    lock.release()
    assert lock.is_free


async def test_it_is_handed_on_first_come_first_served() -> None:
    lock = MessageLock()
    queue = Queue(lock)
    async with trio.open_nursery() as nursery:
        await lock.acquire()
        for number in range(5):
            await queue.join(nursery, number)
        assert queue.holders == []
        lock.release()
        assert not lock.is_free  # nobody gets in before the first who waits
    assert queue.holders == [0, 1, 2, 3, 4]
    assert lock.is_free


async def test_a_newcomer_waits_behind_one_who_was_handed_it() -> None:
    lock = MessageLock()
    queue = Queue(lock)
    async with trio.open_nursery() as nursery:
        await lock.acquire()
        await queue.join(nursery, 0)
        lock.release()
        await lock.acquire()
        assert queue.holders == [0]
        lock.release()
    assert lock.is_free


async def test_a_cancelled_call_loses_its_place() -> None:
    lock = MessageLock()
    queue = Queue(lock)
    async with trio.open_nursery() as nursery:
        await lock.acquire()
        scopes = [await queue.join(nursery, number) for number in range(3)]
        scopes[0].cancel()
        await settle()
        scopes[1].cancel()
        lock.release()
    assert queue.holders == [2]
    assert lock.is_free


async def test_who_was_handed_it_has_it_though_cancelled_since() -> None:
    lock = MessageLock()
    queue = Queue(lock)
    async with trio.open_nursery() as nursery:
        await lock.acquire()
        scope = await queue.join(nursery, 0)
        lock.release()
        scope.cancel()
    assert queue.holders == [0]
    assert not scope.cancelled_caught
    assert lock.is_free


async def test_a_task_cannot_take_it_twice() -> None:
    lock = MessageLock()
    await lock.acquire()
    with pytest.raises(RuntimeError, match="in the middle of a message of its own"):
        await lock.acquire()
    lock.release()
    await lock.acquire()


async def test_all_who_wait_are_woken_when_it_breaks() -> None:
    lock = MessageLock()
    queue = Queue(lock)
    await lock.acquire()
    async with trio.open_nursery() as nursery:
        for number in range(3):
            await queue.join(nursery, number)
        lock.break_up()
    assert sorted(queue.broken) == [0, 1, 2]
    lock.release()
    with pytest.raises(LockBroken):
        await lock.acquire()


async def test_who_was_handed_it_before_it_broke_does_not_have_it() -> None:
    lock = MessageLock()
    queue = Queue(lock)
    await lock.acquire()
    async with trio.open_nursery() as nursery:
        await queue.join(nursery, 0)
        lock.release()
        lock.break_up()
    assert (queue.holders, queue.broken) == ([], [0])
