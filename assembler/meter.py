"""Meter: the handle of the measuring process (``runner.py``)."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from assembler.errors import MeasurementFailed

# The process ends its own work in time; after this much more it is taken to be stuck.
GRACE_S = 10.0
# Forks must not miss threads, so libraries are kept from starting any when they are loaded: those that compute,
# and the one that reports the runtime's use to its maker, which is not wanted either.
CALM = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CALM["ORT_DISABLE_TELEMETRY"] = "1"


class Meter:
    """Starts the measuring process when it is first needed, and again when it was lost; one request at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any], *, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Yield what the process reports on the way; the last message has the ``result``.

        Args:
            request: for ``runner.attend``, without its time limit.
            timeout_s: time limit.

        Raises:
            MeasurementFailed: the model cannot be run, took too long, or the process was lost.
        """
        with self._lock:
            answered = False
            try:
                process = self._started()
                _send(process, {**request, "timeout_s": timeout_s})
                for message in _receive(process, time.monotonic() + timeout_s + GRACE_S):
                    answered = "result" in message or "error" in message
                    if "error" in message:
                        raise MeasurementFailed(f"the model could not be measured: {message['error']}")
                    yield message
                    if answered:
                        return
            finally:
                # Half an answer in the pipe, also when nobody wanted the rest, would be taken for the next one.
                if not answered:
                    self._stop()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._stop()
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "assembler.runner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **CALM},
                start_new_session=True,
                bufsize=0,
            )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # Its whole group: it may be waiting for a fork of its own.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _send(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
    except BrokenPipeError as error:
        raise MeasurementFailed("the measuring process was lost") from error


def _receive(process: subprocess.Popen[bytes], deadline: float) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    rest = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([process.stdout], [], [], left)[0]:
        chunk = os.read(process.stdout.fileno(), 1 << 16)
        if not chunk:
            raise MeasurementFailed(f"the measuring process was lost (status {process.wait()})")
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)
    raise MeasurementFailed("the measuring process does not answer")
