"""One client of a server, from the accepted stream to its end.

Theory of operation
===================

Each stream that a listener accepts is one task. Nothing that the client or the handler
does leaves it: a client that sends no good request is answered and gone; what the
handler raises ends its own connection and is told to ``on_handler_error``. Only a
cancellation goes through, and Ctrl-C.

The handler runs in that task, the connection (once the request was accepted) in a child
of it, so the two end together: when the handler is done the connection is closed, and
when the task is cancelled, each of them sees it. The connection then says 1001 and
waits for the answer, for ``shutdown_timeout`` at most; all connections do so at the
same time.

What the client hears when the handler is done:

=====================  ======================  =====================
handler                before ``accept``       after ``accept``
=====================  ======================  =====================
returned               500                     Close 1000
raised                 500                     Close 1011
its connection closed                          nothing: it is closed
was cancelled          the stream is dropped   Close 1001
=====================  ======================  =====================
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import trio

from .._connection.connection import WebSocketConnection
from .._connection.link import Farewell, Link
from .._errors import ConnectionFailed
from .._nursery import find_leaves, split_failures
from .._options import ConnectionOptions
from .._protocol.server_handshake import ServerHandshake
from .._protocol.upgrade_request import UpgradeRequest
from .._transport.listen import prepare_accepted
from .exchange import (
    Exchange,
    receive_request,
    receive_request_now,
    say_and_end,
)
from .request import WebSocketRequest

logger = logging.getLogger("trio-websocket")

Handler = Callable[[WebSocketRequest], Awaitable[object]]
ErrorHook = Callable[[Exception, WebSocketRequest | WebSocketConnection], object]
OnHandlerError = Literal["log", "raise"] | ErrorHook

_NORMAL_CLOSURE = 1000
_INTERNAL_ERROR = 1011
_INTERNAL_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Session:
    """What a server does with each client.

    Attributes:
        handler: The application.
        options: The options of each connection.
        on_handler_error: What to do with an exception of the handler's.
        farewell: What a cancelled connection says.

    """

    handler: Handler
    options: ConnectionOptions
    on_handler_error: OnHandlerError
    farewell: Farewell

    async def run(  # noqa: ASYNC910  # each way leads over a nursery or a wait
        self, accepted: trio.abc.Stream
    ) -> None:
        """Serve one client; the caller closes the stream."""
        stream = prepare_accepted(accepted)
        received = await self._receive(stream)
        if received is None:
            return
        async with trio.open_nursery() as nursery:
            exchange = Exchange(
                stream,
                *received,
                nursery=nursery,
                options=self.options,
                farewell=self.farewell,
                run_link=_run_contained,
            )
            request = WebSocketRequest(exchange, received[1])
            del received  # all that follows is long, and most clients are idle
            raised = None
            try:
                await self.handler(request)
            except BaseException as error:  # noqa: ASYNC103, BLE001  # raised there:
                raised = error
            try:
                await self._conclude(exchange, request, raised)
            finally:
                del raised  # its traceback holds this frame

    async def _receive(  # noqa: ASYNC910  # waits only if nothing is here
        self, stream: trio.abc.Stream
    ) -> tuple[ServerHandshake, UpgradeRequest] | None:
        """Wait for a good request; a bad one is answered here."""
        handshake = ServerHandshake()
        request = None
        try:
            request = receive_request_now(stream, handshake, self.options)
            if request is None:
                with trio.move_on_after(  # noqa: ASYNC912  # as above
                    self.options.connect_timeout
                ):
                    request = await receive_request(stream, handshake, self.options)
            if isinstance(request, UpgradeRequest):
                return handshake, request  # noqa: ASYNC910  # as above
            if request is not None:
                logger.debug("refused %r: %s", stream, request.problem)
                seconds = self.options.disconnect_timeout
                await say_and_end(stream, request.answer, seconds)
        except ConnectionFailed as error:
            logger.debug("a client left before its request: %s", error)
        except Exception:
            # A stream of a listener of the program's own may raise anything.
            logger.exception("%r failed before its request", stream)
        return None  # noqa: ASYNC910  # as above

    async def _conclude(
        self,
        exchange: Exchange,
        request: WebSocketRequest,
        raised: BaseException | None,
    ) -> None:
        """Tell the client that the handler is done, and the program if it failed."""
        if raised is None:
            await _dismiss(exchange, _NORMAL_CLOSURE)
            return
        failure, rest = split_failures(raised)
        if failure is not None and all(map(exchange.is_own_end, find_leaves(failure))):
            logger.debug("the handler ended with its connection: %s", failure)
            failure = None
        code = _NORMAL_CLOSURE if failure is None else _INTERNAL_ERROR
        is_undisturbed = False
        try:
            if rest is not None:
                raise rest
            await _dismiss(exchange, code)
            is_undisturbed = True
        finally:
            if failure is not None:
                subject = exchange.connection or request
                await self._report(  # noqa: ASYNC102  # the hook is the program's
                    failure, subject, can_raise=is_undisturbed
                )

    async def _report(  # noqa: ASYNC910  # waits for what the hook waits for
        self,
        failure: Exception,
        subject: WebSocketRequest | WebSocketConnection,
        *,
        can_raise: bool,
    ) -> None:
        reaction = self.on_handler_error
        if not isinstance(reaction, str):
            result = reaction(failure, subject)
            if inspect.isawaitable(result):
                await result
        elif reaction == "raise" and can_raise:
            raise failure
        else:
            # In a cancelled task also what was to be raised: trio.serve_listeners, when
            # it closes the stream, would put its own Cancelled in the place of it.
            logger.error("the handler of %s failed", subject, exc_info=failure)


async def _run_contained(link: Link) -> None:  # noqa: ASYNC910  # as run does
    """Run a connection; its failure, should it ever have one, ends no other."""
    try:
        await link.run()
    except BaseException as error:  # noqa: ASYNC103  # what is not ours goes on
        failure, rest = split_failures(error)
        if failure is None:
            raise
        logger.error("%s failed", link.name, exc_info=failure)
        if rest is not None:
            raise rest from None  # noqa: ASYNC104  # Cancelled is in it


async def _dismiss(  # noqa: ASYNC910  # waits only to reject
    exchange: Exchange, code: int
) -> None:
    """Say to a client that its handler is done."""
    exchange.close(code)
    if not exchange.is_answered:
        await exchange.reject(_INTERNAL_SERVER_ERROR, [], b"")
