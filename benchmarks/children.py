"""The two processes of a measurement, and their ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import trio
from assignment import Assignment
from roster import Peer
from rows import Row

HERE = Path(__file__).resolve().parent


# So many are opened in a second at least, even by a slow library on a busy machine.
_CONNECTIONS_PER_S = 100
# The last line of a traceback.
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception|Closed|Failed|Timeout)\b")


class ChildError(Exception):
    """A measurement failed. The text is a sentence."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What all measurements share.

    Attributes:
        python: The interpreter of the peers.
        old_python: The interpreter of version 0.12.2.
        seconds: How long each measurement takes after its warm-up.
        time_limit: Seconds that the children may take beyond that.
        certificate: See ``Assignment``.
        authority: See ``Assignment``.

    """

    python: Path
    old_python: Path
    seconds: float
    time_limit: float
    certificate: Path
    authority: Path


class Child:
    """A process that speaks in lines of JSON."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._unread = b""

    async def tell(self, port: int) -> None:
        """Name the port to connect to."""
        await self._stdin.send_all(f"{port}\n".encode())

    async def hear(self) -> Mapping[str, object]:
        """Wait for the next line.

        Raises:
            ChildError: If the process ended without one.

        """
        while b"\n" not in self._unread:
            data = await self._stdout.receive_some()
            if not data:
                raise ChildError("ended without a result")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        record: Mapping[str, object] = json.loads(line)
        return record


def find_cpus() -> Sequence[int]:
    """Find the CPUs to use: two, or one, or none where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    cpus = sorted(os.sched_getaffinity(0))
    return cpus if len(cpus) == 1 else (cpus[0], cpus[-1])


def find_placements() -> Sequence[str]:
    """Find the placements that this machine allows."""
    cpus = find_cpus()
    if not cpus:
        return ("two-cores",)  # wherever the system puts them
    return ("two-cores", "one-core") if len(cpus) > 1 else ("one-core",)


def make_assignment(
    settings: Settings, peer: Peer, row: Row, *, role: str, placement: str
) -> Assignment:
    """Say what the child that is measured has to do."""
    cpus = find_cpus()
    seconds = settings.seconds * row.patience
    return Assignment(
        role=role,
        scene=row.find_scene(role),
        size=row.size,
        kind=row.kind,
        tasks=row.tasks,
        connections=row.connections,
        is_secure=row.is_secure,
        is_compressed=row.is_compressed,
        # Peers have no call for many messages, and send them one by one.
        style=peer.style if peer.family == "peer" else row.style or peer.style,
        lane=peer.lane,
        loop=peer.loop,
        cpu=cpus[-1] if cpus else None,
        is_patient=placement == "one-core",
        has_bystander=row.has_bystander,
        warm_up=seconds / 4,
        seconds=seconds,
        time_limit=settings.time_limit + seconds + row.connections / _CONNECTIONS_PER_S,
        certificate=str(settings.certificate),
        authority=str(settings.authority),
    )


async def measure(
    settings: Settings, peer: Peer, row: Row, *, role: str, placement: str
) -> Mapping[str, object]:
    """Run a library against the counterpart.

    Returns:
        The figures of the child, or ``skip`` with the reason why there are none.

    Raises:
        ChildError: If there is no result within the time limit.

    Cancellation:
        Both processes are killed, as they are in any case.

    """
    task = make_assignment(settings, peer, row, role=role, placement=placement)
    python = settings.old_python if peer.is_old else settings.python
    measured = [str(python), "-m", f"peers.{peer.module}", task.encode()]
    against = make_counterpart_command(settings, task, placement)
    environment = dict(os.environ)
    environment.pop("TRIO_WEBSOCKET_LANE", None)
    if peer.lane:
        environment["TRIO_WEBSOCKET_LANE"] = peer.lane
    with tempfile.TemporaryFile() as errors:
        try:
            with trio.fail_after(task.time_limit):
                async with (
                    run_child(measured, environment, errors) as child,
                    run_child(against, environment, errors) as counterpart,
                ):
                    return await converse(child, counterpart, role)
        except trio.TooSlowError as error:
            problem = f"took longer than {task.time_limit:g} s"
            raise ChildError(problem + find_last_words(errors)) from error
        except ChildError as error:
            raise ChildError(f"{error}{find_last_words(errors)}") from error


def find_last_words(errors: IO[bytes]) -> str:
    """Find the line that tells most in what the children wrote as errors."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").splitlines()
    # The end of an exception group is a frame of dashes.
    words = [line.strip(" |+-") for line in lines]
    named = [word for word in words if _EXCEPTION.match(word)]
    last = (named or [word for word in words if word])[-1:]
    return "".join(f": {word}" for word in last)


def make_counterpart_command(
    settings: Settings, task: Assignment, placement: str
) -> Sequence[str]:
    """Say how the other end is run: the same assignment on another CPU."""
    cpus = find_cpus()
    words = json.loads(task.encode())
    if cpus and placement == "two-cores":
        # The first CPU has most interrupts, so the faster end takes it.
        words["cpu"] = cpus[0]
    program = str(HERE / "counterpart.py")
    return [str(settings.python), program, json.dumps(words)]


async def converse(child: Child, counterpart: Child, role: str) -> Mapping[str, object]:
    """Bring both ends together and wait for the result."""
    if role == "server":
        first = await child.hear()
        if "port" not in first:
            return first
        await counterpart.tell(int(str(first["port"])))
    else:
        first = await counterpart.hear()
        # A child that has nothing to do has ended meanwhile, and leaves a result.
        try:
            await child.tell(int(str(first["port"])))
        except trio.BrokenResourceError:
            return await child.hear()
    return await child.hear()


@asynccontextmanager
async def run_child(
    command: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]
) -> AsyncGenerator[Child]:
    """Run a process for the length of a block; then it is killed."""
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=HERE,
        env=environment,
    )
    try:
        yield Child(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # a killed process ends at once
            await process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            await trio.aclose_forcefully(stream)
