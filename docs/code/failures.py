"""What can go wrong with a connection, and where it is caught."""

from __future__ import annotations

from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url


async def ask(url: str, question: str) -> str | bytes:
    """Ask a server; an answer that begins with "no" says why there is none."""
    try:
        async with open_websocket_url(url) as connection:
            await connection.send_message(question)
            return await connection.get_message()
    except HandshakeError as error:
        return f"no connection: {error}"
    except ConnectionClosed as error:
        return f"no answer: {error}"
