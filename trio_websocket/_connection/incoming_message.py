"""One message that is read while it arrives.

The pump puts parts in, one task takes them out. While a part waits to be taken the pump
stands still, so what is here of the message is never more than one part: what one
receive held, or one step of inflating.

A message that is whole already is one that has ended after its only part.
"""

from __future__ import annotations

import math
from collections import deque

import trio

Part = str | bytes


class IncomingMessage:
    """What is here of a message.

    Attributes:
        is_text: Whether it is a text message.
        parts: What was not taken yet.
        size_left: How many bytes more may come, before decoding; less than 0 if too
            many have.
        is_whole: Whether the end of the message has come.
        is_broken: Whether some of it will not come, or was dropped.

    """

    __slots__ = (
        "_task",
        "is_broken",
        "is_text",
        "is_whole",
        "parts",
        "size_left",
    )

    def __init__(self, *, is_text: bool, max_size: float) -> None:
        self.is_text: bool = is_text
        self.size_left: float = max_size
        self.parts: deque[Part] = deque()
        self.is_whole: bool = False
        self.is_broken: bool = False
        self._task: trio.lowlevel.Task | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.is_whole or self.is_broken

    def add(self, part: Part, *, is_last: bool) -> None:
        """Put the next part in, which may be empty."""
        if part:
            self.parts.append(part)
        self.is_whole = is_last
        if self.parts or is_last:
            self._wake()

    def complete(self, message: Part) -> None:
        """Put a whole message in."""
        if self.size_left < math.inf:
            data = message.encode() if isinstance(message, str) else message
            self.size_left -= len(data)
        self.add(message, is_last=True)

    def break_off(self, *, discard: bool) -> None:
        """Say that the rest will not come.

        Args:
            discard: Whether what is here is dropped, too.

        """
        if not self.is_whole or (discard and self.parts):
            self.is_broken = True
        if discard:
            self.parts.clear()
        self._wake()

    async def wait(self) -> None:
        """Wait until there is a part, or nothing more will come."""
        self._task = trio.lowlevel.current_task()

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)

    def _wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
