"""The shortcut for whole data frames, and which kinds of it there are.

Theory of operation
===================

wsproto is the definition of the protocol and takes 4 to 6 us for a message. Most frames
need little of it: they are *plain*, and a lane takes them straight to messages, or
messages straight to frames, many in one call. A frame is plain if

* it is final, has no reserved bit, and its opcode is text or binary,
* its length is written in the shortest form and is no more than the caller wants,
* it is masked exactly if its sender is a client,
* it is whole in the buffer, and
* its text is valid UTF-8.

A lane stops in front of the first frame that is not, and has no opinion about it: what
is wrong with it, if anything, is for wsproto to say. So a lane is right if it takes
nothing that wsproto would not take as well, and if it makes the same message of it.

Of frames that would be plain if they were not compressed, a lane takes the payloads
(``cut``), and has no opinion about what is in them; ``compressed_frames`` has.

A lane knows nothing of what came before. That a message may begin at ``start`` is what
the caller has to know.

There are two: this module, and ``_speedups.c``, which does the same ten times as fast
and is there if it could be compiled. The tests hold them to be equal.

In this one, speed is a matter of how few steps the interpreter takes for a frame, so
each direction is one loop over local names. Bytes are masked as one large integer; the
conversion becomes slow for long ones, and there the four bytes of the key each get the
bytes that they mask, by way of ``bytes.translate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Protocol

_FINAL_TEXT = 0x81
_FINAL_BINARY = 0x82
_MASKED = 0x80
_COMPRESSED = 0x40  # RSV1
_MAX_SHORT_LENGTH = 125
_MAX_TWO_BYTE_LENGTH = 0xFFFF
_TWO_BYTE_LENGTH = 126
_EIGHT_BYTE_LENGTH = 127
_KEY_SIZE = 4


@cache
def _find_headers(first: int) -> Sequence[bytes]:
    """Make the first two bytes of short frames, by the second of them."""
    return tuple(bytes((first, second)) for second in range(256))


_TEXT_HEADERS = _find_headers(_FINAL_TEXT)
_BINARY_HEADERS = _find_headers(_FINAL_BINARY)

_MAX_INTEGER_SIZE = 8192  # bytes: from about here on, translating is faster
_read = int.from_bytes
_EVERY_BYTE = _read(bytes(range(256)))


class Lane(Protocol):
    """Decodes and encodes plain messages without wsproto."""

    @property
    def name(self) -> str:
        """What it is called in the environment: "python" or "c"."""
        ...

    @property
    def decodes_views(self) -> bool:
        """Whether it decodes a view of bytes without a copy of them all."""
        ...

    def decode(  # noqa: PLR0917  # keywords would cost time, also below
        self,
        data: bytes | memoryview,
        start: int,
        is_client: bool,  # noqa: FBT001  # likewise
        limit: int,
        max_size: int,
        /,
    ) -> tuple[list[str | bytes], int]:
        """Take plain messages from received bytes, from a frame boundary on.

        Args:
            data: Received bytes.
            start: Where the boundary is.
            is_client: Whether we are the client: then frames come unmasked.
            limit: The most messages to take.
            max_size: The largest payload to take, in bytes.

        Returns:
            The messages, and the position behind the last of them.

        Raises:
            ValueError: If the data ends before the start.

        """
        ...

    def encode(self, message: str | bytes, masking_key: bytes | None, /) -> bytes:
        """Build the one frame of a message.

        Args:
            message: The message.
            masking_key: Four bytes, or None for the frame of a server.

        Raises:
            TypeError: If it is not text or bytes.
            UnicodeEncodeError: If text has surrogates that UTF-8 cannot carry.
            ValueError: If the key is of another size.

        """
        ...

    def cut(  # noqa: PLR0917  # likewise
        self,
        data: bytes | memoryview,
        start: int,
        is_client: bool,  # noqa: FBT001  # likewise
        limit: int,
        max_size: int,
        /,
    ) -> tuple[list[bytes], int]:
        """Take the payloads of compressed messages of one kind, unmasked.

        Their frames would be plain if RSV1 were not set; what is in them is not looked
        at. Text ends in front of binary messages, and the other way round.

        Args:
            data: Received bytes.
            start: Where a frame begins; its kind is what is taken.
            is_client: Whether we are the client: then frames come unmasked.
            limit: The most messages to take.
            max_size: The largest payload to take, in bytes.

        Returns:
            The payloads, and the position behind the last of them.

        Raises:
            ValueError: If the data ends before the start.

        """
        ...

    def wrap(self, first: int, payload: bytes, masking_key: bytes | None, /) -> bytes:
        """Build a frame.

        Args:
            first: Its first byte.
            payload: Its payload, not masked yet.
            masking_key: Four bytes, or None for the frame of a server.

        Raises:
            TypeError: If the payload is not bytes.
            ValueError: If the key is of another size.

        """
        ...

    def encode_batch(
        self,
        messages: Sequence[object],
        start: int,
        masking_keys: bytes | None,
        max_size: int,
        /,
    ) -> tuple[bytes, int]:
        """Build the frames of messages until they are too long together.

        The batch ends in front of what cannot be sent, and of what is of a subclass of
        str or bytes: it is to be encoded alone.

        Args:
            messages: The messages.
            start: The index of the first.
            masking_keys: Four bytes for each message from there on, or None for the
                frames of a server.
            max_size: How long the frames may be together, in bytes.

        Returns:
            The frames, and the index of the first message that is not in them.

        Raises:
            ValueError: If there are fewer messages than that, or not enough keys.

        """
        ...

    def mask(  # noqa: PLR0917  # likewise
        self,
        target: bytearray | memoryview,
        source: bytes | bytearray | memoryview,
        start: int,
        stop: int,
        masking_key: bytes,
        /,
    ) -> None:
        """Mask or unmask a part of a payload; the two are the same.

        Args:
            target: Where to put it, from the first byte on. This may be the memory of
                the source.
            source: The whole payload.
            start: Where the part begins; the key is applied as from the first byte of
                the payload on.
            stop: Where the part ends.
            masking_key: Four bytes.

        Raises:
            ValueError: If the part is not within the source or does not fit into the
                target, or the key is of another size.

        """
        ...


@dataclass(frozen=True, slots=True)
class _Functions:
    """A lane of plain functions: the fastest to call that has a name."""

    name: str
    decodes_views: bool
    decode: Callable[
        [bytes | memoryview, int, bool, int, int], tuple[list[str | bytes], int]
    ]
    encode: Callable[[str | bytes, bytes | None], bytes]
    cut: Callable[[bytes | memoryview, int, bool, int, int], tuple[list[bytes], int]]
    wrap: Callable[[int, bytes, bytes | None], bytes]
    encode_batch: Callable[
        [Sequence[object], int, bytes | None, int], tuple[bytes, int]
    ]
    mask: Callable[
        [bytearray | memoryview, bytes | bytearray | memoryview, int, int, bytes], None
    ]


def choose_lane(wanted: str | None) -> Lane | None:
    """Find the lane for connections, or None if wsproto is to do everything.

    Args:
        wanted: What the user asks for: "off", "python" or "c". None or nothing means
            the fastest that there is.

    Raises:
        ImportError: If it is the compiled one and that was not built.
        ValueError: If there is no such lane.

    """
    match wanted:
        case "off":
            return None
        case "python":
            return PYTHON_LANE
        case "c":
            return _load_compiled()
        case None | "":
            with suppress(ImportError):
                return _load_compiled()
            return PYTHON_LANE
        case _:
            raise ValueError(f"{wanted!r} is not a lane: it must be off, python or c")


def _load_compiled() -> Lane:
    try:
        from . import _speedups as compiled  # noqa: PLC0415  # it may be missing
    except ImportError as error:
        message = "the compiled lane was not built: it needs a C compiler"
        raise ImportError(message) from error
    return _Functions(
        name="c",
        decodes_views=True,
        decode=compiled.decode,
        encode=compiled.encode,
        cut=compiled.cut,
        wrap=compiled.wrap,
        encode_batch=compiled.encode_batch,
        mask=compiled.mask,
    )


def decode(  # noqa: PLR0917  # as declared
    data: bytes | memoryview,
    start: int,
    is_client: bool,  # noqa: FBT001  # as declared
    limit: int,
    max_size: int,
    /,
) -> tuple[list[str | bytes], int]:
    """See ``Lane.decode``."""
    data = _read_bytes(data)
    size = len(data)
    _check_start(start, size)
    messages: list[str | bytes] = []
    append = messages.append
    flag, head_size = (0, 2) if is_client else (_MASKED, 2 + _KEY_SIZE)
    last = size - head_size
    try:
        for _ in range(limit):
            if start > last:
                break
            # Outside of 0 to 127 if the frame is masked and should not be, or not.
            length = data[start + 1] - flag
            body = start + head_size
            if not 0 <= length <= _MAX_SHORT_LENGTH:
                length, length_size = _read_length(data, start + 2, length)
                body += length_size
            end = body + length
            if end > size or not 0 <= length <= max_size:
                break
            payload = data[body:end]
            if flag:
                key = data[body - _KEY_SIZE : body]
                if length > _MAX_INTEGER_SIZE:
                    payload = _translate(payload, key)
                else:  # as in _turn_mask: a call takes a fifth of all the time here
                    mask = _read((key * ((length + 3) >> 2))[:length], "little")
                    payload = (_read(payload, "little") ^ mask).to_bytes(
                        length, "little"
                    )
            first = data[start]
            if first == _FINAL_BINARY:
                append(payload)
            elif first == _FINAL_TEXT:
                append(payload.decode())
            else:
                break
            start = end
    except UnicodeDecodeError:
        pass  # the frame is not consumed, so that wsproto can report it
    return messages, start


def cut(  # noqa: PLR0917  # as declared
    data: bytes | memoryview,
    start: int,
    is_client: bool,  # noqa: FBT001  # as declared
    limit: int,
    max_size: int,
    /,
) -> tuple[list[bytes], int]:
    """See ``Lane.cut``."""
    data = _read_bytes(data)
    size = len(data)
    _check_start(start, size)
    payloads: list[bytes] = []
    flag, key_size = (0, 0) if is_client else (_MASKED, _KEY_SIZE)
    first = data[start] if start < size else 0
    if first ^ _COMPRESSED not in {_FINAL_TEXT, _FINAL_BINARY}:
        return payloads, start
    while len(payloads) < limit and start + 2 + key_size <= size:
        length = data[start + 1] - flag
        body = start + 2 + key_size
        if not 0 <= length <= _MAX_SHORT_LENGTH:
            length, length_size = _read_length(data, start + 2, length)
            body += length_size
        end = body + length
        if data[start] != first or end > size or not 0 <= length <= max_size:
            break
        payload = data[body:end]
        if flag:
            payload = _turn_mask(payload, data[body - _KEY_SIZE : body])
        payloads.append(payload)
        start = end
    return payloads, start


def encode(message: object, masking_key: bytes | None, /) -> bytes:
    """See ``Lane.encode``."""
    if isinstance(message, str):
        payload = str.encode(message)
        headers = _TEXT_HEADERS
    elif isinstance(message, bytes):
        payload = message
        headers = _BINARY_HEADERS
    else:
        raise TypeError("a message must be str or bytes")
    return _frame(headers, payload, masking_key)


def wrap(first: int, payload: object, masking_key: bytes | None, /) -> bytes:
    """See ``Lane.wrap``."""
    if not isinstance(payload, bytes):
        raise TypeError("a payload must be bytes")
    return _frame(_find_headers(first & 0xFF), payload, masking_key)


def _frame(
    headers: Sequence[bytes], payload: bytes, masking_key: bytes | None
) -> bytes:
    length = len(payload)
    if masking_key is None:
        if length <= _MAX_SHORT_LENGTH:
            return headers[length] + payload
        return _build_long_header(headers[0], length) + payload
    _check_key(masking_key)
    if length <= _MAX_SHORT_LENGTH:
        header = headers[_MASKED | length]
    else:
        header = _build_long_header(headers[_MASKED], length)
    return header + masking_key + _turn_mask(payload, masking_key)


def encode_batch(
    messages: Sequence[object],
    start: int,
    masking_keys: bytes | None,
    max_size: int,
    /,
) -> tuple[bytes, int]:
    """See ``Lane.encode_batch``."""
    count = len(messages)
    _check_start(start, count)
    flag, key_size = (0, 0) if masking_keys is None else (_MASKED, _KEY_SIZE)
    keys = masking_keys or b""
    _check_keys(keys, key_size * (count - start))
    position = -key_size
    parts: list[bytes] = []
    append = parts.append
    try:
        while start < count:
            message = messages[start]
            if type(message) is str:
                payload, headers = message.encode(), _TEXT_HEADERS
            elif type(message) is bytes:
                payload, headers = message, _BINARY_HEADERS
            else:
                break
            length = len(payload)
            if length <= _MAX_SHORT_LENGTH:
                header = headers[flag | length]
            else:
                header = _build_long_header(headers[flag], length)
            max_size -= len(header) + key_size + length
            if max_size < 0:
                break
            append(header)
            if flag:
                position += _KEY_SIZE
                key = keys[position : position + _KEY_SIZE]
                append(key)
                if length > _MAX_INTEGER_SIZE:
                    payload = _translate(payload, key)
                else:  # without a call, as above
                    mask = _read((key * ((length + 3) >> 2))[:length], "little")
                    payload = (_read(payload, "little") ^ mask).to_bytes(
                        length, "little"
                    )
            append(payload)
            start += 1
    except UnicodeEncodeError:
        pass  # the message is not in the batch, so that the caller meets the error
    return b"".join(parts), start


def mask(  # noqa: PLR0917  # as declared
    target: bytearray | memoryview,
    source: bytes | bytearray | memoryview,
    start: int,
    stop: int,
    masking_key: bytes,
    /,
) -> None:
    """See ``Lane.mask``."""
    size = stop - start
    if not 0 <= start <= stop <= len(source) or size > len(target):
        raise ValueError("the range is not within both buffers")
    _check_key(masking_key)
    turn = start % _KEY_SIZE
    key = masking_key[turn:] + masking_key[:turn]
    target[:size] = _turn_mask(bytes(source[start:stop]), key)


def _read_bytes(data: bytes | memoryview) -> bytes:
    return data if isinstance(data, bytes) else bytes(memoryview(data))


def _check_start(start: int, size: int) -> None:
    if not 0 <= start <= size:
        raise ValueError("the start is not within the data")


def _check_keys(masking_keys: bytes, size: int) -> None:
    if len(masking_keys) < size:
        raise ValueError("there are not enough masking keys")


def _check_key(masking_key: bytes) -> None:
    if len(masking_key) != _KEY_SIZE:
        raise ValueError("a masking key must have four bytes")


def _read_length(data: bytes, start: int, short_length: int) -> tuple[int, int]:
    """Read a length that did not fit into seven bits.

    Returns:
        The length, and in how many bytes it is written. It is negative if it is written
        longer than need be, or if there is no such form.

    """
    match short_length:
        case 126:
            size, shortest = 2, _MAX_SHORT_LENGTH + 1
        case 127:
            size, shortest = 8, _MAX_TWO_BYTE_LENGTH + 1
        case _:
            return -1, 0
    # What is missing at the end makes it smaller; the frame is not whole in any case.
    length = _read(data[start : start + size])
    return (length if length >= shortest else -1), size


def _build_long_header(header: bytes, length: int) -> bytes:
    """Build what stands in front of the key, from such a header for no payload."""
    if length <= _MAX_TWO_BYTE_LENGTH:
        return bytes((header[0], header[1] | _TWO_BYTE_LENGTH)) + length.to_bytes(2)
    return bytes((header[0], header[1] | _EIGHT_BYTE_LENGTH)) + length.to_bytes(8)


def _turn_mask(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask a payload."""
    size = len(payload)
    if size > _MAX_INTEGER_SIZE:
        return _translate(payload, key)
    mask = _read((key * ((size + 3) >> 2))[:size], "little")
    return (_read(payload, "little") ^ mask).to_bytes(size, "little")


def _translate(payload: bytes, key: bytes) -> bytes:
    masked = bytearray(len(payload))
    for index in range(_KEY_SIZE):
        part = payload[index::_KEY_SIZE]
        masked[index::_KEY_SIZE] = part.translate(_find_table(key[index]))
    return bytes(masked)


@cache
def _find_table(key_byte: int) -> bytes:
    """Make the table that ``bytes.translate`` needs for one byte of a key."""
    return (_EVERY_BYTE ^ _read(bytes([key_byte]) * 256)).to_bytes(256)


PYTHON_LANE: Lane = _Functions(
    name="python",
    decodes_views=False,
    decode=decode,
    encode=encode,
    cut=cut,
    wrap=wrap,
    encode_batch=encode_batch,
    mask=mask,
)
