from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import types

import pytest

import trio_websocket
import trio_websocket.extensions
import trio_websocket.frames
import trio_websocket.testing

NAMES = {
    "ByteStream",
    "BytesReader",
    "CloseCode",
    "CloseReason",
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionRejected",
    "ConnectionState",
    "ConnectionTimeout",
    "DeflateAgreement",
    "DisconnectionTimeout",
    "Endpoint",
    "HandshakeError",
    "IncompleteMessage",
    "InvalidHandshake",
    "InvalidURL",
    "MessageWriter",
    "PerMessageDeflate",
    "ProtocolViolation",
    "TextReader",
    "WebSocketConnection",
    "WebSocketError",
    "WebSocketRequest",
    "WebSocketServer",
    "client_ssl_context",
    "connect_websocket",
    "connect_websocket_url",
    "open_websocket",
    "open_websocket_url",
    "serve_websocket",
    "server_ssl_context",
    "wrap_client_stream",
    "wrap_server_stream",
}
CONSTANTS = {"MessageReader", "lane"}  # and what stands for several types
NAMES_FOR_EXTENSIONS = {"Extension", "FrameExtension", "MessageExtension"}
NAMES_FOR_FRAMES = {"Frame", "FrameParser", "FrameStream", "Opcode"}
NAMES_FOR_TESTS = {"FaultyStream", "RawFrame", "RawPeer", "open_connection_pair"}

EVERYTHING = [
    *((trio_websocket, name) for name in sorted(NAMES)),
    *((trio_websocket.extensions, name) for name in sorted(NAMES_FOR_EXTENSIONS)),
    *((trio_websocket.frames, name) for name in sorted(NAMES_FOR_FRAMES)),
    *((trio_websocket.testing, name) for name in sorted(NAMES_FOR_TESTS)),
]


def list_names(module: types.ModuleType) -> set[str]:
    """List what a module exports: what is public and no module or feature."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and name != "annotations"
    }


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (trio_websocket, NAMES | CONSTANTS),
        (trio_websocket.extensions, NAMES_FOR_EXTENSIONS),
        (trio_websocket.frames, NAMES_FOR_FRAMES),
        (trio_websocket.testing, NAMES_FOR_TESTS),
    ],
)
def test_the_public_names_are_these(module: types.ModuleType, names: set[str]) -> None:
    assert list_names(module) == names


def test_a_star_brings_the_public_names() -> None:
    assert not hasattr(trio_websocket, "__all__")
    # In a process of its own: an import of a public module would be brought too.
    program = "from trio_websocket import *; print(*dir())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    names = {name for name in done.stdout.split() if not name.startswith("__")}
    assert names == NAMES | CONSTANTS


def test_the_version_is_a_str() -> None:
    assert trio_websocket.__version__.split(".")[0].isdigit()


@pytest.mark.parametrize(("module", "name"), EVERYTHING)
def test_every_public_name_is_documented(module: types.ModuleType, name: str) -> None:
    doc = inspect.getdoc(getattr(module, name))
    assert doc
    first, *rest = doc.splitlines()
    assert first.endswith(".")
    assert not rest or not rest[0]


def list_members() -> list[tuple[type, str]]:
    """List the public members that the public classes define themselves."""
    return [
        (kind, name)
        for module, class_name in EVERYTHING
        if inspect.isclass(kind := getattr(module, class_name))
        for name, value in vars(kind).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, property))
    ]


@pytest.mark.parametrize(
    ("kind", "name"), list_members(), ids=lambda part: getattr(part, "__name__", part)
)
def test_every_public_member_is_documented(kind: type, name: str) -> None:
    doc = inspect.getdoc(getattr(kind, name))
    assert doc
    assert doc.splitlines()[0].endswith(".")


@pytest.mark.parametrize(("module", "name"), EVERYTHING)
def test_every_public_name_is_found_again_by_pickle(
    module: types.ModuleType, name: str
) -> None:
    value = getattr(module, name)
    assert pickle.loads(pickle.dumps(value)) is value  # noqa: S301  # our own
