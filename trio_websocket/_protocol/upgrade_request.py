"""The request for an upgrade, judged (RFC 6455 section 4.2.1).

wsproto reads what browsers and libraries send. It also takes what it should not,
refuses some lists that are spelt in an uncommon way, and knows one status for most
faults. So a head that is out of the ordinary, or that wsproto refuses, is judged here
in full.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11
from wsproto.connection import ConnectionType
from wsproto.events import Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from .extension_header import BadExtensions, ExtensionUse, parse_extensions
from .headers import Headers, find_values, split_list
from .http_head import TCHARS, BadHead, HeadSyntax, is_host

_METHOD = TCHARS.encode("ascii")
_START = re.compile(rb"(?:%s(?: .*)?)?" % _METHOD, re.DOTALL)
_REQUEST_LINE = re.compile(rb"%s [!-~]+ (HTTP/[0-9]\.[0-9])\r?\n" % _METHOD)


def _could_start(start: bytes) -> bool:
    return _START.fullmatch(start) is not None


REQUEST = HeadSyntax("request", _could_start, _REQUEST_LINE)

# Headers of these alone need no decoder that may fail.
_ORDINARY = b"\t\r\n" + bytes(range(0x20, 0x7F))
# But host names of this kind go through a codec that knows nothing of ports.
_IDNA_PREFIX = b"xn--"

# Sixteen bytes in base64 (RFC 6455 section 4.2.1 number 5).
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_VERSION = re.compile(rb"[0-9]{1,3}")

_ALLOW_GET = ((b"Allow", b"GET"),)
_USE_WEBSOCKET = ((b"Upgrade", b"websocket"),)
_USE_VERSION_13 = ((b"Sec-WebSocket-Version", b"13"),)

_DECODED = frozenset({b"host", b"connection", b"upgrade"})
_LEFT_OUT = frozenset({b"host", b"sec-websocket-extensions", b"sec-websocket-protocol"})


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A good request for an upgrade.

    Attributes:
        target: The request target as it came.
        headers: Names in lower case and values, in the order of the wire, without the
            Host and without what was offered of subprotocols and extensions.
        host: The value of the Host header as it came.
        subprotocols: What the client offers, in its order.
        extensions: What it offers of those, in its order; nothing if that cannot be
            read.

    """

    target: str
    headers: Headers
    host: str
    subprotocols: tuple[str, ...]
    extensions: tuple[ExtensionUse, ...] = ()


def parse_request(head: bytes) -> tuple[UpgradeRequest, H11Handshake]:
    """Judge a head that was cut out by the syntax of a request.

    Returns:
        The request, and the handshake of wsproto's that can accept it.

    Raises:
        BadHead: If it is not a good request for an upgrade.

    """
    return _read_ordinary(head) or _judge(head)


def _read_ordinary(head: bytes) -> tuple[UpgradeRequest, H11Handshake] | None:
    """Read a head once and be content, or say nothing about it."""
    if not _is_ordinary(head):
        return None
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.receive_data(head)
    except RemoteProtocolError:
        return None
    (event,) = handshake.events()
    assert isinstance(event, Request)
    if not (is_host(event.host) and _is_sound(event.extra_headers)):
        return None
    offered = tuple(filter(None, event.subprotocols))
    # wsproto has cut the list at every comma.
    extensions = _read_extensions([str(each).encode() for each in event.extensions])
    request = UpgradeRequest(
        event.target, event.extra_headers, event.host, offered, extensions
    )
    return request, handshake


def _read_extensions(values: list[bytes]) -> tuple[ExtensionUse, ...]:
    try:
        return tuple(parse_extensions(values)) if values else ()
    except BadExtensions:
        return ()  # to decline is all that can be done about an offer


def _is_ordinary(head: bytes) -> bool:
    line, _, headers = head.partition(b"\n")
    return (
        line.removesuffix(b"\r").endswith(b" HTTP/1.1")
        and not headers.translate(None, _ORDINARY)
        and _IDNA_PREFIX not in headers.lower()
    )


def _is_sound(headers: Headers) -> bool:
    """Whether headers that wsproto is content with have no fault that it overlooks."""
    names = [name for name, _ in headers]
    # Of a repeated header wsproto takes the last and forgets the others.
    return (
        names.count(b"sec-websocket-version") == names.count(b"sec-websocket-key") == 1
        and _KEY.fullmatch(dict(headers)[b"sec-websocket-key"]) is not None
        and b"content-length" not in names
        and b"transfer-encoding" not in names
    )


