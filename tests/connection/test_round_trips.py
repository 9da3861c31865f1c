from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_websocket._connection.round_trips import RoundTrips


async def test_a_pong_settles_its_ping_and_every_older_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """T-12."""
    round_trips = RoundTrips()
    older = round_trips.begin(b"older")
    await trio.sleep(1)
    ping = round_trips.begin(b"this")
    newer = round_trips.begin(b"newer")
    await trio.sleep(2)
    round_trips.settle(b"this")
    assert older.settled.is_set()
    assert ping.settled.is_set()
    assert not newer.settled.is_set()
    assert (older.round_trip, ping.round_trip, newer.round_trip) == (3, 2, None)
    assert round_trips.latest == 2


async def test_a_pong_that_nobody_waits_for_is_ignored() -> None:
    """S-36."""
    round_trips = RoundTrips()
    ping = round_trips.begin(b"ping")
    round_trips.settle(b"pong")
    assert not ping.settled.is_set()
    assert round_trips.latest is None


async def test_payloads_are_drawn_if_none_is_given() -> None:
    round_trips = RoundTrips()
    payloads = {round_trips.begin(None).payload for _ in range(1000)}
    assert len(payloads) == 1000
    assert {len(payload) for payload in payloads} == {4}


async def test_a_payload_in_flight_is_refused_and_the_first_ping_stays() -> None:
    """T-12."""
    round_trips = RoundTrips()
    ping = round_trips.begin(b"same")
    with pytest.raises(ValueError, match="in flight"):
        round_trips.begin(b"same")
    round_trips.settle(b"same")
    assert ping.round_trip is not None


async def test_a_payload_that_is_too_long_is_not_noted_down() -> None:
    """D-6."""
    round_trips = RoundTrips()
    for _ in range(2):
        with pytest.raises(ValueError, match="at most 125 bytes"):
            round_trips.begin(b"x" * 126)


async def test_a_ping_that_was_forgotten_may_be_sent_again() -> None:
    """T8."""
    round_trips = RoundTrips()
    forgotten = round_trips.begin(b"again")
    round_trips.forget(forgotten)
    ping = round_trips.begin(b"again")
    round_trips.settle(b"again")
    assert forgotten.round_trip is None
    assert ping.round_trip is not None


async def test_forgetting_a_settled_ping_leaves_its_successor_alone() -> None:
    round_trips = RoundTrips()
    first = round_trips.begin(b"same")
    round_trips.settle(b"same")
    second = round_trips.begin(b"same")
    round_trips.forget(first)
    round_trips.settle(b"same")
    assert second.settled.is_set()


async def test_abandoning_wakes_all_without_a_round_trip() -> None:
    """W9."""
    round_trips = RoundTrips()
    pings = [round_trips.begin(None) for _ in range(3)]
    round_trips.abandon()
    assert all(ping.settled.is_set() for ping in pings)
    assert all(ping.round_trip is None for ping in pings)
