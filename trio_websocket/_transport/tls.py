"""TLS contexts, and the choice of one."""

from __future__ import annotations

import os
import ssl

import trio


def client_ssl_context(
    *,
    verify: bool = True,
    cafile: str | os.PathLike[str] | None = None,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
) -> ssl.SSLContext:
    """Build a context for a client; TLS 1.2 is the oldest version that it speaks.

    Args:
        verify: Whether the server must prove its name. Without it anybody in between
            can read and change everything: for tests only.
        cafile: A file of the certificates to trust, in PEM; None trusts those of the
            system.
        certfile: A file with the client's own certificate, for servers that ask for
            one.
        keyfile: Its private key, if that is not in ``certfile``.

    Raises:
        OSError: If a file cannot be read.
        ssl.SSLError: If it does not hold what it should.

    """
    context = ssl.create_default_context(cafile=cafile)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile)
    return _harden(context)


def server_ssl_context(
    certfile: str | os.PathLike[str],
    keyfile: str | os.PathLike[str] | None = None,
    *,
    client_ca: str | os.PathLike[str] | None = None,
) -> ssl.SSLContext:
    """Build a context for a server; TLS 1.2 is the oldest version that it speaks.

    Args:
        certfile: A file with the server's certificate and its chain, in PEM.
        keyfile: Its private key, if that is not in ``certfile``.
        client_ca: A file of certificates; if given, a client must prove who it is with
            one that these have signed.

    Raises:
        OSError: If a file cannot be read.
        ssl.SSLError: If it does not hold what it should.

    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(certfile, keyfile)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return _harden(context)


def choose_ssl_context(use_ssl: object) -> ssl.SSLContext | None:
    """Turn the ``use_ssl`` of a client into a context, or None for no TLS.

    Raises:
        TypeError: If it is neither a bool nor a context.
        ValueError: If it is a context for servers.

    """
    if use_ssl is True:
        return client_ssl_context()
    if use_ssl is False:
        return None
    if not isinstance(use_ssl, ssl.SSLContext):
        msg = "`use_ssl` argument must be bool or ssl.SSLContext"
        raise TypeError(msg)
    if use_ssl.protocol == ssl.PROTOCOL_TLS_SERVER:
        msg = "a client cannot use an SSL context for servers"
        raise ValueError(msg)
    return use_ssl


def wrap_client(
    stream: trio.abc.Stream, context: ssl.SSLContext, host: str
) -> trio.SSLStream[trio.abc.Stream]:
    """Put TLS on a stream; the server must be ``host``, a name or an IP address."""
    # Certificates have neither the scope id of an address nor the dot of the DNS root,
    # and the dot may not be asked for (RFC 6066 section 3).
    name = host.partition("%")[0].removesuffix(".")
    return trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)


def _harden(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The end of a stream that TLS did not announce must not look like one that it did,
    # for whoever else uses the context; a WebSocket has its own Close.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context
