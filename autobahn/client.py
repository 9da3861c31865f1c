"""A client that echoes, for the fuzzing server of the Autobahn test suite."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

import trio

from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

AGENT = "trio-websocket"
# The longest message of the suite (cases 9.1.6 and 9.2.6) has 16 MiB.
MAX_MESSAGE_SIZE = 16 * 1024 * 1024
# The slowest case takes a few seconds.
CASE_TIMEOUT = 60


async def count_cases(server: str) -> int:
    """Ask the fuzzing server how many cases it has."""
    async with open_websocket_url(f"{server}/getCaseCount") as connection:
        return int(await connection.get_message())


async def run_case(server: str, number: int) -> str | None:
    """Run one case: send back each message until the connection ends.

    Returns:
        What went wrong outside the messages, or None. The server judges the rest.

    """
    url = f"{server}/runCase?case={number}&agent={AGENT}"
    try:
        with trio.fail_after(CASE_TIMEOUT):
            async with open_websocket_url(
                url, max_message_size=MAX_MESSAGE_SIZE
            ) as connection:
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
