"""Helpers for testing programs that use WebSockets, without a network.

:func:`open_connection_pair` gives both ends of a connection, :class:`RawPeer` a peer
that keeps to no rules, and :class:`FaultyStream` a stream with the faults of a network.
They need no threads and no sockets and work under :class:`trio.testing.MockClock`.
"""

from __future__ import annotations

from .faulty_stream import FaultyStream as FaultyStream
from .pair import open_connection_pair as open_connection_pair
from .raw_peer import RawFrame as RawFrame, RawPeer as RawPeer
