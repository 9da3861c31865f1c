"""Keys that mask what a client sends (RFC 6455 section 5.3).

A key must not be predictable, so each comes from the system's source of randomness. To
ask it for four bytes costs as much as a message, so it is asked for many keys at once,
for all connections of one ``trio.run``. They are used once, in order.

A process that forks gives its child the same memory, so what was fetched is thrown away
before it does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, repeat
from weakref import WeakSet

from .per_run import PerRun

_SIZE = 4
_POOL_SIZE = 4096  # bytes: the system takes longer for more, and it need not be fresh


class MaskingKeys:
    """The keys of one run of Trio.

    Attributes:
        stream: Keys one by one, without end. To be asked for each time: after a fork it
            is another one.

    """

    __slots__ = ("__weakref__", "_pool", "_position", "stream")

    def __init__(self) -> None:
        self.stream: Iterator[bytes] = _generate()
        self._pool = b""
        self._position = 0
        _pools.add(self)

    def draw(self, count: int = 1) -> bytes:
        """Return that many keys, one behind the other."""
        pool, start = self._pool, self._position  # another thread may fork
        stop = start + _SIZE * count
        if stop > len(pool):
            pool = self._pool = os.urandom(max(_POOL_SIZE, stop - start))
            start, stop = 0, stop - start
        self._position = stop
        return pool[start:stop]

    def forget(self) -> None:
        """Use none of the keys that were fetched."""
        self.stream = _generate()
        self._pool = b""


def _generate() -> Iterator[bytes]:
    """Make an endless iterator that runs without a step in Python but one in many."""
    return chain.from_iterable(map(_fetch, repeat(_POOL_SIZE)))


def _fetch(size: int) -> list[bytes]:
    pool = os.urandom(size)
    return [pool[start : start + _SIZE] for start in range(0, size, _SIZE)]


_pools: WeakSet[MaskingKeys] = WeakSet()


def _forget_all() -> None:
    for pool in _pools:
        pool.forget()


with suppress(AttributeError):  # Windows does not fork
    os.register_at_fork(before=_forget_all)


# The keys of this run.
find_masking_keys = PerRun(MaskingKeys).find
