"""The directive ``state-diagram``: the states of a connection, drawn from their table.

What is drawn is what the library runs on, so the picture cannot be out of date. Where
there are no pictures the table is written out.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import only
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from trio_websocket._protocol.state import TRANSITIONS

from .diagram import Table, build_svg, list_edges


def read_table() -> Table:
    """Read the table of the library, in words."""
    return {
        state.name: {
            step.name.lower().replace("_", " "): target.name
            for step, target in steps.items()
        }
        for state, steps in TRANSITIONS.items()
    }


class StateDiagram(SphinxDirective):
    """Draw the states of a connection."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Build the picture for pages, and a list for everything else."""
        table = read_table()
        svg = build_svg(table, description="The states of a connection")
        picture = nodes.raw("", svg, format="html")
        return [picture, only("", _build_list(table), expr="not html")]


def _build_list(table: Table) -> nodes.bullet_list:
    items = nodes.bullet_list()
    for edge in list_edges(table):
        items += nodes.list_item("", nodes.paragraph(text=edge.title))
    return items


def setup(app: Sphinx) -> ExtensionMetadata:
    """Tell Sphinx."""
    app.add_directive("state-diagram", StateDiagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
