"""permessage-deflate: what is agreed on, and the codec (RFC 7692).

Theory of operation
===================

The two ends agree on a window for each direction, and on whether what was sent before
may be referred to (*context takeover*). Each end compresses with the smaller of what it
wants and what was agreed. zlib cannot compress with a window of 256 bytes (8 bits); an
end that is held to that agrees, and then compresses nothing: that is always allowed.

A message is compressed up to a flush, whose four bytes at the end every message would
have and which are therefore left out; a receiver puts them back. ``Deflator`` and
``Inflator`` are one direction each. They keep zlib's state between messages if the
context is taken over, and otherwise nothing.

What comes off the wire is hostile until it was seen. A few bytes may stand for
gigabytes, so whoever inflates says how many bytes may come into being, and gets no
more; that there would be more is not the end of the message. A message must end where
a block ends: what was cut off within one is an error, and not a shorter message. Blocks
marked as the last of their stream are allowed anywhere; what follows is a new stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from .._options import LARGEST_WINDOW, SMALLEST_WINDOW, PerMessageDeflate
from .extension_header import ExtensionUse

NAME = "permessage-deflate"

# The smallest that zlib can compress with; it inflates with any that is not smaller
# than that of the sender.
_SMALLEST_USABLE_WINDOW = 9
_WINDOWS = {str(bits): bits for bits in range(SMALLEST_WINDOW, LARGEST_WINDOW + 1)}
_TAKEOVERS = ("server_no_context_takeover", "client_no_context_takeover")
_SERVER_WINDOW = "server_max_window_bits"
_CLIENT_WINDOW = "client_max_window_bits"

# What one part of a message may hold of streams that end: two bytes are enough for one,
# and each costs as much as some kilobytes of others.
_MAX_STREAMS = 64

_FLUSH_TAIL = b"\x00\x00\xff\xff"  # an empty block that is not compressed
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"  # the same, marked as the last
_TAIL_AND_LAST_BLOCK = _FLUSH_TAIL + _LAST_BLOCK


@dataclass(frozen=True, slots=True)
class DeflateAgreement:
    """What both ends have agreed on.

    Attributes:
        server_no_context_takeover: Whether the server compresses each message for
            itself.
        client_no_context_takeover: The same of the client.
        server_max_window_bits: The largest window of the server's messages, as a power
            of two.
        client_max_window_bits: The same of the client's.

    """

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


class BadAgreement(Exception):
    """The server has answered with what cannot be agreed to.

    Attributes:
        problem: What is wrong, as the end of a sentence.

    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


# What is agreed on.


def build_offers(options: PerMessageDeflate) -> list[ExtensionUse]:
    """Build what a client offers, best first (RFC 7692 section 5.1).

    A server that cannot limit its window declines an offer that asks for it, so there
    is another without.
    """
    flags = [
        (name, None)
        for name, is_wanted in (
            (_TAKEOVERS[0], options.server_no_context_takeover),
            (_TAKEOVERS[1], options.client_no_context_takeover),
        )
        if is_wanted
    ]
    window = _find_usable(options.client_max_window_bits)
    client = (_CLIENT_WINDOW, None if window == LARGEST_WINDOW else str(window))
    fallback = ExtensionUse(NAME, (*flags, client))
    if options.server_max_window_bits == LARGEST_WINDOW:
        return [fallback]
    server = (_SERVER_WINDOW, str(options.server_max_window_bits))
    return [ExtensionUse(NAME, (*flags, server, client)), fallback]


