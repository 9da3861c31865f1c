"""The answer that accepts: a 101 Switching Protocols (RFC 6455 section 4.2.2).

wsproto judges it; here is what wsproto leaves out, and the sentence that says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Collection

import h11

from .headers import Headers, find_values, split_list

_VERSION = b"HTTP/1.1 "
_EXTENSIONS = b"sec-websocket-extensions"


def prepare_switch(head: bytes) -> bytes | None:
    """Put the head of a 101 into the form that wsproto judges rightly.

    Returns:
        The head, or None if it is invalid in a way that wsproto would overlook.

    """
    names = head.lower()
    # Of a repeated header wsproto takes the last and forgets the others.
    if (
        not head.startswith(_VERSION)
        or names.count(b"\nsec-websocket-accept:") > 1
        or names.count(b"\nsec-websocket-protocol:") > 1
    ):
        return None
    if names.count(b"\nconnection:") > 1:
        return _join_connection(head)
    return head


def split_extensions(head: bytes) -> tuple[bytes, list[bytes]]:
    """Take the extensions out of the head of a 101: wsproto cannot read them.

    Returns:
        The head without them, and the values of the headers.

    """
    if b"\nsec-websocket-extensions:" not in head.lower():
        return head, []
    headers = _parse(head)
    if headers is None:
        return head, []  # wsproto will find what is wrong
    values = find_values(headers, _EXTENSIONS)
    return _build([header for header in headers if header[0] != _EXTENSIONS]), values


def explain_switch(head: bytes, subprotocols: Collection[str]) -> str:
    """Tell what is wrong with the head of a 101.

    Args:
        head: The head, which either was not prepared or did not please wsproto.
        subprotocols: What was offered.

    """
    if not head.startswith(_VERSION):
        return "the answer is not HTTP/1.1"
    headers = _parse(head)
    if headers is None:
        return "the headers of the answer are not valid HTTP"
    return (
        _explain_upgrade(headers)
        or _explain_repeated(headers)
        or _explain_agreement(headers, subprotocols)
        or _explain_accept(headers)
    )


def _join_connection(head: bytes) -> bytes | None:
    # A list may be spread over several headers (RFC 9110 section 5.3).
    headers = _parse(head)
    if headers is None:
        return None
    members = b", ".join(find_values(headers, b"connection"))
    others = [header for header in headers if header[0] != b"connection"]
    return _build([(b"connection", members), *others])


def _build(headers: Headers) -> bytes:
    lines = [b"%s: %s" % header for header in headers]
    return b"\r\n".join([_VERSION + b"101 ", *lines, b"", b""])


def _parse(head: bytes) -> Headers | None:
    peer = h11.Connection(h11.CLIENT)
    # h11 takes a 101 only if it was asked for.
    upgrade = [("Host", "localhost"), ("Upgrade", "websocket")]
    peer.send(h11.Request(method="GET", target="/", headers=upgrade))
    peer.receive_data(head)
    try:
        event = peer.next_event()
    except h11.RemoteProtocolError:
        return None
    assert isinstance(event, h11.InformationalResponse)
    return list(event.headers)


def _explain_upgrade(headers: Headers) -> str | None:
    upgrade = find_values(headers, b"upgrade")
    if not upgrade or upgrade[-1].lower() != b"websocket":
        return "the Upgrade header is not websocket"
    connection = b",".join(find_values(headers, b"connection"))
    if not connection.isascii():
        return "the Connection header is not ASCII"
    if "upgrade" not in split_list(connection.lower()):
        return "the Connection header lacks upgrade"
    return None


def _explain_repeated(headers: Headers) -> str | None:
    for name in ("Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"):
        if len(find_values(headers, name.encode())) > 1:
            return f"the {name} header is repeated"
    return None


def _explain_agreement(headers: Headers, subprotocols: Collection[str]) -> str | None:
    for chosen in find_values(headers, b"sec-websocket-protocol"):
        # Bounded, because the sentence ends up in logs.
        text = chosen[:100].decode("ascii", "backslashreplace")
        if text not in subprotocols:
            return f"the server chose the subprotocol {text!r}, which was not offered"
    if find_values(headers, _EXTENSIONS):
        return "the server chose an extension, and none was offered"
    return None


def _explain_accept(headers: Headers) -> str:
    if not find_values(headers, b"sec-websocket-accept"):
        return "the Sec-WebSocket-Accept header is missing"
    return "the Sec-WebSocket-Accept header is wrong"
