from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import trio

OpenStreamPair = Callable[
    [str], AbstractAsyncContextManager[tuple[trio.abc.Stream, trio.abc.Stream]]
]


async def test_bytes_go_both_ways(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (client, server):
        await client.send_all(b"ask")
        assert await server.receive_some() == b"ask"
        await server.send_all(b"answer")
        assert await client.receive_some() == b"answer"


async def test_both_ends_are_dropped_at_the_end(
    open_stream_pair: OpenStreamPair, transport: str
) -> None:
    async with open_stream_pair(transport) as (client, server):
        pass
    for end in (client, server):
        with pytest.raises(trio.ClosedResourceError):
            await end.receive_some()


async def test_tls_has_shaken_hands(open_stream_pair: OpenStreamPair) -> None:
    async with open_stream_pair("tls") as (client, _server):
        assert isinstance(client, trio.SSLStream)
        version: object = client.version()
        assert version in {"TLSv1.2", "TLSv1.3"}


async def test_the_client_trusts_the_authority_only(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    assert client_tls.verify_mode == ssl.CERT_REQUIRED
    assert len(client_tls.get_ca_certs()) == 1
    assert server_tls.verify_mode == ssl.CERT_NONE
