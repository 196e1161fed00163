"""Why layers stay, without what differs from layer to layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sepfactor.report.model import Layer

_PARTICULARS = (
    (r"^kept: ", ""),
    (r" \([^()]*\)", ""),
    (r"^put back: .+ (measured|leaves) ", r"put back: the best candidate \1 "),
    (r"^(no scheme of rank) \S+", r"\1 asked for"),
    (r" of shape \([^()]*\)", ""),
)
"""Pattern → what is left of it."""


def in_general(reason: str) -> str:
    """A reason as it may hold for several layers.

    >>> in_general("put back: channel-out 6 measured no faster (0.60× alone)")
    'put back: the best candidate measured no faster'
    >>> in_general("nothing cheaper stays within 0.1 of its output (closest: trim, off by 0.145)")
    'nothing cheaper stays within 0.1 of its output'
    """
    for pattern, left in _PARTICULARS:
        reason = re.sub(pattern, left, reason)
    return reason


def by_reason(layers: Sequence[Layer]) -> Mapping[str, Sequence[Layer]]:
    """Layers that stay, by why; those that take most of the time first."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(in_general(layer.reason), []).append(layer)

    def milliseconds(item: tuple[str, list[Layer]]) -> float:
        return sum(layer.milliseconds_before or 0.0 for layer in item[1])

    return dict(sorted(groups.items(), key=milliseconds, reverse=True))
