"""What a program derives from for an extension of its own (RFC 6455 section 9).

An instance belongs to one connection and may keep its state between two messages; so
programs give the library something that makes instances, which is often the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import ClassVar, Literal, TypeAlias

from .extension_header import is_token
from .frame import Frame

Parameters: TypeAlias = Mapping[str, str | int | bool | None]
Kind: TypeAlias = Literal["text", "bytes"]

_RESERVED_BITS = (1, 2, 3)


class Extension(ABC):
    """An extension at one end of one connection.

    Derive from :class:`MessageExtension` or :class:`FrameExtension`.

    Parameters are a mapping of names to values: a ``str`` is a token, an ``int`` its
    digits, True a name without a value, and None or False leaves the name out. What
    comes from the peer has a ``str``, or None where there is no value.

    Attributes:
        name: The name in the header, a token.
        reserved_bits: Which of the reserved bits of a frame it uses: any of 1, 2 and 3.
            No other extension of the connection can use them then; bit 1 is that of
            compression.

    """

    name: ClassVar[str]
    reserved_bits: ClassVar[Collection[int]] = ()

    def offer(self) -> Sequence[Parameters]:
        """Tell what a client offers: the parameters of each alternative, best first.

        By default one offer without parameters. Without alternatives the extension is
        not offered.
        """
        return [{}]

    def accept(self, offered: Mapping[str, str | None]) -> Parameters | None:
        """Tell what a server answers to an offer: parameters, or None to decline.

        It is called once for each offer of that name until one is accepted. By default
        an offer is accepted if it has no parameters.

        Raises:
            ValueError: To decline likewise.

        """
        return None if offered else {}

    def confirm(self, accepted: Mapping[str, str | None]) -> None:
        """Take note, on a client, of what the server has answered.

        By default an answer may have no parameters.

        Raises:
            ValueError: If the answer will not do: the opening fails with
                :exc:`~trio_websocket.InvalidHandshake`.

        """
        if accepted:
            raise ValueError(f"it has no parameter {next(iter(accepted))}")


class MessageExtension(Extension):
    """An extension that changes whole messages.

    What is sent is changed before it is cut into frames, and what is received after its
    frames were joined. The reserved bits are set on the first frame of each message
    that was changed, and only such messages are decoded; an extension without reserved
    bits decodes every message.
    """

    @abstractmethod
    def encode(self, kind: Kind, data: bytes) -> bytes | None:
        """Change a message that is to be sent.

        Args:
            kind: "text" or "bytes".
            data: The message, of text its UTF-8.

        Returns:
            What to send instead; None sends the message as it is, with its reserved
            bits clear. An exception leaves
            :meth:`~trio_websocket.WebSocketConnection.send_message`, and nothing is
            sent.

        """

    @abstractmethod
    def decode(self, kind: Kind, data: bytes, max_size: int) -> bytes:
        """Undo what ``encode`` did at the other end.

        Args:
            kind: "text" or "bytes".
            data: What was received, of ``max_size`` bytes at most.
            max_size: The most bytes that the result may have; a longer one ends the
                connection with 1009. What can grow is to stop there.

        Raises:
            ValueError: If it cannot be done: the connection ends with 1007, and the
                text of the exception is told to the peer.

        """


class FrameExtension(Extension):
    """An extension that changes each frame of each message.

    Control frames (Close, ping and pong) are not changed. A frame is a
    :class:`trio_websocket.frames.Frame` without a masking key. Of the frame that is
    returned only the payload and the extension's own reserved bits may be others; use
    :func:`dataclasses.replace`.
    """

    @abstractmethod
    def encode(self, frame: Frame) -> Frame:
        """Change a frame that is to be sent.

        An exception leaves :meth:`~trio_websocket.WebSocketConnection.send_message`,
        and nothing of the frame is sent.
        """

    @abstractmethod
    def decode(self, frame: Frame) -> Frame:
        """Undo what ``encode`` did at the other end.

        Raises:
            ValueError: If it cannot be done: the connection ends with 1007, and the
                text of the exception is told to the peer.

        """


def make_extensions(makers: Iterable[Callable[[], object]]) -> list[Extension]:
    """Make the extensions of one connection.

    Raises:
        TypeError: If one is no extension, or its name or a bit has the wrong type.
        ValueError: If a name is not a token, or a bit is not 1, 2 or 3.

    """
    extensions: list[Extension] = []
    for make in makers:
        extension = make()
        if not isinstance(extension, MessageExtension | FrameExtension):
            kinds = "a MessageExtension or a FrameExtension"
            raise TypeError(f"an extension must be {kinds}, not {extension!r}")
        _check_name(extension, getattr(extension, "name", None))
        _check_bits(extension.name, extension.reserved_bits)
        extensions.append(extension)
    return extensions


def find_mask(extension: Extension) -> int:
    """Find the reserved bits of an extension, as a number with RSV1 the highest."""
    return sum(8 >> bit for bit in set(extension.reserved_bits))


def _check_name(extension: Extension, name: object) -> None:
    if not isinstance(name, str):
        kind = type(extension).__name__
        raise TypeError(f"the name of {kind} must be a str, not {name!r}")
    if not is_token(name):
        raise ValueError(f"the name of an extension must be a token, not {name!r}")


def _check_bits(name: str, bits: Collection[object]) -> None:
    for bit in bits:
        if bit not in _RESERVED_BITS:
            problem = f"a reserved bit is 1, 2 or 3, not {bit!r}"
            raise ValueError(f"the extension {name} is wrong: {problem}")
