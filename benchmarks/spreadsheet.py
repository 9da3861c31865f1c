"""The medians as tables that other programs read: a line for each row and role."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from results import Block, Results
from roster import ROSTER
from table import OURS, format_ratio, format_value


def write_csv(results: Results, folder: Path) -> None:
    """Write a file for each group of rows, with a column for each peer."""
    _write_tables(results, folder, build_lines)


def build_lines(blocks: Sequence[Block]) -> Iterator[list[str]]:
    """Build the head of a table, and what is below it."""
    present = {line.peer for block in blocks for line in block.lines}
    peers = [peer for peer in ROSTER if peer in present]
    yield ["row", "role", "unit", *(peer.title for peer in peers), "ours : best peer"]
    for block in blocks:
        lines = [block.find(peer.name) for peer in peers]
        ours, best = block.find(OURS), block.find_best_peer()
        yield [
            block.row.title,
            block.place.role,
            block.row.figure.unit,
            *(format_value(line.value) if line else "" for line in lines),
            format_ratio(block.compare(ours, best) if ours else None),
        ]


# What a reader compares with: the fastest library, the others, what no library can pass
# on the same loop, and whole messages where ours are in parts.
_COMPARED = (
    "picows-uvloop",
    "aiohttp-uvloop",
    "websockets-uvloop",
    "websockets-trio",
    "old",
    "floor-trio-fd",
    "floor-socket",
    "floor-zlib",
    "ours-whole",
)


def write_ratios(results: Results, folder: Path) -> None:
    """Write a file for each group of rows: how many times as good we are as others.

    Ratios mean something on other machines, too; the figures themselves do not.
    """
    _write_tables(results, folder, build_ratios)


def build_ratios(blocks: Sequence[Block]) -> Iterator[list[str]]:
    """Build the head of such a table, and a line for each way of using ours."""
    present = {line.peer.name for block in blocks for line in block.lines}
    others = [peer for peer in ROSTER if peer.name in present.intersection(_COMPARED)]
    others.sort(key=lambda peer: _COMPARED.index(peer.name))
    yield ["", "role", *(peer.title for peer in others)]
    for block in blocks:
        for peer in ROSTER:
            line = block.find(peer.name)
            is_shown = peer.family == "ours" and peer.name not in _COMPARED
            if is_shown and line is not None:
                title = block.row.title + peer.title.removeprefix("trio-websocket")
                lines = [block.find(other.name) for other in others]
                ratios = [format_ratio(block.compare(line, it)) for it in lines]
                yield [title, block.place.role, *ratios]


def _write_tables(
    results: Results,
    folder: Path,
    build: Callable[[Sequence[Block]], Iterable[list[str]]],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, blocks in results.find_groups().items():
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(build(blocks))
