"""The rules on exception groups, `Cancelled` and Ctrl-C (T-51, compat.md 4.8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_websocket._errors import TrioWebsocketInternalError
from trio_websocket._nursery import (
    find_first,
    find_leaves,
    open_bare_nursery,
    split_failures,
)

# Trio will not have this mode for ever; as long as it has, it works.
LOOSE = pytest.mark.filterwarnings("ignore:.*strict_exception_groups")

Action = Callable[[], Awaitable[object]]


def ignore(_error: BaseException | None) -> None:
    """A body was left; the children end by themselves."""


async def fail_when_cancelled(error: BaseException) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


async def use_nursery(body: Action, *children: Action) -> None:
    """Run a body in a bare nursery; cancel the children when it was left."""

    def cancel_children(_error: BaseException | None) -> None:
        nursery.cancel_scope.cancel()

    async with open_bare_nursery(cancel_children) as nursery:
        for child in children:
            nursery.start_soon(child)
        await trio.testing.wait_all_tasks_blocked()
        await body()


def raising(error: BaseException) -> Action:
    async def fail() -> None:
        raise error

    return fail


def raising_late(error: BaseException) -> Action:
    async def fail() -> None:
        await fail_when_cancelled(error)

    return fail


async def catch(action: Action) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # whatever it is
        await action()
    return caught.value


def members(group: BaseException | None) -> list[BaseException]:
    assert group is not None
    leaves = find_leaves(group)
    assert leaves != [group]
    return leaves


async def test_a_body_that_raises_nothing_is_left_with_nothing() -> None:
    seen: list[BaseException | None] = []
    async with open_bare_nursery(seen.append):
        pass
    assert seen == [None]


async def test_the_nursery_waits_for_its_children(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bare_nursery(ignore) as nursery:
        nursery.start_soon(trio.sleep, 7)
    assert trio.current_time() == 7


async def test_children_are_told_of_the_exception_and_not_cancelled_for_it() -> None:
    seen: list[BaseException | None] = []
    is_left = trio.Event()

    def note(error: BaseException | None) -> None:
        seen.append(error)
        is_left.set()

    async def child() -> None:
        await is_left.wait()
        await trio.lowlevel.checkpoint()
        seen.append(None)

    async def scope() -> None:
        async with open_bare_nursery(note) as nursery:
            nursery.start_soon(child)
            raise error

    error = KeyError("x")
    assert await catch(scope) is error
    assert seen == [error, None]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyboardInterrupt(),
        SystemExit(3),
        StopIteration(),
        StopAsyncIteration(),
        GeneratorExit(),
        ExceptionGroup("one", [ValueError("x")]),
        BaseExceptionGroup("two", [ValueError("x"), KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_one_exception_of_the_body_comes_out_as_it_is(
    error: BaseException,
) -> None:
    cause, context = KeyError("cause"), KeyError("context")
    error.__cause__, error.__context__ = cause, context
    error.__suppress_context__ = False
    with pytest.raises(type(error)) as caught:  # noqa: PT012  # a coroutine changes StopIteration
        async with open_bare_nursery(ignore) as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            raise error
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is context
    assert not error.__suppress_context__


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)], ids=repr
)
async def test_one_exception_of_a_child_comes_out_as_it_is(
    error: BaseException,
) -> None:
    error.__cause__ = cause = KeyError("cause")
    caught = await catch(lambda: use_nursery(trio.sleep_forever, raising(error)))
    assert caught is error
    assert caught.__cause__ is cause


async def test_an_exception_wins_over_cancelled() -> None:
    error = ValueError("x")
    error.__cause__ = cause = KeyError("cause")

    async def scope() -> None:
        with trio.CancelScope() as outer:

            async def body() -> None:
                outer.cancel()
                raise error

            async with open_bare_nursery(ignore) as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                await body()

    caught = await catch(scope)
    assert caught is error
    assert caught.__cause__ is cause
    assert caught.__context__ is None


async def test_an_exception_wins_over_a_group_of_cancelled_of_a_child() -> None:
    error = ValueError("x")

    async def child() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

    async def scope() -> None:
        with trio.CancelScope() as outer:
            async with open_bare_nursery(ignore) as nursery:
                nursery.start_soon(child)
                await trio.testing.wait_all_tasks_blocked()
                outer.cancel()
                raise error

    caught = await catch(scope)
    assert caught is error
    assert caught.__context__ is None


async def test_when_all_is_cancelled_the_bodys_own_cancelled_comes_out() -> None:
    inside: list[BaseException] = []
    outside: list[BaseException] = []

    async def child() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)

    with trio.CancelScope() as outer:
        try:
            async with open_bare_nursery(ignore) as nursery:
                nursery.start_soon(child)
                await trio.testing.wait_all_tasks_blocked()
                outer.cancel()
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as error:
                    inside.append(error)
                    raise
        except trio.Cancelled as error:
            outside.append(error)
            raise
    assert outer.cancelled_caught
    assert len(inside) == 1
    assert outside == inside
    assert inside[0].__cause__ is None
    assert inside[0].__context__ is None


async def test_a_cancellation_that_the_body_did_not_see_comes_out() -> None:
    with trio.CancelScope() as outer:
        async with open_bare_nursery(ignore) as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            outer.cancel()
    assert outer.cancelled_caught


async def test_ctrl_c_wins_and_is_caused_by_all() -> None:
    error, interrupt = ValueError("x"), KeyboardInterrupt()
    caught = await catch(lambda: use_nursery(raising(error), raising_late(interrupt)))
    assert type(caught) is KeyboardInterrupt
    assert caught is not interrupt
    assert members(caught.__cause__) == [error, interrupt]


async def test_ctrl_c_in_the_group_of_a_child_wins_too() -> None:
    error, interrupt = ValueError("x"), KeyboardInterrupt()

    async def child() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(raising_late(interrupt))

    caught = await catch(lambda: use_nursery(raising(error), child))
    assert type(caught) is KeyboardInterrupt
    assert members(caught.__cause__) == [error, interrupt]


async def test_the_bodys_exception_wins_with_ours_in_its_context() -> None:
    error, ours, before = ValueError("x"), KeyError("ours"), KeyError("before")
    error.__context__ = before
    caught = await catch(lambda: use_nursery(raising(error), raising_late(ours)))
    assert caught is error
    assert members(caught.__context__) == [ours, before]
    assert not caught.__suppress_context__


async def test_a_suppressed_context_of_the_bodys_exception_is_left_out() -> None:
    error, ours, before = ValueError("x"), KeyError("ours"), KeyError("before")
    error.__context__ = before
    error.__suppress_context__ = True
    caught = await catch(lambda: use_nursery(raising(error), raising_late(ours)))
    assert caught is error
    assert members(caught.__context__) == [ours]
    assert not caught.__suppress_context__


async def test_the_bodys_group_wins_as_it_is() -> None:
    error = ExceptionGroup("mine", [ValueError("x"), KeyError("y")])
    caught = await catch(lambda: use_nursery(raising(error), raising_late(OSError())))
    assert caught is error


async def test_several_exceptions_of_children_alone_are_a_fault_of_ours() -> None:
    errors = ValueError("x"), KeyError("y")
    caught = await catch(
        lambda: use_nursery(trio.lowlevel.checkpoint, *map(raising_late, errors))
    )
    assert type(caught) is TrioWebsocketInternalError
    assert set(members(caught.__cause__)) == set(errors)


async def test_cancelled_of_the_body_gives_way_to_several_of_children() -> None:
    late = KeyError("late")
    caught = await catch(
        lambda: use_nursery(
            trio.sleep_forever, raising(ValueError()), raising_late(late)
        )
    )
    assert type(caught) is TrioWebsocketInternalError


@LOOSE
@pytest.mark.parametrize("count", [1, 2])
def test_a_users_group_stays_whole_without_strict_groups(count: int) -> None:
    error = ExceptionGroup("mine", [ValueError() for _ in range(count)])

    async def main() -> BaseException:
        return await catch(lambda: use_nursery(raising(error), trio.sleep_forever))

    assert trio.run(main, strict_exception_groups=False) is error


@LOOSE
def test_an_exception_of_a_child_comes_out_bare_without_strict_groups() -> None:
    error = ValueError("x")

    async def main() -> BaseException:
        return await catch(lambda: use_nursery(trio.sleep_forever, raising(error)))

    assert trio.run(main, strict_exception_groups=False) is error


def test_the_first_failure_of_several_addresses_is_found() -> None:
    first, second = OSError(111, "refused"), OSError(113, "no route")
    error = OSError("all failed")
    error.__cause__ = ExceptionGroup("all failed", [first, second])
    assert find_first(error) is first


def test_the_one_failure_behind_an_error_is_found() -> None:
    first = OSError(111, "refused")
    error = OSError("failed")
    error.__cause__ = first
    assert find_first(error) is first


def test_an_error_with_nothing_behind_it_is_the_first_failure_itself() -> None:
    error = OSError(-2, "unknown name")
    assert find_first(error) is error


def test_leaves_are_found_in_groups_of_groups() -> None:
    a, b, c = ValueError(), KeyError(), KeyboardInterrupt()
    group = BaseExceptionGroup("", [a, BaseExceptionGroup("", [b, c])])
    assert find_leaves(group) == [a, b, c]
    assert find_leaves(a) == [a]


def test_failures_are_parted_from_what_must_go_on() -> None:
    failure, interrupt = ValueError(), KeyboardInterrupt()
    assert split_failures(failure) == (failure, None)
    assert split_failures(interrupt) == (None, interrupt)
    group = BaseExceptionGroup("", [failure, interrupt])
    failures, rest = split_failures(group)
    assert failures is not None
    assert rest is not None
    assert find_leaves(failures) == [failure]
    assert find_leaves(rest) == [interrupt]
