"""What every entry point takes beside the parameters that it writes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypedDict

from .._options import Compression, Dumps, ExtensionMaker, Loads
from .connection import WebSocketConnection

OnPing: TypeAlias = Callable[[WebSocketConnection, bytes], object]


class CommonArgs(TypedDict, total=False):
    """Options of a connection, as keywords; see `ConnectionOptions`."""

    compression: Compression
    extensions: Sequence[ExtensionMaker]
    auto_pong: bool
    on_ping: OnPing | None
    json_dumps: Dumps
    json_loads: Loads


def check_names(options: Mapping[str, object], kind: type) -> None:
    """Refuse an option that only other entry points take.

    Args:
        options: What was given.
        kind: The keywords of this one.

    Raises:
        TypeError: If there is one that is not among these.

    """
    for name in options:
        if name not in kind.__annotations__:
            raise TypeError(f"there is no option {name!r} here")
