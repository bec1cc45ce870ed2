"""The wire: what is no HTTP at all is answered in the same shape as every other error."""

import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import CODES, problem
from service.ids import new_id


class ProblemProtocol(H11Protocol):
    """uvicorn's protocol, refusing broken requests with a problem."""

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
