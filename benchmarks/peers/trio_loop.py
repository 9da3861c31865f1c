"""Trio, as far as the scenes need it."""

from __future__ import annotations

import trio

from .loop import Job


class TrioLoop:
    """Trio."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """The nursery of all tasks."""
        assert self._nursery is not None
        return self._nursery

    async def run_main(self, main: Job) -> None:
        """Run the main task, and those that it starts."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await main()

    def start(self, job: Job) -> None:
        """Start a task."""
        self.nursery.start_soon(job)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await trio.sleep(seconds)
