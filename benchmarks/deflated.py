"""Compressed messages as they stand on the wire (RFC 7692), built beforehand.

All libraries compress with the same parameters. aiohttp can set the window alone: its
level and the memory that zlib takes are what it has chosen, and the others follow. The
context is taken over in both directions.

A compressed sequence starts with an empty context and refers to nothing before it. So
it can be repeated: what the receiver remembers of the time before does no harm.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterable, Sequence

from frames import RSV1, TEXT, build_frame

WINDOW = 12
LEVEL = 1
MEM_LEVEL = 8
OFFER = (
    "permessage-deflate"
    f"; server_max_window_bits={WINDOW}; client_max_window_bits={WINDOW}"
)
FLUSH_TAIL = b"\x00\x00\xff\xff"
# Enough that no message is in the window when its turn comes again.
_POOL_BYTES = 1_048_576
_MOST_MESSAGES = 512
_SMALLEST_LIST = 256
_NAMES = ("anna", "björn", "chen", "dmitri", "emeka", "fatima", "grace", "hiro")
_KINDS = ("message", "edit", "reaction", "presence", "typing")
_TEXT = (
    "about again because between build could deploy error first found given great "
    "later maybe merge never order please review right should since still there "
    "these think thread today tomorrow until update version where which would yes"
)
_WORDS = tuple(_TEXT.split(" "))


def build_pool(size: int) -> Sequence[str]:
    """Build different messages of so many bytes: JSON as a chat or a feed has it."""
    source = random.Random(size)  # noqa: S311  # not a secret
    count = min(_MOST_MESSAGES, _POOL_BYTES // size)
    return [_build_json(source, size) for _ in range(count)]


def _build_json(source: random.Random, size: int) -> str:
    head = {"id": source.getrandbits(32), "kind": source.choice(_KINDS)}
    if size < _SMALLEST_LIST:
        return _fill(head, source, size)
    records: list[dict[str, object]] = []
    left = size - _SMALLEST_LIST
    while left > 0:
        records.append(_build_record(source))
        left -= len(_write(records[-1]).encode()) + 1  # and a comma
    return _fill(head | {"items": records[:-1]}, source, size)


def _build_record(source: random.Random) -> dict[str, object]:
    words = source.choices(_WORDS, k=source.randrange(4, 12))
    return {
        "id": source.getrandbits(40),
        "kind": source.choice(_KINDS),
        "user": source.choice(_NAMES),
        "at": 1_700_000_000 + source.randrange(10_000_000) / 1000,
        "text": " ".join(words),
        "tags": source.sample(_WORDS, k=2),
        "seen": source.random() < 0.5,
    }


def _fill(record: dict[str, object], source: random.Random, size: int) -> str:
    """Write a record, with as much text at its end as is missing."""
    missing = size - len(_write(record | {"text": ""}).encode())
    text = " ".join(source.choices(_WORDS, k=max(1, missing // 2)))
    return _write(record | {"text": text[:missing]})


def _write(record: dict[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def make_compressor() -> zlib._Compress:
    """Make a compressor with the parameters that all have."""
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW, MEM_LEVEL)


def compress_all(messages: Iterable[str]) -> Sequence[bytes]:
    """Compress messages one after the other, each with those before as its context."""
    compressor = make_compressor()
    return [
        (
            compressor.compress(message.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
        ).removesuffix(FLUSH_TAIL)
        for message in messages
    ]


def build_frames(size: int, *, is_masked: bool) -> Sequence[bytes]:
    """Build the frames of the pool; they can be repeated as a whole."""
    return [
        build_frame(payload, is_masked=is_masked, opcode=TEXT | RSV1)
        for payload in compress_all(build_pool(size))
    ]
