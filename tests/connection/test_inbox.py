from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio
import trio.testing

from trio_websocket._connection.inbox import Inbox, InboxClosed


def do_nothing() -> None:
    pass


def build_inbox(
    size: float = 1,
    *,
    refill: Callable[[], None] = do_nothing,
    on_taken: Callable[[], None] = do_nothing,
) -> Inbox:
    return Inbox(size, refill=refill, on_taken=on_taken)


def look(inbox: Inbox) -> tuple[bool, bool, bool]:
    return inbox.has_handed_over, inbox.is_unread, inbox.has_room


class Getters:
    """Tasks that each take one message, in the order in which they were started."""

    def __init__(self, inbox: Inbox, nursery: trio.Nursery) -> None:
        self.got: dict[str, object] = {}
        self._inbox = inbox
        self._nursery = nursery

    async def start(self, name: str) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._nursery.start_soon(self._get, name, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _get(self, name: str, scope: trio.CancelScope) -> None:
        with scope:
            try:
                self.got[name] = await self._inbox.get()
            except InboxClosed:
                self.got[name] = InboxClosed


async def test_messages_come_out_in_the_order_in_which_they_came_in() -> None:
    inbox = build_inbox(3)
    for message in ("a", b"b", "c"):
        inbox.put(message)
    assert [await inbox.get() for _ in range(3)] == ["a", b"b", "c"]


async def test_a_message_at_hand_is_taken_without_a_turn_of_the_scheduler() -> None:
    inbox = build_inbox()
    inbox.put("a")
    with trio.testing.assert_no_checkpoints():
        assert await inbox.get() == "a"


@pytest.mark.parametrize(
    ("size", "unread", "has_room"),
    [
        (0, 0, False),
        (1, 0, True),
        (1, 1, False),
        (3, 2, True),
        (3, 3, False),
        (math.inf, 1000, True),
    ],
)
async def test_there_is_room_for_so_many_messages(
    size: float, unread: int, *, has_room: bool
) -> None:
    inbox = build_inbox(size)
    for _ in range(unread):
        inbox.put("unread")
    assert inbox.has_room is has_room


async def test_a_task_that_waits_is_room_for_one_more() -> None:
    inbox = build_inbox(0)
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        assert (inbox.has_room, inbox.has_waiters) == (True, True)
        inbox.put("a")
        assert (inbox.has_room, inbox.has_waiters) == (False, False)
    assert getters.got == {"first": "a"}


async def test_waiting_tasks_are_served_first_come_first_served() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        for name in ("first", "second", "third"):
            await getters.start(name)
        for message in ("a", "b", "c"):
            inbox.put(message)
    assert getters.got == {"first": "a", "second": "b", "third": "c"}


async def test_a_task_that_was_cancelled_takes_nothing() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        first = await getters.start("first")
        await getters.start("second")
        first.cancel()
        inbox.put("a")
    assert getters.got == {"second": "a"}


async def test_the_cancellation_of_the_only_task_leaves_the_message() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        (await getters.start("first")).cancel()
        await trio.testing.wait_all_tasks_blocked()
        inbox.put("a")
        assert inbox.is_unread
        assert await inbox.get() == "a"
    assert getters.got == {}


async def test_a_task_cancelled_after_the_hand_over_has_its_message() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        scope = await getters.start("first")
        inbox.put("a")
        scope.cancel()
    assert getters.got == {"first": "a"}


async def test_a_message_counts_until_the_task_that_got_it_has_run() -> None:
    taken = 0

    def note() -> None:
        nonlocal taken
        taken += 1

    inbox = build_inbox(on_taken=note)
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        inbox.put("a")
        before = taken
        assert look(inbox) == (True, True, False)
        await trio.testing.wait_all_tasks_blocked()
        assert look(inbox) == (False, False, True)
        assert taken == before + 1


async def test_a_message_counts_while_the_task_that_took_it_lets_others_run() -> None:
    inbox = build_inbox()
    seen: set[tuple[bool, bool, bool]] = set()

    async def look_beside() -> None:
        while True:
            seen.add(look(inbox))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_beside)
        for _ in range(64):  # which of two tasks runs first is a matter of chance
            inbox.put("a")
            await inbox.get()
            await inbox.let_others_run()
            assert look(inbox) == (False, False, True)
        nursery.cancel_scope.cancel()
    assert (True, True, False) in seen


async def test_nobody_loses_the_message_it_took_to_a_cancellation() -> None:
    inbox = build_inbox()
    inbox.put("a")
    with trio.CancelScope() as scope:
        message = await inbox.get()
        scope.cancel()
        await inbox.let_others_run()
        assert message == "a"
    assert not scope.cancelled_caught


async def test_taking_a_message_tells_that_there_is_room() -> None:
    rooms: list[bool] = []
    inbox = build_inbox(on_taken=lambda: rooms.append(inbox.has_room))
    inbox.put("a")
    await inbox.get()
    assert rooms == [True]


