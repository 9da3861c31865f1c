"""A client that sends messages to an echo server and prints what comes back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import trio

from trio_websocket import WebSocketError, open_websocket_url


async def talk(url: str, messages: Sequence[str]) -> None:
    """Send each message and print the answer."""
    async with open_websocket_url(url) as connection:
        for message in messages:
            await connection.send_message(message)
            print("received:", await connection.get_message())


def main() -> None:
    """Read the command line and talk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="such as ws://127.0.0.1:8000")
    parser.add_argument("messages", nargs="+", help="what to send")
    options = parser.parse_args()
    try:
        trio.run(talk, options.url, options.messages)
    except WebSocketError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
