from __future__ import annotations

import itertools
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from trio_websocket import WebSocketRequest, WebSocketServer, serve_websocket
from trio_websocket.testing import RawFrame, RawPeer

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
TIME_LIMIT = 15  # seconds that the whole demonstration may take

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NOT_FOUND = b"HTTP/1.1 404 \r\nContent-Length: 19\r\n\r\nthere is only /echo"

Run = subprocess.CompletedProcess[bytes]
Answer = Callable[[RawPeer, RawFrame], Awaitable[object]]


async def run_demo(*arguments: str) -> Run:
    with trio.fail_after(TIME_LIMIT):
        return await trio.run_process(
            [sys.executable, str(DEMO), *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


def read_lines(run: Run) -> list[str]:
    return run.stdout.decode().splitlines()


def assert_failed(run: Run, complaint: str, *, after: str = "") -> None:
    """Assert that the demo complained, at the step whose line came before."""
    lines = ["", *read_lines(run)]
    assert re.match(f"FAILED: .*{complaint}", lines[-1]), lines
    assert after in lines[-2], lines
    assert (run.returncode, run.stderr) == (1, b"")


async def echo(peer: RawPeer, frame: RawFrame) -> None:
    await peer.send_frame(frame.opcode, frame.payload, fin=frame.fin)


async def send_pong(peer: RawPeer, frame: RawFrame) -> None:
    await peer.send_frame(PONG, frame.payload)


async def hang_up(peer: RawPeer, frame: RawFrame) -> None:
    await peer.aclose()


def answer_with(opcode: int, payload: bytes) -> Answer:
    async def answer(peer: RawPeer, frame: RawFrame) -> None:
        await peer.send_frame(opcode, payload)

    return answer


def answer_to(beginning: bytes, opcode: int, payload: bytes) -> Answer:
    """Answer to what begins so with a frame, and echo everything else."""

    async def answer(peer: RawPeer, frame: RawFrame) -> None:
        if frame.payload.startswith(beginning):
            await peer.send_frame(opcode, payload, fin=frame.fin)
        else:
            await echo(peer, frame)

    return answer


RIGHT_ANSWERS: dict[int, Answer] = {
    CONTINUATION: echo,
    TEXT: echo,
    BINARY: echo,
    PING: send_pong,
    CLOSE: echo,
}


async def converse(stream: trio.abc.Stream, answers: dict[int, Answer]) -> None:
    peer = await RawPeer.accept(stream)
    opcode = None
    while opcode != CLOSE:
        frame = await peer.receive_frame()
        opcode = frame.opcode
        await answers[opcode](peer, frame)


async def say(stream: trio.abc.Stream, response: bytes) -> None:
    peer = RawPeer(stream, is_client=False)
    await peer.receive_head()
    await peer.send_bytes(response)


@asynccontextmanager
async def open_server(
    answers: dict[int, Answer] | None = None,
    second: Callable[[trio.abc.Stream], Awaitable[object]] | None = None,
) -> AsyncGenerator[str]:
    """Serve two connections: a conversation, and one to be rejected.

    All of it is right, unless a test gives a wrong answer or another second act.
    """
    numbers = itertools.count()

    async def serve(stream: trio.abc.Stream) -> None:
        async with stream:
            try:
                if next(numbers) == 0:
                    await converse(stream, RIGHT_ANSWERS | (answers or {}))
                else:
                    await (second or partial(say, response=NOT_FOUND))(stream)
            except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # one of us has hung up

    async with open_tcp_server(serve) as address:
        yield f"ws://{address}"


@asynccontextmanager
async def open_tcp_server(
    serve: Callable[[trio.SocketStream], Awaitable[object]],
) -> AsyncGenerator[str]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield "{}:{}".format(*listener.socket.getsockname())
        nursery.cancel_scope.cancel()


async def test_the_demo_shows_the_whole_conversation() -> None:
    run = await run_demo()
    lines = "\n".join(read_lines(run))
    lines = re.sub(r"(?<=127\.0\.0\.1:)\d+", "PORT", lines)
    lines = re.sub(r"\d+\.\d\d ms", "N ms", lines)
    assert lines == (
        "server: listens on wss://127.0.0.1:PORT\n"
        "server: accepts /echo\n"
        "client: connected to wss://127.0.0.1:PORT/echo\n"
        "client: sends the text message 'Hello, Trio!'\n"
        "server: got 'Hello, Trio!'\n"
        "client: received 'Hello, Trio!'\n"
        r"client: sends the binary message b'\x00\x01\x02\x03\x04\x05\x06\x07'"
        "\n"
        r"server: got b'\x00\x01\x02\x03\x04\x05\x06\x07'"
        "\n"
        r"client: received b'\x00\x01\x02\x03\x04\x05\x06\x07'"
        "\n"
        "client: sends as JSON {'name': 'Ada', 'years': [1815, 1852]}\n"
        'server: got \'{"name": "Ada", "years": [1815, 1852]}\'\n'
        "client: received as JSON {'name': 'Ada', 'years': [1815, 1852]}\n"
        "client: sends the part 'One '\n"
        "client: sends the part 'message '\n"
        "client: sends the part 'in parts'\n"
        "server: got 'One message in parts'\n"
        "client: received 'One message in parts'\n"
        "client: sends compressed 3000 characters: 'This is said again a'...\n"
        "server: got 3000 characters: 'This is said again a'...\n"
        "client: received 3000 characters: 'This is said again a'...\n"
        "client: sends a ping\n"
        "client: received the pong after N ms\n"
        "client: tries wss://127.0.0.1:PORT/nowhere\n"
        "server: there is no /nowhere\n"
        "client: was rejected: 404, b'there is only /echo'\n"
        "client: closes with 4000 (that was all)\n"
        "client: received the Close 4000 (that was all)\n"
        "client: everything happened as it should"
    )
    assert (run.returncode, run.stderr) == (0, b"")


async def test_the_demo_is_content_with_another_server_that_does_all_right() -> None:
    async with open_server() as url:
        run = await run_demo("--url", url)
    assert any("sends as it is 3000 characters" in line for line in read_lines(run))
    assert read_lines(run)[-1] == "client: everything happened as it should"
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("opcode", "answer", "complaint", "after"),
    [
        pytest.param(
            TEXT,
            answer_with(TEXT, b"Hello, Tree!"),
            "the text message was 'Hello, Tree!', not 'Hello, Trio!'",
            "received 'Hello, Tree!'",
            id="another text",
        ),
        pytest.param(
            TEXT,
            answer_with(BINARY, b"Hello, Trio!"),
            "the text message was b'Hello, Trio!', not 'Hello, Trio!'",
            "received b'Hello, Trio!'",
            id="the text as binary",
        ),
        pytest.param(
            TEXT,
            answer_with(TEXT, b"\xff"),
            "the connection is closed: .*1007",
            "sends the text message",
            id="text that is no text",
        ),
        pytest.param(
            BINARY,
            answer_with(BINARY, b"\x00\x01"),
            r"the binary message was b'\\x00\\x01', not b",
            "received b",
            id="half the binary message",
        ),
        pytest.param(
            BINARY,
            answer_with(CLOSE, (1011).to_bytes(2, "big")),
            "the connection is closed: .*1011",
            "sends the binary message",
            id="a Close instead of the binary message",
        ),
        pytest.param(
            TEXT,
            answer_to(b"{", TEXT, b'{"name": "Bob"}'),
            "the value was {'name': 'Bob'}, not {'name': 'Ada'",
            "received as JSON {'name': 'Bob'}",
            id="another value",
        ),
        pytest.param(
            TEXT,
            answer_to(b"{", TEXT, b"{"),
            "the answer was no JSON: ",
            "sends as JSON",
            id="text instead of JSON",
        ),
        pytest.param(
            TEXT,
            answer_to(b"One", BINARY, b"One "),
            "the message in parts was b'One message in parts', not 'One",
            "received b'One message in parts'",
            id="the parts as binary",
        ),
        pytest.param(
            CONTINUATION,
            answer_to(b"in", CONTINUATION, b"in two"),
            "the message in parts was 'One message in two', not 'One",
            "received 'One message in two'",
            id="another last part",
        ),
        pytest.param(
            TEXT,
            answer_to(b"This", TEXT, b"That"),
            "the long message was 'That', not 'This",
            "received 'That'",
            id="another long message",
        ),
        pytest.param(
            PING,
            hang_up,
            "the connection is closed: .*1006",
            "sends a ping",
            id="no pong but the end",
        ),
        pytest.param(
            CLOSE,
            answer_with(CLOSE, (4001).to_bytes(2, "big") + b"that was all"),
            "the close code was 4001, not 4000",
            "received the Close 4001",
            id="another close code",
        ),
        pytest.param(
            CLOSE,
            answer_with(CLOSE, (4000).to_bytes(2, "big")),
            "the close reason was None, not 'that was all'",
            "received the Close 4000",
            id="no close reason",
        ),
        pytest.param(
            CLOSE,
            hang_up,
            "the server went without a Close",
            "closes with 4000",
            id="no Close",
        ),
    ],
)
async def test_the_demo_fails_at_an_answer_that_is_wrong(
    opcode: int, answer: Answer, complaint: str, after: str
) -> None:
    async with open_server({opcode: answer}) as url:
        run = await run_demo("--url", url)
    assert_failed(run, complaint, after=after)


@pytest.mark.parametrize(
    ("response", "complaint"),
    [
        (b"HTTP/1.1 403 \r\nContent-Length: 0\r\n\r\n", "the status was 403, not 404"),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", "the body was b'', not b"),
        (b"I beg your pardon?\r\n\r\n", "the opening handshake is invalid"),
        (b"", "the connection to 127.0.0.1:.* failed"),
    ],
)
async def test_the_demo_fails_at_a_rejection_that_is_wrong(
    response: bytes, complaint: str
) -> None:
    async with open_server(second=partial(say, response=response)) as url:
        run = await run_demo("--url", url)
    assert_failed(run, complaint)
    assert any("tries ws://" in line for line in read_lines(run))


async def test_the_demo_fails_if_it_is_not_rejected() -> None:
    async with open_server(second=partial(converse, answers=RIGHT_ANSWERS)) as url:
        run = await run_demo("--url", url)
    assert_failed(run, "the handshake was accepted, not rejected", after="tries ws://")


async def test_the_demo_fails_if_the_first_connection_is_rejected() -> None:
    async with open_tcp_server(partial(say, response=NOT_FOUND)) as address:
        run = await run_demo("--url", f"ws://{address}")
    assert_failed(run, "the server rejected the connection with status 404")


async def test_the_demo_fails_if_no_server_is_there() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        port = bound.getsockname()[1]
        run = await run_demo("--url", f"ws://127.0.0.1:{port}")
    assert_failed(run, "the connection to 127.0.0.1:.* failed")


async def test_the_demo_fails_in_time_if_the_server_is_silent() -> None:
    async def be_silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with open_tcp_server(be_silent) as address:
        run = await run_demo("--url", f"ws://{address}", "--time-limit", "0.2")
    assert_failed(run, "it took longer than 0.2 s")


async def test_the_demo_fails_in_time_if_the_pong_is_for_another_ping() -> None:
    answers: dict[int, Answer] = {PING: answer_with(PONG, b"")}
    async with open_server(answers) as url:
        run = await run_demo("--url", url, "--time-limit", "3")
    assert_failed(run, "it took longer than 3.0 s", after="sends a ping")


async def test_the_demo_fails_at_a_url_of_something_else() -> None:
    run = await run_demo("--url", "http://127.0.0.1")
    assert_failed(run, "'http://127.0.0.1/echo' is not a WebSocket URL")


async def answer_rightly(request: WebSocketRequest) -> None:
    if request.path != "/echo":
        await request.reject(404, body=b"there is only /echo")
        return
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


@asynccontextmanager
async def open_right_server(context: ssl.SSLContext | None) -> AsyncGenerator[str]:
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, answer_rightly, "127.0.0.1", 0, context
        )
        yield f"wss://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()


async def test_the_demo_is_content_with_a_tls_server_that_it_may_trust(
    server_tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    with authority.cert_pem.tempfile() as cafile:
        async with open_right_server(server_tls) as url:
            run = await run_demo("--url", url, "--cafile", cafile)
    assert (run.returncode, run.stderr) == (0, b"")


async def test_the_demo_fails_if_it_must_not_trust_the_server(
    server_tls: ssl.SSLContext,
) -> None:
    with trustme.CA().cert_pem.tempfile() as cafile:
        async with open_right_server(server_tls) as url:
            run = await run_demo("--url", url, "--cafile", cafile)
    assert_failed(run, "certificate verify failed")


async def test_the_demo_fails_if_the_server_speaks_no_tls(
    authority: trustme.CA,
) -> None:
    with authority.cert_pem.tempfile() as cafile:
        async with open_right_server(None) as url:
            run = await run_demo("--url", url, "--cafile", cafile)
    assert_failed(run, "the connection to 127.0.0.1:.* failed")
