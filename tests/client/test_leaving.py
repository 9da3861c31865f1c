"""How a block of `open_websocket` is left (T-51, compat.md 4.8)."""

from __future__ import annotations

import signal
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    DisconnectionTimeout,
    WebSocketConnection,
    connect_websocket_url,
    open_websocket_url,
)
from trio_websocket.testing import RawPeer

Serve = Callable[[trio.SocketStream], Awaitable[object]]
ServeRaw = Callable[[Serve], AbstractAsyncContextManager[int]]
Behave = Callable[[RawPeer], Awaitable[object]]


class Server:
    """A server of one client.

    Attributes:
        url: Its URL.
        context: The context for the URL, if that is a ``wss:`` one.
        received: The Close that the client sent.
        is_ended: Set when the client's stream has ended.

    """

    def __init__(self, url: str, context: ssl.SSLContext | None) -> None:
        self.url = url
        self.context = context
        self.received: tuple[int | None, str] | None = None
        self.is_ended = trio.Event()

    def open(
        self, disconnect_timeout: float = 60
    ) -> AbstractAsyncContextManager[WebSocketConnection]:
        return open_websocket_url(
            self.url, self.context, disconnect_timeout=disconnect_timeout
        )

    async def answer_close(self, peer: RawPeer) -> None:
        await self.receive_close(peer)
        await peer.send_close()
        await peer.send_eof()
        await self.wait_for_end(peer)

    async def receive_close(self, peer: RawPeer) -> None:
        self.received = await peer.receive_close()

    async def wait_for_end(self, peer: RawPeer) -> None:
        assert await peer.receive_eof() == b""
        self.is_ended.set()


