"""Stdout and stderr whose reader may go away."""

from __future__ import annotations

import io
import sys


class _MayLeave(io.FileIO):
    """Drops what nobody reads any more."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            return len(data)  # type: ignore[arg-type]


def let_readers_leave() -> None:
    """From now on what goes into a pipe that was closed, as by ``| head``, is dropped.

    A command that has done its work then ends with its own exit code, whoever reads how much of it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
            continue
        stream.flush()
        raw = _MayLeave(stream.fileno(), "w", closefd=False)
        through = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=name == "stderr",
        )
        setattr(sys, name, through)
