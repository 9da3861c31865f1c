from __future__ import annotations

import os
import signal
import ssl
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import hypothesis
import pytest
import trio
import trio.testing
import trustme

from trio_websocket import client_ssl_context, server_ssl_context
from trio_websocket._stream import drop
from trio_websocket._transport.socket_stream import prepare_socket
from trio_websocket._transport.tls import wrap_client

# A slow machine is no failure; the time limit of a test is pytest's.
# The gate must give the same answer twice; looking for more is for everybody else.
hypothesis.settings.register_profile(
    "patient", deadline=None, derandomize="CI" in os.environ
)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=2000)
hypothesis.settings.register_profile("many", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "patient"))

StreamPair = tuple[trio.abc.Stream, trio.abc.Stream]
OpenStreamPair = Callable[[str], AbstractAsyncContextManager[StreamPair]]
Report = pytest.TestReport | pytest.CollectReport


def _forbid_skip(report: Report) -> None:
    """Turn a skip into a failure where every test must run."""
    if (
        report.skipped
        and not hasattr(report, "wasxfail")  # an expected failure, not a skip
        and os.environ.get("TRIO_WEBSOCKET_TEST_ALL")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped where every test must run: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.fixture(params=["socket", "tls", "memory"])
def transport(request: pytest.FixtureRequest) -> str:
    """A kind of stream, for ``open_stream_pair``: each test runs with each."""
    kind = request.param
    assert isinstance(kind, str)
    return kind


@pytest.fixture
def ctrl_c() -> Generator[None]:
    """Have Ctrl-C do what it does in a terminal, here and in new processes.

    A shell starts what runs in the background with SIGINT ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> ssl.SSLContext:
    """A context for "localhost", 127.0.0.1 and ::1."""
    file = tmp_path_factory.mktemp("server_tls") / "server.pem"
    certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
    return server_ssl_context(file)


@pytest.fixture(scope="session")
def client_tls(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> ssl.SSLContext:
    """A context that trusts the authority and nobody else."""
    file = tmp_path_factory.mktemp("client_tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return client_ssl_context(cafile=file)


@pytest.fixture(scope="session")
def open_stream_pair(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> OpenStreamPair:
    """Open both ends of a stream for a block: a client's end and a server's.

    Args of what it returns: "socket", "tls" or "memory". Sockets are real ones and set
    up as the library does it; TLS has shaken hands. Both ends are dropped at the end.
    """

    async def connect(kind: str) -> StreamPair:
        if kind == "memory":
            return trio.testing.memory_stream_pair()
        client, server = await _connect_sockets(is_under_tls=kind == "tls")
        if kind == "socket":
            return client, server
        return await _shake_hands(
            wrap_client(client, client_tls, "localhost"),
            trio.SSLStream(server, server_tls, server_side=True, https_compatible=True),
        )

    @asynccontextmanager
    async def open_pair(kind: str) -> AsyncGenerator[StreamPair]:
        client, server = await connect(kind)
        try:
            yield client, server
        finally:
            await drop(client)
            await drop(server)

    return open_pair


async def _connect_sockets(*, is_under_tls: bool) -> StreamPair:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        client = await trio.open_tcp_stream("127.0.0.1", port)
        server = await listener.accept()
    return (
        prepare_socket(client, is_under_tls=is_under_tls),
        prepare_socket(server, is_under_tls=is_under_tls),
    )


async def _shake_hands(
    client: trio.SSLStream[trio.abc.Stream], server: trio.SSLStream[trio.abc.Stream]
) -> StreamPair:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)
    return client, server
