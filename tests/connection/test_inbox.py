from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio
import trio.testing

from trio_websocket._connection.inbox import (
    BATCH_SIZE,
    Inbox,
    InboxClosed,
    Message,
    Refill,
)
from trio_websocket._connection.incoming_message import IncomingMessage


def do_nothing() -> None:
    pass


def decode_nothing(limit: int, /, *, is_more: bool) -> None:
    pass


def build_inbox(
    size: float = 1,
    *,
    refill: Refill = decode_nothing,
    on_taken: Callable[[], None] = do_nothing,
    advance: Callable[[], None] = do_nothing,
) -> Inbox:
    return Inbox(size, refill=refill, on_taken=on_taken, advance=advance)


def put(inbox: Inbox, *messages: Message) -> None:
    inbox.put(list(messages), sum(map(len, messages)))


def look(inbox: Inbox) -> tuple[bool, bool, int]:
    return inbox.has_handed_over, inbox.is_unread, inbox.room


class Supply:
    """What came and was not decoded: the messages behind an inbox.

    Attributes:
        inbox: The inbox.
        asked: With what a task has asked for them: how many, and whether it has some.
        is_told: How often the reader was told that there is room.

    """

    def __init__(self, *messages: Message, size: float = 1) -> None:
        self.inbox = build_inbox(size, refill=self._decode, on_taken=self._note)
        self.asked: list[tuple[int, bool]] = []
        self.is_told = 0
        self._messages = list(messages)

    def _decode(self, limit: int, /, *, is_more: bool) -> None:
        self.asked.append((limit, is_more))
        messages = self._messages[:limit]
        if messages:
            del self._messages[:limit]
            put(self.inbox, *messages)

    def _note(self) -> None:
        self.is_told += 1


async def get(inbox: Inbox) -> Message:
    """Take the next message, as a connection does."""
    message = inbox.take()
    return await inbox.wait() if message is None else message


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
                self.got[name] = await get(self._inbox)
            except InboxClosed:
                self.got[name] = InboxClosed


async def test_messages_come_out_in_the_order_in_which_they_came_in() -> None:
    inbox = build_inbox(3)
    for message in ("a", b"b", "c"):
        put(inbox, message)
    assert [await get(inbox) for _ in range(3)] == ["a", b"b", "c"]


async def test_a_message_at_hand_is_taken_without_a_turn_of_the_scheduler() -> None:
    inbox = build_inbox()
    put(inbox, "a")
    with trio.testing.assert_no_checkpoints():
        assert await get(inbox) == "a"


@pytest.mark.parametrize(
    ("size", "unread", "room"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (1, 1, 0),
        (3, 0, 3),
        (3, 2, 1),
        (3, 3, 0),
        (3, 4, 0),
        (300, 0, BATCH_SIZE),
        (300, 100, 200),
        (math.inf, 1000, BATCH_SIZE),
    ],
)
async def test_there_is_room_for_so_many_messages(
    size: float, unread: int, room: int
) -> None:
    inbox = build_inbox(size)
    put(inbox, *["unread"] * unread)
    assert inbox.room == room


async def test_a_task_that_waits_is_room_for_one_more() -> None:
    inbox = build_inbox(0)
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        assert (inbox.room, inbox.has_waiters) == (1, True)
        put(inbox, "a")
        assert (inbox.room, inbox.has_waiters) == (0, False)
    assert getters.got == {"first": "a"}


async def test_waiting_tasks_are_served_first_come_first_served() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        for name in ("first", "second", "third"):
            await getters.start(name)
        for message in ("a", "b", "c"):
            put(inbox, message)
    assert getters.got == {"first": "a", "second": "b", "third": "c"}


async def test_a_task_that_was_cancelled_takes_nothing() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        first = await getters.start("first")
        await getters.start("second")
        first.cancel()
        put(inbox, "a")
    assert getters.got == {"second": "a"}


async def test_the_cancellation_of_the_only_task_leaves_the_message() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        (await getters.start("first")).cancel()
        await trio.testing.wait_all_tasks_blocked()
        put(inbox, "a")
        assert inbox.is_unread
        assert await get(inbox) == "a"
    assert getters.got == {}


