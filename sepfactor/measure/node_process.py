"""A process of Node.js that answers requests, one at a time; it ends with this one, whatever ends that.

A request and an answer are alike: a head in JSON, and bytes of tensors behind it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import tempfile
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from typing_extensions import Buffer

_GRACE_S = 2.0
"""A process whose input has ended may take so long to end."""

_TAIL = 4000
"""Of what it printed at last, bytes."""


class NodeFailure(Exception):
    """A request failed, or the process has ended; says why."""


class NodeTooLong(NodeFailure):
    """The process was ended, for an answer took longer than it may; says how many seconds that is."""


class Answer(NamedTuple):
    """What was answered.

    Attributes:
        head: that is said of it.
        buffers: bytes behind it, which may be written to.
    """

    head: Mapping[str, Any]
    buffers: Sequence[bytearray]


class NodeProcess:
    """One process.

    Args:
        command: what starts it.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 — it is as long open as the process runs
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                start_new_session=True,  # Ctrl-C is for this process to hear
            )
        except OSError:
            self._printed.close()
            raise
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._forgotten: dict[str, list[int]] = {"sessions": [], "feeds": []}
        self._why = "its process belongs to another one"
        atexit.register(self.end)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it can answer this process."""
        return self._owner == os.getpid() and self._process.poll() is None

    def forget(self, kind: str, numbers: Sequence[int]) -> None:
        """What is not needed any more; it hears of that with the next request.

        Objects call this when they are collected, which may be in the middle of a request.

        Args:
            kind: ``sessions`` or ``feeds``.
            numbers: as they were answered.
        """
        self._forgotten[kind].extend(numbers)

    def ask(
        self, request: Mapping[str, Any], buffers: Sequence[Buffer] = (), *, seconds: float | None = None
    ) -> Answer:
        """The answer to a request.

        Args:
            request: ``do`` says what.
            buffers: bytes behind it.
            seconds: end the process if it takes longer.

        Raises:
            NodeFailure: it failed, or the process has ended.
        """
        with self._lock:
            if not self.is_running:
                self.end()
                raise NodeFailure(self._why)
            late = threading.Event()
            timer = None if seconds is None else _timer(seconds, self._process.kill, late)
            try:
                self._send(request, buffers)
                answer = self._receive()
            except OSError:  # a broken pipe
                self.end()
                if late.is_set():
                    raise NodeTooLong(f"{seconds:g}") from None
                raise NodeFailure(self._why) from None
            except BaseException:  # such as Ctrl-C: the answer would be taken for that to the next request
                self.end(at_once=True)
                raise
            finally:
                if timer is not None:
                    timer.cancel()
        if "error" in answer.head:
            if answer.head["fatal"]:
                self.end()
            raise NodeFailure(str(answer.head["error"]))
        return answer

    def end(self, *, at_once: bool = False) -> None:
        """Let it end, or else make it.

        Args:
            at_once: it may be in the middle of something.
        """
        if self._owner != os.getpid() or self._printed.closed:  # a fork has no children of its own yet
            return
        atexit.unregister(self.end)
        process = self._process
        if at_once:
            process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._why = self._why_it_ended()
        self._printed.close()

    def _send(self, request: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        gone, self._forgotten = self._forgotten, {"sessions": [], "feeds": []}
        sizes = [memoryview(one).nbytes for one in buffers]
        head = json.dumps({**request, "drop": gone, "sizes": sizes}).encode()
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(len(head).to_bytes(4, "little") + head)
        for one in buffers:
            pipe.write(one)
        pipe.flush()

    def _receive(self) -> Answer:
        head = json.loads(self._read(int.from_bytes(self._read(4), "little")))
        return Answer(head, [self._read(size) for size in head["sizes"]])

    def _read(self, length: int) -> bytearray:
        """So many bytes.

        Raises:
            OSError: there are no more.
        """
        found, pipe = bytearray(length), self._process.stdout
        assert pipe is not None
        if length and pipe.readinto(found) != length:  # type: ignore[attr-defined]  # a BufferedReader
            raise BrokenPipeError
        return found

    def _why_it_ended(self) -> str:
        """In a sentence."""
        self._printed.seek(max(self._printed.seek(0, os.SEEK_END) - _TAIL, 0))
        said = self._printed.read().decode(errors="replace")
        error = next((line for line in said.splitlines() if "Error:" in line or "bad option" in line), "")
        code = self._process.poll()
        return textwrap.shorten(f"its process has ended (exit code {code}). {error}", 240, placeholder=" …")


def _timer(seconds: float, call: Callable[[], None], late: threading.Event) -> threading.Timer:
    def over() -> None:
        late.set()
        call()

    timer = threading.Timer(seconds, over)
    timer.daemon = True
    timer.start()
    return timer
