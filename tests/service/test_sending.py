import asyncio
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from service.sending import CHUNK_BYTES, ZERO_COPY, FilePart

CONTENT = os.urandom(3 * CHUNK_BYTES)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(CONTENT)
    return path


def sent(
    path: Path, part: range, extensions: dict[str, Any], on_send: Callable[[Message], None] = lambda _: None
) -> tuple[FileIO, list[Message]]:
    """Return the file and the messages that were sent of it."""
    file = FileIO(path)
    messages: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing is to be received")

    async def send(message: Message) -> None:
        on_send(message)
        messages.append(message)

    answer = FilePart(file, part, 206, {"X-More": "1"})
    try:
        asyncio.run(answer({"type": "http", "extensions": extensions}, receive, send))
    finally:
        assert file.closed
    return file, messages


edges = st.integers(0, 3 * CHUNK_BYTES) | st.sampled_from([CHUNK_BYTES * n for n in range(4)])


@given(edges, edges)
def test_exactly_the_part_is_sent_in_chunks_that_are_small(path: Path, one: int, other: int) -> None:
    part = range(min(one, other), max(one, other))
    _, (start, *chunks) = sent(path, part, {})
    assert start["status"] == 206
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(part)).encode()
    assert (headers[b"x-more"], headers[b"content-type"]) == (b"1", b"application/octet-stream")
    assert b"".join(chunk["body"] for chunk in chunks) == CONTENT[part.start : part.stop]
    assert max(len(chunk["body"]) for chunk in chunks) <= CHUNK_BYTES
    assert [chunk["more_body"] for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


def test_a_server_that_can_is_told_to_send_the_part_itself(path: Path) -> None:
    file, (_, told) = sent(path, range(5, 9), {ZERO_COPY: {}})
    assert told == {"type": ZERO_COPY, "file": file, "offset": 5, "count": 4}
    _, (_, nothing) = sent(path, range(0), {ZERO_COPY: {}})
    assert (nothing["body"], nothing["more_body"]) == (b"", False)


def test_a_file_that_becomes_shorter_is_no_whole_answer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    def cut(message: Message) -> None:
        if message["type"] == "http.response.body":
            os.truncate(path, CHUNK_BYTES)

    with pytest.raises(OSError, match="shorter"):
        sent(path, range(len(CONTENT)), {}, cut)


def test_a_file_is_closed_also_when_it_cannot_be_sent(path: Path) -> None:
    def fail(message: Message) -> None:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        sent(path, range(5), {}, fail)  # says by itself that the file is closed
