"""One message on its way out in several frames that extensions change.

Extensions of messages are given whole ones. So where there is one, parts are kept until
the message has ended, and then it is changed and cut. Extensions of frames change each
part as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator

from .extension import Kind
from .extension_stack import ExtensionStack
from .frame_header import Opcode
from .outgoing_message import DrawKey, OutgoingMessage
from .sliced_frame import SlicedFrame


class ExtendedMessage(OutgoingMessage):
    """The frames of one message."""

    __slots__ = ("_compress", "_parts", "_stack")

    def __init__(
        self,
        opcode: Opcode,
        draw_key: DrawKey,
        stack: ExtensionStack,
        *,
        compress: bool,
    ) -> None:
        """Begin a message.

        Args:
            opcode: Text or binary.
            draw_key: Gives a masking key for each frame, or None on a server.
            stack: What changes it.
            compress: Whether permessage-deflate may do its part.

        """
        super().__init__(opcode, draw_key, lane=None, deflator=None)
        self._stack = stack
        self._compress = compress
        self._parts: list[bytes] = []

    def build(
        self, data: bytes | memoryview, *, is_last: bool, max_size: int | None = None
    ) -> Iterator[bytes | SlicedFrame]:
        """Build the frames of a part; none if the message has to be whole for that.

        Raises:
            TypeError: If an extension returns what it may not; none was built then.
            ValueError: If an extension changes what it may not. Likewise.

        """
        if self._stack.has_message_level and not is_last:
            self._parts.append(bytes(data))
            return iter(())
        try:
            return iter([*super().build(data, is_last=is_last, max_size=max_size)])
        except BaseException:
            self._stack.forget()
            raise

    def _encode(
        self,
        data: bytes | memoryview,
        *,
        is_last: bool,  # noqa: ARG002  # the parts before are kept
    ) -> bytes:
        whole = b"".join([*self._parts, data])
        if not self._stack.has_message_level:
            return whole
        kind: Kind = "text" if self._opcode == Opcode.TEXT else "bytes"
        changed, self._rsv = self._stack.encode_message(
            kind, whole, compress=self._compress
        )
        return changed

    def _build_frame(self, payload: bytes | memoryview, *, fin: bool) -> bytes:
        frame = self._stack.build_frame(
            self._opcode, bytes(payload), self._draw_key(), fin=fin, rsv=self._rsv
        )
        self._opcode, self._rsv = Opcode.CONTINUATION, 0
        return frame
