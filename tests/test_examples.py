from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_websocket import open_websocket_url

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
ECHO_SERVER = EXAMPLES / "echo_server.py"
ECHO_CLIENT = EXAMPLES / "echo_client.py"
OWN_NURSERY = EXAMPLES / "own_nursery.py"
LARGE_ECHO = EXAMPLES / "large_echo.py"
TUNNEL = EXAMPLES / "tunnel.py"
# What those print that need neither arguments nor a server.
OUTPUTS = {
    EXAMPLES / "tls_echo.py": ["received: a secret"],
    EXAMPLES / "custom_stream.py": ["server: /shout", "client: HELLO OVER THERE"],
    EXAMPLES / "custom_extension.py": [
        "agreed on: ['x-checksum']",
        "received: hello",
        "agreed on: []",
        "received: hello",
    ],
    EXAMPLES / "json_echo.py": [
        "received: [1, 2.5, None]",
        "received: {'name': 'Ada', 'is_admin': True}",
        "received: {'error': 'Expecting value: line 1 column 1 (char 0)'}",
    ],
    EXAMPLES / "reject_with_body.py": [
        "accepted: welcome",
        "rejected: 404, there is only /lobby",
    ],
}
TESTED_ELSEWHERE = {EXAMPLES / "demo.py"}
README = (ROOT / "README.rst").read_text("utf-8")
TIME_LIMIT = 30  # seconds for a program, a slow machine included

Run = subprocess.CompletedProcess[bytes]

posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send a signal to one process"
)


def build_command(program: Path, *arguments: str) -> list[str]:
    options = ["-u", "-X", "utf8", "-W", "default::ResourceWarning"]
    return [sys.executable, *options, str(program), *arguments]


