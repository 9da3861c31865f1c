"""The one place that knows exception groups.

Theory of operation
===================

``open_websocket`` runs a nursery that its user did not ask for, so its user must not
see it: an exception leaves the block as it would leave any other block, and nobody has
to write ``except*``. Trio wraps what leaves a nursery in a group; here it is unwrapped.

The body's exception is kept out of the nursery, so that the nursery does not cancel its
children for it; ``on_leave`` tells them to end in order. When they have, the members of
the nursery's group and the body's exception are looked at together:

1. One alone is raised as it is, its cause and context untouched. A group that the user
   raised is a user's exception like any other; a group that a child raised is ours, and
   what is in it counts.
2. ``Cancelled`` gives way to the one exception beside it. If there is nothing else, the
   body's own ``Cancelled`` is raised.
3. Ctrl-C among several wins: a new ``KeyboardInterrupt``, caused by all of them.
4. The body's exception wins over ours, which go into its context.
5. Several of ours and none of the body's is a fault of the library.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio

from ._errors import TrioWebsocketInternalError


@asynccontextmanager
async def open_bare_nursery(
    on_leave: Callable[[BaseException | None], None],
) -> AsyncGenerator[trio.Nursery]:
    """Open a nursery out of which the body's exception comes bare.

    Args:
        on_leave: Called when the body was left, with its exception or None. It makes
            the children end; the nursery waits for them.

    """
    body_error: BaseException | None = None
    members: Sequence[BaseException] = ()
    try:
        async with trio.open_nursery(strict_exception_groups=True) as nursery:
            try:
                yield nursery
            except BaseException as raised:  # noqa: ASYNC103, BLE001  # raised below
                body_error = raised
            on_leave(body_error)
    except BaseExceptionGroup as group:
        members = group.exceptions
    error = choose_error(body_error, members)
    if error is not None:
        raise_untouched(error)


def choose_error(
    body_error: BaseException | None, child_errors: Sequence[BaseException]
) -> BaseException | None:
    """Choose what to raise out of the exceptions of a body and of its children."""
    ours = [leaf for error in child_errors for leaf in find_leaves(error)]
    errors = ours if body_error is None else [body_error, *ours]
    failures = [error for error in errors if not isinstance(error, trio.Cancelled)]
    if len(failures) < 2:
        return next(iter(failures or errors), None)
    group = BaseExceptionGroup("several tasks of one connection failed", failures)
    if any(isinstance(error, KeyboardInterrupt) for error in failures):
        interrupt = KeyboardInterrupt()
        interrupt.__cause__ = group
        return interrupt
    if body_error is not None and body_error is failures[0]:
        return put_in_context(body_error, failures[1:])
    internal = TrioWebsocketInternalError()
    internal.__cause__ = group
    return internal


def put_in_context(
    error: BaseException, others: Sequence[BaseException]
) -> BaseException:
    """Hang other exceptions into the context of one, beside what it has there."""
    context = [*others]
    if error.__context__ is not None and not error.__suppress_context__:
        context.append(error.__context__)
    error.__context__ = BaseExceptionGroup("what failed at the same time", context)
    error.__suppress_context__ = False
    return error


def raise_untouched(error: BaseException) -> None:
    """Raise an exception without Python's adding to its context."""
    context, is_suppressed = error.__context__, error.__suppress_context__
    try:
        raise error
    finally:
        error.__context__, error.__suppress_context__ = context, is_suppressed
        del error, context


def find_first(error: OSError) -> BaseException:
    """Find the first of several failures that Trio's error hides, or the error itself.

    ``trio.open_tcp_stream`` tries every address of a host and raises one ``OSError``
    without a number for all that failed; the first has one.
    """
    return error if error.__cause__ is None else find_leaves(error.__cause__)[0]


def find_leaves(error: BaseException) -> list[BaseException]:
    """List the exceptions in a group and the groups in it, or the exception itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    members = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return [leaf for member in members for leaf in find_leaves(member)]


def split_failures(
    error: BaseException,
) -> tuple[Exception | None, BaseException | None]:
    """Part what went wrong from what must go on: Cancelled, Ctrl-C, SystemExit."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(Exception)
    if isinstance(error, Exception):
        return error, None
    return None, error
