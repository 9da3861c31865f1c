"""When a call that has nothing to wait for lets other tasks run.

Theory of operation
===================

A full checkpoint costs as much as twenty small messages, so a call that finds its
message at hand, or whose bytes the socket takes at once, returns without one. Other
tasks must not starve for that, and a cancellation must be seen. So the calls of one run
of Trio are counted, and the budget is the same for all of them: whoever uses it up
pays. Messages and bytes are counted, not time, because with a clock the order of tasks
would differ from run to run.

The turn is given before a message is taken, so a cancellation at that point loses none.
"""

from __future__ import annotations

import trio

CALLS_PER_CANCELLATION_CHECK = 16
MESSAGES_PER_CHECKPOINT = 256
BYTES_PER_CHECKPOINT = 262_144


class Turns:
    """The budget that all connections of one ``trio.run`` share."""

    def __init__(self) -> None:
        self._calls = 0
        self._messages = 0
        self._bytes = 0

    async def give(self) -> None:
        """Look for a cancellation, or let others run, if it is time to."""
        self._calls += 1
        if (
            self._messages >= MESSAGES_PER_CHECKPOINT
            or self._bytes >= BYTES_PER_CHECKPOINT
        ):
            self._calls = self._messages = self._bytes = 0
            await trio.lowlevel.checkpoint()
        elif self._calls >= CALLS_PER_CANCELLATION_CHECK:
            self._calls = 0
            await trio.lowlevel.checkpoint_if_cancelled()

    def count(self, size: int) -> None:
        """Take note of one message of so many bytes (or characters)."""
        self._messages += 1
        self._bytes += size


_turns: trio.lowlevel.RunVar[Turns] = trio.lowlevel.RunVar("turns")


def find_turns() -> Turns:
    """Return the budget of this run."""
    try:
        return _turns.get()
    except LookupError:
        turns = Turns()
        _turns.set(turns)
        return turns