async def test_a_task_cancelled_after_the_hand_over_has_its_message() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        scope = await getters.start("first")
        put(inbox, "a")
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
        put(inbox, "a")
        before = taken
        assert look(inbox) == (True, True, 0)
        await trio.testing.wait_all_tasks_blocked()
        assert look(inbox) == (False, False, 1)
        assert taken == before + 1


async def test_a_message_counts_while_the_task_that_took_it_lets_others_run() -> None:
    inbox = build_inbox()
    seen: set[tuple[bool, bool, int]] = set()

    async def look_beside() -> None:
        while True:
            seen.add(look(inbox))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_beside)
        for _ in range(64):  # which of two tasks runs first is a matter of chance
            put(inbox, "a")
            await get(inbox)
            await inbox.let_others_run()
            assert look(inbox) == (False, False, 1)
        nursery.cancel_scope.cancel()
    assert (True, True, 0) in seen


async def test_nobody_loses_the_message_it_took_to_a_cancellation() -> None:
    inbox = build_inbox()
    put(inbox, "a")
    with trio.CancelScope() as scope:
        message = await get(inbox)
        scope.cancel()
        await inbox.let_others_run()
        assert message == "a"
    assert not scope.cancelled_caught


async def test_taking_a_message_tells_that_there_is_room() -> None:
    rooms: list[int] = []
    inbox = build_inbox(on_taken=lambda: rooms.append(inbox.room))
    put(inbox, "a")
    await get(inbox)
    assert rooms == [1]


async def test_a_task_that_waits_tells_that_there_is_room() -> None:
    rooms: list[int] = []
    inbox = build_inbox(0, on_taken=lambda: rooms.append(inbox.room))
    async with trio.open_nursery() as nursery:
        await Getters(inbox, nursery).start("first")
        assert rooms == [1]
        nursery.cancel_scope.cancel()


# What is decoded for the task that asks.


async def test_what_can_be_decoded_at_once_is_not_waited_for() -> None:
    supply = Supply("decoded")
    with trio.testing.assert_no_checkpoints():
        assert await get(supply.inbox) == "decoded"


async def test_nothing_is_decoded_while_a_message_is_at_hand() -> None:
    supply = Supply("too early")
    put(supply.inbox, "a")
    await get(supply.inbox)
    assert not supply.asked


@pytest.mark.parametrize("size", [0, 1, math.inf])
async def test_a_task_that_asks_gets_many_decoded_in_one_go(size: float) -> None:
    supply = Supply("a", "b", "c", size=size)
    assert [await get(supply.inbox) for _ in range(3)] == ["a", "b", "c"]
    assert supply.asked == [(BATCH_SIZE, False)]


async def test_each_task_may_have_messages_decoded() -> None:
    supply = Supply("a")
    async with trio.open_nursery() as nursery:
        getters = Getters(supply.inbox, nursery)
        await getters.start("first")
        await getters.start("second")
        put(supply.inbox, "b")
    assert getters.got == {"first": "a", "second": "b"}
    assert len(supply.asked) == 2


async def test_nothing_is_decoded_past_a_task_that_waits() -> None:
    supply = Supply()
    async with trio.open_nursery() as nursery:
        getters = Getters(supply.inbox, nursery)
        for name in ("first", "second", "third"):
            await getters.start(name)
        assert supply.asked == [(BATCH_SIZE, False)]
        nursery.start_soon(get_all, supply.inbox)
        await trio.testing.wait_all_tasks_blocked()
        assert supply.asked == [(BATCH_SIZE, False)]
        nursery.cancel_scope.cancel()


async def test_the_inbox_is_ahead_until_no_more_are_unread_than_its_size() -> None:
    supply = Supply("a", "b", "c", "d", size=2)
    states: list[tuple[bool, int, int]] = []
    for _ in range(4):
        await get(supply.inbox)
        states.append((supply.inbox.is_ahead, supply.inbox.room, supply.is_told))
    # The reader need not look while it could do nothing.
    assert states == [(True, 0, 0), (False, 0, 1), (False, 1, 2), (False, 2, 3)]


@pytest.mark.parametrize("size", [0, 1, 3, math.inf])
async def test_what_may_be_taken_without_a_call_changes_nothing_for_the_reader(
    size: float,
) -> None:
    supply = Supply(*"abcdef", size=size)
    taken = [await get(supply.inbox)]
    told = supply.is_told
    while len(supply.inbox.messages) > supply.inbox.spare:
        taken.append(supply.inbox.messages.popleft())
        assert supply.inbox.room == (0 if size < math.inf else BATCH_SIZE)
        assert supply.inbox.is_ahead
    assert supply.is_told == told
    while len(taken) < 6:
        taken.append(await get(supply.inbox))
    assert taken == list("abcdef")


