"""Every program of the documentation does what it is said to do (T-53)."""

from __future__ import annotations

import importlib.util
import re
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import trio_websocket
import trio_websocket.extensions
import trio_websocket.testing
from trio_websocket import (
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    wrap_client_stream,
    wrap_server_stream,
)
from trio_websocket._protocol.state import TRANSITIONS
from trio_websocket.testing import FaultyStream, open_connection_pair

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CODE = DOCS / "code"
SVG = "{http://www.w3.org/2000/svg}"
PAGES = [path for path in DOCS.rglob("*.rst") if path.parent.name != "newsfragments"]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


both_ways = load(CODE / "both_ways.py")
chat = load(CODE / "chat.py")
diagram = load(DOCS / "_ext" / "diagram.py")
extensions = load(CODE / "extensions.py")
failures = load(CODE / "failures.py")
large_messages = load(CODE / "large_messages.py")
reconnecting = load(CODE / "reconnecting.py")
serving = load(CODE / "serving.py")
testing_greeter = load(CODE / "testing_greeter.py")
threads = load(CODE / "threads.py")
ticker = load(CODE / "ticker.py")
timeouts = load(CODE / "timeouts.py")
tunnels = load(CODE / "tunnels.py")
unix_socket = load(CODE / "unix_socket.py")

unix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="Trio has no Unix sockets on Windows"
)


async def echo(request: WebSocketRequest) -> None:
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def hang_up(request: WebSocketRequest) -> None:
    connection = await request.accept()
    await connection.aclose(4000, "enough")


