"""Frames as values, for programs that test or build protocols.

Connections take care of frames by themselves. Here are the frame (:class:`Frame`), a
parser (:class:`FrameParser`), and a stream of frames over any stream
(:class:`FrameStream`).
"""

from __future__ import annotations

from ._connection.frame_stream import FrameStream as FrameStream
from ._protocol.frame import Frame as Frame, FrameParser as FrameParser
from ._protocol.frame_header import Opcode as Opcode
