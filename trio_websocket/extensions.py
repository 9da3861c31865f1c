"""Extensions of your own, which change messages or frames (RFC 6455 section 9).

Derive from :class:`MessageExtension` or :class:`FrameExtension`, and give the class as
one of the ``extensions`` that every entry point takes.
"""

from __future__ import annotations

from ._protocol.extension import (
    Extension as Extension,
    FrameExtension as FrameExtension,
    MessageExtension as MessageExtension,
)
