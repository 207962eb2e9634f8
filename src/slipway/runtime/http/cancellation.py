"""Cancels a request's work as soon as its client is gone, so that nothing goes on for nobody.

Neither ASGI nor the framework does this for a handler that is not reading: it would finish its database and model calls
first. Between parts it is what carries a cancellation on: the caller closes its connection, this ends the callee. A
client that stops in the middle of its body counts as gone too.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONNECTION: Final = "slipway.connection"  # where a scope carries the connection, when it can tell of its end
BODY_PAUSE_S: Final = 30.0  # between two pieces of a body; arbitrary, above what a bad mobile network needs


class Connection(Protocol):
    """A connection that ends work when its client is gone."""

    def cancel_when_lost(self, work: "asyncio.Task[None]") -> None: ...

    def is_lost(self) -> bool: ...


async def cancelled_with_client(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs a hot route: `CancelOnDisconnect` without its task and queue, where the connection itself tells its end."""
    connection: Connection | None = scope.get(CONNECTION)
    if connection is None:
        await CancelOnDisconnect(app)(scope, receive, send)
        return
    work = asyncio.current_task()
    assert work is not None, "a server runs each request in a task"
    connection.cancel_when_lost(work)
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        if not connection.is_lost():
            raise


class CancelOnDisconnect:
    """ASGI middleware: runs each request in a task and cancels it when `http.disconnect` arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # One message at most is read ahead: a slow reader of the body still holds back its sender.
        messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        answered = False

        async def observed_send(message: Message) -> None:
            nonlocal answered
            await send(message)
            # From here on the server reports a disconnect at once: what the handler still has to tidy up may finish.
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        work = asyncio.ensure_future(self._app(scope, messages.get, observed_send))
        watch = asyncio.create_task(_forward(receive, messages, lambda: answered or work.cancel()))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            gone = watch.done() and not watch.cancelled()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            if not gone:
                raise
        finally:
            watch.cancel()


async def _forward(receive: Receive, messages: "asyncio.Queue[Message]", gone: Callable[[], object]) -> None:
    whole = False
    while True:
        try:
            async with asyncio.timeout(None if whole else BODY_PAUSE_S):
                message = await receive()
        except TimeoutError:
            # To the handler the sender of half a body is gone, though its connection may stand: it answers 400.
            await messages.put({"type": "http.disconnect"})
            whole = True
            continue
        if message["type"] == "http.disconnect":
            gone()
            return
        whole = whole or not message.get("more_body", False)
        await messages.put(message)
