"""What ``inspect`` found, as a terminal shows it: is this network worth compressing, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sepfactor.report.grid import Column, Grid
from sepfactor.report.reasons import in_general
from sepfactor.report.text import places
from sepfactor.report.view import Facts, Fold, Notes, View
from sepfactor.results import Inspection, LayerInspection, LayoutTimes
from sepfactor.words import by, count, milliseconds, sort_of

_FEW = 12
"""So many layers are always shown, and of more those that take the most time."""

_GOOD = 2 / 3
"""Share of its multiplications that a layer must do with to be one of those that pay."""

_TIDIES = 1.03
"""Ratio that exact rewriting must surely come to, for a verdict to begin with it."""

_WORTH, _MAYBE = 0.2, 0.07
"""Shares of the time that are saved if time goes with multiplications: well worth it, and perhaps."""


def inspection_view(inspection: Inspection, next_command: str = "") -> View:
    """The layers that take the time, where the rest of it goes, and the verdict.

    Args:
        inspection: what was found.
        next_command: to type next; not said if empty.
    """
    layers = inspection.layers
    shown = layers
    if len(layers) > _FEW:
        shown = tuple(sorted(layers, key=lambda layer: -(layer.share or 0.0))[:_FEW])
    facts = [
        ("Layers", _kinds(inspection)),
        ("Time", _operators(inspection)),
        *((("Layout", _layouts(inspection.layouts)),) if inspection.layouts is not None else ()),
        ("For nothing", _for_nothing(inspection)),
        ("Data", inspection.data.line),
        *([("Memory", inspection.memory.line)] if inspection.memory else []),
        ("Measured", inspection.environment.line),
        ("Verdict", inspection_verdict(inspection)),
    ]
    if next_command:
        facts.append(("Next", next_command))
    notes = Notes(inspection.notes)
    is_tidied = inspection.rewritten is not None and inspection.rewritten.low >= _TIDIES
    strong = "Verdict" if is_tidied or _saved(layers) >= _WORTH else ""
    return View(
        Fold(
            (_overview(shown), notes, Facts(*_rest(layers, shown), _OVERVIEW, *facts, strong=strong)),
            (_everything(inspection), notes, Facts(_EVERYTHING, *facts, strong=strong)),
        ),
        title=inspection_verdict(inspection),
    )


def inspection_verdict(inspection: Inspection) -> str:
    """What exact rewriting gains, if anything, and whether factoring is worth it, in a sentence."""
    worth = _worth_factoring(inspection)
    tidied = inspection.rewritten
    if tidied is None or tidied.low < _TIDIES:
        return worth
    speed = f"about {tidied.ratio:.3g}× as fast ({tidied.low:.2f}–{tidied.high:.2f})"
    rest = f"Factoring: {worth[0].lower()}{worth[1:]}"
    return f"Worth tidying: {speed} by exact rewriting alone, without data. {rest}"


def _worth_factoring(inspection: Inspection) -> str:
    layers = inspection.layers
    good = [layer for layer in layers if _pays(layer) and _left(layer) <= _GOOD]
    saved = _saved(layers)
    head = (
        "Worth compressing"
        if saved >= _WORTH
        else "Perhaps worth it"
        if saved >= _MAYBE
        else "Little to gain"
    )
    of = f"of {len(layers)} {sort_of(layer.weight_shape for layer in layers)}"
    quantised = sum(layer.reason is not None and layer.reason.code == "quantised" for layer in layers)
    if quantised > len(layers) / 2:
        return f"Little to gain: {quantised} {of} are quantised already, and stay"
    if not good:
        return f"{head}: none {of} is larger than 1×1 and can do with two thirds of its multiplications"
    only = "" if saved >= _MAYBE else "only "
    verb = "needs" if len(good) == 1 else "need"
    where = " (on made-up inputs: give --data)" if inspection.data.synthetic else ""
    return (
        f"{head}: {only}{len(good)} {of}, with {_percent(_shares(good))} of the time, {verb} two thirds of "
        f"the multiplications or fewer to keep 99 % of what they answer{where}"
    )


def _left(layer: LayerInspection) -> float:
    """Share of its multiplications that a layer needs."""
    return layer.least_macs / layer.macs if layer.least_macs is not None and layer.macs else 1.0


def _pays(layer: LayerInspection) -> bool:
    """Whether fewer multiplications are about as much less time: of 1×1 and depthwise layers they are not."""
    return _kind(layer) not in ("1×1", "depthwise")


def _saved(layers: Sequence[LayerInspection]) -> float:
    return sum((1 - _left(layer)) * (layer.share or 0.0) for layer in layers if _pays(layer))


def _shares(layers: Sequence[LayerInspection]) -> float:
    return sum(layer.share or 0.0 for layer in layers)


def _rest(layers: Sequence[LayerInspection], shown: Sequence[LayerInspection]) -> list[tuple[str, str]]:
    if len(shown) == len(layers):
        return []
    share = _percent(_shares(layers) - _shares(shown))
    return [("Not shown", f"{len(layers) - len(shown)} more, {share} of the time together; --all shows them")]


_OVERVIEW = (
    "Columns",
    "Share: of the time of all operators. Least: the scheme and rank of fewest multiplications that keep "
    "99 % of what the layer answers on the data. Left: what that leaves of its MACs",
)
_EVERYTHING = (
    "Columns",
    "Share: of the time of all operators. Pixels, Channels: how far neighbours in what the layer reads say "
    "the same, from 0 to 1; the more, the lower the ranks that matter. Kernel, Answers: ranks that keep so "
    "much of the kernel, and of what it answers on the data. Lossless: the rank that keeps it all",
)


def _common(layers: Sequence[LayerInspection]) -> list[Column]:
    name, kernel, size = places("Layer", layers)
    return [
        name,
        kernel,
        size,
        Column("MACs", [count(layer.macs) for layer in layers], drop=3, right=True),
        Column("ms", [milliseconds(layer.milliseconds) for layer in layers], drop=1, right=True),
        Column("Share", [_share(layer.share) for layer in layers], right=True),
    ]


def _overview(layers: Sequence[LayerInspection]) -> Grid:
    left = ["–" if layer.least_macs is None else _percent(_left(layer)) for layer in layers]
    return Grid(
        [
            *_common(layers),
            Column("Least", [_least(layer) for layer in layers], cut=24),
            Column("Left", left, right=True),
        ]
    )


def _least(layer: LayerInspection) -> str:
    if layer.least_scheme:
        return f"{layer.least_scheme} {by(layer.least_rank)}".strip()
    return "nothing with fewer" if layer.ranks else _why_not(layer)


def _everything(inspection: Inspection) -> Grid:
    layers = inspection.layers
    shares = " / ".join(f"{100 * share:g}" for share in inspection.energy_shares)
    neighbours = [_correlation(layer.neighbour_correlation) for layer in layers]
    channels = [_correlation(layer.channel_correlation) for layer in layers]
    needed, answers, full = (
        ["\n".join(_ranks(found.get(scheme)) for scheme in layer.ranks) for found, layer in pairs]
        for pairs in (
            [(layer.ranks, layer) for layer in layers],
            [(layer.seen_ranks, layer) for layer in layers],
            [({scheme: (rank,) for scheme, rank in la.full_ranks.items()}, la) for la in layers],
        )
    )
    return Grid(
        [
            *_common(layers),
            Column("Params", [count(layer.parameters) for layer in layers], drop=6, right=True),
            Column("Pixels", neighbours, drop=5, right=True),
            Column("Channels", channels, drop=5, right=True),
            Column("Scheme", ["\n".join(layer.ranks) or _why_not(layer) for layer in layers], cut=19),
            Column(f"Kernel\n{shares} %", needed, drop=4),
            Column(f"Answers\n{shares} %", answers),
            Column("Lossless", full, drop=1),
        ]
    )


def _ranks(ranks: Sequence[Sequence[int]] | None) -> str:
    return " / ".join(by(rank) or "any" for rank in ranks or ())


def _correlation(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _why_not(layer: LayerInspection) -> str:
    """Why no scheme applies."""
    said = [layer.reason] if layer.reason is not None else list(layer.refusals.values())
    return in_general([max(said, key=said.count)]) if said else ""


def _kinds(inspection: Inspection) -> str:
    """Shares of the time by kind of layer."""
    kinds: dict[str, float] = {}
    for layer in inspection.layers:
        kind = _kind(layer)
        kinds[kind] = kinds.get(kind, 0.0) + (layer.share or 0.0)
    said = _listed(kinds)
    return f"{said} of the time" if said else "not told apart in the times of operators"


def _operators(inspection: Inspection) -> str:
    whole = sum(inspection.operators.values()) or 1.0
    said = _listed({name: ms / whole for name, ms in inspection.operators.items()})
    return f"{milliseconds(whole)} ms in all, profiled: {said}" if said else "not measured"


def _layouts(times: LayoutTimes) -> str:
    """Shares of the time by layout."""
    whole = times.blocked + times.reorders + times.plain or 1.0
    named = (
        ("in blocks", times.blocked),
        ("reorders between layouts", times.reorders),
        ("in the usual layout", times.plain),
    )
    return ", ".join(f"{name} {_percent(ms / whole)}" for name, ms in named)


def _for_nothing(inspection: Inspection) -> str:
    """What can be rewritten exactly."""
    if not inspection.rewrites:
        return "nothing that can be rewritten exactly was found"
    found = ", ".join(f"{row.rule} ({row.times})" for row in inspection.rewrites)
    return f"{found}; `sepfactor tidy` measures what each is worth, and compress begins with it"


def _kind(layer: LayerInspection) -> str:
    if len(layer.weight_shape) == 2:
        return "fully connected"
    out, ins, *sides = layer.weight_shape or (0, 0)
    if layer.group > 1:
        return "depthwise" if ins == 1 and out == layer.group else "grouped"
    return "unknown" if not sides else "1×1" if all(side == 1 for side in sides) else "k×k"


def _listed(shares: Mapping[str, float]) -> str:
    """The largest of them, without what rounds to nothing."""
    most = sorted(shares.items(), key=lambda item: -item[1])[:8]
    return ", ".join(f"{name} {_percent(share)}" for name, share in most if share >= 0.005)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
