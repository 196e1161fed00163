"""Stdout and stderr whose reader may go away, and which may not have all of our signs."""

from __future__ import annotations

import codecs
import io
import sys

_PLAIN = {
    "→": "->",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "·": "*",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
}
"""What stands for a sign where an encoding lacks it; any other becomes a question mark."""

_HANDLER = "sepfactor.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in signs), error.end


class _MayLeave(io.FileIO):
    """Drops what nobody reads any more."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            return len(data)  # type: ignore[arg-type]


def never_fail_to_write() -> None:
    """From now on no command fails over how its lines are read.

    What goes into a pipe that was closed, as by ``| head``, is dropped: a command that has done its work
    then ends with its own exit code, whoever reads how much of it. Signs that the encoding of a stream
    lacks, as in the C locale, are written plainly.
    """
    codecs.register_error(_HANDLER, _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.isatty():
            stream.reconfigure(errors=_HANDLER)
            continue
        stream.flush()
        raw = _MayLeave(stream.fileno(), "w", closefd=False)
        through = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=_HANDLER,
            line_buffering=stream.line_buffering,
            write_through=name == "stderr",
        )
        setattr(sys, name, through)
