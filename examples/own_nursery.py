"""Several connections at once, which live in a nursery of your own.

``open_websocket_url`` is for one connection that lasts for a block. Where their number
is known only when the program runs, or they are to outlive a block, there is
``connect_websocket_url``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import trio

from trio_websocket import connect_websocket_url


async def ask(urls: Sequence[str], question: str) -> None:
    """Ask several servers, print the answers, and close all connections at once."""
    async with trio.open_nursery() as nursery:
        connections = [await connect_websocket_url(nursery, url) for url in urls]
        for connection in connections:
            await connection.send_message(question)
        for connection in connections:
            print(f"{connection.path}: {await connection.get_message()!r}")
        # The nursery waits for every connection until it is closed.
        for connection in connections:
            nursery.start_soon(connection.aclose)
    for connection in connections:
        print(f"{connection.path}: {connection.closed}")


def main() -> None:
    """Read the command line and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", nargs="+", help="such as ws://127.0.0.1:8000/a")
    options = parser.parse_args()
    trio.run(ask, options.urls, "Anybody there?")


if __name__ == "__main__":
    main()
