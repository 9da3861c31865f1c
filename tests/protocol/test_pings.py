from __future__ import annotations

import pytest

from trio_websocket._protocol.pings import PingLedger, check_payload


def test_a_pong_settles_its_ping_and_every_older_one() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"a", now=1.0)
    ledger.record_ping(b"b", now=2.0)
    ledger.record_ping(b"c", now=3.0)
    settled = ledger.record_pong(b"b", now=5.0)
    assert list(settled.items()) == [(b"a", 4.0), (b"b", 3.0)]
    assert len(ledger) == 1
    assert ledger.record_pong(b"c", now=6.0) == {b"c": 3.0}
    assert len(ledger) == 0


def test_a_pong_that_nobody_waits_for_settles_nothing() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"a", now=1.0)
    assert ledger.record_pong(b"x", now=2.0) == {}
    assert len(ledger) == 1


def test_a_second_pong_settles_nothing() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"a", now=1.0)
    ledger.record_pong(b"a", now=2.0)
    assert ledger.record_pong(b"a", now=3.0) == {}


def test_a_payload_in_flight_is_refused_and_the_first_ping_stays() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"a", now=1.0)
    with pytest.raises(ValueError, match="payload b'a' is still in flight"):
        ledger.record_ping(b"a", now=2.0)
    assert ledger.record_pong(b"a", now=3.0) == {b"a": 2.0}


def test_a_settled_payload_may_be_used_again() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"", now=1.0)
    ledger.record_pong(b"", now=2.0)
    ledger.record_ping(b"", now=3.0)
    assert ledger.record_pong(b"", now=3.5) == {b"": 0.5}


def test_a_forgotten_ping_is_gone_and_its_payload_is_free() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"a", now=1.0)
    ledger.record_ping(b"b", now=1.0)
    ledger.forget(b"a")
    assert len(ledger) == 1
    ledger.record_ping(b"a", now=2.0)
    assert list(ledger.record_pong(b"a", now=3.0)) == [b"b", b"a"]


def test_forgetting_an_unknown_ping_is_harmless() -> None:
    ledger = PingLedger()
    ledger.record_ping(b"a", now=1.0)
    ledger.forget(b"x")
    assert len(ledger) == 1


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125])
def test_a_payload_of_up_to_125_bytes_is_fine(payload: bytes) -> None:
    check_payload(payload)


def test_a_longer_payload_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
        check_payload(b"x" * 126)


@pytest.mark.parametrize("payload", ["x", bytearray(b"x"), memoryview(b"x"), None, 4])
def test_a_payload_that_is_not_bytes_is_a_type_error(payload: bytes) -> None:
    with pytest.raises(TypeError, match="a payload must be bytes, not "):
        check_payload(payload)
