"""The rows of the table: what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
ROLES = ("client", "server")
PLACEMENTS = ("two-cores", "one-core")


@dataclass(frozen=True, slots=True)
class Figure:
    """A kind of result.

    Attributes:
        key: Its name in the record of a child.
        unit: What it is counted in.
        scale: What it is divided by.
        is_more_better: Whether the larger result is the better one.

    """

    key: str
    unit: str
    scale: float = 1
    is_more_better: bool = True


MESSAGES = Figure("rate", "messages/s")
THROUGHPUT = Figure("rate", "MiB/s", MIB)
OPENINGS = Figure("rate", "openings/s")
CPU_TIME = Figure("cpu", "CPU us/message", is_more_better=False)
MEMORY = Figure("bytes", "KiB/connection", KIB, is_more_better=False)
DELAY = Figure("p99", "ms, p99 of the delay", is_more_better=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to measure.

    Attributes:
        name: For the command line.
        title: For people.
        group: Rows of a group share a plot.
        scene: What happens; the same name in ``peers/scenes.py``. ``echo`` stands for
            the scene of the role.
        size: The bytes of a message.
        kind: The kind of the messages; see ``Assignment``.
        tasks: How many tasks send at once.
        connections: How many connections there are.
        is_compressed: Whether messages are compressed.
        style: ``many`` if many messages are sent by one call.
        is_secure: Whether it is over TLS.
        has_bystander: Whether a bystander is what is measured.
        is_main: Whether all peers are measured, also those that are seldom used.
        is_on_one_core: Whether it is measured with one core for both ends, too.
        figure: What counts.
        patience: How many times as long as others it is measured.

    """

    name: str
    title: str
    group: str
    scene: str
    size: int = 64
    kind: str = "binary"
    tasks: int = 1
    connections: int = 1
    is_compressed: bool = False
    style: str = ""
    is_secure: bool = False
    has_bystander: bool = False
    is_main: bool = False
    is_on_one_core: bool = False
    figure: Figure = MESSAGES
    patience: float = 1

    def find_scene(self, role: str) -> str:
        """Find what the library under test does in a role."""
        if self.scene != "echo":
            return self.scene
        return "ask" if role == "client" else "answer"


def name_size(size: int) -> str:
    """Write a size as people do."""
    if size >= MIB:
        return f"{size // MIB} MiB"
    return f"{size // KIB} KiB" if size >= KIB else f"{size} B"


def _build_receive() -> Iterator[Row]:
    for name, kind, text in (
        ("64", "binary", "binary"),
        ("64-ascii", "ascii", "ASCII text"),
        ("64-text", "text", "text with multi-byte characters"),
    ):
        yield Row(
            f"receive-{name}",
            f"receive 64 B, {text}",
            "receive",
            "receive",
            kind=kind,
            is_main=kind == "binary",
            is_on_one_core=kind == "binary",
        )
    for name, size in (("1k", KIB), ("16k", 16 * KIB), ("1m", MIB)):
        title = f"receive {name_size(size)}"
        yield Row(f"receive-{name}", title, "receive", "receive", size)


def _build_send() -> Iterator[Row]:
    sizes = (("64", 64), ("16k", 16 * KIB), ("1m", MIB))
    for name, size in sizes:
        title = f"send {name_size(size)}"
        yield Row(
            f"send-{name}",
            title,
            "send",
            "send",
            size,
            is_main=size == 64,
            is_on_one_core=size == 64,
        )
    for name, size in sizes:
        title = f"send {name_size(size)}, 16 tasks"
        yield Row(f"send-{name}-tasks", title, "send", "send", size, tasks=16)
    for name, size in sizes[:2]:
        title = f"send {name_size(size)}, 64 in a call"
        yield Row(f"send-{name}-many", title, "send", "send", size, style="many")


def _build_echo() -> Iterator[Row]:
    for name, size in (("64", 64), ("16k", 16 * KIB), ("1m", MIB)):
        title = f"echo {name_size(size)}"
        yield Row(
            f"echo-{name}",
            title,
            "echo",
            "echo",
            size,
            is_main=size == 64,
            is_on_one_core=size < MIB,
        )
    for name, size in (("64", 64), ("16k", 16 * KIB), ("1m", MIB)):
        title = f"echo {name_size(size)}, TLS"
        yield Row(
            f"echo-{name}-tls", title, "echo over TLS", "echo", size, is_secure=True
        )


def _build_chat() -> Iterator[Row]:
    # Its messages have 1.9 KiB on the average.
    for name, title, scene in (
        ("receive", "chat mix, received", "receive"),
        ("echo", "chat mix, all sent back", "chat"),
    ):
        yield Row(f"chat-{name}", title, "chat", scene, 2 * KIB, "mix")


def _build_compressed() -> Iterator[Row]:
    for scene in ("receive", "send", "echo"):
        for name, size in (("64", 64), ("1k", KIB), ("64k", 64 * KIB)):
            yield Row(
                f"compressed-{scene}-{name}",
                f"{scene} {name_size(size)} of JSON, compressed",
                "compressed",
                scene,
                size,
                "json",
                is_compressed=True,
            )


def _build_streaming() -> Iterator[Row]:
    # Of that size are the parts that are written; those that are read are as they come.
    for name, title, scene, size in (
        ("send-64k", "send 1 GiB in parts of 64 KiB", "write", 64 * KIB),
        ("send-1m", "send 1 GiB in parts of 1 MiB", "write", MIB),
        ("receive", "receive 1 GiB in parts", "read", MIB),
    ):
        yield Row(
            f"stream-{name}",
            title,
            "streaming",
            scene,
            size,
            figure=THROUGHPUT,
            patience=5,  # more than one message, at several GiB/s
        )


def _build_crowds() -> Iterator[Row]:
    yield Row("openings", "openings", "openings", "open", figure=OPENINGS)
    for count in (1000, 5000):
        title = f"memory of {count:,} idle connections"
        yield Row(
            f"memory-{count}",
            title,
            "memory",
            "hold",
            connections=count,
            figure=MEMORY,
        )
    title = "broadcast to 1,000"
    yield Row("broadcast", title, "broadcast", "broadcast", connections=1000)
    for count in (1, 10, 100, 1000, 5000):
        title = f"one message at a time, {count:,} connections"
        yield Row(
            f"growth-{count}",
            title,
            "growth",
            "answer",
            connections=count,
            figure=CPU_TIME,
        )


def _build_bystander() -> Iterator[Row]:
    for scene in ("receive", "send"):
        for name, size in (("64", 64), ("1m", MIB)):
            yield Row(
                f"bystander-{scene}-{name}",
                f"bystander while {name_size(size)} flood: {scene}",
                "bystander",
                scene,
                size,
                has_bystander=True,
                figure=DELAY,
                patience=2,
            )
    yield Row(
        "bystander-send-64-many",
        "bystander while 64 B flood: send, 64 in a call",
        "bystander",
        "send",
        style="many",
        has_bystander=True,
        figure=DELAY,
        patience=2,
    )


ROWS = (
    *_build_receive(),
    *_build_send(),
    *_build_echo(),
    *_build_chat(),
    *_build_compressed(),
    *_build_streaming(),
    *_build_crowds(),
    *_build_bystander(),
)
