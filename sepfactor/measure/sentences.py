"""What engines say where they fail, in one sentence each and alike."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from sepfactor.measure.engine import Feed, ValueInfo

_LONGEST = 240
"""Letters of what another program said."""


def one_line(said: str, otherwise: str) -> str:
    """What another program said, shortened and ended by a full stop.

    Args:
        said: in its words.
        otherwise: in place of nothing.
    """
    said = textwrap.shorten(said, _LONGEST, placeholder=" …") or otherwise
    return said if said.endswith((".", "…")) else said + "."


def taken_and_fed(inputs: Sequence[ValueInfo], feed: Feed) -> str:
    """What a network takes, and what it was fed."""
    takes = "; ".join(f"{one.name}: {one.type} {shape_text(one.shape)}" for one in inputs)
    got = "; ".join(f"{name}: {_dtype(value)} {shape_text(np.shape(value))}" for name, value in feed.items())
    return f"It takes {takes or 'nothing'}; it was fed {got or 'nothing'}."


def shape_text(shape: object) -> str:
    """Such as ``(1, 3, ?)``; onnxruntime has none of what is no tensor."""
    axes = shape if isinstance(shape, list | tuple) else ()
    return "(" + ", ".join("?" if axis is None else str(axis) for axis in axes) + ")"


def _dtype(value: object) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
