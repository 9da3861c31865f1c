"""Measurements inside of the child under test: rates, CPU time, delays and memory.

All of them end the process with the result as soon as they are complete.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from assignment import Assignment, finish

# More connections than this are not opened to measure how many can be opened.
MOST_OPENINGS = 6000
# Connections that are there before the memory of more of them is measured.
BASE_CONNECTIONS = 50
# How much a process may grow that holds no more than a part of a message, in bytes.
_MOST_GROWTH = 33_554_432
# What a bystander asks for, in seconds.
NAP = 0.001


class Meter:
    """Counts messages over a stretch of time that begins after a warm-up.

    The process is measured from the first message after the warm-up, so that neither
    its start nor the opening of connections is part of it.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._warm_up = assignment.warm_up
        self._seconds = assignment.seconds
        self._most = MOST_OPENINGS if assignment.scene == "open" else sys.maxsize
        self._bystander = Bystander() if assignment.has_bystander else None
        self._is_flat = assignment.scene in {"read", "write"}
        self._peak = 0
        self._is_warm = False
        self._count = 0
        self._until = 0.0
        self._since = 0.0
        self._cpu_since = 0.0

    @property
    def bystander(self) -> Bystander | None:
        """The bystander whose delays are measured, too."""
        return self._bystander

    def tick(self, count: int) -> None:
        """Count messages; ends the process with the result when the time is over.

        Reading the clock is not free: call this for a few messages at once.
        """
        now = time.perf_counter()
        self._count += count
        if now < self._until and self._count < self._most:
            return
        if self._since:
            self._finish(now)
        elif self._is_warm:
            self._count = 0
            self._until = now + self._seconds
            if self._bystander is not None:
                self._bystander.forget()
            self._peak = find_peak()
            self._cpu_since = time.process_time()
            self._since = time.perf_counter()
        else:
            self._is_warm = True
            self._until = now + self._warm_up

    def _finish(self, now: float) -> None:
        cpu = time.process_time() - self._cpu_since
        seconds = now - self._since
        record: dict[str, object] = {
            "rate": self._count / seconds,
            "cpu": cpu / self._count * 1e6,
            "count": self._count,
            "seconds": seconds,
        }
        if self._bystander is not None:
            record |= self._bystander.summarise(now)
        if self._is_flat:
            record["growth"] = growth = find_peak() - self._peak
            if growth > _MOST_GROWTH:
                record = {"error": f"grew by {growth:,} bytes, so it is not flat"}
        finish(record)


class Bystander:
    """A task that only naps: how much later than it asked for does it wake up?"""

    def __init__(self) -> None:
        self._delays: list[float] = []
        self._nap_since = time.perf_counter()

    async def nap(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Take one nap after the other, for ever."""
        while True:
            self._nap_since = time.perf_counter()
            await sleep(NAP)
            self._delays.append(time.perf_counter() - self._nap_since - NAP)

    def forget(self) -> None:
        """Begin to measure."""
        self._delays.clear()
        self._nap_since = time.perf_counter()

    def summarise(self, now: float) -> dict[str, object]:
        """Find the delays in ms: the median, the 99th percentile and the worst."""
        # Who never gets a turn has no delay that is over.
        delays = sorted([*self._delays, max(0.0, now - self._nap_since - NAP)])
        last = len(delays) - 1
        return {
            "p50": delays[last // 2] * 1e3,
            "p99": delays[round(last * 0.99)] * 1e3,
            "worst": delays[last] * 1e3,
            "naps": len(delays),
        }


class Scales:
    """Weighs idle connections: the growth of the memory that the process holds.

    The first few connections are not weighed: with them come buffers and modules that
    all connections share.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._connections = assignment.connections
        self._count = 0
        self._base = 0

    def add(self) -> bool:
        """Count a connection that is open; whether it was the last one."""
        self._count += 1
        if self._count == BASE_CONNECTIONS:
            self._base = measure_memory()
        return self._count == self._connections

    def weigh(self) -> None:
        """End the process with the bytes for each connection."""
        grown = measure_memory() - self._base
        finish({"bytes": grown / (self._count - BASE_CONNECTIONS)})


def measure_memory() -> int:
    """Find how many bytes of memory the process holds, without its garbage."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Elsewhere only the peak is known, which is the same while memory only grows.
    return find_peak()


def find_peak() -> int:
    """Find the most bytes of memory that the process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