@asynccontextmanager
async def open_faulty_pair() -> AsyncGenerator[
    tuple[FaultyStream, WebSocketConnection, WebSocketConnection]
]:
    """Open a pair whose client's end is on a faulty stream."""
    client_stream, server_stream = trio.testing.memory_stream_pair()
    faulty = FaultyStream(client_stream)
    servers: list[WebSocketConnection] = []

    async def accept() -> None:
        request = await wrap_server_stream(nursery, server_stream)
        servers.append(await request.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        client = await wrap_client_stream(nursery, faulty, "localhost", "/")
        await trio.testing.wait_all_tasks_blocked()
        [server] = servers
        yield faulty, client, server
        nursery.cancel_scope.cancel()


# The code that the pages show.


async def test_one_task_listens_while_another_speaks(autojump_clock: MockClock) -> None:
    heard: list[str | bytes] = []
    async with open_connection_pair() as (client, server):
        await server.send_message("hello")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(both_ways.talk, client, heard.append)
            said = [message async for message in server]
    assert heard == ["hello"]
    assert said == ["message 0", "message 1", "message 2"]
    assert trio.current_time() == 3


async def test_failures_are_told_apart() -> None:
    async with serving.open_server(echo) as port:
        url = f"ws://127.0.0.1:{port}"
        assert await failures.ask(url, "who?") == "who?"
    answer = await failures.ask(url, "who?")
    assert answer.startswith("no connection: the connection to 127.0.0.1:")
    async with serving.open_server(hang_up) as port:
        answer = await failures.ask(f"ws://127.0.0.1:{port}", "who?")
    assert answer.startswith("no answer: the connection is closed: CloseReason<code=4")


async def test_connecting_soon_gives_a_connection() -> None:
    async with serving.open_server(echo) as port, trio.open_nursery() as nursery:
        connection = await timeouts.connect_soon(nursery, f"ws://127.0.0.1:{port}")
        await connection.aclose()


async def test_no_answer_in_time_is_none_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_connection_pair() as (client, server):
        assert await timeouts.get_answer(client) is None
        assert trio.current_time() == 5
        await server.send_message("late")
        assert await timeouts.get_answer(client) == "late"


async def test_a_peer_that_does_not_read_is_given_up(autojump_clock: MockClock) -> None:
    async with open_faulty_pair() as (faulty, client, server):
        await timeouts.send_in_time(client, "hello")
        assert await server.get_message() == "hello"
        faulty.stall_sending()
        await timeouts.send_in_time(client, "are you there?")
        assert trio.current_time() == 5
        assert client.closed is not None
        assert client.closed.code == 1006


async def test_a_heartbeat_gives_up_a_silent_peer(autojump_clock: MockClock) -> None:
    async with open_faulty_pair() as (faulty, client, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timeouts.heartbeat, client)
            await trio.sleep(100)
            faulty.stall_receiving()
        # Pings leave every 30 seconds, and the fourth is not answered.
        assert trio.current_time() == 4 * 30 + 10
        assert client.closed is not None
        assert client.closed.code == 1006


async def test_a_heartbeat_ends_with_its_connection(autojump_clock: MockClock) -> None:
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(timeouts.heartbeat, client)
        await server.aclose()


async def test_a_handler_with_a_heartbeat_echoes(autojump_clock: MockClock) -> None:
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(timeouts.echo, server)
        await trio.sleep(100)
        await client.send_message("hello")
        assert await client.get_message() == "hello"
        await client.aclose()


async def test_a_ticker_stops_when_its_client_leaves() -> None:
    is_done = trio.Event()

    async def tick(request: WebSocketRequest) -> None:
        await ticker.tick(request)
        is_done.set()

    async with serving.open_server(tick) as port:
        async with open_websocket_url(f"ws://127.0.0.1:{port}") as client:
            await client.send_message("nobody wants this")
            float(await client.get_message())
        await is_done.wait()


async def test_everybody_in_a_room_hears_everything() -> None:
    async with serving.open_server(chat.Room().handle) as port:
        url = f"ws://127.0.0.1:{port}"
        async with open_websocket_url(url) as ada, open_websocket_url(url) as bob:
            await ada.send_message("hello")
            assert await ada.get_message() == "hello"
            await bob.send_message("hi")
            assert await ada.get_message() == "hi"
            assert (await bob.get_message(), await bob.get_message()) == ("hello", "hi")


async def test_nobody_waits_for_who_does_not_read(autojump_clock: MockClock) -> None:
    room = chat.Room()
    async with (
        open_faulty_pair() as (faulty, stuck, _),
        open_connection_pair() as (left, _),
        open_connection_pair() as (good, listener),
    ):
        room.members = {stuck, left, good}
        faulty.stall_sending()
        await left.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(room.send_to_all, "hello")
            assert await listener.get_message() == "hello"
            assert trio.current_time() == 0
        assert trio.current_time() == 5
        assert stuck.closed is not None
        assert good.closed is None


async def test_a_thread_sends() -> None:
    async with open_connection_pair(message_queue_size=3) as (client, server):
        await threads.count_in_thread(client)
        assert [await server.get_message() for _ in range(3)] == ["0", "1", "2"]


async def test_a_lost_client_comes_back_until_it_is_done(
    autojump_clock: MockClock,
) -> None:
    visits: list[float] = []

    @asynccontextmanager
    async def open_connection() -> AsyncGenerator[WebSocketConnection]:
        visits.append(trio.current_time())
        if len(visits) in (2, 3):
            raise trio_websocket.ConnectionFailed("server")
        async with open_connection_pair() as (client, server):
            if len(visits) == 1:
                await server.aclose(1012)
            yield client

    said: list[str] = []

    async def talk(connection: WebSocketConnection) -> None:
        await connection.send_message("hello")
        said.append("hello")

    await reconnecting.stay_connected(open_connection, talk)
    assert visits == [0, 1, 3, 7]
    assert said == ["hello"]


async def test_a_message_is_saved_while_it_arrives(tmp_path: Path) -> None:
    path = tmp_path / "message"
    parts = [bytes([number]) * 50_000 for number in range(20)]
    async with (
        open_connection_pair(max_message_size=1000) as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(server.send_message, parts)
        await large_messages.save(client, path)
        assert path.read_bytes() == b"".join(parts)
        await server.send_message("text")
        with pytest.raises(TypeError, match="binary"):
            await large_messages.save(client, path)


@pytest.mark.parametrize(
    ("message", "picture"),
    [(b"PNG:picture", b"picture"), (b"GIF:picture", None), ("PNG:picture", None)],
)
async def test_a_picture_is_taken_and_another_message_is_dropped(
    message: str | bytes, picture: bytes | None
) -> None:
    async with open_connection_pair() as (client, server):
        await server.send_messages([message, "the next one"])
        assert await large_messages.get_picture(client) == picture
        assert await client.get_message() == "the next one"


async def test_a_file_is_sent_as_one_message(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(large_messages.send_file, client, path)
        assert await server.get_message() == path.read_bytes()


async def test_a_text_message_may_last_for_ten_seconds(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(large_messages.send_count, client)
        async with server.message_reader() as reader:
            assert await reader.read_exactly(2) == "0\n"
            assert trio.current_time() == 0
            assert await reader.read() == "1\n2\n3\n4\n5\n6\n7\n8\n9\n"
            assert trio.current_time() == 10


async def test_a_relay_passes_messages_on_until_its_source_ends() -> None:
    async with (
        open_connection_pair() as (near, source),
        open_connection_pair() as (target, far),
        trio.open_nursery() as nursery,
    ):

        async def relay() -> None:
            with pytest.raises(trio_websocket.ConnectionClosed):
                await large_messages.relay(source, target)

        nursery.start_soon(relay)
        await near.send_message("text")
        assert await far.get_message() == "text"
        await near.send_message([b"a", b"b"])
        assert await far.get_message() == b"ab"
        await near.aclose()


async def test_tls_goes_through_a_tunnel(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):
        outer = tunnels.add_tls(client, client_tls, "localhost")
        inner = trio.SSLStream(server.as_stream(), server_tls, server_side=True)
        nursery.start_soon(inner.send_all, b"a secret")
        assert await outer.receive_some() == b"a secret"


async def test_a_websocket_goes_through_a_tunnel() -> None:
    async with (
        open_connection_pair() as (client, server),
        trio.open_nursery() as nursery,
    ):

        async def serve() -> None:
            request = await wrap_server_stream(nursery, server.as_stream())
            assert request.path == "/chat"
            await echo(request)

        nursery.start_soon(serve)
        inner = await tunnels.open_inner(nursery, client)
        await inner.send_message("hello")
        assert await inner.get_message() == "hello"
        await inner.aclose()


@unix_only
async def test_a_unix_socket_carries_a_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with trio.open_nursery() as nursery:
        await nursery.start(unix_socket.serve, path)
        connection = await unix_socket.connect(nursery, path)
        assert await connection.get_message() == "hello"
        assert connection.remote == f"unix:{path}"
        await connection.aclose()
        nursery.cancel_scope.cancel()


async def test_the_tests_of_the_page_about_testing_pass() -> None:
    await testing_greeter.test_greets_by_name()
    await testing_greeter.test_refuses_bytes()
    await testing_greeter.test_a_client_that_breaks_the_rules_is_told_so()


async def test_the_test_of_a_silent_network_passes(autojump_clock: MockClock) -> None:
    await testing_greeter.test_a_network_that_falls_silent(autojump_clock)
    assert trio.current_time() == 5


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"), [(32, 4, [4, 4]), (2, 4, [2, 2]), (2, 0, [])]
)
async def test_both_ends_agree_on_the_size_of_a_digest(
    ours: int, theirs: int, agreed: list[int]
) -> None:
    streams = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[WebSocketConnection](1)

        async def accept() -> None:
            makers = [lambda: extensions.Digest(theirs)] if theirs else []
            request = await wrap_server_stream(nursery, streams[1], extensions=makers)
            send.send_nowait(await request.accept())

        nursery.start_soon(accept)
        client = await wrap_client_stream(
            nursery,
            streams[0],
            "localhost",
            "/",
            extensions=[lambda: extensions.Digest(ours)],
        )
        server = await receive.receive()
        digests = [*client.extensions, *server.extensions]
        assert [getattr(digest, "size", None) for digest in digests] == agreed
        await client.send_message("hello")
        assert await server.get_message() == "hello"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [None, "0", "33", "x", "9"])
def test_a_size_that_will_not_do_is_refused(size: str | None) -> None:
    digest = extensions.Digest(8)
    with pytest.raises(ValueError, match=r"size|literal|more"):
        digest.confirm({"size": size})
    with pytest.raises(ValueError, match=r"the digest is wrong"):
        digest.decode("text", b"x" * 9, 99)


# The pages.


def test_every_file_of_code_is_shown() -> None:
    shown = "".join(path.read_text("utf-8") for path in PAGES)
    for path in CODE.glob("*.py"):
        assert f"code/{path.name}" in shown


@pytest.mark.parametrize(
    "module", [trio_websocket, trio_websocket.extensions, trio_websocket.testing]
)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    reference = "".join(
        path.read_text("utf-8") for path in (DOCS / "reference").glob("*.rst")
    )
    directive = r"^\.\. (?:auto\w+|py:data):: (?:trio_websocket\.)?(\w+)$"
    documented = set(re.findall(directive, reference, re.MULTILINE))
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public - {"annotations"} <= documented


def test_the_tree_of_errors_is_that_of_the_module() -> None:
    text = (DOCS / "reference" / "errors.rst").read_text("utf-8")
    tree = re.findall(r"^   (.*\+--.*)$", text, re.MULTILINE)
    assert len(tree) >= 9
    errors = importlib.import_module("trio_websocket._errors")
    for line in tree:
        assert line in str(errors.__doc__)


FRAGMENTS = [
    path
    for path in (DOCS / "newsfragments").iterdir()
    if path.name not in {"README.rst", ".gitignore"}
]


def test_a_news_fragment_says_what_kind_it_is() -> None:
    for path in FRAGMENTS:
        assert re.fullmatch(
            r"(\d+|\+\w+)\.(feature|bugfix|doc|removal|misc)\.rst", path.name
        )
        assert path.read_text("utf-8").strip()


# The picture of the states.


def read_table() -> dict[str, dict[str, str]]:
    return {
        state.name: {step.name: target.name for step, target in steps.items()}
        for state, steps in TRANSITIONS.items()
    }


def test_the_picture_has_every_state_and_every_step() -> None:
    table = read_table()
    picture = ET.fromstring(diagram.build_svg(table, description="states"))  # noqa: S314  # our own
    titles = [title.text for path in picture.iter(f"{SVG}path") for title in path]
    assert sorted(map(str, titles)) == sorted(
        f"{state}, {step}: {target}"
        for state, steps in table.items()
        for step, target in steps.items()
    )
    texts = [str(text.text) for text in picture.iter(f"{SVG}text")]
    for state in table:
        assert any(text.startswith(state) for text in texts)


def test_no_two_boxes_of_the_picture_overlap() -> None:
    layout = diagram.arrange(read_table())
    boxes = [box for state, box in layout.boxes.items() if state != layout.bar]
    for one, other in combinations(boxes, 2):
        is_beside = abs(one.x - other.x) > diagram.BOX_WIDTH
        is_below = abs(one.y - other.y) > diagram.BOX_HEIGHT
        assert is_beside or is_below


def test_no_two_steps_of_the_picture_cross() -> None:
    layout = diagram.arrange(read_table())
    states = [state for state in layout.boxes if state != layout.bar]
    rows = diagram.arrange_rows(states, layout.edges)
    assert diagram.count_crossings(rows, layout.edges) < 1


def test_a_table_without_a_common_step_has_no_bar() -> None:
    table = {"A": {"go": "B"}, "B": {"stop": "C", "back": "C"}, "C": {}}
    layout = diagram.arrange(table)
    assert layout.bar is None
    assert [edge.title for edge in layout.edges] == [
        "A, go: B",
        "B, stop: C",
        "B, back: C",
    ]
    assert "A, go: B" in diagram.build_svg(table, description="letters")
