"""The web socket of one viewer: the status when it changes, and the latest picture whenever the viewer is ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from edgetrack.serve.pictures import Picture, Pictures
from edgetrack.serve.session import Session

__all__ = ["Viewer"]

_STATUS_S = 0.1
_IN_FLIGHT = 2
_MOST_POINTS = 2000


class Viewer:
    """Sends to one browser.

    A text message is the status. A binary one is a picture: the length of a JSON header (uint32, little-endian), the
    header, a JPEG. The browser answers each with any message; no more than two are on their way, and what comes
    meanwhile replaces what waits, so a slow viewer sees fewer pictures, but never old ones.
    """

    def __init__(self, socket: WebSocket, session: Session, pictures: Pictures) -> None:
        self._socket = socket
        self._session = session
        self._pictures = pictures
        self._picture: Picture | None = None
        self._came = asyncio.Event()
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._under_way = 0
        self._sent = 0
        self._skipped = 0
        self._last: tuple[int, int] = (0, -1)  # run, and number of the last point that was sent

    async def serve(self) -> None:
        """Accept the socket and send until the viewer goes."""
        loop = asyncio.get_running_loop()

        def receive(picture: Picture) -> None:
            loop.call_soon_threadsafe(self._offer, picture)

        await self._socket.accept()
        self._pictures.add(receive)
        try:
            async with anyio.create_task_group() as group:
                for work in (self._send_status, self._send_pictures, self._hear):
                    group.start_soon(self._until_gone, work, group.cancel_scope)
        finally:
            self._pictures.remove(receive)

    async def _until_gone(self, work: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        """Do one part of the work; when the viewer has gone, end the others too."""
        try:
            await work()
        except WebSocketDisconnect:
            scope.cancel()
        except RuntimeError:  # sending raises it after the viewer said goodbye
            if WebSocketState.DISCONNECTED not in (self._socket.client_state, self._socket.application_state):
                raise
            scope.cancel()

    def _offer(self, picture: Picture) -> None:
        self._picture = picture
        self._came.set()

    async def _send_status(self) -> None:
        sent = ""
        while True:
            text = json.dumps(self._session.status())
            if text != sent:
                await self._socket.send_text(text)
                sent = text
            await asyncio.sleep(_STATUS_S)

    async def _send_pictures(self) -> None:
        while True:
            await self._free.acquire()
            await self._came.wait()
            self._came.clear()
            if self._picture is None:
                self._free.release()
                continue
            picture, self._picture = self._picture, None
            self._under_way += 1
            header = json.dumps(self._header(picture)).encode()
            await self._socket.send_bytes(len(header).to_bytes(4, "little") + header + picture.jpeg)

    async def _hear(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            if self._under_way:
                self._under_way -= 1
                self._free.release()

    def _header(self, picture: Picture) -> dict[str, Any]:
        shown, result = picture.shown, picture.shown.result
        self._skipped += max(0, picture.count - self._sent - 1) if self._sent else 0
        self._sent = picture.count
        height, width = shown.frame.shape[:2]
        header = {
            "count": picture.count,
            "skipped": self._skipped,
            "frame": shown.number,
            "width": width,
            "height": height,
            "run": shown.run,
            "details": dict(shown.details),
            "points": self._points(shown.number),
        }
        if result is not None:
            header |= {"box": result.box, "raw_box": result.raw_box, "ok": result.ok}
            header |= {"score": result.score, "state": result.state}
        return header

    def _points(self, number: int) -> dict[str, Any] | None:
        """Return the points of the plot that this viewer has not got; those with their numbers or later are void."""
        log = self._session.log()
        if log is None:
            return None
        run, last = self._last
        last = -1 if run != log.number else min(last, number - 1)
        points = log.points(last, _MOST_POINTS)
        self._last = (log.number, points[-1][0] if points else last)
        return {"run": log.number, "list": points}
