"""Small things as people write them."""

from __future__ import annotations

from collections.abc import Sequence


def rank_text(rank: Sequence[int]) -> str:
    """``32``, ``16×48`` or nothing.

    >>> rank_text((16, 48)), rank_text(())
    ('16×48', '')
    """
    return "×".join(map(str, rank))
