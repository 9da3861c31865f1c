"""Lists of HTTP headers: build and check, find, split (RFC 9110 section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias, cast

Headers: TypeAlias = list[tuple[bytes, bytes]]

# A mapping's keys are invariant for the type checkers, hence the enumeration.
HeadersLike: TypeAlias = (
    Mapping[str, str]
    | Mapping[str, bytes]
    | Mapping[str, str | bytes]
    | Mapping[bytes, str]
    | Mapping[bytes, bytes]
    | Mapping[bytes, str | bytes]
    | Mapping[str | bytes, str]
    | Mapping[str | bytes, bytes]
    | Mapping[str | bytes, str | bytes]
    | Iterable[tuple[str | bytes, str | bytes]]
)

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t !-~\x80-\xff]*")

# RFC 9110 sections 6.4.1, 8.6 and 15.4.5: these never have a body, and a length would
# be forbidden (204) or be that of another response (304).
_BODILESS = frozenset({204, 304})


def build_headers(
    extra: HeadersLike | None, *, forbid: frozenset[bytes] = frozenset()
) -> Headers:
    """Build a list of headers out of what the program gave, checked for the wire.

    Args:
        extra: A mapping, or any iterable of pairs (name, value), of str in ASCII or of
            bytes; None for no headers. It is left as it is.
        forbid: More names that the program may not give, in lower case.

    Returns:
        A new list in the same order, white space round the values stripped.

    Raises:
        TypeError: If it is anything else.
        ValueError: If a name is not a token, or a value holds what HTTP does not allow,
            or the header is one that the library itself sends: ``Upgrade``,
            ``Connection``, ``Sec-WebSocket-*``. The message never tells a value.

    """
    headers: Headers = []
    for item in _list_items(extra):
        raw_name, raw_value = _split_pair(item)
        name = _encode(raw_name, "the name of a header")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"the header name {_show(name)} is not a token")
        if _is_ours(name.lower()) or name.lower() in forbid:
            raise ValueError(f"the header {_show(name)} is set by the library")
        value = _encode(raw_value, f"the value of the header {_show(name)}").strip(
            b" \t"
        )
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"the value of the header {_show(name)} holds a control character"
            )
        headers.append((name, value))
    return headers


def find_values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Find the values of every header of that name, in any letter case."""
    wanted = name.lower()
    return [value for other, value in headers if other.lower() == wanted]


def pack_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Put checked headers into one piece, which takes a fraction of their memory."""
    return b"\n".join([part for header in headers for part in header])


def unpack_headers(packed: bytes) -> Headers:
    """Make a list again of headers that were packed."""
    parts = packed.split(b"\n")
    return list(zip(parts[::2], parts[1::2], strict=False))


def split_list(value: bytes) -> list[str]:
    """Split a comma-separated value (RFC 9110 section 5.6.1).

    Returns:
        Its members without white space round them; empty ones are dropped.

    Raises:
        ValueError: If the value is not ASCII.

    """
    if not value.isascii():
        raise ValueError("the value of a header is not ASCII")
    members = (member.strip(" \t") for member in value.decode("ascii").split(","))
    return [member for member in members if member]


def build_response(status_code: int, headers: Headers, body: bytes = b"") -> bytes:
    """Build a complete response, after which the connection ends (RFC 9112).

    Args:
        status_code: 200 to 999. One that is not known gets an empty reason phrase.
        headers: What goes before ``Content-Length`` and ``Connection: close``. If it
            holds a ``Content-Length``, that one is sent.
        body: Nothing for 204 and 304, which get no ``Content-Length`` of ours either.

    """
    lines = [b"HTTP/1.1 %d %s" % (status_code, _find_phrase(status_code))]
    lines += [b"%s: %s" % header for header in headers]
    if status_code not in _BODILESS and not find_values(headers, b"content-length"):
        lines.append(b"Content-Length: %d" % len(body))
    lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _list_items(extra: object) -> Iterable[object]:
    if extra is None:
        return ()
    if isinstance(extra, Mapping):
        return cast("Mapping[object, object]", extra).items()
    if isinstance(extra, Iterable) and not isinstance(extra, str | bytes):
        return cast("Iterable[object]", extra)
    raise TypeError(
        f"headers must be a mapping or an iterable of pairs, not {type(extra).__name__}"
    )


def _split_pair(item: object) -> tuple[object, object]:
    # A str of two characters could be unpacked, but would be a mistake.
    if isinstance(item, tuple | list):
        members = cast("Sequence[object]", item)
        if len(members) == 2:
            return members[0], members[1]
    raise TypeError("each header must be a pair of name and value")


def _encode(text: object, what: str) -> bytes:
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"{what} must be str or bytes, not {type(text).__name__}")
    if not text.isascii():
        raise ValueError(f"{what} is not ASCII; give bytes to send other characters")
    return text.encode("ascii")


def _is_ours(name: bytes) -> bool:
    return name in {b"upgrade", b"connection"} or name.startswith(b"sec-websocket-")


def _show(name: bytes) -> str:
    return repr(name.decode("latin-1"))


def _find_phrase(status_code: int) -> bytes:
    try:
        return HTTPStatus(status_code).phrase.encode("ascii")
    except ValueError:
        return b""
