"""onnxruntime's blocked layout, as far as choosing and lowering need to know it."""

from __future__ import annotations

BLOCK = 16
"""Channels per block of the NCHWc layout on AVX-512 (8 on AVX2); multiples of 16 serve both."""


def blockable(channels: int) -> bool:
    """Whether a dense convolution reading so many channels may run in the blocked layout."""
    return channels >= BLOCK and channels % 4 == 0
