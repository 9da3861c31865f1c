"""WebSocket URLs, host names and request targets (RFC 6455 section 3)."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote

import idna

from .._errors import InvalidURL

# RFC 1035 section 2.3.4. Underscores are not LDH, but names with them are dialled every
# day inside container networks, and every resolver takes them.
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_MAX_NAME_SIZE = 253

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

# All visible ASCII but "#", which cannot stand in a request target.
_TARGET_CHARACTERS = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")


@dataclass(frozen=True, slots=True)
class WebSocketURL:
    """A parsed WebSocket URL.

    Attributes:
        is_secure: Whether the scheme is ``wss``.
        host: A DNS name in lower case and in ASCII (IDNA), or an IP address without
            brackets, an IPv6 one with its scope id if it has one.
        port: The number of the port, 0 to 65535; the default of the scheme if absent.
        resource: Path and query in ASCII, never empty ("resource name").

    """

    is_secure: bool
    host: str
    port: int
    resource: str


def parse_url(url: object) -> WebSocketURL:
    """Parse a ``ws:`` or ``wss:`` URL, or an IRI of that kind.

    A user name and password before the host are ignored, and so is a fragment. Escapes
    are kept; what may not stand in a request is escaped as UTF-8.

    Args:
        url: A str, or whatever says its URL when made into one.

    Raises:
        InvalidURL: If it is none. No message of it tells the password of the URL.

    """
    text = str(url).strip(" ")
    try:
        return _parse_text(text)
    except InvalidURL as error:
        problem = error.problem
    # Outside of the block and without a cause: what went wrong with a part of the URL
    # may tell that part, and a traceback would print it.
    raise InvalidURL(_blot_out(text), problem)


def encode_host(host: str) -> str:
    """Encode a host name as IDNA, or check an IP address.

    Args:
        host: A name, or an IP address with or without brackets.

    Returns:
        A name in lower-case ASCII, or the address without brackets.

    Raises:
        InvalidURL: If the host can be neither; its ``url`` is the host.

    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare:
        return _encode_ipv6(bare)
    if bare is not host:
        raise InvalidURL(host, "there is no IPv6 address in the brackets")
    name = _encode_name(host).lower()
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_NAME_SIZE or not all(map(_LABEL.fullmatch, labels)):
        raise InvalidURL(host, "the host name is not valid")
    return name


def encode_resource(resource: str) -> str:
    """Encode a request target: percent-escapes for what is not visible ASCII.

    Args:
        resource: Path and query; ``/`` if empty. Its own escapes stay as they are.

    Raises:
        InvalidURL: If it holds a control character or a lone surrogate; its ``url`` is
            the resource.

    """
    _check_characters(resource)
    try:
        return quote(resource, safe=_TARGET_CHARACTERS) or "/"
    except UnicodeEncodeError as error:
        raise InvalidURL(resource, "it holds a lone surrogate") from error


def build_host(host: str, port: int, *, is_secure: bool) -> str:
    """Build the value of the Host header (RFC 9110 section 7.2).

    Args:
        host: What `encode_host` returns. The scope id of an IPv6 address is left out,
            as it means something on this machine only (RFC 6874 section 4).
        port: The number of the port; left out if it is the default of the scheme.
        is_secure: Whether the scheme is ``wss``.

    """
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if port == _default_port(is_secure=is_secure) else f"{host}:{port}"


def encode_authority(authority: str) -> str:
    """Encode a host, with or without a port, as the value of a Host header.

    Args:
        authority: What stands in a URL, or an IPv6 address without brackets.

    Raises:
        InvalidURL: If it is neither; its ``url`` is the authority or the host in it.

    """
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"
    given, port = _split_authority(authority, authority)
    host = encode_host(given)
    if ":" in host:
        host = f"[{host.partition('%')[0]}]"
    return host if port is None else f"{host}:{port}"


def _parse_text(text: str) -> WebSocketURL:
    _check_characters(text)
    scheme, _, rest = text.partition(":")
    if scheme.lower() not in {"ws", "wss"}:
        raise InvalidURL(text, "the scheme must be ws or wss")
    is_secure = scheme.lower() == "wss"
    if not rest.startswith("//"):
        raise InvalidURL(text, "there is no host")
    # The fragment goes first: a "?" in it begins no query.
    rest = rest.removeprefix("//").partition("#")[0]
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    resource = rest[len(authority) :]
    host, port = _split_authority(text, authority.rpartition("@")[2])
    return WebSocketURL(
        is_secure=is_secure,
        host=encode_host(host),
        port=_default_port(is_secure=is_secure) if port is None else port,
        resource=encode_resource(
            resource if resource.startswith("/") else f"/{resource}"
        ),
    )


def _split_authority(url: str, authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, port = authority.partition("]")
        # RFC 6874 section 2: in a URL the "%" before a scope id may be escaped.
        host = re.sub("%25(?=.)", "%", host) + bracket
        if port and not port.startswith(":"):
            raise InvalidURL(url, "the host is followed by something else than a port")
        port = port.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if not host:
        raise InvalidURL(url, "there is no host")
    return host, _parse_port(url, port) if port else None


def _parse_port(url: str, port: str) -> int:
    # The length is looked at first, since int() refuses thousands of digits.
    digits = port.lstrip("0") or "0"
    if port.isascii() and port.isdigit() and len(digits) <= 5 and int(digits) <= 65535:
        return int(digits)
    # Not the port itself: "ws://user:pass/word@host" ends its authority in "pass".
    raise InvalidURL(url, "the port must be a number from 0 to 65535")


def _encode_ipv6(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError as error:
        raise InvalidURL(address, "the IPv6 address is not valid") from error
    if re.search(r"[^!-~]", parsed.scope_id or ""):
        raise InvalidURL(address, "the IPv6 address is not valid")
    digits, percent, scope_id = address.partition("%")
    return digits.lower() + percent + scope_id


def _encode_name(name: str) -> str:
    if name.isascii():
        # Not through idna, which takes neither underscores nor hyphens at either end.
        return name
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise InvalidURL(name, "the host name is not valid") from error


def _check_characters(text: str) -> None:
    # urllib would drop tabs and line ends in silence; in a request they end the line.
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidURL(text, "it holds a control character")


def _default_port(*, is_secure: bool) -> int:
    return 443 if is_secure else 80


def _blot_out(url: str) -> str:
    """Hide the user-info, also where an unescaped ``/`` or ``#`` is part of it."""
    before, at, after = url.rpartition("@")
    if not at:
        return url
    scheme = _SCHEME.match(before)
    return f"{scheme[0] if scheme else ''}***@{after}"