def _judge(head: bytes) -> tuple[UpgradeRequest, H11Handshake]:
    event = _parse_http(head)
    headers = list(event.headers)
    _check_ascii(headers)
    _check_host(find_values(headers, b"host")[0].decode("ascii"))
    _check_no_body(headers)
    if event.method != b"GET":
        raise BadHead(405, "the method is not GET", _ALLOW_GET)
    _check_upgrade(headers)
    _check_version(headers)
    _check_key(headers)
    return _build(event)


def _parse_http(head: bytes) -> h11.Request:
    line = _REQUEST_LINE.match(head)
    assert line is not None
    if line[1] != b"HTTP/1.1":
        raise BadHead(400, f"the request is {line[1].decode('ascii')}, not HTTP/1.1")
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(head)
    try:
        event = peer.next_event()
    except h11.RemoteProtocolError:
        raise BadHead(400, _explain(head)) from None
    assert isinstance(event, h11.Request)
    return event


def _explain(head: bytes) -> str:
    hosts = head.lower().count(b"\nhost:")
    if hosts == 0:
        return "the Host header is missing"
    if hosts > 1:
        return "the Host header is repeated"
    return "the headers of the request are not valid HTTP"


def _check_ascii(headers: Headers) -> None:
    for name, value in headers:
        is_decoded = name in _DECODED or name.startswith(b"sec-websocket-")
        if is_decoded and not value.isascii():
            # Bounded, because the sentence is sent and ends up in logs.
            text = name[:40].decode("ascii")
            raise BadHead(400, f"the header {text} is not ASCII")


def _check_host(host: str) -> None:
    if not is_host(host):
        raise BadHead(400, "the Host header is not a host")


def _check_no_body(headers: Headers) -> None:
    lengths = find_values(headers, b"content-length")
    if find_values(headers, b"transfer-encoding") or any(map(int, lengths)):
        raise BadHead(400, "the request announces a body")


def _check_upgrade(headers: Headers) -> None:
    for name, token in (("Upgrade", "websocket"), ("Connection", "upgrade")):
        members = _read_list(headers, name.encode("ascii"))
        if token not in map(str.lower, members):
            raise BadHead(426, f"the {name} header lacks {token}", _USE_WEBSOCKET)


def _check_version(headers: Headers) -> None:
    version = _read_single(headers, "Sec-WebSocket-Version")
    if not _VERSION.fullmatch(version):
        raise BadHead(400, "the Sec-WebSocket-Version header is not a number")
    if version != b"13":
        problem = f"the WebSocket version is {version.decode('ascii')}, not 13"
        raise BadHead(426, problem, _USE_VERSION_13)


def _check_key(headers: Headers) -> None:
    key = _read_single(headers, "Sec-WebSocket-Key")
    if not _KEY.fullmatch(key):
        raise BadHead(400, "the Sec-WebSocket-Key header is not 16 bytes in base64")


def _read_single(headers: Headers, name: str) -> bytes:
    values = find_values(headers, name.encode("ascii"))
    if not values:
        raise BadHead(400, f"the {name} header is missing")
    if len(values) > 1:
        raise BadHead(400, f"the {name} header is repeated")
    return values[0]


def _read_list(headers: Headers, name: bytes) -> list[str]:
    # A list may be spread over several headers (RFC 9110 section 5.3).
    return split_list(b",".join(find_values(headers, name)))


def _build(event: h11.Request) -> tuple[UpgradeRequest, H11Handshake]:
    """Say the same again in the words that wsproto understands."""
    headers = list(event.headers)
    offered = _read_list(headers, b"sec-websocket-protocol")
    plain: Headers = [
        (b"Host", b"localhost"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Key", find_values(headers, b"sec-websocket-key")[0]),
    ]
    if offered:
        plain.append((b"Sec-WebSocket-Protocol", ", ".join(offered).encode("ascii")))
    handshake = H11Handshake(ConnectionType.SERVER)
    handshake.initiate_upgrade_connection(plain, event.target)
    request = UpgradeRequest(
        target=event.target.decode("ascii"),
        headers=[header for header in headers if header[0] not in _LEFT_OUT],
        host=find_values(headers, b"host")[0].decode("ascii"),
        subprotocols=tuple(offered),
        extensions=_read_extensions(find_values(headers, b"sec-websocket-extensions")),
    )
    return request, handshake
