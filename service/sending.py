"""Sending a part of a file: by the kernel where the server can tell it to, else in chunks."""

import os
from collections.abc import Callable
from io import FileIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# The server extension of ASGI by this name; ``offset`` and ``count`` are always given here.
ZERO_COPY = "http.response.zerocopysend"
CHUNK_BYTES = 256 * 1024


class FilePart(Response):
    """An answer that is a part of an open file, which it closes; no copy of the file is held meanwhile."""

    media_type = "application/octet-stream"

    def __init__(
        self,
        file: FileIO,
        part: range,
        status: int,
        headers: dict[str, str],
        sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            file: open, and at least as long as the part's end.
            part: which bytes of it.
            status: of HTTP.
            headers: but for the length.
            sent: told how many bytes were handed over, as they are.
        """
        self.status_code = status
        self.background = None
        self.init_headers({**headers, "Content-Length": str(len(part))})
        self._file = file
        self._part = part
        self._sent = sent
        if part:
            # The event loop must not wait for a disk: what is not in memory any more is fetched from now on.
            os.posix_fadvise(file.fileno(), part.start, len(part), os.POSIX_FADV_WILLNEED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            OSError: the file became shorter than it was.
        """
        with self._file:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            if self._part and ZERO_COPY in scope.get("extensions", {}):
                place = {"offset": self._part.start, "count": len(self._part)}
                await send({"type": ZERO_COPY, "file": self._file, **place})
                self._sent(len(self._part))
            else:
                await self._send_chunks(send)

    async def _send_chunks(self, send: Send) -> None:
        at, stop = self._part.start, self._part.stop
        while at < stop:
            size = min(CHUNK_BYTES, stop - at)
            chunk = await run_in_threadpool(os.pread, self._file.fileno(), size, at)
            if not chunk:
                raise OSError("a file became shorter while it was sent")
            at += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._sent(len(chunk))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
