"""Refuses requests longer than any that could be answered, before they fill disk or memory."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Middleware: says 413 to a body of more bytes, whether its header tells or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Wrap an application.

        Args:
            app: it.
            max_bytes: of a request's body.
        """
        self._app, self._most = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > self._most:
            await JSONResponse(self._refusal(), status_code=413)(scope, receive, send)
            return
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._most:
                raise HTTPException(413, self._refusal()["error"])
            return message

        await self._app(scope, counted, send)

    def _refusal(self) -> dict[str, Any]:
        return {
            "error": f"Request: expected at most {self._most / 1e6:.1f} MB, got more. Send a "
            "smaller copy of the picture, or start the server with a higher --max-megabytes."
        }
