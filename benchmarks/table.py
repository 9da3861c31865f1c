"""The results as text."""

from __future__ import annotations

from collections.abc import Iterator

from results import Block, Line, Results

OURS = "ours"


def format_results(results: Results) -> str:
    """Write every block, and a summary."""
    blocks = list(results.find_blocks())
    parts = [format_machine(results), *map(format_block, blocks)]
    return "\n\n".join([*parts, "\n".join(format_summary(blocks))])


def format_machine(results: Results) -> str:
    """Write what the results depend on."""
    median, worst = results.find_noise()
    words = {
        **results.machine,
        "taken by others": f"{median:.2f} CPUs (median), {worst:.2f} CPUs (worst)",
    }
    return "\n".join(f"{name}: {value}" for name, value in words.items())


def format_block(block: Block) -> str:
    """Write one block: peers below each other."""
    place = block.place
    figure = block.row.figure
    delays = f"{'p50':>8} {'p99':>8} {'worst':>8}" if block.row.has_bystander else ""
    title = f"{block.row.title} | {place.role} | {place.placement} | {figure.unit}"
    head = (
        f"  {'':30} {'median':>12} {'x best':>7} {'x ours':>7} {'CPU us':>9}"
        f" {delays}  lowest .. highest"
    )
    best, ours = block.find_best_peer(), block.find(OURS)
    lines = [
        f"  {line.peer.title:30} {format_value(line.value):>12}"
        f" {format_ratio(block.compare(line, best)):>7}"
        f" {format_ratio(block.compare(line, ours)):>7}"
        f" {format_cpu(line):>9} {format_delays(line)}"
        f"  {format_value(line.lowest)} .. {format_value(line.highest)}"
        for line in block.lines
    ]
    notes = [f"  ({note})" for note in block.notes]
    return "\n".join([title, head, *lines, *notes])


def format_summary(blocks: list[Block]) -> Iterator[str]:
    """Write a line for each block: we and the best peer."""
    yield f"{'summary':56} {'role':7} {'placement':10} {'ours':>12} {'ratio':>6}  to"
    for block in blocks:
        best = block.find_best_peer()
        for line in block.lines:
            if line.peer.family != "ours":
                continue
            way = line.peer.title.removeprefix("trio-websocket")
            title = f"{block.row.title}{way}"
            ratio = format_ratio(block.compare(line, best))
            yield (
                f"{title:56} {block.place.role:7} {block.place.placement:10}"
                f" {format_value(line.value):>12} {ratio:>6}"
                f"  {best.peer.title if best else '-'}"
            )


def format_value(value: float) -> str:
    """Write a figure with three digits or all those before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def format_ratio(ratio: float | None) -> str:
    """Write a ratio."""
    return "-" if ratio is None else f"{ratio:.2f}"


def format_cpu(line: Line) -> str:
    """Write the CPU time for each message."""
    return "-" if line.cpu is None else f"{line.cpu:.3f}"


def format_delays(line: Line) -> str:
    """Write the delays of a bystander."""
    if line.delays is None:
        return ""
    return " ".join(f"{delay:8.2f}" for delay in line.delays)
