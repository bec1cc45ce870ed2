"""Runner: the process that runs models to measure them, started as ``python -m assembler.runner``.

It loads runtime and NumPy once and then forks for every request, so that each is measured in a process as
clean as a fresh one, without a fresh one's start. A request is one line of JSON on standard input; the answer
is lines of JSON on standard output, the last of which has a ``result`` or an ``error``.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from assembler.stopwatch import Message, measure_model, measure_nets


def main() -> None:
    """Answer requests until standard input ends or nobody reads the answers."""
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            for message in attend(json.loads(line)):
                sys.stdout.write(json.dumps(message) + "\n")
                sys.stdout.flush()


def attend(request: Message) -> Iterator[Message]:
    """Answer one request in a forked process; whatever befalls it, the last message is a result or an error.

    Args:
        request: ``do`` (``model`` or ``nets``), ``timeout_s`` and the arguments of that function.
    """
    deadline = time.monotonic() + request["timeout_s"]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(request, writer)
    os.close(writer)
    too_long = f"it did not end within {request['timeout_s']:g} s"
    reason = "nobody wants its answer"
    try:
        last: Message = {}
        for last in _lines(reader, deadline):
            yield last
        reason = too_long if time.monotonic() >= deadline else ""
    finally:
        os.close(reader)
        reason = _end(child, reason)
    if "result" not in last and "error" not in last:
        yield {"error": reason}


def _lines(reader: int, deadline: float) -> Iterator[Message]:
    """Yield messages until the writer closes or the deadline passes."""
    rest = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            return
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _end(child: int, reason: str) -> str:
    """Stop a process for a reason, or, without one, wait for its own end; return why it ended."""
    if reason:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return reason or f"its process ended {f'by signal {-code}' if code < 0 else f'with status {code}'}"


def _work(request: Message, writer: int) -> NoReturn:
    """Do what is asked for, in the forked process, and end it whatever happens."""
    try:
        # The pipes of its parent must close when the parent ends.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        with os.fdopen(writer, "w") as answers:
            for step in answer(request):
                answers.write(json.dumps(step) + "\n")
                answers.flush()
    finally:
        os._exit(0)


def answer(request: Message) -> Iterator[Message]:
    """Yield the answer to a request, an ``error`` where the runtime refuses the model."""
    try:
        yield from {"model": measure_model, "nets": measure_nets}[request["do"]](request)
    except Exception as error:
        first, *_ = str(error).splitlines() or [""]
        yield {"error": f"{type(error).__name__}: {first}".replace(request.get("path", "\n"), "the file")}


if __name__ == "__main__":
    main()
