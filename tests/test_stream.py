from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio
import trio.testing

from trio_websocket._errors import ConnectionFailed
from trio_websocket._stream import drop, end_sending, failing_to_open
from trio_websocket.testing import FaultyStream

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]


class StubbornStream(trio.abc.AsyncResource):
    """A resource that raises when it is closed."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __repr__(self) -> str:
        return "<stubborn>"

    async def aclose(self) -> None:
        raise self._error


def break_because(cause: BaseException) -> trio.BrokenResourceError:
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    return error


def open_with(error: Exception) -> None:
    with failing_to_open("h:80"):
        raise error


RESET = ConnectionResetError(104, "reset")
TLS = ssl.SSLError(1, "bad certificate")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (break_because(RESET), RESET),
        (break_because(TLS), TLS),
        (RESET, RESET),
    ],
    ids=repr,
)
def test_what_broke_the_stream_is_the_cause(
    error: Exception, cause: BaseException
) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        open_with(error)
    assert caught.value.target == "h:80"
    assert caught.value.cause is cause
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    "error", [trio.BrokenResourceError(), trio.ClosedResourceError()], ids=repr
)
def test_an_error_of_trios_with_nothing_behind_it_is_the_cause(
    error: Exception,
) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        open_with(error)
    assert caught.value.cause is error


@pytest.mark.parametrize("error", [ValueError(), trio.BusyResourceError()], ids=repr)
def test_what_is_no_fault_of_the_stream_goes_through(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        open_with(error)
    assert caught.value is error


async def test_a_stream_is_dropped_at_once() -> None:
    stream, peer = trio.testing.memory_stream_pair()
    await drop(stream)
    assert await peer.receive_some() == b""


async def test_a_tls_stream_is_dropped_without_a_word(
    open_stream_pair: OpenStreamPair,
) -> None:
    async with open_stream_pair("tls") as (client, server):
        await drop(client)
        assert await server.receive_some() == b""


async def test_a_cancelled_task_drops_a_stream_all_the_same() -> None:
    stream, peer = trio.testing.memory_stream_pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await drop(stream)
        assert not scope.cancelled_caught
    assert await peer.receive_some() == b""


@pytest.mark.parametrize(
    "error",
    [trio.BrokenResourceError(), trio.ClosedResourceError(), OSError(5, "I/O error")],
    ids=repr,
)
async def test_a_stream_that_raises_when_it_is_closed_is_only_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio-websocket")
    await drop(StubbornStream(error))
    assert caplog.messages == [f"closing <stubborn>: {error!r}"]


async def test_a_stream_may_be_dropped_twice() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    await drop(stream)
    await drop(stream)


async def test_our_half_of_a_stream_is_ended_and_the_other_goes_on(
    transport: str, open_stream_pair: OpenStreamPair
) -> None:
    async with open_stream_pair(transport) as (ours, theirs):
        await ours.send_all(b"the last word")
        await end_sending(ours)
        await theirs.send_all(b"an answer")
        assert await ours.receive_some() == b"an answer"
        received = bytearray()
        while data := await theirs.receive_some():
            received += data
        assert received == b"the last word"


async def test_a_stream_that_has_no_halves_goes_on_whole() -> None:
    stream, peer = trio.testing.memory_stream_pair()
    with trio.testing.assert_checkpoints():
        await end_sending(FaultyStream(stream))
    await stream.send_all(b"x")
    assert await peer.receive_some() == b"x"


async def test_a_broken_stream_that_cannot_be_ended_is_only_logged(
    open_stream_pair: OpenStreamPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio-websocket")
    async with open_stream_pair("socket") as (ours, _):
        await drop(ours)
        await end_sending(ours)
    [message] = caplog.messages
    assert message.startswith("nobody hears the end of a stream: ")


async def test_tls_over_a_stream_without_a_socket_stays_as_it_is(
    client_tls: ssl.SSLContext,
) -> None:
    stream, peer = trio.testing.memory_stream_pair()
    await end_sending(trio.SSLStream(stream, client_tls, server_hostname="localhost"))
    await stream.send_all(b"x")
    assert await peer.receive_some() == b"x"