@pytest.fixture(params=["ws", "wss"])
def scheme(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


async def never_answer(server: Server, peer: RawPeer) -> None:
    await server.receive_close(peer)
    await server.wait_for_end(peer)


@asynccontextmanager
async def run_server(
    serve_raw: ServeRaw,
    behave: Callable[[Server, RawPeer], Awaitable[object]] = Server.answer_close,
    *,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Server]:
    """Run a server, over TLS if there are contexts; wait for its client's end."""

    async def serve(stream: trio.abc.Stream) -> None:
        if server_tls is not None:
            stream = trio.SSLStream(
                stream, server_tls, server_side=True, https_compatible=True
            )
        await behave(server, await RawPeer.accept(stream))

    async with serve_raw(serve) as port:
        scheme = "ws" if client_tls is None else "wss"
        server = Server(f"{scheme}://127.0.0.1:{port}/", client_tls)
        yield server
        await server.is_ended.wait()


def find_code(connection: WebSocketConnection) -> int | None:
    return connection.closed.code if connection.closed else None


async def leave_with(server: Server, error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught:  # the block is the thing
        async with server.open():
            raise error
    return caught.value


async def test_the_handshake_is_complete_inside_and_undone_afterwards(
    serve_raw: ServeRaw,
) -> None:
    # S-80
    async with run_server(serve_raw) as server:
        async with server.open() as client:
            assert client.is_client
            assert find_code(client) is None
        assert server.received == (1000, "")
        assert find_code(client) == 1000
        with pytest.raises(ConnectionClosed):
            await client.send_message("too late")


async def test_it_can_be_entered_by_hand(serve_raw: ServeRaw) -> None:
    async with run_server(serve_raw) as server:
        opening = server.open()
        client = await opening.__aenter__()
        assert find_code(client) is None
        assert not await opening.__aexit__(None, None, None)
        assert find_code(client) == 1000
    assert server.received == (1000, "")


async def test_it_can_be_entered_on_an_exit_stack(serve_raw: ServeRaw) -> None:
    async with run_server(serve_raw) as server:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(server.open())
            assert find_code(client) is None
        assert find_code(client) == 1000
    assert server.received == (1000, "")


async def test_the_block_may_close_by_itself(serve_raw: ServeRaw) -> None:
    async with run_server(serve_raw) as server, server.open() as client:
        await client.aclose(4000, "bye")
    assert server.received == (4000, "bye")


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ConnectionClosed(CloseReason(1000, None)),
        KeyboardInterrupt(),
        SystemExit(3),
        Unusual(),
        StopIteration(),
        StopAsyncIteration(),
        ExceptionGroup("one", [ValueError("x")]),
        BaseExceptionGroup("two", [ValueError("x"), KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_leaves_the_block_as_it_is(
    error: BaseException, serve_raw: ServeRaw
) -> None:
    error.__cause__ = cause = KeyError("cause")
    async with run_server(serve_raw) as server:
        assert await leave_with(server, error) is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    assert server.received == (1000, "")


async def test_the_context_of_an_exception_is_left_alone(serve_raw: ServeRaw) -> None:
    error = ValueError("x")
    error.__context__ = context = KeyError("context")
    async with run_server(serve_raw) as server:
        assert await leave_with(server, error) is error
    assert error.__context__ is context
    assert not error.__suppress_context__


async def test_a_nursery_of_the_blocks_own_still_makes_groups(
    serve_raw: ServeRaw,
) -> None:
    async def fail() -> None:
        raise ValueError("x")

    async with run_server(serve_raw) as server:
        with pytest.raises(ExceptionGroup) as caught:
            async with server.open(), trio.open_nursery() as nursery:
                nursery.start_soon(fail)
    [error] = caught.value.exceptions
    assert isinstance(error, ValueError)


@pytest.mark.filterwarnings("ignore:.*strict_exception_groups")
def test_an_exception_is_bare_without_strict_groups_too(serve_raw: ServeRaw) -> None:
    error = ValueError("x")

    async def main() -> BaseException:
        async with run_server(serve_raw) as server:
            return await leave_with(server, error)

    assert trio.run(main, strict_exception_groups=False) is error


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_the_block_comes_out_bare(serve_raw: ServeRaw) -> None:
    async def main() -> tuple[int | None, str] | None:
        async with run_server(serve_raw) as server:
            with pytest.raises(KeyboardInterrupt):
                async with server.open():
                    signal.raise_signal(signal.SIGINT)
        return server.received

    assert trio.run(main) == (1000, "")


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_it_waits_for_the_answer_comes_out_bare(
    serve_raw: ServeRaw,
) -> None:
    @trio.lowlevel.enable_ki_protection
    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)  # for the main task, at its next chance

    async def press_ctrl_c(server: Server, peer: RawPeer) -> None:
        await server.receive_close(peer)
        interrupt()
        await server.wait_for_end(peer)

    async def main() -> None:
        async with run_server(serve_raw, press_ctrl_c) as server:
            with pytest.raises(KeyboardInterrupt):
                async with server.open():
                    pass

    trio.run(main)


async def test_left_by_cancellation_it_says_1001_and_waits_for_nothing(
    scheme: str,
    serve_raw: ServeRaw,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    is_secure = scheme == "wss"
    async with run_server(
        serve_raw,
        never_answer,
        server_tls=server_tls if is_secure else None,
        client_tls=client_tls if is_secure else None,
    ) as server:
        clients: list[WebSocketConnection] = []
        with trio.CancelScope() as scope:
            async with server.open() as client:
                clients.append(client)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert find_code(clients[0]) == 1001
        assert clients[0].close_received is None
    assert server.received == (1001, "")


async def test_left_by_cancellation_of_its_own_nursery_it_says_1001_too(
    serve_raw: ServeRaw,
) -> None:
    async with run_server(serve_raw, never_answer) as server:
        with trio.CancelScope() as scope:
            async with server.open(), trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
    assert scope.cancelled_caught
    assert server.received == (1001, "")


async def test_cancelled_while_it_waits_for_the_answer_it_waits_no_longer(
    serve_raw: ServeRaw,
) -> None:
    async def cancel(server: Server, peer: RawPeer) -> None:
        await server.receive_close(peer)
        scope.cancel()
        await server.wait_for_end(peer)

    scope = trio.CancelScope()
    async with run_server(serve_raw, cancel) as server:
        with scope:
            async with server.open():
                pass
    assert scope.cancelled_caught
    assert server.received == (1000, "")


async def test_an_exception_is_not_lost_when_the_wait_is_cancelled(
    serve_raw: ServeRaw,
) -> None:
    async def cancel(server: Server, peer: RawPeer) -> None:
        await server.receive_close(peer)
        scope.cancel()
        await server.wait_for_end(peer)

    error = ValueError("x")
    scope = trio.CancelScope()
    async with run_server(serve_raw, cancel) as server:
        with scope:
            assert await leave_with(server, error) is error
    assert error.__context__ is None


async def never_answer_in_time(
    clock: trio.testing.MockClock, server: Server, peer: RawPeer
) -> None:
    await server.receive_close(peer)
    clock.jump(7)
    await server.wait_for_end(peer)


async def test_a_peer_that_does_not_answer_is_a_disconnection_timeout(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    async def be_silent(server: Server, peer: RawPeer) -> None:
        await never_answer_in_time(mock_clock, server, peer)

    async with run_server(serve_raw, be_silent) as server:
        with pytest.raises(DisconnectionTimeout) as caught:
            async with server.open(disconnect_timeout=7):
                pass
    assert caught.value.timeout == 7
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_an_exception_wins_over_a_disconnection_timeout(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    async def be_silent(server: Server, peer: RawPeer) -> None:
        await never_answer_in_time(mock_clock, server, peer)

    error = ValueError("x")
    async with run_server(serve_raw, be_silent) as server:
        with pytest.raises(ValueError, match="x") as caught:
            async with server.open(disconnect_timeout=7):
                raise error
    assert caught.value is error
    assert error.__context__ is None


async def test_a_close_of_the_blocks_own_that_is_not_answered_is_one_too(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    async def be_silent(server: Server, peer: RawPeer) -> None:
        await never_answer_in_time(mock_clock, server, peer)

    async with run_server(serve_raw, be_silent) as server:
        with pytest.raises(DisconnectionTimeout):
            async with server.open(disconnect_timeout=7) as client:
                await client.aclose()


async def test_a_peer_that_drops_the_stream_unanswered_is_none(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    async def hang_up(server: Server, peer: RawPeer) -> None:
        await server.receive_close(peer)
        await peer.aclose()
        server.is_ended.set()

    async with run_server(serve_raw, hang_up) as server:
        async with server.open() as client:
            await client.aclose()
            mock_clock.jump(1000)  # the deadline passes when nobody waits any more
        assert client.close_received is None


async def test_a_cancelled_close_of_the_blocks_own_is_none(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    async def be_silent(server: Server, peer: RawPeer) -> None:
        await server.receive_close(peer)
        scope.cancel()
        await server.wait_for_end(peer)

    scope = trio.CancelScope()
    async with run_server(serve_raw, be_silent) as server:
        async with server.open() as client:
            with scope:
                await client.aclose()
            await client.wait_closed()
            mock_clock.jump(1000)
        assert scope.cancelled_caught


async def test_a_peer_that_closes_but_keeps_the_stream_open_costs_a_second(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    # D-7, T7
    async def close_and_stay(server: Server, peer: RawPeer) -> None:
        await peer.send_close(4001, "enough")
        await server.receive_close(peer)
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(1)
        await server.wait_for_end(peer)

    async with run_server(serve_raw, close_and_stay) as server:
        async with server.open() as client:
            with pytest.raises(ConnectionClosed):
                await client.get_message()
        assert find_code(client) == 4001
    assert server.received == (4001, "enough")
    assert trio.current_time() == 1


async def test_the_socket_is_closed_after_a_message_that_was_too_big(
    mock_clock: trio.testing.MockClock, serve_raw: ServeRaw
) -> None:
    # T14
    async def send_much(server: Server, peer: RawPeer) -> None:
        await peer.send_frame(2, bytes(2**20 + 1))
        await server.receive_close(peer)
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(1)
        await server.wait_for_end(peer)

    async with run_server(serve_raw, send_much) as server, server.open() as client:
        with pytest.raises(ConnectionClosed):
            await client.get_message()
    assert server.received is not None
    assert server.received[0] == 1009


async def test_the_block_of_a_connection_that_broke_is_left_in_silence(
    serve_raw: ServeRaw,
) -> None:
    async def hang_up(server: Server, peer: RawPeer) -> None:
        await peer.aclose()
        server.is_ended.set()

    async with run_server(serve_raw, hang_up) as server:
        async with server.open() as client:
            await client.wait_closed()
        assert find_code(client) == 1006


@pytest.mark.parametrize("code", [1000, 1011])
async def test_connection_closed_is_never_swallowed(
    code: int, serve_raw: ServeRaw
) -> None:
    async def close(server: Server, peer: RawPeer) -> None:
        await peer.send_close(code)
        await server.receive_close(peer)
        await peer.aclose()
        server.is_ended.set()

    async with run_server(serve_raw, close) as server:
        with pytest.raises(ConnectionClosed) as caught:
            async with server.open() as client:
                await client.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == code


async def test_a_connection_of_a_nursery_is_one_task_and_ends_with_the_connection(
    serve_raw: ServeRaw,
) -> None:
    # S-81
    async with run_server(serve_raw) as server, trio.open_nursery() as nursery:
        client = await connect_websocket_url(nursery, server.url)
        assert len(nursery.child_tasks) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert find_code(client) is None
        await client.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
    assert server.received == (1000, "")


async def test_a_nursery_that_is_cancelled_drops_the_connection_at_once(
    serve_raw: ServeRaw,
) -> None:
    async def expect_no_word(server: Server, peer: RawPeer) -> None:
        await server.wait_for_end(peer)

    async with run_server(serve_raw, expect_no_word) as server:
        async with trio.open_nursery() as nursery:
            client = await connect_websocket_url(nursery, server.url)
            nursery.cancel_scope.cancel()
        assert find_code(client) == 1006
        with pytest.raises(ConnectionClosed):
            await client.get_message()