async def test_a_task_that_waits_tells_that_there_is_room() -> None:
    rooms: list[bool] = []
    inbox = build_inbox(0, on_taken=lambda: rooms.append(inbox.has_room))
    async with trio.open_nursery() as nursery:
        await Getters(inbox, nursery).start("first")
        assert rooms == [True]
        nursery.cancel_scope.cancel()


async def test_what_can_be_decoded_at_once_is_not_waited_for() -> None:
    inbox = build_inbox(refill=lambda: inbox.put("decoded"))
    with trio.testing.assert_no_checkpoints():
        assert await inbox.get() == "decoded"


async def test_nothing_is_decoded_while_a_message_is_at_hand() -> None:
    refills: list[str] = []
    inbox = build_inbox(refill=lambda: refills.append("too early"))
    inbox.put("a")
    await inbox.get()
    assert not refills


async def test_what_is_decoded_goes_to_the_task_that_waits_longest() -> None:
    waiting = iter(["a", "b"])
    inbox = build_inbox(refill=lambda: inbox.put(next(waiting)))
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        await getters.start("second")
    assert getters.got == {"first": "a", "second": "b"}


@pytest.mark.parametrize("discard", [False, True])
async def test_closing_wakes_every_task(*, discard: bool) -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        for name in ("first", "second"):
            await getters.start(name)
        inbox.close(discard=discard)
    assert getters.got == {"first": InboxClosed, "second": InboxClosed}


async def test_what_was_queued_is_still_there_after_closing() -> None:
    inbox = build_inbox(2)
    inbox.put("a")
    inbox.put("b")
    inbox.close(discard=False)
    assert [await inbox.get(), await inbox.get()] == ["a", "b"]
    with pytest.raises(InboxClosed):
        await inbox.get()


async def test_what_was_queued_is_dropped_if_closing_says_so() -> None:
    inbox = build_inbox()
    inbox.put("a")
    inbox.close(discard=True)
    with pytest.raises(InboxClosed):
        await inbox.get()


async def test_a_message_handed_over_before_closing_arrives() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        inbox.put("a")
        inbox.close(discard=True)
    assert getters.got == {"first": "a"}


async def test_a_closed_inbox_takes_everything_and_keeps_nothing() -> None:
    inbox = build_inbox(0)
    inbox.close(discard=False)
    assert inbox.has_room
    inbox.put("a")
    assert not inbox.is_unread
    with pytest.raises(InboxClosed):
        await inbox.get()


async def test_an_unwanted_message_is_turned_away() -> None:
    turned_away: list[str] = []
    inbox = build_inbox(0)
    with inbox.unwanted(lambda: turned_away.append("a")):
        assert inbox.is_unwanted
        assert inbox.has_room
        inbox.put("a")
        assert not inbox.is_unread
    assert turned_away == ["a"]
    assert not inbox.is_unwanted


async def test_a_task_that_waits_gets_the_message_that_others_do_not_want() -> None:
    turned_away: list[str] = []
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        with inbox.unwanted(lambda: turned_away.append("b")):
            getters = Getters(inbox, nursery)
            await getters.start("first")
            assert not inbox.is_unwanted
            inbox.put("a")
            inbox.put("b")
    assert getters.got == {"first": "a"}
    assert turned_away == ["b"]


async def test_a_task_gets_in_the_queue_before_an_unwanted_message_is_decoded() -> None:
    decoded: list[str] = []
    turned_away: list[str] = []
    inbox = build_inbox(refill=lambda: decoded.append("too early"))
    async with trio.open_nursery() as nursery:
        with inbox.unwanted(lambda: turned_away.append("a")):
            getters = Getters(inbox, nursery)
            await getters.start("first")
            inbox.put("a")
    assert getters.got == {"first": "a"}
    assert not turned_away
    assert not decoded


async def test_an_unread_message_is_turned_away_once_it_is_not_wanted() -> None:
    turned_away: list[str] = []
    inbox = build_inbox(2)
    inbox.put("a")
    inbox.put("b")
    with inbox.unwanted(lambda: turned_away.append("all")):
        assert not inbox.is_unread
    assert turned_away == ["all"]


async def test_what_was_left_in_a_closed_inbox_stays_there() -> None:
    turned_away: list[str] = []
    inbox = build_inbox()
    inbox.put("a")
    inbox.close(discard=False)
    with inbox.unwanted(lambda: turned_away.append("a")):
        assert await inbox.get() == "a"
    assert not turned_away


async def test_the_innermost_block_turns_messages_away() -> None:
    turned_away: list[str] = []
    inbox = build_inbox()
    with inbox.unwanted(lambda: turned_away.append("outer")):
        with inbox.unwanted(lambda: turned_away.append("inner")):
            inbox.put("a")
        inbox.put("b")
    assert turned_away == ["inner", "outer"]


async def test_there_is_room_as_soon_as_messages_are_not_wanted() -> None:
    rooms: list[bool] = []
    inbox = build_inbox(0, on_taken=lambda: rooms.append(inbox.has_room))
    with inbox.unwanted(do_nothing):
        assert rooms == [True]
