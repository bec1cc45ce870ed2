"""Events as the service sends them."""

import json

from tests.service.rude import answer

STREAM = {"Content_Type": "text/event-stream; charset=utf-8"}


def event(number: int, kind: str = "phase", **data: object) -> str:
    """Return the text of an event."""
    told = json.dumps({"job_id": "job_1", "at": "2026-01-02T03:04:05.678Z", **data})
    return f"event: {kind}\nid: {number}\ndata: {told}\n\n"


def stream(*texts: str) -> bytes:
    """Return an answer that breaks off after these texts."""
    return answer(body="".join(texts).encode(), length=-1, **STREAM)


ONE, TWO = event(1, "state", state="queued"), event(2, phase="assembling", progress=0.5)
DONE = event(3, "done", state="succeeded")
