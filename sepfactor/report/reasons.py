"""Why layers stay, summed up: layers that stay for the same reason together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sepfactor.codes import Reason
from sepfactor.results import Layer

UNKNOWN = Reason("unknown", "for no reason that was noted")
"""Of a layer that stays and does not say why."""


def in_general(reasons: Iterable[Reason]) -> str:
    """Reasons of one code as they hold for all, without what differs from layer to layer.

    >>> in_general([Reason("no-faster", "no faster", "trim"), Reason("no-faster", "no faster", "hybrid")])
    'no faster'
    """
    return "; ".join(dict.fromkeys(reason.text for reason in reasons))


def by_reason(layers: Sequence[Layer]) -> Sequence[tuple[str, Sequence[Layer]]]:
    """Layers that stay, by why in general; those that take most of the time first."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault((layer.reason or UNKNOWN).code, []).append(layer)

    def milliseconds(group: Sequence[Layer]) -> float:
        return sum(layer.milliseconds_before or 0.0 for layer in group)

    ordered = sorted(groups.values(), key=milliseconds, reverse=True)
    return [(in_general(layer.reason or UNKNOWN for layer in group), group) for group in ordered]
