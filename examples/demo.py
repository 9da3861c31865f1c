"""What the library does, in one conversation: a TLS server, its clients, what they say.

``make demo`` runs it. Each step is checked, and the exit code is 0 only if all of them
happened as they should. With ``--url`` it talks to a server that runs elsewhere, which
must echo at ``/echo`` and answer 404 at ``/nowhere``.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from functools import partial

import trio
import trustme

from trio_websocket import (
    ConnectionRejected,
    WebSocketConnection,
    WebSocketError,
    WebSocketRequest,
    WebSocketServer,
    client_ssl_context,
    open_websocket_url,
    serve_websocket,
    server_ssl_context,
)


class WrongAnswer(Exception):
    """The server did something else than it should."""


def say(who: str, what: str) -> None:
    """Print a line of the conversation as soon as it happens."""
    print(f"{who}: {what}", flush=True)


def shorten(message: str | bytes) -> str:
    """Show a message; of a long one its size and the beginning."""
    if len(message) <= 60:
        return repr(message)
    unit = "characters" if isinstance(message, str) else "bytes"
    return f"{len(message)} {unit}: {message[:20]!r}..."


def expect(what: str, got: object, wanted: object) -> None:
    """Check one result.

    Raises:
        WrongAnswer: If it is not what was wanted; ``b"1"`` and ``"1"`` differ too.

    """
    if got != wanted:
        raise WrongAnswer(f"the {what} was {got!r}, not {wanted!r}")


async def answer(request: WebSocketRequest) -> None:
    """Echo at /echo, and reject whoever wants to go elsewhere."""
    if request.path != "/echo":
        say("server", f"there is no {request.path}")
        await request.reject(404, body=b"there is only /echo")
        return
    say("server", f"accepts {request.path}")
    connection = await request.accept()
    async for message in connection:
        say("server", f"got {shorten(message)}")
        await connection.send_message(message)


def make_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a throw-away certificate: a context to serve with, and one to trust it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    with certificate.tempfile() as certfile, authority.cert_pem.tempfile() as cafile:
        return server_ssl_context(certfile), client_ssl_context(cafile=cafile)


async def converse(url: str, context: ssl.SSLContext | None) -> None:
    """Go through the whole conversation.

    Raises:
        WrongAnswer: If a step went wrong.
        WebSocketError: If a connection did not open, or ended too early.

    """
    async with open_websocket_url(
        f"{url}/echo", context, compression="deflate"
    ) as connection:
        say("client", f"connected to {url}/echo")
        await exchange(connection, "text message", "Hello, Trio!")
        await exchange(connection, "binary message", bytes(range(8)))
        await exchange_json(connection, {"name": "Ada", "years": [1815, 1852]})
        await exchange_parts(connection, ["One ", "message ", "in parts"])
        await exchange_compressed(connection, "This is said again and again. " * 100)
        await measure(connection)
        await be_rejected(f"{url}/nowhere", context)
        await close(connection, 4000, "that was all")


async def exchange(
    connection: WebSocketConnection, what: str, message: str | bytes
) -> None:
    """Send a message and expect it back."""
    say("client", f"sends the {what} {message!r}")
    await connection.send_message(message)
    echo = await connection.get_message()
    say("client", f"received {shorten(echo)}")
    expect(what, echo, message)


async def exchange_json(connection: WebSocketConnection, value: object) -> None:
    """Send a value as JSON and expect it back."""
    say("client", f"sends as JSON {value}")
    await connection.send_json(value)
    try:
        echo = await connection.get_json()
    except ValueError as error:
        raise WrongAnswer(f"the answer was no JSON: {error}") from error
    say("client", f"received as JSON {echo}")
    expect("value", echo, value)


async def exchange_parts(connection: WebSocketConnection, parts: list[str]) -> None:
    """Send a message part by part, and read it while it comes back."""
    async with connection.message_writer() as writer:
        for part in parts:
            say("client", f"sends the part {part!r}")
            await writer.send(part)
    async with connection.message_reader(max_bytes=1000) as reader:
        echo = await reader.read()
    say("client", f"received {echo!r}")
    expect("message in parts", echo, "".join(parts))


async def exchange_compressed(connection: WebSocketConnection, message: str) -> None:
    """Send a message that compresses well; the server may have declined to."""
    how = "as it is" if connection.compression is None else "compressed"
    say("client", f"sends {how} {shorten(message)}")
    await connection.send_message(message)
    echo = await connection.get_message()
    say("client", f"received {shorten(echo)}")
    expect("long message", echo, message)


async def measure(connection: WebSocketConnection) -> None:
    """Send a ping and expect its pong."""
    say("client", "sends a ping")
    round_trip = await connection.ping()
    say("client", f"received the pong after {round_trip * 1000:.2f} ms")


async def be_rejected(url: str, context: ssl.SSLContext | None) -> None:
    """Ask for what is not there, and expect 404 with an explanation."""
    say("client", f"tries {url}")
    try:
        async with open_websocket_url(url, context):
            pass
    except ConnectionRejected as rejected:
        say("client", f"was rejected: {rejected.status_code}, {rejected.body!r}")
        expect("status", rejected.status_code, 404)
        expect("body", rejected.body, b"there is only /echo")
    else:
        raise WrongAnswer("the handshake was accepted, not rejected")


async def close(connection: WebSocketConnection, code: int, reason: str) -> None:
    """Close the connection and expect the server's Close with the same code."""
    say("client", f"closes with {code} ({reason})")
    await connection.aclose(code, reason)
    received = connection.close_received
    if received is None:
        raise WrongAnswer("the server went without a Close")
    say("client", f"received the Close {received.code} ({received.reason})")
    expect("close code", received.code, code)
    expect("close reason", received.reason, reason)


async def demonstrate(
    url: str, context: ssl.SSLContext | None, time_limit: float
) -> bool:
    """Converse with a server and return whether all went well."""
    try:
        with trio.fail_after(time_limit):
            await converse(url, context)
    except (WebSocketError, WrongAnswer) as error:
        say("FAILED", str(error))
    except trio.TooSlowError:
        say("FAILED", f"it took longer than {time_limit} s")
    else:
        say("client", "everything happened as it should")
        return True
    return False


async def serve_and_demonstrate(time_limit: float) -> bool:
    """Converse with a server of our own."""
    server_context, client_context = make_contexts()
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            partial(serve_websocket, compression="deflate"),
            answer,
            "127.0.0.1",
            0,
            server_context,
        )
        url = f"wss://127.0.0.1:{server.port}"
        say("server", f"listens on {url}")
        is_good = await demonstrate(url, client_context, time_limit)
        nursery.cancel_scope.cancel()
    return is_good


def main() -> int:
    """Read the command line, run the demonstration and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a server to talk to instead of our own")
    parser.add_argument("--cafile", help="the certificates to trust, for a wss: URL")
    parser.add_argument("--time-limit", type=float, default=10, metavar="SECONDS")
    options = parser.parse_args()
    if options.url is None:
        is_good = trio.run(serve_and_demonstrate, options.time_limit)
    else:
        cafile: str | None = options.cafile
        context = client_ssl_context(cafile=cafile) if cafile else None
        is_good = trio.run(demonstrate, options.url, context, options.time_limit)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
