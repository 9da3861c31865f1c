"""What compression costs in memory: a table of settings, in KiB for each connection.

``tracemalloc`` does not see what zlib takes. So some hundred codecs are made and used
until they have touched all that they will, and the growth of the process's resident
memory is shared out among them. Each figure comes from processes of its own.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys

from meter import measure_memory

from trio_websocket._protocol.deflate import Deflator, Inflator

WINDOWS = (9, 10, 12, 15)
MEM_LEVELS = (1, 5, 8)
LARGEST_WINDOW = 15
LARGEST_LEVEL = 9
DEFAULT_LEVEL = 5
# The first few bring along what all of them share.
WARM_UP = 50
# Each codec sees 64 KiB: twice the largest window, so that all of it is filled.
MESSAGE_SIZE = 2**12
MESSAGES = 16


def make_messages() -> list[bytes]:
    """Make messages that compress to about a half, as much of what is sent does."""
    draw = random.Random(1).choices  # noqa: S311  # not for secrets
    return [bytes(draw(b"0123456789abcdef", k=MESSAGE_SIZE)) for _ in range(MESSAGES)]


def use_deflator(
    messages: list[bytes], window: int, mem_level: int, *, is_taken_over: bool
) -> Deflator:
    """Compress all messages with a new deflator, and keep it."""
    deflator = Deflator(
        window, is_taken_over=is_taken_over, level=-1, mem_level=mem_level
    )
    for message in messages:
        deflator.compress(message)
    return deflator


def use_inflator(
    compressed: list[bytes], window: int, *, is_taken_over: bool
) -> Inflator:
    """Inflate all messages with a new inflator, and keep it."""
    inflator = Inflator(window, is_taken_over=is_taken_over)
    for data in compressed:
        inflator.inflate(data, MESSAGE_SIZE + 1, is_last=True)
    return inflator


def weigh(
    side: str, window: int, mem_level: int, *, is_taken_over: bool, count: int
) -> float:
    """Find how many bytes one side of a codec takes, when it has been used."""
    messages = make_messages()
    deflator = Deflator(
        window, is_taken_over=is_taken_over, level=-1, mem_level=LARGEST_LEVEL
    )
    compressed = [deflator.compress(message) for message in messages]
    kept: list[object] = []
    base = 0
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            base = measure_memory()
        if side == "compress":
            kept.append(
                use_deflator(messages, window, mem_level, is_taken_over=is_taken_over)
            )
        else:
            kept.append(use_inflator(compressed, window, is_taken_over=is_taken_over))
    return (measure_memory() - base) / count


def weigh_apart(
    side: str,
    window: int,
    mem_level: int = DEFAULT_LEVEL,
    *,
    is_taken_over: bool = True,
    options: argparse.Namespace,
) -> str:
    """Weigh in processes of their own; the median in KiB, as a text."""
    words = [side, str(window), str(mem_level), "yes" if is_taken_over else "no"]
    command = [sys.executable, __file__, "--count", str(options.count), "--weigh"]
    figures = [
        float(
            subprocess.run([*command, *words], check=True, capture_output=True).stdout
        )
        for _ in range(options.rounds)
    ]
    return f"{statistics.median(figures) / 1024:.0f}"


def print_table(options: argparse.Namespace) -> None:
    """Print the table as CSV."""
    compress = [f"compress, mem_level {level}" for level in MEM_LEVELS]
    print(",".join(["", *(f'"{title}"' for title in compress), "inflate"]))
    for window in WINDOWS:
        cells = [
            weigh_apart("compress", window, level, options=options)
            for level in MEM_LEVELS
        ]
        cells.append(weigh_apart("inflate", window, options=options))
        print(f"{window} bits", *cells, sep=",", flush=True)
    cells = [
        weigh_apart(
            "compress", LARGEST_WINDOW, level, is_taken_over=False, options=options
        )
        for level in MEM_LEVELS
    ]
    cells.append(
        weigh_apart("inflate", LARGEST_WINDOW, is_taken_over=False, options=options)
    )
    print('"any, without context takeover"', *cells, sep=",")


def main() -> None:
    """Read the command line; print the table, or weigh one setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="codecs to weigh")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weigh", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.weigh is None:
        print_table(options)
    else:
        side, window, mem_level, takeover = options.weigh
        is_taken_over = takeover == "yes"
        figure = weigh(
            side,
            int(window),
            int(mem_level),
            is_taken_over=is_taken_over,
            count=options.count,
        )
        print(figure)


if __name__ == "__main__":
    main()