def judge_answer(options: PerMessageDeflate, answer: ExtensionUse) -> DeflateAgreement:
    """Find what a server has agreed to (RFC 7692 sections 5.2 and 7.1).

    Args:
        options: What the client's offers were built of.
        answer: What the server accepts.

    Raises:
        BadAgreement: If it accepts what was not offered, or nothing that makes sense.

    """
    given = _read_parameters(answer)
    if given is None or given.get(_CLIENT_WINDOW, 0) is None:
        raise BadAgreement(f"the server accepts {_show(answer)}")
    if options.server_no_context_takeover and _TAKEOVERS[0] not in given:
        raise BadAgreement("the server does not accept server_no_context_takeover")
    client_window = given.get(_CLIENT_WINDOW) or LARGEST_WINDOW
    offered = _find_usable(options.client_max_window_bits)
    if _CLIENT_WINDOW in given and client_window > offered:
        problem = (
            f"the server accepts {_CLIENT_WINDOW} of {client_window}, not {offered}"
        )
        raise BadAgreement(problem)
    return DeflateAgreement(
        server_no_context_takeover=_TAKEOVERS[0] in given,
        client_no_context_takeover=_TAKEOVERS[1] in given
        or options.client_no_context_takeover,
        server_max_window_bits=given.get(_SERVER_WINDOW) or LARGEST_WINDOW,
        client_max_window_bits=min(client_window, offered),
    )


def answer_offers(
    options: PerMessageDeflate, offers: Iterable[ExtensionUse]
) -> tuple[DeflateAgreement, ExtensionUse] | None:
    """Accept the first offer that can be accepted (RFC 7692 section 5.2).

    Args:
        options: What the server wants.
        offers: What the client offers, of this extension and others.

    Returns:
        What is agreed on, and how to say so; None if every offer is declined.

    """
    for offer in offers:
        given = _read_parameters(offer) if offer.name == NAME else None
        if given is not None:
            return _accept(options, given)
    return None


def _accept(
    options: PerMessageDeflate, given: dict[str, int | None]
) -> tuple[DeflateAgreement, ExtensionUse]:
    server_window = given.get(_SERVER_WINDOW) or LARGEST_WINDOW
    server_window = min(server_window, options.server_max_window_bits)
    # Only a client that speaks of its window can be held to one.
    client_window = LARGEST_WINDOW
    if _CLIENT_WINDOW in given:
        offered = given[_CLIENT_WINDOW] or LARGEST_WINDOW
        client_window = min(offered, options.client_max_window_bits)
    agreement = DeflateAgreement(
        server_no_context_takeover=_TAKEOVERS[0] in given
        or options.server_no_context_takeover,
        client_no_context_takeover=_TAKEOVERS[1] in given
        or options.client_no_context_takeover,
        server_max_window_bits=server_window,
        client_max_window_bits=client_window,
    )
    parameters: list[tuple[str, str | None]] = []
    if agreement.server_no_context_takeover:
        parameters.append((_TAKEOVERS[0], None))
    if agreement.client_no_context_takeover:
        parameters.append((_TAKEOVERS[1], None))
    # A client that has asked for a window is to be told, even if it is the largest
    # (RFC 7692 section 7.1.2.1).
    if server_window < LARGEST_WINDOW or _SERVER_WINDOW in given:
        parameters.append((_SERVER_WINDOW, str(server_window)))
    if client_window < LARGEST_WINDOW:
        parameters.append((_CLIENT_WINDOW, str(client_window)))
    return agreement, ExtensionUse(NAME, tuple(parameters))


def _read_parameters(use: ExtensionUse) -> dict[str, int | None] | None:
    """Read what stands behind the name; None if it breaks the rules.

    Returns:
        The parameters that are there, with the bits of a window, or None where there is
        no value.

    """
    given: dict[str, int | None] = {}
    for name, value in use.parameters:
        if name in given:
            return None
        if name in _TAKEOVERS or (name == _CLIENT_WINDOW and value is None):
            if value is not None:
                return None
            given[name] = None
        elif name in {_SERVER_WINDOW, _CLIENT_WINDOW} and value in _WINDOWS:
            given[name] = _WINDOWS[value]
        else:
            return None
    return given


def _find_usable(window: int) -> int:
    return max(window, _SMALLEST_USABLE_WINDOW)


def _show(use: ExtensionUse) -> str:
    return str(use)[:100]  # the sentence ends up in logs


# The codec.


