"""The floor of compression: zlib alone, without frames, text or a connection."""

from __future__ import annotations

import itertools
import zlib

import deflated
from assignment import Assignment, take_assignment
from meter import Meter

from .scenes import find_chunk


class BareZlib:
    """What both directions of a connection keep, and the messages."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._meter = Meter(assignment)
        self._chunk = find_chunk(assignment)
        pool = deflated.build_pool(assignment.size)
        self._messages = itertools.cycle([message.encode() for message in pool])
        self._compressed = itertools.cycle(deflated.compress_all(pool))
        self._compressor = deflated.make_compressor()
        self._decompressor = zlib.decompressobj(-deflated.WINDOW)

    def play(self) -> None:
        """Do what the scene asks for, for ever."""
        scenes = {"receive": self._inflate, "send": self._compress}
        play = scenes.get(self._assignment.scene, self._do_both)
        while True:
            for _ in range(self._chunk):
                play()
            self._meter.tick(self._chunk)

    def _compress(self) -> None:
        compressor = self._compressor
        data = compressor.compress(next(self._messages))
        (data + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(deflated.FLUSH_TAIL)

    def _inflate(self) -> None:
        self._decompressor.decompress(next(self._compressed) + deflated.FLUSH_TAIL)

    def _do_both(self) -> None:
        self._compress()
        self._inflate()


def main() -> None:
    """Be the floor."""
    BareZlib(take_assignment()).play()


if __name__ == "__main__":
    main()
