"""What is measured in which order, and the loop that does it."""

from __future__ import annotations

import fnmatch
import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import trio
from children import ChildError, Settings, measure
from noise import Noise
from results import Result
from roster import ROSTER, Peer
from rows import PLACEMENTS, ROLES, ROWS, Row

_RESULTS_PER_SAVE = 50
# Of a measurement that others disturbed.
_MOST_REPETITIONS = 3


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement."""

    row: Row
    role: str
    placement: str
    peer: Peer


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted; patterns as in a shell, and none of them means everything."""

    rows: Sequence[str] = ()
    peers: Sequence[str] = ()
    roles: Sequence[str] = ROLES
    placements: Sequence[str] = PLACEMENTS

    def find_jobs(self) -> Sequence[Job]:
        """Give the jobs of one round: peers next to each other within a row."""
        return [
            Job(row, role, placement, peer)
            for role, placement, row, peer in itertools.product(
                ROLES, PLACEMENTS, ROWS, ROSTER
            )
            if role in self.roles
            and placement in self.placements
            and (placement == "two-cores" or row.is_on_one_core)
            and _matches(row.name, self.rows)
            and _matches(peer.name, self.peers)
            and peer.can_play(row, role)
        ]


@dataclass(frozen=True, slots=True)
class Conductor:
    """Makes all measurements, one after the other.

    Attributes:
        settings: What all measurements share.
        jobs: The measurements of a round.
        rounds: How many rounds there are.
        calm: The CPU time that other programs may take, in CPUs. A measurement that
            they disturb more is repeated a few times, and the calmest one counts.

    """

    settings: Settings
    jobs: Sequence[Job]
    rounds: int
    calm: float

    async def run(self, results: list[Result], save: Callable[[], None]) -> None:
        """Measure, and have the results saved now and then, and in the end.

        Cancellation:
            What was measured until then is in the results. So it is at SIGTERM, after
            which this returns.

        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_terminated, nursery.cancel_scope)
            with Progress(len(self.jobs) * self.rounds) as progress:
                for number in range(self.rounds):
                    for job in self._find_order(number):
                        progress.show(f"round {number + 1}: {describe(job)}")
                        results.append(await self._measure_calmly(number, job))
                        if len(results) % _RESULTS_PER_SAVE == 0:
                            save()
            nursery.cancel_scope.cancel()
        save()

    def _find_order(self, number: int) -> Iterator[Job]:
        # Every second round goes backwards, so that no peer is always behind the same
        # other one, nor always measured when the machine is warmer.
        return iter(self.jobs) if number % 2 == 0 else reversed(self.jobs)

    async def _measure_calmly(self, number: int, job: Job) -> Result:
        results = [await self._measure(number, job)]
        while results[-1].noise > self.calm and len(results) <= _MOST_REPETITIONS:
            results.append(await self._measure(number, job))
        return min(results, key=lambda result: result.noise)

    async def _measure(self, number: int, job: Job) -> Result:
        noise = Noise()
        try:
            record = await measure(
                self.settings,
                job.peer,
                job.row,
                role=job.role,
                placement=job.placement,
            )
        except ChildError as error:
            record = {"error": str(error)}
        return Result(
            peer=job.peer.name,
            row=job.row.name,
            role=job.role,
            placement=job.placement,
            round=number,
            noise=noise.measure(),
            record=record,
        )


class Progress:
    """A line on the terminal that tells how far we are, where somebody is looking."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._since = time.monotonic()
        self._is_seen = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def show(self, what: str) -> None:
        """Show what is measured now."""
        spent, count = time.monotonic() - self._since, self._count
        left = spent / count * (self._total - count) / 60 if count else 0
        self._count += 1
        self._write(f"{self._count}/{self._total}, {left:.0f} min left, {what}")

    def _write(self, text: str) -> None:
        if self._is_seen:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


async def stop_when_terminated(scope: trio.CancelScope) -> None:
    """Cancel a scope at SIGTERM, which would otherwise leave our children alone."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def describe(job: Job) -> str:
    """Name a job."""
    return f"{job.row.name} {job.role} {job.placement} {job.peer.name}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, it) for it in patterns)
