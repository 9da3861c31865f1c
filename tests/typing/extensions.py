"""What type checkers say of extensions; checked and never run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar, assert_type

import trio

from trio_websocket import (
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)
from trio_websocket.extensions import Extension, FrameExtension, MessageExtension
from trio_websocket.frames import Frame


class Reverse(MessageExtension):
    name: ClassVar[str] = "x-reverse"

    def __init__(self, level: int = 1) -> None:
        self.level = level

    def offer(self) -> list[dict[str, int]]:
        return [{"level": self.level}]

    def encode(self, kind: str, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, kind: str, data: bytes, max_size: int) -> bytes:
        return data[::-1]


class Sign(FrameExtension):
    name: ClassVar[str] = "x-sign"
    reserved_bits: ClassVar[Collection[int]] = (2, 3)

    def encode(self, frame: Frame) -> Frame:
        return replace(frame, rsv2=True)

    def decode(self, frame: Frame) -> Frame:
        return replace(frame, rsv2=False)


class Wrong(FrameExtension):
    name: ClassVar[str] = "x-wrong"

    def encode(self, frame: Frame) -> bytes:  # type: ignore[override]
        return bytes(frame.payload)

    def decode(self, frame: Frame) -> Frame:
        return frame


async def give_extensions_in_every_form(connection: WebSocketConnection) -> None:
    open_websocket_url("ws://h", extensions=[Reverse, Sign])
    open_websocket_url("ws://h", extensions=(Reverse, lambda: Reverse(2)))
    open_websocket_url("ws://h", extensions=[])
    assert_type(connection.extensions, tuple[Extension, ...])
    await serve_websocket(serve, "h", 80, None, extensions=[Sign])


async def serve(request: WebSocketRequest) -> None:
    await trio.lowlevel.checkpoint()


def make_mistakes() -> None:
    open_websocket_url("ws://h", extensions=Reverse)  # type: ignore[arg-type]
    open_websocket_url("ws://h", extensions=[Reverse()])  # type: ignore[list-item]
