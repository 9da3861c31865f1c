"""When a call that has nothing to wait for lets other tasks run.

Theory of operation
===================

A full checkpoint costs as much as twenty small messages, so a call that finds its
message at hand, or whose bytes the socket takes at once, returns without one. Other
tasks must not starve for that, and a cancellation must be seen. So the calls of one run
of Trio are counted, and the budget is the same for all of them: whoever uses it up
pays. Calls and bytes are counted, not time, because with a clock the order of tasks
would differ from run to run. To send takes a call of the system, however short the
message is, so it counts for ``LEAST_SENT_SIZE`` at least.

Most calls are *free*: they take one off a counter and look no further. Each 16th looks
for a cancellation, and it is in such a call that the budget may turn out to be used up.

The two halves of a checkpoint are apart, as in Trio's own primitives: a cancellation is
looked for before anything is done, and other tasks run when all is done. So a call that
was cancelled here has taken and sent nothing, and calls have their effect in the order
in which they were made.
"""

from __future__ import annotations

import trio

from .per_run import PerRun

CALLS_PER_CANCELLATION_CHECK = 16
CALLS_PER_CHECKPOINT = 256
BYTES_PER_CHECKPOINT = 262_144
LEAST_SENT_SIZE = 4096  # bytes: so others wait for 64 small sends at most

_FREE_CALLS = CALLS_PER_CANCELLATION_CHECK - 1
_CHECKS_PER_CHECKPOINT = CALLS_PER_CHECKPOINT // CALLS_PER_CANCELLATION_CHECK


class Turns:
    """The budget that all connections of one ``trio.run`` share.

    Attributes:
        free: How many calls may be made before one looks for a cancellation. A call
            that takes one off needs no ``begin``.
        size_left: How many bytes may be got or sent before others are to run. A free
            call that leaves some needs no ``is_used_up``.

    """

    __slots__ = ("_checks", "free", "size_left")

    def __init__(self) -> None:
        self.free: int = _FREE_CALLS
        self.size_left: int = BYTES_PER_CHECKPOINT
        self._checks = 0

    async def begin(self) -> None:  # noqa: ASYNC910  # that is the point
        """Look for a cancellation if it is time to, before anything is done."""
        if self.free:
            self.free -= 1
            return  # noqa: ASYNC910  # as above
        self._checks += 1
        if self._checks > _CHECKS_PER_CHECKPOINT:
            # Calls that fail do not come to ``is_used_up``, and may go on for ever.
            self.free = _FREE_CALLS
            self._restart()
            await trio.lowlevel.checkpoint()
            return
        is_last = self._checks == _CHECKS_PER_CHECKPOINT
        self.free = 0 if is_last else _FREE_CALLS
        await trio.lowlevel.checkpoint_if_cancelled()

    def is_used_up(self, size: int, *, calls: int = 0) -> bool:
        """Tell whether others are to run now; the caller sees to that.

        Args:
            size: How many bytes the call has got or sent.
            calls: For how many calls it stands, beside itself.

        """
        self.size_left -= size
        is_last = self._checks == _CHECKS_PER_CHECKPOINT
        self._checks += calls // CALLS_PER_CANCELLATION_CHECK
        if self._checks < _CHECKS_PER_CHECKPOINT and self.size_left > 0:
            return False
        if is_last:  # else the next look for a cancellation is as near as it was
            self.free = _FREE_CALLS
        self._restart()
        return True

    def _restart(self) -> None:
        self.size_left = BYTES_PER_CHECKPOINT
        self._checks = 0


# The budget of this run.
find_turns = PerRun(Turns).find
