"""The results as pictures, one for each group of rows.

Everything is drawn as a multiple of what this library does in its usual way: the ratios
of one run mean something on other machines, too, and the figures themselves do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from results import Block, Line, Results
from roster import ROSTER
from rows import ROLES
from table import OURS, format_ratio

_COLOURS = {"ours": "#1f6fb4", "peer": "#b8b8b8", "floor": "#e6dcc3"}
# For lines: ours and the peers.
_LINES = ("#1f6fb4", "#d95f02", "#7570b3", "#1b9e77", "#e7298a", "#666666")
_BAR_INCHES = 0.2
_WIDTH_INCHES = 10.0
# For the title and the scale of each panel.
_FRAME_INCHES = 0.75


def draw_plots(results: Results, folder: Path) -> list[Path]:
    """Draw a picture in SVG for each group and placement that has results."""
    folder.mkdir(parents=True, exist_ok=True)
    # The same results give the same file.
    mpl.rcParams["svg.hashsalt"] = "trio-websocket"
    # Letters as letters: outlines would make the files ten times as large.
    mpl.rcParams["svg.fonttype"] = "none"
    paths: list[Path] = []
    for name, chosen in results.find_groups().items():
        path = folder / f"{name}.svg"
        is_growth = chosen[0].row.group == "growth"
        figure = draw_growth(chosen) if is_growth else draw_bars(chosen)
        figure.savefig(path, metadata={"Date": None})
        paths.append(path)
    return paths


def draw_bars(blocks: Sequence[Block]) -> Figure:
    """Draw bars: rows below each other, the roles side by side."""
    rows = list(dict.fromkeys(block.row for block in blocks))
    most = {
        row: max(len(block.lines) for block in blocks if block.row is row)
        for row in rows
    }
    heights = [_FRAME_INCHES + _BAR_INCHES * most[row] for row in rows]
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), layout="constrained")
    panels = figure.subplots(
        len(rows), len(ROLES), squeeze=False, height_ratios=heights
    )
    for number, row in enumerate(rows):
        for column, role in enumerate(ROLES):
            axes = panels[number][column]
            block = next(
                (it for it in blocks if it.row is row and it.place.role == role), None
            )
            if block is None:
                axes.set_axis_off()
            else:
                draw_block(axes, block)
    return figure


def draw_block(axes: Axes, block: Block) -> None:
    """Draw the bars of one block, the best on top, with the range of the rounds."""
    ours = block.find(OURS)
    unit = ours.value if ours else 1
    lines = block.lines[::-1]
    titles = [line.peer.title for line in lines]
    values = [line.value / unit for line in lines]
    ranges = [
        [(line.value - line.lowest) / unit for line in lines],
        [(line.highest - line.value) / unit for line in lines],
    ]
    axes.barh(
        titles,
        values,
        color=[_COLOURS[line.peer.family] for line in lines],
        xerr=ranges,
        error_kw={"elinewidth": 0.6, "ecolor": "#555555"},
    )
    for number, line in enumerate(lines):
        axes.annotate(
            f" {format_ratio(line.value / unit)}",
            (line.highest / unit, number),
            va="center",
            fontsize=6,
        )
    axes.set_title(f"{block.row.title}, {block.place.role}", fontsize=8)
    axes.set_xlabel(f"{block.row.figure.unit}, ours = 1", fontsize=7)
    axes.tick_params(labelsize=6.5)
    axes.ticklabel_format(axis="x", style="plain")
    axes.margins(x=0.15, y=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if block.row.has_bystander or find_spread(lines) > 100:
        axes.set_xscale("log")


def find_spread(lines: Sequence[Line]) -> float:
    """Find how many times as long the longest bar is as the shortest."""
    values = [line.value for line in lines if line.value > 0]
    return max(values) / min(values) if values else 1


def draw_growth(blocks: Sequence[Block]) -> Figure:
    """Draw the CPU time for a message over the number of connections."""
    figure = Figure(figsize=(_WIDTH_INCHES, 4), layout="constrained")
    panels = figure.subplots(1, len(ROLES), squeeze=False, sharey=True)
    first = min(blocks, key=lambda block: block.row.connections).find(OURS)
    unit = first.value if first else 1
    for axes, role in zip(panels[0], ROLES, strict=True):
        points: dict[str, list[tuple[int, float]]] = {}
        for block in blocks:
            if block.place.role == role:
                for line in block.lines:
                    point = (block.row.connections, line.value / unit)
                    points.setdefault(line.peer.title, []).append(point)
        titles = [peer.title for peer in ROSTER if peer.title in points]
        for number, title in enumerate(titles):
            counts, values = zip(*sorted(points[title]), strict=True)
            colour = _LINES[number % len(_LINES)]
            axes.plot(counts, values, marker="o", label=title, color=colour)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_ylim(bottom=0)
        axes.set_title(role, fontsize=9)
        axes.set_xlabel("connections", fontsize=8)
        axes.set_ylabel("CPU time for a message, ours alone = 1", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
    return figure
