"""What a child process has to do, and how it speaks to the conductor.

An assignment travels as JSON on the command line; the answers come back as lines of
JSON on standard output. The end that listens announces its port in the first of them,
the other end gets that port in a line on its standard input. The last line is the
result.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import ssl
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NoReturn

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One measurement, as both ends see it.

    Attributes:
        role: The side of the library under test, ``client`` or ``server``.
        scene: What happens on the connections; see ``scenes``.
        size: The bytes of a message.
        kind: ``binary``, ``ascii``, ``text`` (with characters of many bytes) or
            ``json``, or ``mix`` for the messages of a chat.
        tasks: How many tasks send at once.
        connections: How many connections there are.
        is_secure: Whether they are made over TLS.
        is_compressed: Whether messages are compressed; see ``deflated``.
        style: How a library that has several ways is used; each peer knows its own.
        lane: The lane of this library that is wanted, or empty.
        loop: The event loop of a library for asyncio.
        cpu: The CPU to stay on, or None.
        is_patient: Whether the counterpart may sleep: it must where both share a CPU,
            and must not where it has one for itself.
        has_bystander: Whether the delays of a task that only sleeps are measured.
        warm_up: Seconds that are not measured, from the first message.
        seconds: Seconds that are measured.
        time_limit: Seconds after which a child ends itself, whatever happens.
        certificate: A file with the private key and the certificate of the server.
        authority: A file with the certificate that the client trusts.

    """

    role: str
    scene: str
    size: int
    kind: str
    tasks: int
    connections: int
    is_secure: bool
    is_compressed: bool
    style: str
    lane: str
    loop: str
    cpu: int | None
    is_patient: bool
    has_bystander: bool
    warm_up: float
    seconds: float
    time_limit: float
    certificate: str
    authority: str

    def encode(self) -> str:
        """Make the text for the command line."""
        return json.dumps(asdict(self))

    @property
    def url(self) -> str:
        """The URL of the server, still without its port."""
        return f"{'wss' if self.is_secure else 'ws'}://{HOST}"

    def make_client_context(self) -> ssl.SSLContext | None:
        """Make a context that trusts the certificate, or None without TLS."""
        if not self.is_secure:
            return None
        return ssl.create_default_context(cafile=self.authority)

    def make_server_context(self) -> ssl.SSLContext | None:
        """Make a context that has the certificate, or None without TLS."""
        if not self.is_secure:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate)
        return context


def take_assignment() -> Assignment:
    """Read the assignment of this process, and settle on the CPU that it names."""
    assignment = Assignment(**json.loads(sys.argv[1]))
    # The conductor may die without ending its children; this one ends then, too.
    signal.setitimer(signal.ITIMER_REAL, assignment.time_limit)
    if assignment.cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {assignment.cpu})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return assignment


def say(record: Mapping[str, object]) -> None:
    """Write a line to the conductor."""
    print(json.dumps(record), flush=True)


def announce(port: int) -> None:
    """Tell the conductor the port that this process listens on."""
    say({"port": port})


def hear_port() -> int:
    """Wait for the conductor to name the port to connect to."""
    return int(sys.stdin.readline())


def finish(record: Mapping[str, object]) -> NoReturn:
    """Write the result and end the process at once.

    Nothing is closed in order: that would take longer than the measurement where there
    are thousands of connections, and is not measured.
    """
    say(record)
    os._exit(0)


def skip(reason: str) -> NoReturn:
    """End the process because the peer cannot do what is asked."""
    finish({"skip": reason})
