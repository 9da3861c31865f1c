"""The server's side of the opening handshake, on wsproto (RFC 6455 section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake

from .._options import PerMessageDeflate
from .chosen_lane import LANE
from .engine import Engine
from .extension import Extension
from .extension_header import build_extensions
from .headers import Headers, build_response, find_values
from .http_head import BadHead, HeadBuffer, check_bodiless
from .negotiation import Negotiation
from .opened import Opened
from .upgrade_request import REQUEST, UpgradeRequest, parse_request

# RFC 9110 sections 15.3.5 and 15.4.5.
_BODILESS = frozenset({204, 304})

_EXTENSIONS = b"Sec-WebSocket-Extensions"
_PLAIN_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is said to a peer whose request is not a good one.

    Attributes:
        status_code: The HTTP status that was chosen.
        problem: What is wrong with the request, as the end of a sentence.
        answer: The whole response, after which the stream is to be closed.

    """

    status_code: int
    problem: str
    answer: bytes


class ServerHandshake:
    """One opening handshake: bytes come in until there is a request, then an answer.

    Attributes:
        is_answered: Whether the one answer was given: by us to a bad request, or by
            ``accept`` or ``reject``.
        opened: The open connection, once the request was accepted.

    """

    __slots__ = ("_heads", "_request", "_wsproto", "is_answered", "opened")

    def __init__(self) -> None:
        self.is_answered: bool = False
        self.opened: Opened | None = None
        self._heads = HeadBuffer(REQUEST)
        self._request: UpgradeRequest | None = None
        self._wsproto: H11Handshake | None = None

    def receive_data(self, data: bytes | bytearray) -> UpgradeRequest | Refusal | None:
        """Take bytes of the client's; whatever they are, this raises nothing.

        What comes behind a request waits for the engine; what comes behind a refused
        one is dropped.

        Returns:
            Once, the request or what to answer to a bad one; None before and after.

        """
        if self.opened is not None:
            self.opened.engine.receive_data(data)
        elif not self.is_answered:
            self._heads.receive_data(data)
            if self._request is None:
                return self._judge()
        return None

    def accept(
        self,
        *,
        subprotocol: str | None,
        headers: Headers,
        deflate: PerMessageDeflate | None = None,
        extensions: Sequence[Extension] = (),
    ) -> bytes:
        """Build the answer that opens the connection (RFC 6455 section 4.2.2).

        Args:
            subprotocol: One of those that the client offers, or None.
            headers: More headers, as `build_headers` makes them; they come last.
            deflate: The compression to agree to, if the client offers it.
            extensions: What else to accept, made for this connection.

        Raises:
            ValueError: If there is no request, or it was answered, or the client does
                not offer that subprotocol, or a header would announce a body, or an
                extension is wrong. Nothing has changed then.

        """
        request, handshake = self._take_unanswered()
        if subprotocol is not None and subprotocol not in request.subprotocols:
            raise ValueError(
                f"the client does not offer the subprotocol {subprotocol!r}"
            )
        check_bodiless(headers)
        negotiation = Negotiation(extensions, deflate)
        agreed, uses = negotiation.answer(request.extensions)
        if uses:
            headers = [(_EXTENSIONS, build_extensions(uses)), *headers]
        codec, stack = agreed.build(is_client=False)
        answer = handshake.send(
            AcceptConnection(subprotocol=subprotocol, extra_headers=headers)
        )
        engine = Engine(is_client=False, lane=LANE, codec=codec, stack=stack)
        engine.receive_data(self._heads.take_rest())
        self.opened = Opened(
            engine, (), subprotocol, agreed.compression, agreed.extensions
        )
        self._finish()
        return answer

    def reject(
        self,
        status_code: int,
        *,
        headers: Headers,
        body: bytes | bytearray | memoryview = b"",
    ) -> bytes:
        """Build an answer that ends the connection.

        Args:
            status_code: 200 to 999.
            headers: Headers as `build_headers` makes them. Content-Length and
                ``Connection: close`` are added.
            body: Nothing for 204 and 304.

        Raises:
            TypeError: If the status is not an int, or the body is not bytes.
            ValueError: If there is no request, or it was answered, or no HTTP response
                can be made of these values. Nothing has changed then.

        """
        self._take_unanswered()
        _check_status(status_code)
        content = _check_body(status_code, body)
        _check_framing(headers, len(content))
        self._finish()
        return build_response(status_code, list(headers), content)

    def _judge(self) -> UpgradeRequest | Refusal | None:
        head = None
        try:
            head = self._heads.take_head()
            if head is None:
                return None
            self._request, self._wsproto = parse_request(head)
        except BadHead as error:
            self._finish()
            # RFC 9110 section 9.3.2.
            has_body = head is None or not head.startswith(b"HEAD ")
            return _build_refusal(error, has_body=has_body)
        return self._request

    def _take_unanswered(self) -> tuple[UpgradeRequest, H11Handshake]:
        if self.is_answered:
            raise ValueError("the request was answered already")
        if self._request is None or self._wsproto is None:
            raise ValueError("there is no request to answer")
        return self._request, self._wsproto

    def _finish(self) -> None:
        self.is_answered = True
        # Nothing of it is of use any more, and connections live long.
        self._wsproto = None
        self._heads.take_rest()


def _build_refusal(error: BadHead, *, has_body: bool) -> Refusal:
    body = f"{error.problem}\n".encode() if has_body else b""
    headers = [*error.headers, _PLAIN_TEXT]
    answer = build_response(error.status_code, headers, body)
    return Refusal(error.status_code, error.problem, answer)


def _check_status(status_code: object) -> None:
    if isinstance(status_code, bool) or not isinstance(status_code, int):
        kind = type(status_code).__name__
        raise TypeError(f"the status of a response must be an int, not {kind}")
    if not 200 <= status_code <= 999:
        raise ValueError(f"a rejection cannot have the status {status_code}")


def _check_body(status_code: int, body: bytes | bytearray | memoryview) -> bytes:
    try:
        content = bytes(memoryview(body))
    except TypeError:
        kind = type(body).__name__
        raise TypeError(f"the body of a response must be bytes, not {kind}") from None
    if content and status_code in _BODILESS:
        raise ValueError(f"a response with the status {status_code} has no body")
    return content


def _check_framing(headers: Headers, size: int) -> None:
    if find_values(headers, b"transfer-encoding"):
        raise ValueError("the Transfer-Encoding header is set by the library")
    for value in find_values(headers, b"content-length"):
        if value != b"%d" % size:
            raise ValueError(f"the Content-Length header does not say {size}")