class _Compressor(Protocol):
    """What ``zlib.compressobj`` returns; its class has no name."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Compress some bytes."""
        ...

    def flush(self, mode: int, /) -> bytes:
        """Write what was not written yet."""
        ...


class _Decompressor(Protocol):
    """What ``zlib.decompressobj`` returns; its class has no name."""

    @property
    def eof(self) -> bool:
        """Whether a block marked as the last was read to its end."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came behind that."""
        ...

    @property
    def unconsumed_tail(self) -> bytes:
        """What was not read for want of room."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Inflate some bytes, to a number of bytes at most."""
        ...

    def copy(self) -> _Decompressor:
        """Make another one that stands at the same point."""
        ...


class Deflator:
    """Compresses the messages that one end sends."""

    __slots__ = ("_is_taken_over", "_level", "_mem_level", "_window", "_zlib")

    def __init__(
        self, window: int, *, is_taken_over: bool, level: int, mem_level: int
    ) -> None:
        self._window = window
        self._is_taken_over = is_taken_over
        self._level = level
        self._mem_level = mem_level
        self._zlib: _Compressor | None = None

    @property
    def is_taken_over(self) -> bool:
        """Whether a message refers to those before, so that none may be left out."""
        return self._is_taken_over

    def forget(self) -> None:
        """Refer to nothing that was compressed before: it may not have left."""
        self._zlib = None

    def compress(self, data: bytes | memoryview, *, is_last: bool = True) -> bytes:
        """Compress a message or a part of one; the parts together are the message.

        Args:
            data: What to compress.
            is_last: Whether the message ends with it.

        """
        compressor = self._zlib or zlib.compressobj(
            self._level, zlib.DEFLATED, -self._window, self._mem_level
        )
        compressed = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        self._zlib = compressor if self._is_taken_over or not is_last else None
        if not is_last:
            return compressed
        # Two flushes in a row are one: then the tail was sent with an earlier part.
        return compressed.removesuffix(_FLUSH_TAIL) or b"\x00"


_ENDS_WITHIN_BLOCK = "the compressed message ends within a block"


class BadCompression(Exception):
    """The bytes cannot be inflated. The text is a sentence without its end."""


