"""The results: what was measured in each round, and what follows from that."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from roster import ROSTER, Peer
from rows import ROWS, Row


@dataclass(frozen=True, slots=True)
class Place:
    """Where results can be compared: within one row, role and placement."""

    row: str
    role: str
    placement: str


@dataclass(frozen=True, slots=True)
class Result:
    """What one child found in one round.

    Attributes:
        peer: The name of the peer.
        row: The name of the row.
        role: The side that was measured.
        placement: Where the two processes were.
        round: The number of the round.
        noise: The CPU time that others took meanwhile, in CPUs.
        record: The figures, or ``skip`` or ``error`` with the reason.

    """

    peer: str
    row: str
    role: str
    placement: str
    round: int
    noise: float
    record: Mapping[str, object]

    @property
    def place(self) -> Place:
        """Where this result belongs."""
        return Place(self.row, self.role, self.placement)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: one peer in one place.

    Attributes:
        peer: The peer.
        value: The median of what the row is about.
        lowest: The lowest of the rounds.
        highest: The highest of the rounds.
        cpu: The median of the CPU time in us for each message, or None.
        delays: The medians of p50, p99 and worst delay in ms, or None.
        rounds: How many rounds there were.

    """

    peer: Peer
    value: float
    lowest: float
    highest: float
    cpu: float | None
    delays: tuple[float, float, float] | None
    rounds: int


@dataclass(frozen=True, slots=True)
class Block:
    """All peers in one place, the best one first.

    Attributes:
        place: Where.
        row: What was measured.
        lines: Who got what.
        notes: A word about each peer that has no line.

    """

    place: Place
    row: Row
    lines: Sequence[Line]
    notes: Sequence[str]

    def find(self, name: str) -> Line | None:
        """Find the line of a peer."""
        return next((line for line in self.lines if line.peer.name == name), None)

    def find_best_peer(self) -> Line | None:
        """Find the best other library."""
        return next((line for line in self.lines if line.peer.family == "peer"), None)

    def compare(self, line: Line, other: Line | None) -> float | None:
        """How many times as good a line is as another; above 1 is better."""
        if other is None or not line.value or not other.value:
            return None
        if self.row.figure.is_more_better:
            return line.value / other.value
        return other.value / line.value


@dataclass(slots=True)
class Results:
    """All results of a run, with what they depend on.

    Attributes:
        machine: What the machine and the versions are.
        results: In the order in which they were measured.

    """

    machine: Mapping[str, str]
    results: list[Result] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        text = json.dumps(asdict(self), indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    def has_errors(self) -> bool:
        """Whether a measurement failed."""
        return any("error" in result.record for result in self.results)

    def find_noise(self) -> tuple[float, float]:
        """Find the median and the worst of what others took."""
        noises = [result.noise for result in self.results] or [0.0]
        return statistics.median(noises), max(noises)

    def find_groups(self) -> dict[str, list[Block]]:
        """Find the blocks that have lines, by the name of their group and placement."""
        groups: dict[str, list[Block]] = {}
        for block in self.find_blocks():
            if block.lines:
                name = block.row.group.replace(" ", "-").lower()
                if block.place.placement != "two-cores":
                    name += f"-{block.place.placement}"
                groups.setdefault(name, []).append(block)
        return groups

    def find_blocks(self) -> Iterator[Block]:
        """Give the blocks in the order of the rows."""
        by_place: dict[Place, list[Result]] = {}
        for result in self.results:
            by_place.setdefault(result.place, []).append(result)
        rows = {row.name: (number, row) for number, row in enumerate(ROWS)}
        known = [place for place in by_place if place.row in rows]
        known.sort(
            key=lambda it: (it.role, it.placement != "two-cores", rows[it.row][0])
        )
        for place in known:
            yield build_block(place, rows[place.row][1], by_place[place])


def load_results(path: Path) -> Results:
    """Read what ``save`` wrote."""
    words = json.loads(path.read_text(encoding="utf-8"))
    return Results(words["machine"], [Result(**one) for one in words["results"]])


def build_block(place: Place, row: Row, results: Iterable[Result]) -> Block:
    """Sum up the rounds of each peer in one place."""
    by_peer: dict[str, list[Mapping[str, object]]] = {}
    for result in results:
        by_peer.setdefault(result.peer, []).append(result.record)
    lines: list[Line] = []
    notes: list[str] = []
    for peer in ROSTER:
        records = by_peer.get(peer.name, [])
        good = [record for record in records if row.figure.key in record]
        if good:
            lines.append(build_line(peer, row, good))
        words = {
            str(it.get("skip") or it.get("error")) for it in records if it not in good
        }
        notes += [f"{peer.name}: {word}" for word in sorted(words)]
    lines.sort(key=lambda line: line.value, reverse=row.figure.is_more_better)
    return Block(place, row, lines, notes)


def build_line(peer: Peer, row: Row, records: Sequence[Mapping[str, object]]) -> Line:
    """Take the medians of the rounds."""
    values = [value / row.figure.scale for value in pick(records, row.figure.key)]
    cpu = pick(records, "cpu")
    delays = None
    if row.has_bystander:
        p50, p99, worst = (
            statistics.median(pick(records, key)) for key in ("p50", "p99", "worst")
        )
        delays = (p50, p99, worst)
    return Line(
        peer,
        value=statistics.median(values),
        lowest=min(values),
        highest=max(values),
        cpu=statistics.median(cpu) if cpu else None,
        delays=delays,
        rounds=len(records),
    )


def pick(records: Iterable[Mapping[str, object]], key: str) -> list[float]:
    """Take a figure from each record that has it."""
    return [float(str(record[key])) for record in records if key in record]
