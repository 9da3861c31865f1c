"""The client's side of the opening handshake, on wsproto (RFC 6455 section 4.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from .._errors import ConnectionRejected, InvalidHandshake
from .._options import PerMessageDeflate
from .chosen_lane import LANE
from .engine import Engine
from .extension import Extension
from .extension_header import BadExtensions, build_extensions, parse_extensions
from .headers import Headers, find_values
from .http_head import TCHARS, BadHead, HeadBuffer, HeadSyntax, check_bodiless, is_host
from .negotiation import Accepted, Negotiation
from .opened import Opened
from .switch_answer import explain_switch, prepare_switch, split_extensions

# 64 KiB: enough for any explanation by a server, too little to hurt.
_MAX_BODY_SIZE = 64 * 1024

# What wsproto gets of a body at once, so that it decodes little more than is wanted.
_SLICE_SIZE = 16 * 1024

# 100 Continue, 102 Processing and 103 Early Hints say nothing about the upgrade.
_INTERIM = frozenset({100, 102, 103})
# A time-out ends a server that says nothing; this ends one that never stops.
_MAX_INTERIM_ANSWERS = 16

# What wsproto puts into the Host header, until our own value takes its place.
_PLACEHOLDER = "placeholder"

_EXTENSIONS = b"Sec-WebSocket-Extensions"
_SUBPROTOCOL = re.compile(TCHARS)
_TARGET = re.compile("[!-~]+")

_VERSION = b"HTTP/1."
_STATUS = b"0 000"
_ZEROS = bytes.maketrans(b"123456789", b"000000000")


def _could_start(start: bytes) -> bool:
    version, rest = start[: len(_VERSION)], start[len(_VERSION) :]
    status = rest[: len(_STATUS)].translate(_ZEROS)
    return _VERSION.startswith(version) and _STATUS.startswith(status)


_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: [^\x00\r\n]*)?\r?\n")
_ANSWER = HeadSyntax("answer", _could_start, _STATUS_LINE)


class ClientHandshake:
    """One opening handshake: a request goes out, bytes come in until it is decided.

    Whatever comes in, the end is an `Opened`, an `InvalidHandshake` or a
    `ConnectionRejected`; after that the object has done its work.
    """

    def __init__(
        self,
        *,
        host: str,
        resource: str,
        subprotocols: Iterable[str] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        deflate: PerMessageDeflate | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        """Check and build the request.

        Args:
            host: The value of the Host header.
            resource: The request target.
            subprotocols: What to offer, best first.
            headers: More headers, as `build_headers` makes them. A Host among them
                stands in for ours, in our place.
            deflate: The compression to offer.
            extensions: What to offer in front of it, made for this connection.

        Raises:
            TypeError: If the subprotocols are not an iterable of str, or are one str.
            ValueError: If a value cannot be sent, or a subprotocol or the name of an
                extension is there twice.

        """
        self._subprotocols = _check_subprotocols(subprotocols)
        host_value, others = _split_host(host, list(headers))
        check_bodiless(others)
        if not _TARGET.fullmatch(resource):
            raise ValueError(f"{resource!r} is not a request target")
        self._negotiation = Negotiation(extensions, deflate)
        offers = self._negotiation.offer()
        self._has_offers = bool(offers)
        if offers:
            others.insert(0, (_EXTENSIONS, build_extensions(offers)))
        self._wsproto = H11Handshake(ConnectionType.CLIENT)
        request = self._wsproto.send(
            Request(
                host=_PLACEHOLDER,
                target=resource,
                subprotocols=self._subprotocols,
                extra_headers=others,
            )
        )
        # wsproto's codec for host names knows nothing of ports: to it ":8000" belongs
        # to the last label, which may thus become too long.
        line = b"\r\nHost: %s\r\n"
        placeholder = line % _PLACEHOLDER.encode("ascii")
        self._request = request.replace(placeholder, line % host_value, 1)
        self._heads = HeadBuffer(_ANSWER)
        self._interim_answers = 0
        self._rejection: RejectConnection | None = None
        self._body = bytearray()
        self._is_body_over = False

    def request(self) -> bytes:
        """Tell the bytes to send (RFC 6455 section 4.1)."""
        return self._request

    @property
    def rejection(self) -> ConnectionRejected | None:
        """The rejection with as much of its body as has come; None before its head."""
        if self._rejection is None:
            return None
        return ConnectionRejected(
            self._rejection.status_code,
            tuple(self._rejection.headers),
            bytes(self._body[:_MAX_BODY_SIZE]),
        )

    def receive_data(self, data: bytes | bytearray) -> Opened | None:
        """Take bytes of the server's.

        Returns:
            The open connection, or None while nothing is decided. What comes later
            belongs to the engine of that connection.

        Raises:
            InvalidHandshake: As soon as it is clear that the answer is wrong.
            ConnectionRejected: When the answer is another than 101, and its body is
                whole or 64 KiB of it are here.

        """
        self._heads.receive_data(data)
        while self._rejection is None:
            head = self._take_head()
            if head is None:
                return None
            opened = self._judge(head)
            if opened is not None:
                return opened
        self._read_body(self._heads.take_rest())
        if self._is_body_over:
            self.receive_eof()
        return None

    def receive_eof(self) -> None:
        """Take note that the stream has ended, or that no more of it is wanted.

        It returns if there is no answer; then the server has just hung up.

        Raises:
            ConnectionRejected: If the answer was another than 101; its body is what has
                come of it.

        """
        rejection = self.rejection
        if rejection is not None:
            raise rejection

    def _take_head(self) -> bytes | None:
        try:
            return self._heads.take_head()
        except BadHead as error:
            raise InvalidHandshake(error.problem) from None

    def _judge(self, head: bytes) -> Opened | None:
        status_line = _STATUS_LINE.match(head)
        assert status_line is not None
        status_code = int(status_line[1])
        if status_code == 101:
            return self._open(head)
        if status_code >= 200:
            self._start_rejection(head)
        elif status_code in _INTERIM:
            self._pass_over()
        else:
            raise InvalidHandshake(f"the server answered with status {status_code}")
        return None

    def _pass_over(self) -> None:
        self._interim_answers += 1
        if self._interim_answers > _MAX_INTERIM_ANSWERS:
            problem = (
                f"the server sent more than {_MAX_INTERIM_ANSWERS} interim answers"
            )
            raise InvalidHandshake(problem)

    def _open(self, head: bytes) -> Opened:
        values: list[bytes] = []
        if self._has_offers:
            head, values = split_extensions(head)
        prepared = prepare_switch(head)
        if prepared is None:
            raise InvalidHandshake(explain_switch(head, self._subprotocols))
        try:
            self._wsproto.receive_data(prepared)
        except (RemoteProtocolError, UnicodeError):
            problem = explain_switch(head, self._subprotocols)
            raise InvalidHandshake(problem) from None
        (accepted,) = self._wsproto.events()
        assert isinstance(accepted, AcceptConnection)
        agreed = self._agree(values)
        codec, stack = agreed.build(is_client=True)
        engine = Engine(is_client=True, lane=LANE, codec=codec, stack=stack)
        engine.receive_data(self._heads.take_rest())
        return Opened(
            engine,
            tuple(accepted.extra_headers),
            accepted.subprotocol,
            agreed.compression,
            agreed.extensions,
        )

    def _agree(self, values: list[bytes]) -> Accepted:
        """Judge the extensions that the server has accepted (RFC 6455 section 9.1)."""
        try:
            uses = parse_extensions(values)
        except BadExtensions as error:
            raise InvalidHandshake(str(error)) from None
        return self._negotiation.judge(uses)

    def _start_rejection(self, head: bytes) -> None:
        try:
            self._wsproto.receive_data(head)
        except RemoteProtocolError:
            problem = "the headers of the answer are not valid HTTP"
            raise InvalidHandshake(problem) from None
        self._read_events()

    def _read_body(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE_SIZE):
            if self._is_body_over:
                return
            try:
                self._wsproto.receive_data(data[start : start + _SLICE_SIZE])
            except RemoteProtocolError:
                # Its framing is broken. The status is worth more to the program.
                self._is_body_over = True
            self._read_events()

    def _read_events(self) -> None:
        for event in self._wsproto.events():
            match event:
                case RejectConnection():
                    self._rejection = event
                case RejectData(data=data, body_finished=is_finished):
                    self._body += data
                    self._is_body_over |= is_finished
                case _:
                    raise AssertionError(event)
        self._is_body_over |= len(self._body) >= _MAX_BODY_SIZE


def _check_subprotocols(subprotocols: Iterable[object] | None) -> list[str]:
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be an iterable of str, not one str")
    checked: list[str] = []
    for subprotocol in subprotocols or ():
        if not isinstance(subprotocol, str):
            kind = type(subprotocol).__name__
            raise TypeError(f"a subprotocol must be a str, not {kind}")
        if not _SUBPROTOCOL.fullmatch(subprotocol):
            raise ValueError(f"the subprotocol {subprotocol!r} is not a token")
        if subprotocol in checked:
            raise ValueError(f"the subprotocol {subprotocol!r} is there twice")
        checked.append(subprotocol)
    return checked


def _split_host(host: str, headers: Headers) -> tuple[bytes, Headers]:
    """Find the value of the Host header, and the headers other than it."""
    given = find_values(headers, b"host")
    if len(given) > 1:
        raise ValueError("the Host header is there twice")
    value = given[0].decode("latin-1") if given else host
    if not is_host(value):
        raise ValueError(f"{value!r} cannot be the value of the Host header")
    others = [header for header in headers if header[0].lower() != b"host"]
    return value.encode("ascii"), others
