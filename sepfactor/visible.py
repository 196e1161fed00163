"""Text that came from files, such as names and paths, shown as it is and never obeyed.

A terminal takes escape sequences, and characters that turn the direction of writing or have no width, as
commands. Names of nodes and files may hold them; what is shown has escapes in their place, as in Python.
"""

from __future__ import annotations

import json
import re
import unicodedata

_ACTIVE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's control and format characters (escape, C1, bidirectional, of no width), surrogates, line ends."""

_PLAIN = re.compile(r"[ -~]*")
"""What needs no closer look."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""``text`` with every character that is not seen, but does something, as an escape.

    Args:
        text: to be shown.
        lines: whether ends of lines are ours, and stay.

    >>> visible("a\x1b[2Jb\u202ec\nd")
    'a\\x1b[2Jb\\u202ec\\nd'
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(c if not _is_active(c) or (lines and c == "\n") else _escape(c) for c in text)


def visible_json(text: str) -> str:
    """JSON that means the same, with characters that act on a terminal as escapes of JSON."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(json.dumps(c)[1:-1] if _is_active(c) and c != "\n" else c for c in text)


def _is_active(char: str) -> bool:
    return unicodedata.category(char) in _ACTIVE


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
