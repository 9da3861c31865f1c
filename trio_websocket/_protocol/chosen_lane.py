"""The lane that the connections of this process take.

It is chosen once, by the environment: ``TRIO_WEBSOCKET_LANE`` is ``off``, ``python`` or
``c``; without it the compiled lane is taken if it is there.
"""

from __future__ import annotations

import os

from .lane import Lane, choose_lane

LANE: Lane | None = choose_lane(os.environ.get("TRIO_WEBSOCKET_LANE"))

lane: str = "off" if LANE is None else LANE.name
"""Which lane this process takes: "off", "python" or "c"."""
