"""The medians as tables that other programs read: a line for each row and role."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from results import Block, Results
from roster import ROSTER
from table import OURS, format_ratio, format_value


def write_csv(results: Results, folder: Path) -> None:
    """Write a file for each group of rows, with a column for each peer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, blocks in results.find_groups().items():
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(build_lines(blocks))


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