# All at once.


async def get_all(inbox: Inbox, limit: int = 1000) -> list[Message]:
    return inbox.take_all(limit) or [await inbox.wait()]


async def test_all_that_is_at_hand_is_taken_at_once() -> None:
    supply = Supply("c", b"d", size=2)
    put(supply.inbox, "a", b"b")
    with trio.testing.assert_no_checkpoints():
        assert await get_all(supply.inbox) == ["a", b"b", "c", b"d"]
    # Who has messages in its hands may not be kept from its reply to them.
    assert supply.asked == [(998, True), (996, True)]
    assert not supply.inbox.is_unread


async def test_all_that_can_be_decoded_is_taken_at_once() -> None:
    supply = Supply(*"abc")
    assert await get_all(supply.inbox) == ["a", "b", "c"]
    assert supply.asked == [(1000, False), (997, True)]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
async def test_no_more_is_taken_than_the_limit(limit: int) -> None:
    supply = Supply("d", "e", size=3)
    put(supply.inbox, *"abc")
    taken = await get_all(supply.inbox, limit)
    assert taken == list("abcde"[:limit])
    taken += [await get(supply.inbox) for _ in range(5 - len(taken))]
    assert taken == list("abcde")


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_no_more_is_decoded_than_the_limit(limit: int) -> None:
    supply = Supply("a", "b", "c", "d")
    assert await get_all(supply.inbox, limit) == list("abcd"[:limit])
    assert [asked for asked in supply.asked if asked[0]] == [(limit, False)]
    assert not supply.inbox.is_unread


async def test_taking_all_waits_for_one_if_there_is_none() -> None:
    inbox = build_inbox(3)
    got: list[list[Message]] = []

    async def take() -> None:
        got.append(await get_all(inbox))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        put(inbox, "a")
        put(inbox, "b")
    assert got == [["a"]]
    assert await get_all(inbox) == ["b"]


async def test_tasks_that_wait_for_all_or_one_are_served_in_their_order() -> None:
    inbox = build_inbox()
    got: list[list[Message]] = []

    async def take() -> None:
        got.append(await get_all(inbox))

    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        await getters.start("third")
        for message in ("a", "b", "c"):
            put(inbox, message)
    assert (getters.got, got) == ({"first": "a", "third": "c"}, [["b"]])


async def test_taking_all_that_was_cancelled_takes_nothing() -> None:
    inbox = build_inbox()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(get_all, inbox)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    put(inbox, "a")
    assert inbox.is_unread
    assert await get_all(inbox) == ["a"]


async def test_taking_all_tells_that_there_is_room() -> None:
    supply = Supply()
    put(supply.inbox, "a")
    await get_all(supply.inbox)
    assert supply.is_told == 1


async def test_all_that_was_queued_is_still_taken_after_closing() -> None:
    inbox = build_inbox(3)
    put(inbox, *"abc")
    inbox.close(discard=False)
    assert await get_all(inbox, 2) == ["a", "b"]
    assert await get_all(inbox) == ["c"]
    with pytest.raises(InboxClosed):
        await get_all(inbox)


async def test_closing_wakes_a_task_that_waits_for_all() -> None:
    inbox = build_inbox()

    async def take() -> None:
        with pytest.raises(InboxClosed):
            await get_all(inbox)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        inbox.close(discard=False)


async def test_a_closed_inbox_decodes_nothing_for_who_finds_it_empty() -> None:
    supply = Supply("too late")
    supply.inbox.close(discard=False)
    for call in (lambda: get(supply.inbox), lambda: get_all(supply.inbox)):
        with pytest.raises(InboxClosed):
            await call()
    assert not supply.asked


# What the last call has to answer for.


async def test_who_takes_what_the_reader_decoded_answers_for_its_bytes() -> None:
    inbox = build_inbox(4)
    sizes: list[int] = []
    for message in (b"bytes", "text", "t\xe4xt", ""):
        inbox.put([message], 1000)
        await get(inbox)
        sizes.append(inbox.taken_size)
    # Nobody has counted the UTF-8 of text, which may have four bytes a character.
    assert sizes == [5, 4, 16, 0]


