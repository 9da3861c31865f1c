"""Draw a table of transitions as a picture, in SVG.

The states are put into rows: the first on top, then whatever it leads to, and so on. A
step that every state has, and that leads to one and the same, would be a tangle of
arrows; it is drawn as one dashed line from each state down to a bar at the bottom.

Colours are those of the page, so the picture is readable on a dark one too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Table = Mapping[str, Mapping[str, str]]

UNIT = 112  # the states of a row stand two of these apart, so lines pass between them
BOX_WIDTH = 148
BOX_HEIGHT = 34
ROW_HEIGHT = 112
MARGIN = 12
SPREAD = 30  # how far from the middle of its box a line begins

_STYLE = """\
.state-diagram text { font: 13px var(--font-stack--monospace, monospace);
  fill: var(--color-foreground-primary, #000); text-anchor: middle; }
.state-diagram text.step { font: 13px var(--font-stack, sans-serif);
  fill: var(--color-foreground-secondary, #444); paint-order: stroke;
  stroke: var(--color-background-primary, #fff); stroke-width: 6px; }
.state-diagram rect { fill: var(--color-background-secondary, #f4f4f4);
  stroke: var(--color-foreground-muted, #666); stroke-width: 1.2; }
.state-diagram path { fill: none; stroke: var(--color-foreground-secondary, #444);
  stroke-width: 1.4; }
.state-diagram path.end { stroke: var(--color-foreground-muted, #666);
  stroke-dasharray: 4 4; }
.state-diagram marker path { fill: var(--color-foreground-secondary, #444);
  stroke: none; }"""

_ARROW = (
    '<marker id="state-arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z"/></marker>'
)


@dataclass(frozen=True, slots=True)
class Edge:
    """A step from one state to another."""

    source: str
    step: str
    target: str

    @property
    def title(self) -> str:
        """What the edge says, for whoever cannot see it."""
        return f"{self.source}, {self.step}: {self.target}"


@dataclass(frozen=True, slots=True)
class Point:
    """Where something is: the middle of a box, or the end of a line."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is.

    Attributes:
        boxes: The middle of each state's box.
        bar: The state at the bottom that the common step leads to, if there is one.
        edges: The steps that are drawn between boxes.
        ends: The common steps.
        top_left: The corner of the picture.
        bottom_right: The corner across.

    """

    boxes: dict[str, Point]
    bar: str | None
    edges: list[Edge]
    ends: list[Edge]
    top_left: Point
    bottom_right: Point


def list_edges(table: Table) -> list[Edge]:
    """List every step of a table."""
    return [
        Edge(source, step, target)
        for source, steps in table.items()
        for step, target in steps.items()
    ]


def find_common(table: Table) -> list[Edge]:
    """Find the step that leads from every state that has a way out to the same one."""
    edges = list_edges(table)
    sources = {edge.source for edge in edges}
    for step in dict.fromkeys(edge.step for edge in edges):
        common = [edge for edge in edges if edge.step == step]
        targets = {edge.target for edge in common}
        is_everywhere = {edge.source for edge in common} == sources
        if is_everywhere and len(targets) == 1 and targets.isdisjoint(sources):
            return common
    return []


def arrange_rows(states: Iterable[str], edges: Sequence[Edge]) -> list[list[str]]:
    """Put states into rows so that every step leads down, with the fewest crossings."""
    level = dict.fromkeys(states, 0)
    for _ in level:
        for edge in edges:
            level[edge.target] = max(level[edge.target], level[edge.source] + 1)
    rows = [
        [state for state in level if level[state] == number]
        for number in range(max(level.values()) + 1)
    ]
    orders = itertools.product(*(itertools.permutations(row) for row in rows))
    best = min(orders, key=lambda order: count_crossings(order, edges))
    return [list(row) for row in best]


def count_crossings(rows: Sequence[Sequence[str]], edges: Sequence[Edge]) -> float:
    """Count the crossings of lines; the length of the lines decides a tie."""
    place = {state: _centre(row, state) for row in rows for state in row}
    level = {state: number for number, row in enumerate(rows) for state in row}
    crossings = 0
    for one, other in itertools.combinations(edges, 2):
        if level[one.source] == level[other.source]:
            above = place[one.source] - place[other.source]
            below = place[one.target] - place[other.target]
            crossings += above * below < 0
    length = sum(abs(place[edge.source] - place[edge.target]) for edge in edges)
    return crossings + length / 1000


def arrange(table: Table) -> Layout:
    """Find a place for everything."""
    ends = find_common(table)
    bar = ends[0].target if ends else None
    edges = [edge for edge in list_edges(table) if edge not in ends]
    rows = arrange_rows([state for state in table if state != bar], edges)
    boxes = {
        state: Point(_centre(row, state) * UNIT, number * ROW_HEIGHT)
        for number, row in enumerate(rows)
        for state in row
    }
    left = min(box.x for box in boxes.values()) - BOX_WIDTH / 2
    right = max(box.x for box in boxes.values()) + BOX_WIDTH / 2
    bottom = (len(rows) - 1) * ROW_HEIGHT
    if bar is not None:
        blocked = [state for state in boxes if is_blocked(state, boxes)]
        left -= len(blocked) * UNIT / 3
        boxes[bar] = Point((left + right) / 2, bottom + ROW_HEIGHT)
        bottom += ROW_HEIGHT
    top_left = Point(left - MARGIN, -BOX_HEIGHT / 2 - MARGIN)
    bottom_right = Point(right + MARGIN, bottom + BOX_HEIGHT / 2 + MARGIN)
    return Layout(boxes, bar, edges, ends, top_left, bottom_right)


def is_blocked(state: str, boxes: Mapping[str, Point]) -> bool:
    """Tell whether another box stands below the middle of this one."""
    box = boxes[state]
    return any(
        other.y > box.y and abs(other.x - box.x) < BOX_WIDTH / 2 + MARGIN
        for other in boxes.values()
    )


def build_svg(table: Table, *, description: str) -> str:
    """Build the picture of a table of transitions."""
    layout = arrange(table)
    width = layout.bottom_right.x - layout.top_left.x
    height = layout.bottom_right.y - layout.top_left.y
    corner = f"{layout.top_left.x:g} {layout.top_left.y:g}"
    start = (
        f'<svg class="state-diagram" role="img" viewBox="{corner} {width:g} '
        f'{height:g}" xmlns="http://www.w3.org/2000/svg" '
        f'style="display: block; margin: auto; max-width: {width:g}px">'
    )
    return "\n".join(
        [
            start,
            f"<title>{escape(description)}</title>",
            f"<style>{_STYLE}</style>",
            f"<defs>{_ARROW}</defs>",
            *_draw_ends(layout),
            *_draw_edges(layout),
            *(_draw_box(layout, state) for state in layout.boxes),
            "</svg>",
        ]
    )


def _centre(row: Sequence[str], state: str) -> float:
    return 2 * row.index(state) - (len(row) - 1)


def _draw_box(layout: Layout, state: str) -> str:
    box = layout.boxes[state]
    width = BOX_WIDTH
    name = escape(state)
    if state == layout.bar:
        width = round(layout.bottom_right.x - layout.top_left.x - 2 * MARGIN)
        name = f"{name} ({escape(layout.ends[0].step)}, from every state)"
    return (
        f'<rect x="{box.x - width / 2:g}" y="{box.y - BOX_HEIGHT / 2:g}" '
        f'width="{width:g}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{box.x:g}" y="{box.y + 4.5:g}">{name}</text>'
    )


def _draw_edges(layout: Layout) -> Iterator[str]:
    labels: list[str] = []
    for edge in layout.edges:
        source, target = layout.boxes[edge.source], layout.boxes[edge.target]
        shift = max(-SPREAD, min(SPREAD, target.x - source.x))
        start = Point(source.x + shift, source.y + BOX_HEIGHT / 2)
        end = Point(target.x - shift, target.y - BOX_HEIGHT / 2)
        yield _draw_line(edge, [start, end])
        middle = Point((start.x + end.x) / 2, (start.y + end.y) / 2)
        labels.append(
            f'<text class="step" x="{middle.x:g}" y="{middle.y + 4.5:g}">'
            f"{escape(edge.step)}</text>"
        )
    yield from labels  # over the lines


def _draw_ends(layout: Layout) -> Iterator[str]:
    outside = layout.top_left.x + MARGIN
    for edge in layout.ends:
        box = layout.boxes[edge.source]
        bottom = layout.boxes[edge.target].y - BOX_HEIGHT / 2
        others = {name: at for name, at in layout.boxes.items() if name != edge.target}
        if is_blocked(edge.source, others):
            outside += UNIT / 6
            path = [
                Point(box.x - BOX_WIDTH / 2, box.y),
                Point(outside, box.y),
                Point(outside, bottom),
            ]
        else:
            path = [Point(box.x, box.y + BOX_HEIGHT / 2), Point(box.x, bottom)]
        yield _draw_line(edge, path, kind="end")


def _draw_line(edge: Edge, path: Sequence[Point], *, kind: str = "step") -> str:
    corners = " L".join(f"{point.x:g} {point.y:g}" for point in path)
    return (
        f'<path class="{kind}" d="M{corners}" marker-end="url(#state-arrow)">'
        f"<title>{escape(edge.title)}</title></path>"
    )