async def run_program(program: Path, *arguments: str) -> Run:
    with trio.fail_after(TIME_LIMIT):
        return await trio.run_process(
            build_command(program, *arguments),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


async def assert_prints(lines: list[str], program: Path, *arguments: str) -> None:
    run = await run_program(program, *arguments)
    assert run.stdout.decode().splitlines() == lines
    assert (run.returncode, run.stderr) == (0, b"")


class RunningServer:
    """A server in a process of its own, which has printed where it listens."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self.stdout = process.stdout
        self.process = process
        self.output = b""

    @property
    def port(self) -> int:
        port = re.search(rb"listening .*?(\d+)\r?\n", self.output)
        assert port is not None
        return int(port[1])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def wait_listening(self) -> None:
        while b"\n" not in self.output:
            data = await self.stdout.receive_some()
            assert data, "the server ended before it listened"
            self.output += data

    async def end(self, signal_number: signal.Signals) -> tuple[int, list[str]]:
        """Send a signal, and return the exit code and all the lines of the output."""
        self.process.send_signal(signal_number)
        with trio.fail_after(TIME_LIMIT):
            async for data in self.stdout:
                self.output += data
            return await self.process.wait(), self.output.decode().splitlines()


@asynccontextmanager
async def open_server(program: Path, *arguments: str) -> AsyncGenerator[RunningServer]:
    """Run a server for a block; it is killed at the end if it still runs."""
    start = partial(
        trio.run_process,
        build_command(program, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        server = RunningServer(process)
        with trio.fail_after(TIME_LIMIT):
            await server.wait_listening()
        yield server
        nursery.cancel_scope.cancel()


def test_every_example_is_tested() -> None:
    tested = {ECHO_SERVER, ECHO_CLIENT, OWN_NURSERY, LARGE_ECHO, TUNNEL, *OUTPUTS}
    assert set(EXAMPLES.glob("*.py")) == tested | TESTED_ELSEWHERE


@pytest.mark.parametrize("program", OUTPUTS, ids=lambda program: program.stem)
async def test_an_example_prints_what_it_should(program: Path) -> None:
    await assert_prints(OUTPUTS[program], program)


async def test_the_echo_client_prints_what_the_echo_server_sends_back() -> None:
    async with open_server(ECHO_SERVER, "--port", "0") as server:
        await assert_prints(
            ["received: hello", "received: sch\xf6n"],
            ECHO_CLIENT,
            server.url,
            "hello",
            "sch\xf6n",
        )


async def test_the_echo_client_says_why_there_is_no_connection() -> None:
    run = await run_program(ECHO_CLIENT, "http://[::1]", "hello")
    assert (run.returncode, run.stdout) == (1, b"")
    [complaint] = run.stderr.decode().splitlines()
    assert complaint.startswith("'http://[::1]' is not a WebSocket URL: ")


@posix_only
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_echo_server_and_its_clients_are_told(
    number: signal.Signals,
) -> None:
    async with (
        open_server(ECHO_SERVER, "--port", "0") as server,
        open_websocket_url(server.url) as connection,
    ):
        await connection.send_message("still there?")
        assert await connection.get_message() == "still there?"
        ending = await server.end(number)
        await connection.wait_closed()
    assert ending == (0, [f"listening on {server.url}", "stopped"])
    assert connection.close_received is not None
    assert connection.close_received.code == 1001


@posix_only
@pytest.mark.usefixtures("ctrl_c")
async def test_a_signal_ends_the_echo_server_that_nobody_has_visited() -> None:
    async with open_server(ECHO_SERVER, "--port", "0") as server:
        ending = await server.end(signal.SIGINT)
    assert ending == (0, [f"listening on {server.url}", "stopped"])


async def test_own_nursery_asks_several_servers_and_closes_all_connections() -> None:
    closed = "CloseReason<code=1000, name=NORMAL_CLOSURE, reason=None>"
    async with open_server(ECHO_SERVER, "--port", "0") as server:
        await assert_prints(
            [
                "/a: 'Anybody there?'",
                "/b: 'Anybody there?'",
                f"/a: {closed}",
                f"/b: {closed}",
            ],
            OWN_NURSERY,
            f"{server.url}/a",
            f"{server.url}/b",
        )


async def test_a_large_message_comes_back_from_the_large_echo() -> None:
    run = await run_program(LARGE_ECHO, "3")
    speed, *memory, verdict = run.stdout.decode().splitlines()
    assert re.fullmatch(r"3,145,728 bytes there and back in .* s, \d+ MiB/s", speed)
    assert all(line.startswith("peak memory of this program: ") for line in memory)
    assert verdict == "what came back is the same"
    assert (run.returncode, run.stderr) == (0, b"")


FILE = bytes(range(256)) * 4000


@asynccontextmanager
async def open_target(
    handle: Callable[[trio.SocketStream], Awaitable[object]],
) -> AsyncGenerator[int]:
    """Serve TCP in this process, for a tunnel to lead to."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_tunnel(
    target: int,
) -> AsyncGenerator[tuple[RunningServer, RunningServer]]:
    """Run both ends of a tunnel: the near one and the far one."""
    far_end = open_server(TUNNEL, "serve", "127.0.0.1", str(target), "--port", "0")
    async with far_end as far:
        near_end = open_server(TUNNEL, "listen", far.url, "--port", "0")
        async with near_end as near:
            yield near, far


async def receive_all(stream: trio.SocketStream) -> bytes:
    return b"".join([data async for data in stream])


