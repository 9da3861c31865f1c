"""The peers: every library, and every way of using it, that is measured."""

from __future__ import annotations

from dataclasses import dataclass

from rows import Row


@dataclass(frozen=True, slots=True)
class Peer:
    """A library in one way of using it.

    Attributes:
        name: For the command line.
        title: For people.
        module: The program in ``peers``.
        family: ``ours``, ``peer``, or ``floor`` for what is no library at all.
        style: The way of using it; see its program.
        loop: The event loop, for asyncio.
        scenes: What it can do; empty means everything.
        is_extra: Whether it is measured in the main rows only.
        is_old: Whether it needs the environment of version 0.12.2.
        lane: The lane that it has to run in; empty takes the best there is.

    """

    name: str
    title: str
    module: str
    family: str = "peer"
    style: str = ""
    loop: str = "asyncio"
    scenes: frozenset[str] = frozenset()
    is_extra: bool = False
    is_old: bool = False
    lane: str = ""

    def can_play(self, row: Row, role: str) -> bool:
        """Whether the row is for this peer."""
        has_scene = not self.scenes or row.find_scene(role) in self.scenes
        if row.group in _CHOSEN or self.name in _ELSEWHERE_UNFIT:
            return has_scene and self.name in _CHOSEN.get(row.group, ())
        if self.is_extra and not row.is_main:
            return False
        if row.style and self.family == "peer":
            # Elsewhere the rows with one message in a call are what compares.
            return self.name in _COMPARED_IN_BATCHES
        if self.style == "descriptor" and row.is_secure:
            return False
        if self.lane and row.group not in _LANE_GROUPS:
            return False
        return has_scene and (self.family != "floor" or _is_for_floors(row))


# No other library sends many messages by one call; these show what one each costs.
_COMPARED_IN_BATCHES = {"old", "websockets-trio", "aiohttp-uvloop", "picows-uvloop"}
# Who is measured in rows that are for a few: libraries that compress, and of streaming
# the two ways that compare.
_CHOSEN = {
    "compressed": {
        "ours",
        "ours-many",
        "ours-python",
        "websockets-trio",
        "websockets-uvloop",
        "aiohttp-uvloop",
        "floor-zlib",
    },
    "streaming": {"ours", "ours-whole"},
}
_ELSEWHERE_UNFIT = {"ours-whole", "floor-zlib"}
# Where the lanes make a difference.
_LANE_GROUPS = {"receive", "send", "echo"}
_RECEIVES = frozenset({"receive"})


def _is_for_floors(row: Row) -> bool:
    is_single = row.connections == 1 and row.tasks == 1 and row.group != "growth"
    is_plain = row.scene in {"receive", "send", "echo"} and row.kind != "mix"
    return is_single and is_plain and not row.has_bystander


_OURS = "trio_websocket"
ROSTER = (
    Peer("ours", "trio-websocket", _OURS, "ours"),
    Peer(
        "ours-for",
        "trio-websocket, async for",
        _OURS,
        "ours",
        style="for",
        scenes=_RECEIVES,
    ),
    Peer(
        "ours-many",
        "trio-websocket, get_messages",
        _OURS,
        "ours",
        style="many",
        scenes=_RECEIVES,
    ),
    Peer(
        "ours-whole",
        "trio-websocket, whole messages of 1 MiB",
        _OURS,
        "ours",
        style="whole",
    ),
    Peer(
        "ours-python",
        "trio-websocket, Python lane",
        _OURS,
        "ours",
        lane="python",
    ),
    Peer(
        "ours-off",
        "trio-websocket, no lane",
        _OURS,
        "ours",
        lane="off",
        is_extra=True,
    ),
    Peer("old", "trio-websocket 0.12.2", _OURS, is_old=True),
    Peer("websockets-trio", "websockets, Trio", "websockets_trio"),
    Peer(
        "websockets-asyncio",
        "websockets, asyncio",
        "websockets_asyncio",
        is_extra=True,
    ),
    Peer(
        "websockets-uvloop",
        "websockets, uvloop",
        "websockets_asyncio",
        loop="uvloop",
    ),
    Peer("aiohttp-asyncio", "aiohttp, asyncio", "aiohttp", is_extra=True),
    Peer("aiohttp-uvloop", "aiohttp, uvloop", "aiohttp", loop="uvloop"),
    Peer("picows-asyncio", "picows, asyncio", "picows", is_extra=True),
    Peer("picows-uvloop", "picows, uvloop", "picows", loop="uvloop"),
    Peer(
        "wsproto",
        "wsproto, blocking socket",
        "wsproto",
        is_extra=True,
        scenes=frozenset({"receive", "send", "ask", "answer"}),
    ),
    Peer("floor-socket", "floor: blocking socket", "bare_socket", "floor"),
    Peer("floor-trio", "floor: Trio stream", "bare_trio", "floor"),
    Peer(
        "floor-trio-fd",
        "floor: Trio, bare descriptor",
        "bare_trio",
        "floor",
        style="descriptor",
    ),
    Peer("floor-zlib", "floor: zlib alone", "bare_zlib", "floor"),
)
