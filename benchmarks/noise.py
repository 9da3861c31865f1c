"""What other programs take of the CPUs while something is measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

# Of the columns in /proc/stat: all but idle and waiting for disks, and without the
# time of guests, which is in others already.
_BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)


class Noise:
    """The CPU time that was neither ours nor our children's, from now on.

    It knows nothing where there is no ``/proc/stat``.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._others = _measure_busy() - _measure_own()

    def measure(self) -> float:
        """Find how many CPUs others had. All children must have ended."""
        others = _measure_busy() - _measure_own() - self._others
        return max(0.0, others / (time.monotonic() - self._since))


def _measure_busy() -> float:
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    columns = stat.read_text().partition("\n")[0].split()
    ticks = sum(int(columns[number]) for number in _BUSY_COLUMNS)
    return ticks / os.sysconf("SC_CLK_TCK")


def _measure_own() -> float:
    if not Path("/proc/stat").exists():
        return 0.0
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
