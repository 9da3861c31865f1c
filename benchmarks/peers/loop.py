"""The two families of event loops, as far as the scenes need them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

Job = Callable[[], Awaitable[None]]


class Loop(Protocol):
    """What a scene needs to know of its event loop."""

    async def run_main(self, main: Job) -> None:
        """Run the main task, and those that it starts."""

    def start(self, job: Job) -> None:
        """Start a task."""

    async def sleep(self, seconds: float) -> None:
        """Sleep."""


class AsyncioLoop:
    """asyncio, with its own loop or with uvloop's."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def run_main(self, main: Job) -> None:
        """Run the main task; those that it starts are not waited for."""
        await main()

    def start(self, job: Job) -> None:
        """Start a task."""

        async def run() -> None:
            await job()

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # A task that failed would else be a measurement that never ends.
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().stop()


def run_asyncio(name: str, main: Job) -> None:
    """Run a main task on asyncio's own loop or on ``uvloop``."""

    async def run() -> None:
        await main()

    if name == "uvloop":
        import uvloop  # noqa: PLC0415  # not every environment has it

        uvloop.run(run())
    else:
        asyncio.run(run())
