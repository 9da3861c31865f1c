"""TLS on both sides, with certificates that live as long as the program.

A real server has a certificate that browsers trust, and its clients need no context.
"""

from __future__ import annotations

import ssl

import trio
import trustme

from trio_websocket import (
    WebSocketRequest,
    WebSocketServer,
    client_ssl_context,
    open_websocket_url,
    serve_websocket,
    server_ssl_context,
)


def make_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a context for the server, and one for clients that trust it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    with certificate.tempfile() as certfile, authority.cert_pem.tempfile() as cafile:
        return server_ssl_context(certfile), client_ssl_context(cafile=cafile)


async def echo(request: WebSocketRequest) -> None:
    """Accept a client and send each of its messages back."""
    connection = await request.accept()
    async for message in connection:
        await connection.send_message(message)


async def main() -> None:
    """Serve with TLS, and be a client of that server."""
    server_context, client_context = make_contexts()
    async with trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(
            serve_websocket, echo, "127.0.0.1", 0, server_context
        )
        url = f"wss://127.0.0.1:{server.port}"
        async with open_websocket_url(url, client_context) as connection:
            await connection.send_message("a secret")
            print("received:", await connection.get_message())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
