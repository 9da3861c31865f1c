"""One open connection on wsproto: bytes in, events and bytes out (RFC 6455).

Theory of operation
===================

The engine owns one wsproto ``Connection`` and translates everything: no type of wsproto
and no exception of its own is seen above it, and what the peer did wrong becomes one
``ViolationFound`` with the close code to answer with.

It cuts the stream itself. wsproto's buffer cannot be seen from outside, so the engine
reads the length in each frame header (and judges nothing) and feeds wsproto to the end
of one frame, never a byte of the next. Thus it always knows whether wsproto stands at
the boundary between two frames, which two things need: a reader with no room for a
message can stop before that message and still answer a ping in front of it, and a lane
can take whole frames past wsproto.

The rules that keep this true:

* ``_head`` holds the header bytes of the present frame that wsproto has got while more
  are missing, ``_frame`` the header once it is whole, ``_unfed`` the number of payload
  bytes that wsproto has not got. At a boundary there is neither head nor frame.
* wsproto gets header bytes as soon as they are here, so that a bad opcode is judged on
  the first two bytes and not after a length that may never come.
* The payload of a Close frame is fed whole, because its code is looked at first.
* After a Close frame or a violation nothing is parsed: wsproto's generator is dead
  then, and its state may still say OPEN. What arrives later is dropped.

Plain frames need none of this. Where a message may begin, the lane is asked first: it
takes all whole frames that it can. One whose header is plain and whose payload is still
arriving is left for it if it is small and binary, and otherwise collected beside
wsproto, which stays at its boundary meanwhile. What is larger than is wanted in one
piece, and fragments, are told in parts, also beside wsproto (``FragmentedMessage``).
What is wrong, bad UTF-8 above all, is never judged there: wsproto gets it and reports
it.

Frames that have to be decoded, because they are compressed or an extension has changed
them, do not reach wsproto either. It is given plain ones with what comes out of them
(see ``inflation`` and ``extension_intake``).

Received bytes are never moved for the sake of the frames in them: ``_start`` walks
through ``_data``, and what it has passed is let go before more comes. They may lie in a
buffer that others want to use (``vacancy``), and are copied from there when that is so
(``evict``), or when wsproto gets them.

The engine does not know about sockets, time, limits or who waits for a message. Its
events are asked for one at a time, because what is done about one (a message that finds
no room, a Close) decides whether the next may be looked at. Whoever sends looks at the
state first: to send what it forbids is a mistake of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import islice

import wsproto.events
from wsproto.connection import (
    Connection,
    ConnectionState as WsprotoState,
    ConnectionType,
)
from wsproto.frame_protocol import CloseReason as WsprotoCloseReason
from wsproto.utilities import ProtocolError as WsprotoError

from .collector import Collector
from .compressed_frames import FIRST_BYTES, MAX_SIZE, Encode, decode_all, make_encode
from .deflate import BadCompression, Codec
from .events import (
    CloseReceived,
    Event,
    MessagesReceived,
    Pause,
    Piece,
    PingReceived,
    PongReceived,
    ViolationFound,
)
from .extended_message import ExtendedMessage
from .extension import Kind
from .extension_intake import Intake
from .extension_stack import BadExtended, ExtensionStack
from .fragmented_message import FragmentedMessage
from .frame_header import (
    MAX_HEADER_SIZE,
    MAX_PAYLOAD,
    FrameHeader,
    Opcode,
    mask_payload,
    may_become_shortest,
    measure_shortest,
    parse_header,
)
from .inflation import CHUNK_SIZE, STEP_SIZE, WHOLE_STEP_SIZE, Inflation
from .lane import Lane
from .outgoing_message import DrawKey, OutgoingMessage
from .part_decoder import PartDecoder
from .receive_buffer import SIZE as BUFFER_SIZE, ReceiveBuffer
from .sliced_frame import SLICE_SIZE, SlicedFrame, build_frame
from .state import (
    MAY_RECEIVE,
    MAY_SEND_CLOSE,
    MAY_SEND_MESSAGES,
    TRANSITIONS,
    ConnectionState,
    Step,
)

# What wsproto's parser can let out on bytes that it did not expect.
_FOREIGN_ERRORS = (WsprotoError, ValueError, TypeError, struct.error, AssertionError)

_PROTOCOL_ERROR = 1002
_BAD_DATA = 1007
_TRY_AGAIN_LATER = 1013
# Registered after wsproto was written, which calls it a violation. It goes through
# wsproto as its neighbour and comes out as itself.
_BAD_GATEWAY = 1014

_BINARY = int(Opcode.BINARY)
_CLOSE = int(Opcode.CLOSE)
_PLAIN = (0x80 | Opcode.TEXT, 0x80 | Opcode.BINARY)  # final, no reserved bit
_MASKED = 0x80
_COMPRESSED = 0x40  # RSV1 (RFC 7692 section 6)
_RSV1 = 4
_OTHER_RESERVED_BITS = 0x30
_RESERVED_BITS = 0x70
_FIRST_CONTROL_OPCODE = 8
_MAX_BYTES_PER_CHARACTER = 4  # of UTF-8
# A frame that is still arriving stays where it was received if it is no larger; so
# there is as much to receive behind it.
_MAX_WAITING_SIZE = BUFFER_SIZE // 2
_CLOSE_HAS_COME = (WsprotoState.REMOTE_CLOSING, WsprotoState.CLOSED)


class Engine:
    """The protocol of one open connection.

    Attributes:
        is_client: Whether we are the client.
        state: How far the connection is on its way from open to closed.
        is_over: Whether nothing that arrives is parsed any more: a Close frame, a
            violation or the end of the stream has come.
        encode: Builds the frame of a message of ``SLICE_SIZE`` at most, as
            ``send_message`` does; None if that takes more than a lane.

    """

    __slots__ = (
        "_buffer",
        "_codec",
        "_collector",
        "_connection",
        "_data",
        "_events",
        "_fragments",
        "_frame",
        "_head",
        "_inflation",
        "_intake",
        "_is_bad_gateway",
        "_is_begun",
        "_is_frame_reported",
        "_is_starved",
        "_lane",
        "_message_kind",
        "_stack",
        "_start",
        "_unfed",
        "encode",
        "is_client",
        "is_over",
        "state",
    )

    def __init__(
        self,
        connection: Connection | None = None,
        *,
        is_client: bool,
        lane: Lane | None = None,
        codec: Codec | None = None,
        stack: ExtensionStack | None = None,
    ) -> None:
        self.is_client: bool = is_client
        self.state: ConnectionState = ConnectionState.OPEN
        self.is_over: bool = False
        self._connection = connection
        if stack is not None:
            assert codec is None  # it is one of the stack
            lane = None
        self.encode: Encode | None = None
        if lane is not None:
            self.encode = lane.encode if codec is None else make_encode(lane, codec)
        self._lane = lane
        self._codec = codec
        self._inflation: Inflation | None = None  # of a message that has begun
        self._stack = stack
        self._intake = None if stack is None else Intake(stack, is_masked=not is_client)
        self._data: bytes | memoryview = b""
        self._start = 0
        self._is_starved = True  # nothing can be told before more is received
        self._is_begun = False  # a small frame, or a header, that is still arriving
        self._buffer: ReceiveBuffer | None = None
        self._events: list[Event] = []  # few at a time; an empty deque has 600 bytes
        self._collector: Collector | None = None
        self._fragments: FragmentedMessage | None = None  # a message that has begun
        self._head = b""
        self._frame: FrameHeader | None = None
        self._unfed = 0
        self._is_frame_reported = False
        self._message_kind: Opcode | None = None
        self._is_bad_gateway = False

    @property
    def _wsproto(self) -> Connection:
        # Made when it is needed: a connection that is idle, or has only plain messages
        # to say, is half the size without it.
        if self._connection is None:
            role = ConnectionType.CLIENT if self.is_client else ConnectionType.SERVER
            self._connection = Connection(role)
        return self._connection

    @property
    def keeps_context(self) -> bool:
        """Whether a message that was compressed has to leave.

        Then later ones may refer to it.
        """
        codec = self._codec
        if self._stack is not None:
            return True  # what an extension keeps is not known
        if codec is None or codec.deflator is None:
            return False
        return codec.deflator.is_taken_over

    def take_step(self, step: Step) -> None:
        """Move to the next state; the only place that does."""
        self.state = TRANSITIONS[self.state][step]
        if self.state not in MAY_RECEIVE:
            self.is_over = True
            self._collector = None
            self._fragments = None
            self._inflation = None
            self._intake = None
            self._data = b""
            self._start = 0

    # Bytes in, events out.

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take bytes that were received; ``next_event`` tells what they mean."""
        if not self.is_over:
            rest = bytes(self._data[self._start :])
            # No copy if nothing is left of what came before.
            self._data = rest + data if rest else bytes(data)
            self._start = 0
            self._is_starved = False

    def vacancy(
        self, size: int, *, least: int = 1, buffer: ReceiveBuffer | None = None
    ) -> memoryview | None:
        """Return where bytes may be received straight to.

        That is the place of a large frame that arrives, or the buffer. It must be asked
        for when all is decoded that was received, and used before anybody else receives
        to that buffer. Whoever wrote there tells ``fill_vacancy``,
        and releases the view.

        Args:
            size: How many bytes will be written there at most.
            least: How many bytes of a large frame must be missing to make it worth
                while.
            buffer: Where to receive what is not a large frame.

        Returns:
            The view, no longer than asked; None if bytes are to be given to
            ``receive_data``.

        """
        collector, rest = self._collector, self._data
        if collector is not None and collector.missing >= least and not rest:
            self._buffer = None
            return None if collector.is_invalid else collector.vacancy(size)
        lane = self._lane
        if buffer is None or lane is None or not lane.decodes_views or self.is_over:
            return None
        if rest:
            rest = rest[self._start :]
            if len(rest) > _MAX_WAITING_SIZE + MAX_HEADER_SIZE:
                return None  # not decoded yet
        view = buffer.lend(self, rest)
        self._buffer = buffer
        self._data, self._start = buffer.view[: len(rest)] if rest else b"", 0
        return view if size >= len(view) else view[:size]

    def fill_vacancy(self, size: int) -> None:
        """Take note that so many bytes were received straight to their place."""
        self._is_starved = False
        if self._buffer is not None:
            self._data = self._buffer.view[: len(self._data) + size]
        else:
            assert self._collector is not None
            self._collector.fill(size)

    def evict(self) -> None:
        """Copy what was received to the buffer and not used."""
        self._data = bytes(self._data[self._start :])
        self._start = 0

    @property
    def has_undecoded(self) -> bool:
        """Whether received bytes wait to be decoded, or what they mean to be told."""
        if self._events:
            return True
        if self._collector is not None:
            return self._collector.is_done or len(self._data) > self._start
        if self._inflation is not None and self._inflation.has_more:
            return True
        return not self._is_starved and len(self._data) > self._start

    @property
    def is_before_close(self) -> bool:
        """Whether the next frame is a Close, as far as can be seen."""
        is_amid = self._head or self._frame is not None or self._collector is not None
        if is_amid or self._is_amid_part or self._start >= len(self._data):
            return False
        return self._data[self._start] & 0x0F == _CLOSE

    @property
    def _is_amid_part(self) -> bool:
        """Whether something of a frame that wsproto does not get is to be told."""
        message = self._fragments or self._inflation or self._intake
        return message is not None and message.is_amid_frame

    def receive_eof(self) -> None:
        """Take note that the stream has ended, by whichever end."""
        self.take_step(Step.STREAM_ENDED)

    def refuse(self) -> None:
        """Give up on a peer that does what is legal but not wanted here."""
        self.take_step(Step.VIOLATION_FOUND)

    def next_event(self, *, room: int, max_size: int) -> Event | Pause:
        """Report the next thing that has happened, or why there is none.

        Args:
            room: How many new messages there is room for. If none, the engine stops in
                front of the first frame of the next message.
            max_size: The largest message, in bytes, that may be told as a whole; if 0,
                what has arrived of one is told at once.

        """
        while True:
            if self._events:
                return self._events.pop(0)
            if self.is_over:
                return Pause.ENDED
            result: Event | Pause | None
            if self._collector is not None:
                result = self._collect(self._collector, max_size)
            elif self._frame is not None:
                result = self._feed_frame(self._frame, 0)
            elif self._head:
                result = self._begin_frame()
            elif self._is_amid_part:
                result = self._go_on(max_size)
            else:
                result = self._begin(room, max_size)
            if result is not None:
                return result

    def _begin(self, room: int, max_size: int) -> Event | Pause | None:
        """Take what begins here, at a boundary; None if that may have made events."""
        data, start = self._data, self._start
        if len(data) - start < 2:
            return self._ask_for_data()
        first = data[start]
        is_data = first & 0x0F < _FIRST_CONTROL_OPCODE
        if self._message_kind is None and is_data:
            room = room or self._is_begun  # what was begun needs none
            if not room:
                return Pause.ROOM
            is_masked = data[start + 1] >= _MASKED
            lane = self._lane
            if lane is not None and first in _PLAIN and is_masked != self.is_client:
                messages, end = lane.decode(data, start, self.is_client, room, max_size)
                if not messages:
                    return self._begin_plain(lane, max_size)
                self._is_begun = False
                if end < len(data):
                    self._start = end
                else:
                    self._data, self._start = b"", 0
                return MessagesReceived(messages, end - start)
        if is_data:
            return self._begin_part(first, data[start + 1], room, max_size)
        return self._begin_frame()

    def _go_on(self, max_size: int) -> Event | Pause | None:
        """Tell what is here of such a frame; None if that may have made events."""
        if self._fragments is not None:
            return self._tell(self._fragments)
        if self._inflation is not None:
            return self._inflate(self._inflation, max_size)
        assert self._intake is not None
        return self._take_in(self._intake, max_size)

    def _begin_part(
        self, first: int, second: int, room: int, max_size: int
    ) -> Event | Pause | None:
        """Take the beginning of a data frame that is not a plain message."""
        if self._intake is not None and self._is_extended(self._intake, first, second):
            return self._begin_extended(self._intake)
        if self._codec is not None and self._is_compressed(first, second):
            lane, is_fresh = self._lane, self._inflation is None
            if lane is not None and is_fresh and max_size and first in FIRST_BYTES:
                return self._take_compressed(lane, self._codec, room, max_size)
            return self._begin_compressed(self._codec)
        is_masked = second >= _MASKED
        if self._lane is not None and self._is_fragment(first, is_masked=is_masked):
            return self._begin_fragment(self._lane)
        self._hand_over()
        return self._begin_frame()

    # The lane.

    def _begin_plain(self, lane: Lane, max_size: int) -> Pause | None:
        """Collect a frame that looks plain if it is, but for what is missing of it."""
        start = self._start
        frame = parse_header(self._data[start : start + MAX_HEADER_SIZE])
        if frame is None or frame.payload_length > max_size:
            return self._begin_fragment(lane)
        self._is_begun = False
        is_here = frame.payload_length <= len(self._data) - start - frame.size
        if frame.size != measure_shortest(frame) or is_here:
            return self._begin_frame()
        # What is here of text may be wrong already; of bytes it cannot be.
        if frame.payload_length <= _MAX_WAITING_SIZE and frame.opcode == _BINARY:
            self._is_begun = True
            return self._ask_for_data()
        self._start += frame.size
        self._collector = Collector(frame, lane)
        return None

    def _collect(self, collector: Collector, max_size: int) -> Event | Pause | None:
        if not max_size and not collector.is_invalid:
            return self._tell_collected(collector)
        if self._start < len(self._data) and not collector.is_invalid:
            self._start = collector.add(self._data, self._start)
        if collector.is_invalid:
            self._collector = None
            self._give_back(collector)
            return None
        if not collector.is_whole:
            return self._ask_for_data()
        self._collector = None
        frame = collector.frame
        size = frame.size + frame.payload_length
        return MessagesReceived([collector.take()], size)

    def _tell_collected(self, collector: Collector) -> Piece:
        """Tell what was collected as the beginning of a message told in parts."""
        assert self._lane is not None
        self._collector = None
        frame = collector.frame
        self._message_kind = Opcode(frame.opcode)
        message = self._fragments = FragmentedMessage(frame.opcode, self._lane)
        message.begin_frame(frame)
        # It may be that nothing is missing, but the end of it was not asked for.
        piece = message.tell(collector.hand_on())
        if piece.is_last:
            self._fragments = None
            self._message_kind = None
        return piece

    def _give_back(self, collector: Collector) -> None:
        """Give wsproto a frame that turned out not to be plain after all."""
        frame = self._frame = collector.frame
        self._is_frame_reported = False
        earlier, latest = collector.give_up()
        size = len(earlier) - frame.size
        self._unfed = frame.payload_length - size
        self._feed(earlier, payload_size=size)
        self._unfed -= len(latest)
        self._feed(latest, payload_size=len(latest))
        assert self.is_over

    # Messages told in parts, beside wsproto.

    def _is_fragment(self, first: int, *, is_masked: bool) -> bool:
        """Whether a data frame that begins so goes on with what is told in parts."""
        if first & _RESERVED_BITS or is_masked == self.is_client:
            return False
        opcode = first & 0x0F
        if self._fragments is not None:
            return opcode == Opcode.CONTINUATION
        is_beginning = opcode in (Opcode.TEXT, Opcode.BINARY)
        return is_beginning and self._message_kind is None

    def _begin_fragment(self, lane: Lane) -> Pause | None:
        """Take the header of a frame that is told in parts, if it is in order."""
        head = bytes(self._data[self._start : self._start + MAX_HEADER_SIZE])
        frame = parse_header(head)
        if frame is None and may_become_shortest(head):
            self._is_begun = True
            return self._ask_for_data()
        self._is_begun = False
        if (
            frame is None
            or frame.size != measure_shortest(frame)
            or frame.payload_length > MAX_PAYLOAD
        ):
            self._hand_over()
            return self._begin_frame()
        self._start += frame.size
        if self._fragments is None:
            self._fragments = FragmentedMessage(frame.opcode, lane)
            self._message_kind = self._fragments.decoder.opcode
        self._fragments.begin_frame(frame)
        return None

    def _tell(self, message: FragmentedMessage) -> Piece | Pause | None:
        """Tell what is here of the present frame; None if there is a fault in it."""
        part = message.unmask(self._data, self._start)
        if message.left and message.is_told and not part:
            return self._ask_for_data()
        self._start += len(part)
        try:
            piece = message.tell(part)
        except UnicodeDecodeError:
            self._restart(message, part)
            return None
        if piece.is_last:
            self._fragments = None
            self._message_kind = None
        return piece

    def _restart(self, message: FragmentedMessage, part: bytes) -> None:
        """Have wsproto judge the rest of the present frame."""
        frame = message.restart(part, is_masked=not self.is_client)
        self._hand_over()
        self._feed(frame, payload_size=len(part))
        assert self.is_over

    def _hand_over(self) -> None:
        """Have wsproto go on with a message that it has not seen."""
        message = self._fragments or (self._inflation if self._lane else None)
        self._fragments = self._inflation = None
        if message is not None:
            self._recap(message.decoder)

    def _recap(self, decoder: PartDecoder) -> None:
        """Tell wsproto of the message that has begun."""
        self._wsproto.receive_data(decoder.recap(is_masked=not self.is_client))
        for event in self._wsproto.events():
            assert isinstance(event, wsproto.events.Message)

    def _take_header(self) -> FrameHeader | Pause | None:
        """Take the header of a frame that wsproto does not get.

        Returns:
            The header; why there is none yet; or None if it breaks the rules, so that
            wsproto has to get the frame after all.

        """
        start = self._start
        frame = parse_header(bytes(self._data[start : start + MAX_HEADER_SIZE]))
        if frame is None:
            return self._ask_for_data()
        if frame.size != measure_shortest(frame) or frame.payload_length > MAX_PAYLOAD:
            return None
        self._start += frame.size
        self._is_frame_reported = False
        return frame

    # Compressed messages, by way of plain fragments.

    def _is_compressed(self, first: int, second: int) -> bool:
        """Whether a frame that begins so belongs to a compressed message.

        What breaks the rules does not: wsproto gets it as it is and says what is wrong.
        """
        opcode = first & 0x0F
        if first & _OTHER_RESERVED_BITS or (second >= _MASKED) == self.is_client:
            return False
        if first & _COMPRESSED:
            is_beginning = opcode in (Opcode.TEXT, Opcode.BINARY)
            return is_beginning and self._message_kind is None
        return opcode == Opcode.CONTINUATION and self._inflation is not None

    def _take_compressed(
        self, lane: Lane, codec: Codec, room: int, max_size: int
    ) -> Event | Pause | None:
        """Take whole compressed messages, or the beginning of one that is not whole."""
        data, start = self._data, self._start
        payloads, end = lane.cut(data, start, self.is_client, room, MAX_SIZE)
        if not payloads:
            return self._begin_compressed(codec)
        limit = min(WHOLE_STEP_SIZE, max_size + 1)
        parts, error = codec.inflator.inflate_all(payloads, limit, WHOLE_STEP_SIZE)
        is_unfinished = bool(parts) and len(parts[-1]) >= limit
        messages = decode_all(data[start], parts[:-1] if is_unfinished else parts)
        count = len(messages)
        if count < len(payloads):
            # To cut once more finds where that is.
            _, end = lane.cut(data, start, self.is_client, count, MAX_SIZE)
        if count < len(parts):
            is_done = not is_unfinished or count < len(parts) - 1
            end = self._resume(codec, end, parts[count], is_done=is_done)
        elif error is not None:
            end = self._resume(codec, end, error, is_done=True)
        if end < len(data):
            self._start = end
        else:
            self._data, self._start = b"", 0
        if not messages:
            return None
        return MessagesReceived(messages, sum(map(len, parts[:count])))

    def _resume(
        self, codec: Codec, start: int, result: bytes | BadCompression, *, is_done: bool
    ) -> int:
        """Leave a message with which there is trouble to those who know what to do.

        Args:
            codec: What was used to inflate it.
            start: Where its frame begins.
            result: What has come into being, or what is wrong.
            is_done: Whether that is all.

        Returns:
            Where its frame ends.

        """
        frame = parse_header(bytes(self._data[start : start + MAX_HEADER_SIZE]))
        assert frame is not None
        self._is_frame_reported = False
        self._inflation = Inflation(
            codec.inflator, frame.opcode, is_masked=not self.is_client
        )
        self._inflation.resume(frame, result, is_done=is_done)
        return start + frame.size + frame.payload_length

    def _begin_compressed(self, codec: Codec) -> Pause | None:
        """Take the header of a frame of a compressed message."""
        frame = self._take_header()
        if not isinstance(frame, FrameHeader):
            return frame or self._begin_frame()
        if self._inflation is None:
            self._inflation = Inflation(
                codec.inflator, frame.opcode, is_masked=not self.is_client
            )
        self._inflation.begin_frame(frame)
        return None

    def _inflate(
        self, inflation: Inflation, max_size: int
    ) -> MessagesReceived | Piece | Pause | None:
        """Inflate some of a compressed message; None if that may have made events."""
        here = len(self._data) - self._start
        step = STEP_SIZE
        if self._lane is not None and inflation.is_whole(here):
            chunk, step = self._take(inflation.left), WHOLE_STEP_SIZE
        elif inflation.has_more:
            chunk = b""
        else:
            chunk = self._take(min(inflation.left, CHUNK_SIZE, here))
            if inflation.left and not chunk:
                return self._ask_for_data()
        try:
            data = inflation.inflate(chunk, max_size, step)
        except BadCompression as error:
            self._report_violation(_BAD_DATA, str(error))
            return None
        if inflation.is_done and step == WHOLE_STEP_SIZE:
            message = inflation.read(data)
            if message is not None:
                self._inflation = None
                return MessagesReceived([message], len(data))
        if not inflation.needs_telling(data):
            return None
        if self._lane is None:
            self._feed_inflated(inflation, data, is_first=not inflation.has_told)
            return None
        return self._tell_inflated(inflation, data)

    def _tell_inflated(self, inflation: Inflation, data: bytes) -> Piece | None:
        """Tell what has come into being; None if there is a fault in it."""
        try:
            piece = inflation.tell(data)
        except UnicodeDecodeError:
            self._recap(inflation.decoder)
            self._feed_inflated(inflation, data, is_first=False)
            assert self.is_over
            return None
        self._message_kind = inflation.decoder.opcode
        if piece.is_last:
            self._inflation = None
            self._message_kind = None
        return piece

    def _feed_inflated(
        self, inflation: Inflation, data: bytes, *, is_first: bool
    ) -> None:
        """Have wsproto judge what has come into being."""
        if inflation.is_done:
            self._inflation = None
        fragment = inflation.make_fragment(data, is_first=is_first)
        self._feed(fragment, payload_size=len(data))

    # What extensions of the program's decode, by way of plain fragments.

    def _is_extended(self, intake: Intake, first: int, second: int) -> bool:
        """Whether a frame that begins so is for extensions; as ``_is_compressed``."""
        if (second >= _MASKED) == self.is_client:
            return False
        is_amid_message = self._message_kind is not None
        return intake.takes(first, is_amid_message=is_amid_message)

    def _begin_extended(self, intake: Intake) -> Pause | None:
        """Take the header of a frame that extensions decode."""
        frame = self._take_header()
        if not isinstance(frame, FrameHeader):
            return frame or self._begin_frame()
        intake.begin_frame(frame)
        return None

    def _take_in(self, intake: Intake, max_size: int) -> Pause | None:
        """Have a part of a frame decoded; None if that may have made events."""
        chunk = self._take(min(intake.missing, len(self._data) - self._start))
        if intake.is_waiting and not chunk:
            return self._ask_for_data()
        is_wanted = self.state is ConnectionState.OPEN
        try:
            fragment = intake.add(chunk, max_size, is_wanted=is_wanted)
        except BadExtended as error:
            self._report_violation(error.code, error.problem)
            return None
        if fragment is not None:
            self._unfed = fragment.pending
            self._feed(fragment.data, payload_size=fragment.size)
            self._unfed = 0
        return None

    # Everything else, by way of wsproto.

    def _begin_frame(self) -> Pause | None:
        """Feed what is here of a header, and of the payload behind it."""
        head = self._head + self._data[self._start : self._start + MAX_HEADER_SIZE]
        frame = parse_header(head)
        if frame is None:
            chunk = self._take(len(head) - len(self._head))
            if not chunk:
                return self._ask_for_data()
            self._head = head
            self._feed(chunk, payload_size=0)
            return None
        head_size = frame.size - len(self._head)
        self._head = b""
        self._frame = frame
        self._unfed = frame.payload_length
        self._is_frame_reported = False
        return self._feed_frame(frame, head_size)

    def _feed_frame(self, frame: FrameHeader, head_size: int) -> Pause | None:
        """Feed what is here of a payload, with the end of its header in front of it."""
        size = min(len(self._data) - self._start - head_size, self._unfed)
        is_close = frame.opcode == _CLOSE
        if is_close and size < self._unfed:
            size = 0
        chunk = self._take(head_size + size)
        if not chunk:
            return self._ask_for_data()
        self._unfed -= size
        if is_close:
            chunk = chunk[:head_size] + self._stand_in(frame, chunk[head_size:])
        self._feed(chunk, payload_size=size)
        if self._unfed:
            self._announce(frame)
        else:
            self._frame = None
        return None

    def _take(self, size: int) -> bytes:
        start = self._start
        self._start = start + size
        return bytes(self._data[start : self._start])

    def _ask_for_data(self) -> Pause:
        # Bytes that were used are not kept: an idle connection is to hold nothing.
        if self._start:
            self._data = self._data[self._start :] or b""
            self._start = 0
        self._is_starved = True
        return Pause.DATA

    def _stand_in(self, frame: FrameHeader, payload: bytes) -> bytes:
        """Replace the one code that wsproto does not know by one that it does."""
        key = (frame.masking_key or bytes(4))[:2]
        if mask_payload(payload[:2], key) != _BAD_GATEWAY.to_bytes(2, "big"):
            return payload
        self._is_bad_gateway = True
        return mask_payload(_TRY_AGAIN_LATER.to_bytes(2, "big"), key) + payload[2:]

    def _announce(self, frame: FrameHeader) -> None:
        """Report the size of a frame of which no payload is here yet."""
        if self._is_frame_reported or self.is_over:
            return
        match self._message_kind, frame.opcode:
            case (None, Opcode.TEXT) | (Opcode.TEXT, Opcode.CONTINUATION):
                self._report("", size=0, is_last=False)
            case (None, Opcode.BINARY) | (Opcode.BINARY, Opcode.CONTINUATION):
                self._report(b"", size=0, is_last=False)
            case _:
                pass  # a control frame, or one that does not fit the message

    def _feed(self, chunk: bytes, *, payload_size: int) -> None:
        """Give wsproto bytes of one frame and report what it makes of them."""
        try:
            self._wsproto.receive_data(chunk)
            events = list(self._wsproto.events())
        except _FOREIGN_ERRORS as error:
            self._report_violation(_PROTOCOL_ERROR, f"unexpected bytes: {error}")
            return
        for event in events:
            self._translate(event, payload_size)

    def _translate(self, event: wsproto.events.Event, payload_size: int) -> None:
        match event:
            case wsproto.events.TextMessage(data=text, message_finished=is_last):
                self._message_kind = None if is_last else Opcode.TEXT
                self._report(text, size=payload_size, is_last=is_last)
            case wsproto.events.BytesMessage(data=data, message_finished=is_last):
                self._message_kind = None if is_last else Opcode.BINARY
                self._report(bytes(data), size=payload_size, is_last=is_last)
            case wsproto.events.Ping(payload=payload):
                self._events.append(PingReceived(bytes(payload)))
            case wsproto.events.Pong(payload=payload):
                self._events.append(PongReceived(bytes(payload)))
            case wsproto.events.CloseConnection(code=code, reason=reason):
                self._report_close(int(code), reason or "")
            case _:
                raise AssertionError(event)

    def _report(self, data: str | bytes, *, size: int, is_last: bool) -> None:
        begins_frame = not self._is_frame_reported
        self._is_frame_reported = True
        self._events.append(Piece(data, size, self._unfed, begins_frame, is_last))

    def _report_close(self, code: int, reason: str) -> None:
        # wsproto reports what it could not parse as if the peer had closed, but only a
        # Close frame moves its state.
        if self._wsproto.state not in _CLOSE_HAS_COME:
            self._report_violation(code, reason)
            return
        if self._is_bad_gateway:
            code = _BAD_GATEWAY
        has_code = code != WsprotoCloseReason.NO_STATUS_RCVD
        self._events.append(CloseReceived(code if has_code else None, reason))
        self.take_step(Step.CLOSE_RECEIVED)

    def _report_violation(self, code: int, problem: str) -> None:
        self._events.append(ViolationFound(code, problem))
        self.take_step(Step.VIOLATION_FOUND)

    # Intent in, bytes out.

    def send_message(
        self,
        message: str | bytes | memoryview,
        masking_key: bytes | None = None,
        *,
        compress: bool = True,
    ) -> bytes | SlicedFrame:
        """Build the frame of a text or binary message (RFC 6455 section 5.6).

        Args:
            message: The message; a view of bytes is borrowed until the frame was used.
            masking_key: Four unpredictable bytes that let a client take the lane, and
                compress; a server needs none.
            compress: Whether to compress it, if that was agreed on and it is worth it.

        Returns:
            The frame; of a large message one that is to be written in slices.

        Raises:
            UnicodeEncodeError: If text has surrogates that UTF-8 cannot carry; nothing
                has changed then.
            TypeError: If an extension returns what it may not.
            ValueError: If an extension changes what it may not.

        """
        assert self.state in MAY_SEND_MESSAGES
        if self._stack is not None:
            return self._send_extended(
                message, masking_key, self._stack, compress=compress
            )
        if self._codec is not None and compress:
            frame = self._send_compressed(message, masking_key, self._codec)
            if frame is not None:
                return frame
        if self._lane is None or (masking_key is None and self.is_client):
            return self._send_by_wsproto(message)
        if not isinstance(message, memoryview) and len(message) <= SLICE_SIZE:
            return self._lane.encode(message, masking_key)
        if isinstance(message, str):
            return build_frame(Opcode.TEXT, message.encode(), masking_key, self._lane)
        return build_frame(Opcode.BINARY, message, masking_key, self._lane)

    def begin_message(
        self, opcode: Opcode, draw_key: DrawKey, *, compress: bool
    ) -> OutgoingMessage:
        """Begin a message in several frames; until it ends, no other may be sent.

        Args:
            opcode: Text or binary.
            draw_key: Gives a masking key for each frame, or None on a server.
            compress: Whether to compress it, if that was agreed on.

        """
        assert self.state in MAY_SEND_MESSAGES
        if self._stack is not None:
            return ExtendedMessage(opcode, draw_key, self._stack, compress=compress)
        deflator = self._codec.deflator if self._codec and compress else None
        return OutgoingMessage(opcode, draw_key, lane=self._lane, deflator=deflator)

    def is_worth_compressing(self, size: int) -> bool:
        """Whether a message of so many bytes is to be compressed."""
        if self._codec is None:
            return self._stack is not None  # where it is looked at again
        return size >= self._codec.threshold

    @property
    def tells_parts(self) -> bool:
        """Whether what has arrived of a message can be told at once.

        What extensions change is told by frames or messages, within the limit.
        """
        return self._stack is None

    def send_batch(
        self,
        messages: Sequence[object],
        start: int,
        masking_keys: bytes | None,
        max_size: int,
    ) -> tuple[bytes, int]:
        """Build the frames of as many messages as fit into a number of bytes.

        Args:
            messages: The messages; what is not one ends the batch.
            start: Which of them is the first.
            masking_keys: Four such bytes for each message from there on.
            max_size: How many bytes the frames may have together.

        Returns:
            The frames, and which message is the first that is not in them. That may be
            ``start`` itself: it is to be looked at alone.

        """
        assert self.state in MAY_SEND_MESSAGES
        if self._stack is not None:
            return b"", start  # each alone: what was encoded must not be lost
        is_plain = self._codec is None
        has_keys = masking_keys is not None or not self.is_client
        if self._lane is not None and has_keys and is_plain:
            return self._lane.encode_batch(messages, start, masking_keys, max_size)
        parts: list[bytes] = []
        keys = masking_keys or b""
        frame: bytes | SlicedFrame
        for number, message in enumerate(islice(messages, start, None)):
            if not isinstance(message, str | bytes):
                break
            widest = 1 if isinstance(message, bytes) else _MAX_BYTES_PER_CHARACTER
            max_size -= MAX_HEADER_SIZE + len(message) * widest
            if max_size < 0:
                break
            try:
                key = keys[4 * number : 4 * number + 4] or None
                if self.encode is not None and has_keys:
                    frame = self.encode(message, key)
                else:
                    frame = self.send_message(message, key)
            except UnicodeEncodeError:
                break
            parts.append(bytes(frame))
        return b"".join(parts), start + len(parts)

    def _send_compressed(
        self, message: str | bytes | memoryview, masking_key: bytes | None, codec: Codec
    ) -> bytes | SlicedFrame | None:
        """Build a compressed frame; None if the message is not worth it."""
        data = message.encode() if isinstance(message, str) else message
        is_mute = masking_key is None and self.is_client
        if codec.deflator is None or len(data) < codec.threshold or is_mute:
            return None
        payload = codec.deflator.compress(data)
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        return build_frame(opcode, payload, masking_key, self._lane, rsv=_RSV1)

    def _send_extended(
        self,
        message: str | bytes | memoryview,
        masking_key: bytes | None,
        stack: ExtensionStack,
        *,
        compress: bool,
    ) -> bytes:
        """Build the frame that the extensions make of a message."""
        assert masking_key is not None or not self.is_client
        kind: Kind = "text" if isinstance(message, str) else "bytes"
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        data = message.encode() if isinstance(message, str) else bytes(message)
        try:
            data, rsv = stack.encode_message(kind, data, compress=compress)
            return stack.build_frame(opcode, data, masking_key, rsv=rsv)
        except BaseException:
            stack.forget()
            raise

    def _send_by_wsproto(self, message: str | bytes | memoryview) -> bytes:
        if isinstance(message, str):
            return self._wsproto.send(wsproto.events.TextMessage(data=message))
        return self._wsproto.send(wsproto.events.BytesMessage(data=bytes(message)))

    def send_ping(self, payload: bytes) -> bytes:
        """Build a ping of at most 125 bytes (RFC 6455 section 5.5.2)."""
        assert self.state in MAY_SEND_MESSAGES
        return self._wsproto.send(wsproto.events.Ping(payload=payload))

    def send_pong(self, payload: bytes) -> bytes:
        """Build a pong of at most 125 bytes (RFC 6455 section 5.5.3)."""
        assert self.state in MAY_SEND_MESSAGES
        return self._wsproto.send(wsproto.events.Pong(payload=payload))

    def send_close(self, code: int | None, reason: str) -> bytes:
        """Build our Close frame (RFC 6455 section 5.5.1).

        Args:
            code: A code that may be sent, or None for an empty frame.
            reason: At most 123 bytes of UTF-8; empty if there is no code.

        """
        assert self.state in MAY_SEND_CLOSE
        status = WsprotoCloseReason.NO_STATUS_RCVD if code is None else code
        event = wsproto.events.CloseConnection(code=status, reason=reason)
        frame = self._wsproto.send(event)
        self.take_step(Step.CLOSE_SENT)
        return frame
