"""A large frame on its way out, masked and handed over slice by slice.

A frame that is built at once is written to memory twice, as a whole each time, and
neither the cache nor the system likes that. So a large message stays as the caller gave
it, and what stands on the wire is made one slice at a time. A slice may be made again:
who could write only a part of it asks for what stands behind that part.
"""

from __future__ import annotations

from .frame_header import Opcode, build_header
from .lane import Lane

SLICE_SIZE = 131_072  # bytes: half of it costs more calls, twice of it the cache
_PLAIN_SLICE_SIZE = 2 * SLICE_SIZE  # of what is not masked, and so not touched


class SlicedFrame:
    """One frame of a payload that does not change."""

    __slots__ = ("_header", "_key", "_lane", "_payload", "_size")

    def __init__(
        self, opcode: Opcode, payload: bytes, masking_key: bytes | None, lane: Lane
    ) -> None:
        self._header = build_header(opcode, len(payload), masking_key=masking_key)
        self._payload = payload
        self._key = masking_key
        self._lane = lane
        self._size = len(self._header) + len(payload)

    def __len__(self) -> int:
        return self._size

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
        if self._key is None:
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