class Inflator:
    """Inflates the messages that one end receives.

    After an error it is of no use any more.
    """

    __slots__ = ("_is_taken_over", "_rest", "_window", "_zlib")

    def __init__(self, window: int, *, is_taken_over: bool) -> None:
        self._window = _find_usable(window)
        self._is_taken_over = is_taken_over
        self._zlib: _Decompressor | None = None
        self._rest = b""

    def inflate(self, data: bytes, limit: int, *, is_last: bool) -> bytes:
        """Inflate a message or a part of one.

        Args:
            data: What came off the wire since the last call.
            limit: How many bytes may come into being, one at least.
            is_last: Whether the message ends with the data.

        Returns:
            So much of the message. If that is as much as the limit there may be more:
            call again, without data, until it is less; before that, nothing else may
            come.

        Raises:
            BadCompression: If it cannot be inflated, or ends within a block.

        """
        inflated = self._feed(data, limit)
        if is_last and len(inflated) < limit:
            self._end_message()
        return inflated

    def inflate_all(
        self, messages: Iterable[bytes], limit: int, max_size: int
    ) -> tuple[list[bytes], BadCompression | None]:
        """Inflate whole messages, each as ``inflate`` does.

        Args:
            messages: What came off the wire, each from the beginning of a message on.
            limit: How many bytes may come into being of each.
            max_size: How many bytes of all are enough.

        Returns:
            What came of each, and what is wrong with the next. If the last is as long
            as the limit there may be more of it: it is to be asked for by ``inflate``.

        """
        parts: list[bytes] = []
        try:
            for data in messages:
                decompressor = self._zlib
                if self._rest is not _FLUSH_TAIL or decompressor is None:
                    part = self.inflate(data, limit, is_last=True)
                else:
                    # What ``inflate`` does where the last message ended as they all do.
                    part = decompressor.decompress(_FLUSH_TAIL + data, limit)
                    if len(part) >= limit or decompressor.eof:
                        part = self._go_on(part, limit)
                    else:
                        probe = decompressor.copy()
                        wrong = probe.decompress(_TAIL_AND_LAST_BLOCK, 1)
                        if wrong or not probe.eof or probe.unused_data:
                            raise BadCompression(_ENDS_WITHIN_BLOCK)
                parts.append(part)
                max_size -= len(part)
                if max_size <= 0 or len(part) >= limit:
                    break
        except zlib.error as error:
            return parts, _describe(error)
        except BadCompression as error:
            return parts, error
        return parts, None

    def _go_on(self, part: bytes, limit: int) -> bytes:
        """Go on where a decompressor stopped, of a message that ends with its data."""
        decompressor = self._zlib
        assert decompressor is not None
        self._rest = decompressor.unused_data or decompressor.unconsumed_tail
        if len(part) >= limit:
            return part
        return part + self.inflate(b"", limit - len(part), is_last=True)

    def _feed(self, data: bytes, limit: int) -> bytes:
        rest = self._rest + data
        parts: list[bytes] = []
        for _ in range(_MAX_STREAMS):
            decompressor = self._zlib
            # What follows the last block of a stream is another one.
            if decompressor is None or (decompressor.eof and rest):
                decompressor = self._zlib = zlib.decompressobj(-self._window)
            part = _decompress(decompressor, rest, limit)
            parts.append(part)
            limit -= len(part)
            rest = decompressor.unused_data or decompressor.unconsumed_tail
            if not (decompressor.unused_data and limit):
                self._rest = rest
                return b"".join(parts)
        raise BadCompression("the compressed message ends its stream too often")

    def _end_message(self) -> None:
        """Put back what was left out, and see that the message ends between blocks."""
        decompressor = self._zlib
        assert decompressor is not None
        if not self._is_taken_over:
            self._zlib = None
        if decompressor.eof:
            return  # the end of a stream
        # Only between blocks this can be read as one, and nothing else tells where zlib
        # stands. It would be the end of a context that is kept, so a copy has to do.
        probe = decompressor.copy() if self._is_taken_over else decompressor
        wrong = _decompress(probe, _TAIL_AND_LAST_BLOCK, 1)
        if wrong or not probe.eof or probe.unused_data:
            raise BadCompression(_ENDS_WITHIN_BLOCK)
        if self._is_taken_over:
            self._rest = _FLUSH_TAIL  # in front of what comes next


def _decompress(decompressor: _Decompressor, data: bytes, limit: int) -> bytes:
    try:
        return decompressor.decompress(data, limit)
    except zlib.error as error:
        raise _describe(error) from None


def _describe(error: zlib.error) -> BadCompression:
    # "Error -3 while decompressing data: invalid stored block lengths"
    problem = str(error).partition(": ")[2]
    return BadCompression(f"the compressed message has an {problem}")


@dataclass(frozen=True, slots=True)
class Codec:
    """What one connection compresses and inflates with.

    Attributes:
        inflator: For what is received.
        deflator: For what is sent; None if nothing can be compressed.
        threshold: The smallest message that is worth it, in bytes.

    """

    inflator: Inflator
    deflator: Deflator | None
    threshold: int


def build_codec(
    options: PerMessageDeflate, agreement: DeflateAgreement, *, is_client: bool
) -> Codec:
    """Build the codec of the one end or the other."""
    client = (
        agreement.client_max_window_bits,
        not agreement.client_no_context_takeover,
    )
    server = (
        agreement.server_max_window_bits,
        not agreement.server_no_context_takeover,
    )
    (window, is_taken_over), theirs = (
        (client, server) if is_client else (server, client)
    )
    deflator = None
    if window >= _SMALLEST_USABLE_WINDOW:
        deflator = Deflator(
            window,
            is_taken_over=is_taken_over,
            level=options.level,
            mem_level=options.mem_level,
        )
    return Codec(
        Inflator(theirs[0], is_taken_over=theirs[1]), deflator, options.threshold
    )
