"""Which pings are unanswered, and how long the answered ones took.

RFC 6455 section 5.5.3 lets a peer answer only the newest of several pings. So a pong
settles its ping and every older one.
"""

from __future__ import annotations

from collections import OrderedDict

# RFC 6455 section 5.5: the payload of any control frame.
MAX_PAYLOAD_SIZE = 125


class PingLedger:
    """The pings that wait for their pong, oldest first.

    Times are whatever clock the caller reads, in seconds.
    """

    def __init__(self) -> None:
        self._sent: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sent)

    def record_ping(self, payload: bytes, now: float) -> None:
        """Note that a ping leaves.

        Raises:
            ValueError: If one with the same payload is unanswered: its pong could not
                be told from that of the new one.

        """
        if payload in self._sent:
            raise ValueError(f"a ping with the payload {payload!r} is still in flight")
        self._sent[payload] = now

    def record_pong(self, payload: bytes, now: float) -> dict[bytes, float]:
        """Note that a pong has come.

        Returns:
            The round trip, in seconds, of its ping and of every older one, oldest
            first; nothing if nobody waits for such a pong (RFC 6455 section 5.5.3 lets
            peers send them).

        """
        if payload not in self._sent:
            return {}
        round_trips: dict[bytes, float] = {}
        while payload not in round_trips:
            oldest, then = self._sent.popitem(last=False)
            round_trips[oldest] = now - then
        return round_trips

    def forget(self, payload: bytes) -> None:
        """Drop a ping that nobody waits for any more; one that is not there is fine."""
        self._sent.pop(payload, None)


def check_payload(payload: bytes) -> None:
    """Check the payload of a ping or a pong.

    Raises:
        TypeError: If it is not bytes.
        ValueError: If it is longer than 125 bytes (RFC 6455 section 5.5).

    """
    _check_type(payload)
    if len(payload) > MAX_PAYLOAD_SIZE:
        raise ValueError(
            f"a payload must have at most {MAX_PAYLOAD_SIZE} bytes, not {len(payload)}"
        )


def _check_type(payload: object) -> None:
    if not isinstance(payload, bytes):
        raise TypeError(f"a payload must be bytes, not {type(payload).__name__}")
