"""Whose turn it is where only one task may be in the middle of a message.

The fragments of a message may not have another message between them, in either
direction (RFC 6455 section 5.4). So who sends or takes one in parts holds a lock, and
the others wait in the order of their calls. When nothing can be sent or taken any more
the lock breaks, and all who wait are woken, whatever its holder does.
"""

from __future__ import annotations

import trio


class LockBroken(Exception):
    """The turn will not come."""


class MessageLock:
    """A lock that is handed from task to task, first come first served."""

    __slots__ = ("_holder", "_is_broken", "_tasks")

    def __init__(self) -> None:
        self._holder: trio.lowlevel.Task | None = None
        self._is_broken = False
        self._tasks: list[trio.lowlevel.Task] = []

    @property
    def is_free(self) -> bool:
        """Whether nobody holds it; then nobody waits either."""
        return self._holder is None

    async def acquire(self) -> None:  # noqa: ASYNC910  # it may be free
        """Take the lock, or wait for the turn.

        Raises:
            LockBroken: If the turn will not come.
            RuntimeError: If the task holds the lock already.

        Cancellation:
            A cancelled call does not hold the lock.

        """
        if self._is_broken:
            raise LockBroken
        task = trio.lowlevel.current_task()
        if self._holder is None:
            self._holder = task
            return  # noqa: ASYNC910  # as above
        if self._holder is task:
            raise RuntimeError("this task is in the middle of a message of its own")
        self._tasks.append(task)

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._tasks.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        if self._is_broken:
            raise LockBroken

    def release(self) -> None:
        """Hand the lock to the task that waits longest, if one does."""
        self._holder = self._tasks.pop(0) if self._tasks else None
        if self._holder is not None:
            trio.lowlevel.reschedule(self._holder)

    def break_up(self) -> None:
        """Wake all who wait, and let nobody in any more."""
        self._is_broken = True
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            trio.lowlevel.reschedule(task)
