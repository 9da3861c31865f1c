"""Who has bytes in the buffer, and that nobody writes over them unasked."""

from __future__ import annotations

import pytest

from trio_websocket._protocol.receive_buffer import SIZE, ReceiveBuffer


class Tenant:
    """What has bytes in the buffer, and keeps a copy when it must."""

    def __init__(self) -> None:
        self.rest: bytes | memoryview = b""
        self.evictions = 0

    def evict(self) -> None:
        self.rest = bytes(self.rest)
        self.evictions += 1


def receive(buffer: ReceiveBuffer, tenant: Tenant, data: bytes) -> None:
    with buffer.lend(tenant, tenant.rest) as view:
        view[: len(data)] = data
    tenant.rest = buffer.view[: len(tenant.rest) + len(data)]


def test_all_of_it_is_lent_to_who_has_nothing_in_it() -> None:
    buffer = ReceiveBuffer()
    with buffer.lend(Tenant(), b"") as view:
        assert len(view) == len(buffer.view) == SIZE


def test_what_is_received_stands_behind_what_was_not_used() -> None:
    buffer, tenant = ReceiveBuffer(), Tenant()
    receive(buffer, tenant, b"abc")
    receive(buffer, tenant, b"def")
    assert tenant.rest == b"abcdef"
    assert tenant.evictions == 0
    with buffer.lend(tenant, tenant.rest) as view:
        assert len(view) == SIZE - 6


@pytest.mark.parametrize("start", [1, 3, 500, 999])
def test_what_was_not_used_moves_to_the_front(start: int) -> None:
    buffer, tenant = ReceiveBuffer(), Tenant()
    data = bytes(range(250)) * 4
    receive(buffer, tenant, data)
    tenant.rest = tenant.rest[start:]  # the two places overlap, or do not
    receive(buffer, tenant, b"end")
    assert tenant.rest == data[start:] + b"end"


def test_who_has_bytes_in_it_is_told_before_somebody_else_writes_there() -> None:
    buffer, first, second = ReceiveBuffer(), Tenant(), Tenant()
    receive(buffer, first, b"first")
    receive(buffer, second, b"second")
    assert (first.rest, second.rest) == (b"first", b"second")
    receive(buffer, first, b" and more")
    receive(buffer, first, b" and more")
    assert (first.rest, second.rest) == (b"first and more and more", b"second")
    assert (first.evictions, second.evictions) == (1, 1)


def test_what_was_kept_elsewhere_is_put_in_front() -> None:
    buffer, tenant = ReceiveBuffer(), Tenant()
    tenant.rest = b"kept "
    receive(buffer, tenant, b"received")
    assert tenant.rest == b"kept received"
