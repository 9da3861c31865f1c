"""A client that echoes, for the fuzzing server of the Autobahn test suite."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence

import trio

from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    PerMessageDeflate,
    open_websocket_url,
)

AGENT = "trio-websocket"
# The longest message of the suite (cases 9.1.6 and 9.2.6) has 16 MiB.
MAX_MESSAGE_SIZE = 16 * 1024 * 1024
# seconds; the slowest case is a thousand echoes of 128 KiB, in pieces of 256 bytes
CASE_TIMEOUT = 480
# What group 13 is about: the largest window of the server's messages, and whether each
# is compressed for itself. We ask for what the suite asks of servers; what it answers
# asks the same of us.
WANTED = {
    "13.1": (15, False),
    "13.2": (15, True),
    "13.3": (9, False),
    "13.4": (15, False),
    "13.5": (9, True),
    "13.6": (15, True),
    "13.7": (9, True),
}
COMPRESSED = ("12.", "13.")
# How hard to try makes no difference to the suite, but for its time.
DEFLATE_LEVEL = 1


async def count_cases(server: str) -> int:
    """Ask the fuzzing server how many cases it has."""
    async with open_websocket_url(f"{server}/getCaseCount") as connection:
        return int(await connection.get_message())


async def find_case(server: str, number: int) -> str:
    """Ask the fuzzing server which case has a number, such as "9.1.6"."""
    async with open_websocket_url(f"{server}/getCaseInfo?case={number}") as connection:
        case: str = json.loads(await connection.get_message())["id"]
        return case


def build_offer(case: str) -> PerMessageDeflate:
    """Build what the client offers in a case; only groups 12 and 13 accept it.

    In group 13 our own window is not limited, so that the suite can limit it;
    elsewhere the offer is what the library makes by itself.
    """
    wanted = WANTED.get(case.rpartition(".")[0])
    if wanted is None:
        return PerMessageDeflate(level=DEFLATE_LEVEL)
    window, has_no_takeover = wanted
    return PerMessageDeflate(
        client_max_window_bits=15,
        server_max_window_bits=window,
        server_no_context_takeover=has_no_takeover,
        level=DEFLATE_LEVEL,
    )


async def run_case(server: str, number: int) -> str | None:
    """Run one case: send back each message until the connection ends.

    Returns:
        What went wrong outside the messages, or None. The server judges the rest.

    """
    url = f"{server}/runCase?case={number}&agent={AGENT}"
    try:
        with trio.fail_after(CASE_TIMEOUT):
            case = await find_case(server, number)
            async with open_websocket_url(
                url, max_message_size=MAX_MESSAGE_SIZE, compression=build_offer(case)
            ) as connection:
                agreed = connection.compression
                if (agreed is not None) != case.startswith(COMPRESSED):
                    return f"{case}: what was agreed on is {agreed}"
                if agreed is not None:
                    print(f"{case}: {agreed}", flush=True)
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await connection.send_message(await connection.get_message())
    except HandshakeError as error:
        return repr(error)
    except trio.TooSlowError:
        return f"the case took longer than {CASE_TIMEOUT} s"
    return None


async def update_reports(server: str) -> None:
    """Have the fuzzing server write its reports, and wait until they are written."""
    async with open_websocket_url(
        f"{server}/updateReports?agent={AGENT}"
    ) as connection:
        with contextlib.suppress(ConnectionClosed):
            await connection.get_message()


async def run_cases(server: str) -> int:
    """Run all cases that the fuzzing server has, one after the other.

    Returns:
        The number of cases with something wrong outside the messages.

    """
    problems = 0
    count = await count_cases(server)
    for number in range(1, count + 1):
        problem = await run_case(server, number)
        if problem is not None:
            problems += 1
            print(f"case {number} of {count}: {problem}", flush=True)
    await update_reports(server)
    print(f"ran {count} cases", flush=True)
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cases and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "server", help="the fuzzing server, such as ws://127.0.0.1:9001"
    )
    options = parser.parse_args(arguments)
    server: str = options.server
    return 1 if trio.run(run_cases, server) else 0


if __name__ == "__main__":
    sys.exit(main())
