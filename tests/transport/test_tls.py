from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from trio_websocket._transport.tls import (
    choose_ssl_context,
    client_ssl_context,
    server_ssl_context,
    wrap_client,
)


@dataclass
class Files:
    """Certificates on disk, each with its key."""

    authority: Path
    server: Path
    server_key: Path
    client: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    files = Files(
        authority=folder / "authority.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
    )
    authority = trustme.CA()
    server = authority.issue_cert("server.example", "::1", "fe80::1")
    client = authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(str(files.authority))
    server.cert_chain_pems[0].write_to_path(str(files.server))
    server.private_key_pem.write_to_path(str(files.server_key))
    client.private_key_and_cert_chain_pem.write_to_path(str(files.client))
    return files


async def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, host: str = "server.example"
) -> bytes:
    """Send a byte from the server to the client, which proves that both are content."""
    client_end, server_end = trio.testing.memory_stream_pair()
    client_stream = wrap_client(client_end, client, host)
    server_stream = trio.SSLStream(server_end, server, server_side=True)

    async def serve() -> None:
        try:
            await server_stream.send_all(b"x")
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(server_end)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            return bytes(await client_stream.receive_some())
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(client_end)
            return repr(error.__cause__).encode()


async def test_a_client_that_is_told_whom_to_trust_is_content(files: Files) -> None:
    client = client_ssl_context(cafile=files.authority)
    server = server_ssl_context(files.server, files.server_key)
    assert await shake_hands(client, server) == b"x"


async def test_a_client_trusts_the_system_only_unless_told_otherwise(
    files: Files,
) -> None:
    server = server_ssl_context(files.server, files.server_key)
    assert b"CERTIFICATE_VERIFY_FAILED" in await shake_hands(
        client_ssl_context(), server
    )


async def test_a_client_looks_at_the_name_of_the_server(files: Files) -> None:
    client = client_ssl_context(cafile=files.authority)
    server = server_ssl_context(files.server, files.server_key)
    assert b"Hostname mismatch" in await shake_hands(client, server, "other.example")


async def test_a_client_that_verifies_nothing_is_content_with_anybody(
    files: Files,
) -> None:
    client = client_ssl_context(verify=False)
    server = server_ssl_context(files.server, files.server_key)
    assert await shake_hands(client, server, "other.example") == b"x"


@pytest.mark.parametrize("host", ["server.example.", "::1", "fe80::1%eth0"])
async def test_what_is_in_no_certificate_is_taken_off_the_name(
    files: Files, host: str
) -> None:
    client = client_ssl_context(cafile=files.authority)
    server = server_ssl_context(files.server, files.server_key)
    assert await shake_hands(client, server, host) == b"x"


async def test_a_server_asks_for_a_certificate_if_told_to(files: Files) -> None:
    server = server_ssl_context(
        files.server, files.server_key, client_ca=files.authority
    )
    anonymous = client_ssl_context(cafile=files.authority)
    assert await shake_hands(anonymous, server) == b""  # Trio sends no alert
    known = client_ssl_context(cafile=files.authority, certfile=files.client)
    assert await shake_hands(known, server) == b"x"


@pytest.mark.parametrize("side", ["client", "server"])
def test_nothing_older_than_tls_1_2_is_spoken(files: Files, side: str) -> None:
    context = (
        client_ssl_context()
        if side == "client"
        else server_ssl_context(files.server, files.server_key)
    )
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.skipif(
    not hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF"), reason="came with OpenSSL 3"
)
async def test_an_end_that_was_not_announced_is_told_from_one_that_was(
    files: Files,
) -> None:
    client_end, server_end = trio.testing.memory_stream_pair()
    context = client_ssl_context(cafile=files.authority)
    client = trio.SSLStream(client_end, context, server_hostname="server.example")
    server = trio.SSLStream(
        server_end,
        server_ssl_context(files.server, files.server_key),
        server_side=True,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, b"x")
        assert await client.receive_some() == b"x"
    await trio.aclose_forcefully(server)
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()
    await trio.aclose_forcefully(client)


def load(argument: str, path: Path) -> ssl.SSLContext:
    match argument:
        case "cafile":
            return client_ssl_context(cafile=path)
        case "client's certfile":
            return client_ssl_context(certfile=path)
        case "server's certfile":
            return server_ssl_context(path)
        case _:
            return server_ssl_context(path, client_ca=path)


@pytest.mark.parametrize(
    "argument", ["cafile", "client's certfile", "server's certfile", "client_ca"]
)
def test_files_that_cannot_be_used_are_told(tmp_path: Path, argument: str) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        load(argument, path)
    path.write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        load(argument, path)


def test_true_makes_a_context_that_verifies() -> None:
    context = choose_ssl_context(True)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_false_makes_none() -> None:
    assert choose_ssl_context(False) is None


def test_a_context_is_used_and_not_changed(files: Files) -> None:
    # S-7
    def describe(context: ssl.SSLContext) -> tuple[object, ...]:
        return (
            context.options,
            context.verify_mode,
            context.check_hostname,
            context.minimum_version,
            context.verify_flags,
            context.get_ca_certs(),
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    before = describe(context)
    assert choose_ssl_context(context) is context
    assert describe(context) == before


@pytest.mark.parametrize("wrong", [None, 1, 0, "yes", object()])
def test_anything_else_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError) as caught:
        choose_ssl_context(wrong)
    sentence = "`use_ssl` argument must be bool or ssl.SSLContext"
    assert str(caught.value) == sentence


def test_a_context_for_servers_is_a_value_error(files: Files) -> None:
    context = server_ssl_context(files.server, files.server_key)
    with pytest.raises(ValueError, match="a client cannot use an SSL context for"):
        choose_ssl_context(context)
