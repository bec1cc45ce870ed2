"""The wire: broken requests are answered in the same shape as every other error, and files leave without a copy."""

import asyncio
import json
from dataclasses import dataclass
from io import FileIO
from typing import Any, cast

import h11
from starlette.types import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from service.errors import CODES, problem
from service.ids import new_id
from service.sending import ZERO_COPY


class ProblemProtocol(H11Protocol):
    """uvicorn's protocol, refusing broken requests with a problem, and sending files by the kernel."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._inner = self.app
        # Other event loops know no sendfile.
        if isinstance(self.loop, asyncio.BaseEventLoop):
            self.app = self._offer_files

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be parsed, and close the connection."""
        request_id = new_id("req")
        found = problem(
            "bad-request",
            CODES["bad-request"].meaning,
            instance=f"urn:nn-factory:{request_id}",
            request_id=request_id,
        )
        content = json.dumps(found).encode()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(content)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=content), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _offer_files(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_or_copy(message: Message) -> None:
            if message["type"] == ZERO_COPY:
                await self._send_file(message["file"], message["offset"], message["count"])
                message = {"type": "http.response.body", "more_body": message.get("more_body", False)}
            await send(message)

        if scope["type"] == "http":
            scope["extensions"] = {**scope.get("extensions", {}), ZERO_COPY: {}}
        await self._inner(scope, receive, send_or_copy)

    async def _send_file(self, file: FileIO, offset: int, count: int) -> None:
        """Send a part of a file, or drop the connection: what was announced cannot be taken back."""
        sent = 0
        if not self.transport.is_closing():
            # h11 counts what it is given and never looks into it.
            self.conn.send_with_data_passthrough(h11.Data(data=cast(bytes, _Bytes(count))))
            try:
                sent = await self.loop.sendfile(self.transport, file, offset, count)
            except (OSError, asyncio.CancelledError):
                sent = 0  # the client went away, or the server ends and waits no longer
        if sent != count:
            self.transport.abort()
            await asyncio.sleep(0)  # uvicorn hears of it, and ignores what is still sent


@dataclass(frozen=True, slots=True)
class _Bytes:
    """Stands for bytes that never come here."""

    count: int

    def __len__(self) -> int:
        return self.count
