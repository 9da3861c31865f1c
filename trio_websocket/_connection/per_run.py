"""What all connections of one ``trio.run`` share, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

_Shared = TypeVar("_Shared")


class PerRun(Generic[_Shared]):
    """One value for each ``trio.run``; it is gone with the run."""

    __slots__ = ("_make", "_variable")

    def __init__(self, make: Callable[[], _Shared]) -> None:
        self._make = make
        self._variable: trio.lowlevel.RunVar[_Shared] = trio.lowlevel.RunVar("shared")

    def find(self) -> _Shared:
        """Return the value of this run, which is made if there is none."""
        try:
            return self._variable.get()
        except LookupError:
            value = self._make()
            self._variable.set(value)
            return value
