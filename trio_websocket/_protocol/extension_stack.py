"""The accepted extensions of one connection, run in their order (RFC 6455 section 9.1).

Theory of operation
===================

What is sent goes through the extensions in the order in which they were accepted, and
what is received in the reverse of it. There are two levels: those that change whole
messages come before a message is cut into frames and after its frames were joined,
those that change frames in between::

   message -> A.encode -> B.encode -> frame -> C.encode -> D.encode -> wire
   message <- A.decode <- B.decode <- frame <- C.decode <- D.decode <- wire

Compression, where it is agreed on too, is one of those of messages, in its own place.

A reserved bit belongs to one extension: the negotiation sees to that. One of frames
finds its bits on any frame and sets them as it likes. The bits of one of messages stand
on the first frame of each message that it has changed; all of them, or none.

The extensions are code of the program's, and what they return is looked at. What the
peer can bring about (a ``ValueError``, a frame that became another) is a
``BadExtended``, with the code to fail with. What only a mistake in the program can (a
result of another type, any other exception) goes to whoever called.

The stack keeps nothing between two calls; the extensions do. So nothing may be left
out: what was encoded has to leave, and what was received has to be decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

from .deflate import NAME as DEFLATE, BadCompression, Codec
from .extension import Extension, FrameExtension, Kind, MessageExtension, find_mask
from .frame import Frame
from .frame_header import build_header, mask_payload
from .inflation import WHOLE_STEP_SIZE

_PROTOCOL_ERROR = 1002
_BAD_DATA = 1007


class BadExtended(Exception):
    """What was received cannot be decoded.

    Attributes:
        code: The close code to fail with.
        problem: What is wrong, in words.

    """

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(code, problem)
        self.code = code
        self.problem = problem


class Deflation(MessageExtension):
    """permessage-deflate as one among others (RFC 7692)."""

    name: ClassVar[str] = DEFLATE
    reserved_bits: ClassVar[Collection[int]] = (1,)

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def forget(self) -> None:
        """Refer to nothing that was compressed before."""
        deflator = self._codec.deflator
        if deflator is not None:
            deflator.forget()

    def encode(self, kind: Kind, data: bytes) -> bytes | None:  # noqa: ARG002  # the same
        """Compress a message, if it is worth it."""
        deflator = self._codec.deflator
        if deflator is None or len(data) < self._codec.threshold:
            return None
        return deflator.compress(data)

    def decode(
        self,
        kind: Kind,  # noqa: ARG002  # the same
        data: bytes,
        max_size: int,
    ) -> bytes:
        """Inflate a message, to one byte more than is allowed at most."""
        room = max_size + 1
        parts: list[bytes] = []
        while room:
            limit = min(room, WHOLE_STEP_SIZE)
            try:
                part = self._codec.inflator.inflate(data, limit, is_last=True)
            except BadCompression as error:
                raise ValueError(str(error)) from None
            parts.append(part)
            room -= len(part)
            data = b""
            if len(part) < limit:
                break
        return b"".join(parts)


class ExtensionStack:
    """What was accepted, in the order of that.

    Attributes:
        frame_bits: The reserved bits that any frame may have, RSV1 as the highest.
        has_frame_level: Whether there is an extension that changes frames.
        has_message_level: Whether there is one that changes messages.

    """

    __slots__ = (
        "_frame_level",
        "_message_level",
        "frame_bits",
        "has_frame_level",
        "has_message_level",
    )

    def __init__(self, extensions: Iterable[Extension]) -> None:
        self._message_level: list[tuple[MessageExtension, int]] = []
        self._frame_level: list[tuple[FrameExtension, int]] = []
        for extension in extensions:
            mask = find_mask(extension)
            if isinstance(extension, MessageExtension):
                self._message_level.append((extension, mask))
            else:
                assert isinstance(extension, FrameExtension)
                self._frame_level.append((extension, mask))
        self.frame_bits: int = sum(mask for _, mask in self._frame_level)
        self.has_frame_level: bool = bool(self._frame_level)
        self.has_message_level: bool = bool(self._message_level)

    # Out.

    def forget(self) -> None:
        """Take note that what was encoded last will not leave.

        Compression is then begun anew. Extensions of the program's are not told: what
        they raise is theirs to see to.
        """
        for extension, _ in self._message_level:
            if isinstance(extension, Deflation):
                extension.forget()

    def encode_message(
        self, kind: Kind, data: bytes, *, compress: bool = True
    ) -> tuple[bytes, int]:
        """Have a message changed.

        Args:
            kind: What it is.
            data: The message, of text its UTF-8.
            compress: Whether permessage-deflate may do its part.

        Returns:
            What to cut into frames, and the reserved bits of the first of them.

        Raises:
            TypeError: If an extension returns no bytes.

        """
        rsv = 0
        for extension, mask in self._message_level:
            if isinstance(extension, Deflation) and not compress:
                continue
            encoded = extension.encode(kind, data)
            if encoded is not None:
                data = _check_bytes(extension, encoded)
                rsv |= mask
        return data, rsv

    def build_frame(
        self,
        opcode: int,
        payload: bytes,
        masking_key: bytes | None,
        *,
        fin: bool = True,
        rsv: int = 0,
    ) -> bytes:
        """Have a frame changed, and build what stands on the wire.

        Args:
            opcode: Text, binary or continuation.
            payload: A message that was encoded, or a part of one.
            masking_key: The key if it is to be masked.
            fin: Whether the message ends with it.
            rsv: The reserved bits of the message if it begins with it.

        Raises:
            TypeError: If an extension returns no frame.
            ValueError: If an extension changes what it may not.

        """
        if self.has_frame_level:
            frame = _make_frame(opcode, payload, fin=fin, rsv=rsv)
            for extension, mask in self._frame_level:
                changed = extension.encode(frame)
                problem = _find_fault(extension, frame, changed, mask)
                if problem is not None:
                    raise ValueError(problem)
                frame = changed
            payload, rsv = bytes(frame.payload), _find_rsv(frame)
        header = build_header(
            opcode, len(payload), fin=fin, rsv=rsv, masking_key=masking_key
        )
        if masking_key is None:
            return header + payload
        return header + mask_payload(payload, masking_key)

    # In.

    def allows(self, rsv: int) -> bool:
        """Whether the first frame of a message may have such reserved bits."""
        rsv &= ~self.frame_bits
        for _, mask in self._message_level:
            if rsv & mask == mask:
                rsv &= ~mask
        return not rsv

    def decodes(self, rsv: int) -> bool:
        """Whether a message whose first frame has such bits has to be changed."""
        return any(not mask or rsv & mask for _, mask in self._message_level)

    def decode_frame(
        self, opcode: int, payload: bytes, *, fin: bool, rsv: int
    ) -> bytes:
        """Have a frame changed back, and return its payload.

        Raises:
            BadExtended: If that cannot be done.
            TypeError: If an extension returns no frame.

        """
        if not self.has_frame_level:
            return payload
        frame = _make_frame(opcode, payload, fin=fin, rsv=rsv)
        for extension, mask in reversed(self._frame_level):
            try:
                changed = extension.decode(frame)
            except ValueError as error:
                raise _blame(extension, "frame", error) from error
            problem = _find_fault(extension, frame, changed, mask)
            if problem is not None:
                raise BadExtended(_PROTOCOL_ERROR, problem)
            frame = changed
        return bytes(frame.payload)

    def decode_message(
        self, kind: Kind, data: bytes, *, rsv: int, max_size: int
    ) -> bytes:
        """Have a message changed back.

        Args:
            kind: What it is.
            data: The payloads of its frames.
            rsv: The reserved bits of the first of them.
            max_size: The most bytes that are wanted.

        Returns:
            The message; if it has more bytes than wanted, perhaps not decoded by all.

        Raises:
            BadExtended: If that cannot be done.
            TypeError: If an extension returns no bytes.

        """
        for extension, mask in reversed(self._message_level):
            if mask and not rsv & mask:
                continue
            try:
                decoded = extension.decode(kind, data, max_size)
            except ValueError as error:
                raise _blame(extension, "message", error) from error
            data = _check_bytes(extension, decoded)
            if len(data) > max_size:
                break
        return data


def _make_frame(opcode: int, payload: bytes, *, fin: bool, rsv: int) -> Frame:
    rsv1, rsv2, rsv3 = (bool(rsv & bit) for bit in (4, 2, 1))
    return Frame(opcode, payload, fin=fin, rsv1=rsv1, rsv2=rsv2, rsv3=rsv3)


def _find_rsv(frame: Frame) -> int:
    return frame.rsv1 << 2 | frame.rsv2 << 1 | frame.rsv3


def _check_bytes(extension: Extension, data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    kind = type(data).__name__
    raise TypeError(f"the extension {extension.name} must return bytes, not {kind}")


def _find_fault(
    extension: Extension, frame: Frame, changed: object, mask: int
) -> str | None:
    """Tell what is wrong with a frame that an extension returns."""
    if not isinstance(changed, Frame):
        kind = type(changed).__name__
        raise TypeError(
            f"the extension {extension.name} must return a Frame, not {kind}"
        )
    before = (frame.opcode, frame.fin, frame.masking_key)
    other_bits = (_find_rsv(changed) ^ _find_rsv(frame)) & ~mask
    if (changed.opcode, changed.fin, changed.masking_key) == before and not other_bits:
        return None
    return (
        f"the extension {extension.name} changes more of a frame than its payload and"
        " its own reserved bits"
    )


def _blame(extension: Extension, what: str, error: ValueError) -> BadExtended:
    # It is sent: nothing in it may be unfit for UTF-8.
    text = str(error).encode("utf-8", "backslashreplace").decode()
    problem = f"the extension {extension.name} cannot decode the {what}: {text}"
    return BadExtended(_BAD_DATA, problem)