async def test_who_has_messages_decoded_answers_for_all_of_them() -> None:
    supply = Supply(b"12345", b"123", size=1)
    await get(supply.inbox)
    assert supply.inbox.taken_size == 8
    assert await get_all(supply.inbox) == [b"123"]
    assert supply.inbox.taken_size == 3


async def test_who_takes_all_answers_for_all() -> None:
    supply = Supply(b"12345", b"123")
    await get_all(supply.inbox)
    assert supply.inbox.taken_size == 8
    put(supply.inbox, b"1", b"12")
    await get_all(supply.inbox)
    assert supply.inbox.taken_size == 3


async def test_who_had_to_wait_answers_for_its_message() -> None:
    inbox = build_inbox()
    inbox.put([b"before"], 1000)
    await get(inbox)
    for take in (lambda: get(inbox), lambda: get_all(inbox)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            inbox.put([b"12345"], 1000)
        assert inbox.taken_size == 5


# The end.


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
    put(inbox, "a")
    put(inbox, "b")
    inbox.close(discard=False)
    assert [await get(inbox), await get(inbox)] == ["a", "b"]
    with pytest.raises(InboxClosed):
        await get(inbox)


async def test_what_was_queued_is_dropped_if_closing_says_so() -> None:
    inbox = build_inbox()
    put(inbox, "a")
    inbox.close(discard=True)
    with pytest.raises(InboxClosed):
        await get(inbox)


async def test_a_message_handed_over_before_closing_arrives() -> None:
    inbox = build_inbox()
    async with trio.open_nursery() as nursery:
        getters = Getters(inbox, nursery)
        await getters.start("first")
        put(inbox, "a")
        inbox.close(discard=True)
    assert getters.got == {"first": "a"}


async def test_a_closed_inbox_takes_everything_and_keeps_nothing() -> None:
    inbox = build_inbox(0)
    inbox.close(discard=False)
    assert inbox.room
    put(inbox, "a")
    assert not inbox.is_unread
    with pytest.raises(InboxClosed):
        await get(inbox)


async def test_an_unwanted_message_is_turned_away() -> None:
    turned_away: list[str] = []
    inbox = build_inbox(0)
    with inbox.unwanted(lambda: turned_away.append("a")):
        assert inbox.is_unwanted
        assert inbox.room
        put(inbox, "a")
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
            put(inbox, "a")
            put(inbox, "b")
    assert getters.got == {"first": "a"}
    assert turned_away == ["b"]


async def test_a_task_gets_in_the_queue_before_an_unwanted_message_is_decoded() -> None:
    turned_away: list[str] = []
    supply = Supply("too early")
    inbox = supply.inbox
    async with trio.open_nursery() as nursery:
        with inbox.unwanted(lambda: turned_away.append("a")):
            getters = Getters(inbox, nursery)
            await getters.start("first")
            put(inbox, "a")
    assert getters.got == {"first": "a"}
    assert not turned_away
    assert not supply.asked


async def test_an_unread_message_is_turned_away_once_it_is_not_wanted() -> None:
    turned_away: list[str] = []
    inbox = build_inbox(2)
    put(inbox, "a")
    put(inbox, "b")
    with inbox.unwanted(lambda: turned_away.append("all")):
        assert not inbox.is_unread
    assert turned_away == ["all"]


async def test_what_was_left_in_a_closed_inbox_stays_there() -> None:
    turned_away: list[str] = []
    inbox = build_inbox()
    put(inbox, "a")
    inbox.close(discard=False)
    with inbox.unwanted(lambda: turned_away.append("a")):
        assert await get(inbox) == "a"
    assert not turned_away


async def test_the_innermost_block_turns_messages_away() -> None:
    turned_away: list[str] = []
    inbox = build_inbox()
    with inbox.unwanted(lambda: turned_away.append("outer")):
        with inbox.unwanted(lambda: turned_away.append("inner")):
            put(inbox, "a")
        put(inbox, "b")
    assert turned_away == ["inner", "outer"]


async def test_there_is_room_as_soon_as_messages_are_not_wanted() -> None:
    rooms: list[int] = []
    inbox = build_inbox(0, on_taken=lambda: rooms.append(inbox.room))
    with inbox.unwanted(do_nothing):
        assert rooms == [BATCH_SIZE]


# Messages that are read while they arrive.


async def read(inbox: Inbox, log: list[object], *, max_size: float = math.inf) -> None:
    """Read one message, as a reader does."""
    try:
        incoming = await inbox.open(max_size)
    except InboxClosed:
        log.append(InboxClosed)
        return
    try:
        while (part := await inbox.take_part(incoming)) is not None:
            log.append(part)
        log.append(None)
    except InboxClosed:
        log.append(InboxClosed)
    finally:
        inbox.leave()


def wants_parts(inbox: Inbox) -> bool:
    return inbox.wants_parts


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("message", ["one", b"one"])
async def test_a_message_at_hand_is_opened_without_a_turn_of_the_scheduler(
    message: Message,
) -> None:
    inbox = build_inbox()
    put(inbox, message)
    log: list[object] = []
    with trio.testing.assert_no_checkpoints():
        await read(inbox, log, max_size=3)
    assert log == [message, None]
    assert not inbox.is_streaming
    assert inbox.spare == 2


async def test_the_reader_is_told_that_an_opened_message_left_room() -> None:
    supply = Supply("one")
    put(supply.inbox, "one")
    await supply.inbox.open(math.inf)
    before = supply.is_told
    assert before > 0
    assert supply.inbox.room == 1
    assert supply.inbox.unread_size == 3
    supply.inbox.leave()
    assert supply.is_told > before
    assert supply.inbox.unread_size == 0


async def test_a_message_is_begun_for_the_task_that_waits_for_it(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox(0)
    log: list[object] = []
    nursery.start_soon(read, inbox, log)
    await settle()
    assert (inbox.wants_parts, inbox.is_streaming, inbox.room) == (True, True, 1)
    assert inbox.spare == math.inf
    incoming = inbox.begin(b"")
    assert look(inbox) == (True, True, 0)
    assert inbox.incoming is incoming
    assert not wants_parts(inbox)
    await settle()
    assert look(inbox) == (False, False, 0)
    incoming.add(b"one", is_last=False)
    assert inbox.unread_size == 3
    await settle()
    incoming.add(b"two", is_last=True)
    await settle()
    assert log == [b"one", b"two", None]
    assert (inbox.is_streaming, inbox.spare) == (False, 1)


async def test_what_can_be_had_at_once_is_not_waited_for() -> None:
    parts = ["one", "two", ""]

    def advance() -> None:
        if inbox.wants_parts:
            inbox.begin("")
        else:
            assert inbox.incoming is not None
            part = parts.pop(0)
            inbox.incoming.add(part, is_last=not part)

    inbox = build_inbox(advance=advance)
    log: list[object] = []
    with trio.testing.assert_no_checkpoints():
        await read(inbox, log)
    assert log == ["one", "two", None]
    assert inbox.handed_over == 0


async def test_a_whole_message_for_a_task_that_reads_is_its_only_part(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox()
    log: list[object] = []
    nursery.start_soon(read, inbox, log)
    await settle()
    put(inbox, "whole")
    assert inbox.is_unread
    await settle()
    assert log == ["whole", None]


async def test_who_takes_and_who_reads_are_served_in_order(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox(5)
    getters = Getters(inbox, nursery)
    logs: list[list[object]] = [[], []]
    await getters.start("first")
    nursery.start_soon(read, inbox, logs[0])
    await settle()
    assert not wants_parts(inbox)  # the first wants a whole one

    async def get_in_turn() -> None:
        await inbox.wait_for_turn()
        logs[1].append(await get(inbox))

    nursery.start_soon(get_in_turn)
    await settle()
    put(inbox, "1")
    assert wants_parts(inbox)
    put(inbox, "2")
    put(inbox, "3")
    put(inbox, "4")
    await settle()
    assert getters.got == {"first": "1"}
    assert logs == [["2", None], ["3"]]
    assert await get(inbox) == "4"
    assert inbox.spare == 6


async def test_who_waits_behind_one_that_gave_up_gets_what_has_begun(
    nursery: trio.Nursery,
) -> None:
    def advance() -> None:
        if inbox.wants_parts:
            inbox.begin("").add("begun", is_last=True)

    inbox = build_inbox(advance=advance)
    getters = Getters(inbox, nursery)
    scope = await getters.start("first")
    log: list[object] = []
    nursery.start_soon(read, inbox, log)
    await settle()
    other = await getters.start("third")
    other.cancel()
    await settle()
    assert log == ["begun", None] * (not inbox.has_waiters)
    scope.cancel()
    await settle()
    assert log == ["begun", None]
    assert not inbox.has_waiters


async def test_who_gives_up_reading_leaves_the_turn_to_the_next(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox()
    scope = trio.CancelScope()

    async def give_up() -> None:
        with scope:
            await inbox.open(math.inf)

    nursery.start_soon(give_up)
    await settle()
    log: list[object] = []
    nursery.start_soon(read, inbox, log)
    await settle()
    scope.cancel()
    await settle()
    assert wants_parts(inbox)
    put(inbox, "for the next")
    await settle()
    assert log == ["for the next", None]
    assert not inbox.is_streaming


async def test_a_message_that_is_left_is_broken_for_who_waits_for_it(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox()
    put(inbox, "one")
    incoming = await inbox.open(math.inf)
    inbox.leave()
    with pytest.raises(InboxClosed):
        await inbox.take_part(incoming)
    opened: list[IncomingMessage] = []

    async def open_next() -> None:
        opened.append(await inbox.open(math.inf))

    nursery.start_soon(open_next)
    await settle()
    incoming = inbox.begin("")
    await settle()
    log: list[object] = []

    async def take() -> None:
        with pytest.raises(InboxClosed):
            await inbox.take_part(incoming)
        log.append("told")

    nursery.start_soon(take)
    await settle()
    inbox.leave()
    await settle()
    assert opened == [incoming]
    assert log == ["told"]


@pytest.mark.parametrize("discard", [True, False])
async def test_the_end_wakes_all_who_read_or_wait_to(
    nursery: trio.Nursery, *, discard: bool
) -> None:
    inbox = build_inbox()
    logs: list[list[object]] = [[], [], []]
    nursery.start_soon(read, inbox, logs[0])
    await settle()
    nursery.start_soon(read, inbox, logs[1])

    async def wait_for_turn() -> None:
        try:
            await inbox.wait_for_turn()
        except InboxClosed:
            logs[2].append(InboxClosed)

    nursery.start_soon(wait_for_turn)
    await settle()
    incoming = inbox.begin("")
    await settle()
    incoming.add("part", is_last=False)
    inbox.close(discard=discard)
    await settle()
    assert logs[0] == ["part"] * (not discard) + [InboxClosed]
    assert logs[1:] == [[InboxClosed]] * 2
    with pytest.raises(InboxClosed):
        await inbox.open(math.inf)


async def test_who_waits_for_a_message_to_begin_is_woken_by_the_end(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox()
    log: list[object] = []
    nursery.start_soon(read, inbox, log)
    await settle()
    inbox.close(discard=False)
    await settle()
    assert log == [InboxClosed]
    assert not inbox.is_streaming


async def test_messages_that_were_queued_at_the_end_can_still_be_read(
    nursery: trio.Nursery,
) -> None:
    inbox = build_inbox(3)
    put(inbox, "one", "two")
    first = await inbox.open(math.inf)
    log: list[object] = []
    nursery.start_soon(read, inbox, log)
    nursery.start_soon(read, inbox, log)
    await settle()
    inbox.close(discard=False)
    await settle()
    assert log == []  # it is not their turn
    assert await inbox.take_part(first) == "one"
    assert await inbox.take_part(first) is None
    inbox.leave()
    await settle()
    assert log == ["two", None, InboxClosed]


async def test_an_end_that_is_found_while_a_task_asks_is_told() -> None:
    inbox = build_inbox(advance=lambda: inbox.close(discard=False))
    with pytest.raises(InboxClosed):
        await inbox.open(math.inf)
    assert inbox.spare == 2


def test_what_was_taken_is_put_back_if_what_follows_cannot_be_decoded() -> None:
    """An extension of the program's may have a mistake."""

    def decode(limit: int, /, *, is_more: bool) -> None:
        if is_more:
            raise KeyError(limit)
        put(inbox, "one", "two")

    inbox = build_inbox(refill=decode)
    for _ in range(2):
        with pytest.raises(KeyError):
            inbox.take_all(5)
        assert list(inbox.messages) == ["one", "two"]
