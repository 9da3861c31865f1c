"""Servers of other libraries, which run on asyncio, beside a test that runs on Trio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import trio


@asynccontextmanager
async def run_in_thread(
    start: Callable[[], AbstractAsyncContextManager[int]],
) -> AsyncGenerator[int]:
    """Run a server on asyncio in a thread for a block, which gets its port."""
    send_started, receive_started = trio.open_memory_channel[
        tuple[int, Callable[[], object]]
    ](1)

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with start() as port:
            end = partial(loop.call_soon_threadsafe, stop.set)
            trio.from_thread.run_sync(send_started.send_nowait, (port, end))
            await stop.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, lambda: asyncio.run(serve()))
        port, end = await receive_started.receive()
        try:
            yield port
        finally:
            end()
