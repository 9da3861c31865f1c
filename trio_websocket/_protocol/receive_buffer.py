"""Memory that all connections of one ``trio.run`` receive into.

Theory of operation
===================

Fresh memory for each receive costs more than what is done with the bytes, and a buffer
for each connection would be most of what an idle one needs. Bytes that were received
are decoded before anybody else can receive, so one buffer serves them all, and stays in
the processor's cache.

What one connection has not used, such as the first half of a frame, stays where it is
until another connection wants to receive: then it is *evicted*, and copies what it
still needs. The one that comes back to receive more finds its bytes in front of the
free memory. Nobody writes to the buffer but by way of ``lend``, so what a connection
has in it cannot change behind its back.
"""

from __future__ import annotations

from typing import Protocol

SIZE = 131_072  # bytes: half of it costs more calls, twice of it the cache


class Tenant(Protocol):
    """What has bytes in the buffer."""

    def evict(self) -> None:
        """Copy what is still needed; the buffer will be written to."""
        ...


class ReceiveBuffer:
    """The memory, and who has bytes in it.

    Attributes:
        view: All of it. What is received begins at its first byte.

    """

    __slots__ = ("_tenant", "view")

    def __init__(self) -> None:
        self.view: memoryview = memoryview(bytearray(SIZE))
        self._tenant: Tenant | None = None

    def lend(self, tenant: Tenant, rest: bytes | memoryview) -> memoryview:
        """Return where bytes may be received to, until somebody else asks.

        Args:
            tenant: Who will have them.
            rest: What it has received before and not used, perhaps in this buffer. It
                is put in front of them.

        """
        if self._tenant is not tenant:
            if self._tenant is not None:
                self._tenant.evict()
            self._tenant = tenant
        size = len(rest)
        if size:
            self.view[:size] = rest
        return self.view[size:]
