"""Pings that wait for their pong."""

from __future__ import annotations

import secrets

import trio

from .._protocol.pings import PingLedger, check_payload

_RANDOM_PAYLOAD_SIZE = 4  # bytes: enough to tell apart what is in flight at once


class Ping:
    """A ping that was or is about to be sent.

    Attributes:
        payload: What it carries, which the pong will carry too.
        round_trip: Seconds until the pong came, or None as long as it has not.

    """

    __slots__ = ("payload", "round_trip", "settled")

    def __init__(self, payload: bytes) -> None:
        self.payload: bytes = payload
        self.round_trip: float | None = None
        self.settled: trio.Event = trio.Event()


class RoundTrips:
    """The pings of one connection that are in flight.

    Attributes:
        latest: The latest round trip in seconds, or None before the first.

    """

    __slots__ = (
        "_ledger",
        "_pings",
        "latest",
    )

    def __init__(self) -> None:
        self.latest: float | None = None
        self._ledger: PingLedger | None = None  # most connections send no pings
        self._pings: dict[bytes, Ping] = {}

    def begin(self, payload: bytes | None) -> Ping:
        """Note that a ping is about to be sent.

        Args:
            payload: At most 125 bytes, or None for four random ones.

        Raises:
            TypeError: If the payload is not bytes.
            ValueError: If it is too long, or in flight already.

        """
        if payload is None:
            payload = self._draw_payload()
        check_payload(payload)
        if self._ledger is None:
            self._ledger = PingLedger()
        self._ledger.record_ping(payload, trio.current_time())
        ping = self._pings[payload] = Ping(payload)
        return ping

    def forget(self, ping: Ping) -> None:
        """Note that nobody waits for a ping any more, whether it was settled or not."""
        # A payload that was settled may be on its way again, for another task.
        if self._ledger is not None and self._pings.get(ping.payload) is ping:
            del self._pings[ping.payload]
            self._ledger.forget(ping.payload)

    def settle(self, payload: bytes) -> None:
        """Note that a pong has come: it settles its ping and every older one."""
        if self._ledger is None:
            return
        settled = self._ledger.record_pong(payload, trio.current_time())
        for sent, round_trip in settled.items():
            ping = self._pings.pop(sent)
            ping.round_trip = self.latest = round_trip
            ping.settled.set()

    def abandon(self) -> None:
        """Wake every task that waits: no pong will come."""
        for ping in self._pings.values():
            ping.settled.set()

    def _draw_payload(self) -> bytes:
        draws = iter(lambda: secrets.token_bytes(_RANDOM_PAYLOAD_SIZE), None)
        return next(payload for payload in draws if payload not in self._pings)