async def send_file(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(FILE)


async def send_back(stream: trio.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def test_a_file_comes_through_the_tunnel_whole() -> None:
    async with (
        open_target(send_file) as target,
        open_tunnel(target) as (near, _),
        await trio.open_tcp_stream("127.0.0.1", near.port) as client,
    ):
        with trio.fail_after(TIME_LIMIT):
            assert await receive_all(client) == FILE


async def test_a_file_goes_through_the_tunnel_whole() -> None:
    send, receive = trio.open_memory_channel[bytes](1)

    async def keep(stream: trio.SocketStream) -> None:
        async with stream:
            send.send_nowait(await receive_all(stream))

    async with open_target(keep) as target, open_tunnel(target) as (near, _):
        await send_file(await trio.open_tcp_stream("127.0.0.1", near.port))
        with trio.fail_after(TIME_LIMIT):
            assert await receive.receive() == FILE


async def test_a_target_that_hangs_up_ends_the_connection_at_the_near_end() -> None:
    async with (
        open_target(trio.SocketStream.aclose) as target,
        open_tunnel(target) as (near, _),
        await trio.open_tcp_stream("127.0.0.1", near.port) as client,
    ):
        with trio.fail_after(TIME_LIMIT):
            assert await client.receive_some() == b""


@posix_only
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("is_near", [True, False])
async def test_a_signal_ends_an_end_of_the_tunnel_and_what_leads_through_it(
    *, is_near: bool
) -> None:
    async with (
        open_target(send_back) as target,
        open_tunnel(target) as (near, far),
        await trio.open_tcp_stream("127.0.0.1", near.port) as client,
    ):
        await client.send_all(b"there?")
        assert await client.receive_some() == b"there?"
        first, second = (near, far) if is_near else (far, near)
        for end in (first, second):
            listening = f"listening on 127.0.0.1:{end.port}"
            assert await end.end(signal.SIGINT) == (0, [listening, "stopped"])
            with trio.fail_after(TIME_LIMIT):
                assert await client.receive_some() == b""


@posix_only
@pytest.mark.usefixtures("ctrl_c")
async def test_a_tunnel_to_nowhere_says_so() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        target = bound.getsockname()[1]
        async with (
            open_tunnel(target) as (near, far),
            await trio.open_tcp_stream("127.0.0.1", near.port) as client,
        ):
            with trio.fail_after(TIME_LIMIT):
                assert await client.receive_some() == b""
            (code, near_lines), (far_code, far_lines) = (
                await near.end(signal.SIGINT),
                await far.end(signal.SIGINT),
            )
    assert (code, far_code) == (0, 0)
    _, complaint, _ = near_lines
    assert complaint == (
        "the server rejected the connection with status 502 (Bad Gateway)"
    )
    _, complaint, _ = far_lines
    assert str(target) in complaint


async def test_a_tunnel_end_without_a_port_says_so() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))
        bound.listen()
        port = str(bound.getsockname()[1])
        for command in (["serve", "127.0.0.1", "9"], ["listen", "ws://127.0.0.1"]):
            run = await run_program(TUNNEL, *command, "--port", port)
            assert (run.returncode, run.stdout) == (1, b"")
            [complaint] = run.stderr.decode().splitlines()
            assert "in use" in complaint or port in complaint


def find_programs() -> list[str]:
    """The programs in the README, as they would be copied from it."""
    block = r"^\.\. code:: python\n\n((?: {4}.*\n|\n)+)"
    blocks = re.findall(block, README, re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in blocks]


async def test_the_programs_of_the_readme_talk_to_each_other(tmp_path: Path) -> None:
    client_text, server_text = find_programs()
    assert server_text.count("8000") == client_text.count("8000") == 1
    server_program, client_program = tmp_path / "server.py", tmp_path / "client.py"
    server_program.write_text(server_text.replace("8000", "0"))
    async with open_server(server_program) as server:
        client_program.write_text(client_text.replace("8000", str(server.port)))
        await assert_prints(["received: hello"], client_program)


def test_the_readme_names_every_example() -> None:
    named = set(re.findall(r"^``(\w+\.py)`` ", README, re.MULTILINE))
    assert named == {file.name for file in EXAMPLES.glob("*.py")}


def test_the_links_of_the_readme_lead_to_files() -> None:
    targets = re.findall(r"<([^>:]+)>`_", README)
    assert len(targets) > 1
    assert [target for target in targets if not (ROOT / target).is_file()] == []
