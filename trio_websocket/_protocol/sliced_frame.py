"""A frame on its way out; a large one is masked and handed over slice by slice.

A frame that is built at once is written to memory twice, as a whole each time, and
neither the cache nor the system likes that. So a large message stays as the caller gave
it, and what stands on the wire is made one slice at a time. A slice may be made again:
who could write only a part of it asks for what stands behind that part.

The payload may be the caller's own buffer. When the call ends the frame must be done
with it, or *own* a copy of it. And no view of such a buffer is handed out, because a
stream may still hold what it was given.
"""

from __future__ import annotations

from .frame_header import build_header, mask_payload
from .lane import Lane

SLICE_SIZE = 131_072  # bytes: half of it costs more calls, twice of it the cache
_FIN = 0x80
_RSV_SHIFT = 4
_PLAIN_SLICE_SIZE = 2 * SLICE_SIZE  # of what is not masked, and so not touched


class SlicedFrame:
    """One frame of a payload that does not change while it is borrowed."""

    __slots__ = ("_header", "_key", "_lane", "_payload", "_size")

    def __init__(
        self,
        opcode: int,
        payload: bytes | memoryview,
        masking_key: bytes | None,
        lane: Lane,
        *,
        fin: bool = True,
        rsv: int = 0,
    ) -> None:
        """Make a frame.

        Args:
            opcode: What kind of frame it is.
            payload: The payload; a view of bytes is borrowed.
            masking_key: Four bytes, or None for the frame of a server.
            lane: What masks.
            fin: Whether it is the last frame of its message.
            rsv: The three reserved bits, RSV1 as the highest.

        """
        self._header = build_header(
            opcode, len(payload), fin=fin, rsv=rsv, masking_key=masking_key
        )
        self._payload = payload
        self._key = masking_key
        self._lane = lane
        self._size = len(self._header) + len(payload)

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        scratch = bytearray(SLICE_SIZE)
        parts: list[bytes] = []
        position = 0
        while position < self._size:
            with self.cut(position, scratch) as part:
                parts.append(bytes(part))
                position += len(part)
        return b"".join(parts)

    def own(self) -> None:
        """Copy the payload if it is borrowed."""
        if isinstance(self._payload, memoryview):
            with self._payload as view:
                self._payload = view.tobytes()

    def let_go(self) -> None:
        """Give the payload back if it is borrowed; nothing can be cut any more."""
        if isinstance(self._payload, memoryview):
            self._payload.release()

    def cut(self, position: int, scratch: bytearray) -> memoryview:
        """Return what stands on the wire from a position on, one slice at most.

        Slices of what is masked have ``SLICE_SIZE`` bytes, the others up to twice that.

        Args:
            position: How many bytes of the frame were written already.
            scratch: Where to put what has to be masked; ``SLICE_SIZE`` bytes that stay
                as they are until the slice was used.

        """
        if position < len(self._header):
            head = self._header[position:]
            size = min(len(self._payload), SLICE_SIZE - len(head))
            scratch[: len(head)] = head
            self._fill(scratch, len(head), 0, size)
            return memoryview(scratch)[: len(head) + size]
        start = position - len(self._header)
        if self._key is None and isinstance(self._payload, bytes):
            return memoryview(self._payload)[start : start + _PLAIN_SLICE_SIZE]
        stop = min(start + SLICE_SIZE, len(self._payload))
        self._fill(scratch, 0, start, stop)
        return memoryview(scratch)[: stop - start]

    def _fill(self, scratch: bytearray, at: int, start: int, stop: int) -> None:
        """Put a part of the payload into the scratch as it stands on the wire."""
        with memoryview(scratch) as view, view[at : at + stop - start] as target:
            if self._key is None:
                target[:] = self._payload[start:stop]
            else:
                self._lane.mask(target, self._payload, start, stop, self._key)


def build_frame(
    opcode: int,
    payload: bytes | memoryview,
    masking_key: bytes | None,
    lane: Lane | None,
    *,
    fin: bool = True,
    rsv: int = 0,
) -> bytes | SlicedFrame:
    """Build a frame past wsproto; a large one is to be written in slices.

    Args:
        opcode: What kind of frame it is.
        payload: The payload; of a large one, a view of bytes is borrowed.
        masking_key: Four bytes, or None for the frame of a server.
        lane: What masks, if there is one.
        fin: Whether it is the last frame of its message.
        rsv: The three reserved bits, RSV1 as the highest.

    """
    if lane is not None and len(payload) > SLICE_SIZE:
        return SlicedFrame(opcode, payload, masking_key, lane, fin=fin, rsv=rsv)
    if lane is not None:
        first = (_FIN if fin else 0) | rsv << _RSV_SHIFT | opcode
        return lane.wrap(first, bytes(payload), masking_key)
    header = build_header(
        opcode, len(payload), fin=fin, rsv=rsv, masking_key=masking_key
    )
    if masking_key is None:
        return header + payload
    return header + mask_payload(bytes(payload), masking_key)
