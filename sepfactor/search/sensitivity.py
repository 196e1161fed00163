"""How much the output suffers from an error in each layer, measured on unlabelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sepfactor.fit.int8 import EachInEightBits
from sepfactor.graph.instrument import serialized
from sepfactor.measure.quality import Judge
from sepfactor.plans.document import KEEP
from sepfactor.plans.losses import LossCurve
from sepfactor.search.behind import Behind
from sepfactor.search.candidate import Candidate
from sepfactor.search.settings import SearchSettings
from sepfactor.search.space import LayerChoices, Losses, SearchSpace
from sepfactor.study.study import Study


def measure_sensitivity(
    study: Study, space: SearchSpace, judge: Judge, settings: SearchSettings
) -> SearchSpace:
    """The space with what every layer loses alone, and every node beside them that may be in eight bits.

    Each is replaced alone, by candidates of several error levels, and the divergence of the output
    from the original's is read off.

    Args:
        study: the run.
        space: what may be chosen.
        judge: on images to be used for this.
        settings: of the search.
    """
    tried = {i: _levels(layer, settings) for i, layer in enumerate(space.layers)}
    count = _images(space, tried, judge, settings)
    behind = Behind(study, judge, count)
    found: dict[tuple[int, int], float] = {}
    many = sum(map(len, tried.values()))

    def diverges(trial: tuple[int, int]) -> float:
        layer = space.layers[trial[0]]
        alone = layer.candidates[trial[1]].apply_to(study.prepared, layer.evidence.site)
        return judge(study.exact.open(serialized(alone)), count).divergence

    for i, levels in tried.items():
        layer = space.layers[i]
        site, number = layer.evidence.site, {layer.candidates[k]: k for k in levels}
        study.progress("sensitivity", len(found), many, site.name)
        onward = [candidate for candidate in number if behind.serves(candidate, site)]
        if onward:
            found |= {(i, number[one]): loss for one, loss in behind.divergences(onward, site)}
        whole = [(i, k) for candidate, k in number.items() if candidate not in onward]
        found |= dict(study.executor.map_unordered(diverges, whole))
    study.progress("sensitivity", many, many, "")
    int8, beside = _of_eight_bits(study, space, judge, count)
    losses = []
    for i, layer in enumerate(space.layers):
        own = [(layer.candidates[k], found[i, k]) for k in tried[i]]
        curve = LossCurve.through((c.weighted_error, loss) for c, loss in own if not c.has_own_loss)
        losses.append(Losses(curve, {c.rank: loss for c, loss in own if c.has_own_loss}, int8.get(i, 0.0)))
    return space.with_losses(losses, beside)


def _images(
    space: SearchSpace, tried: Mapping[int, Sequence[int]], judge: Judge, settings: SearchSettings
) -> int:
    """How many images there is time for: a trial runs its layer and what lies behind it."""
    macs = [layer.evidence.macs for layer in space.layers]
    work = sum(len(levels) * sum(macs[i:]) for i, levels in tried.items())
    return max(
        1, min(settings.sensitivity_images, len(judge.feeds), int(settings.sensitivity_macs // max(work, 1)))
    )


def _of_eight_bits(
    study: Study, space: SearchSpace, judge: Judge, count: int
) -> tuple[dict[int, float], list[float]]:
    """What each layer loses that is alone in eight bits, dense, by its number; and each node beside them."""
    numbers = [i for i, layer in enumerate(space.layers) if any(c.is_int8 for c in layer.candidates)]
    if not numbers:
        return {}, []
    alone = EachInEightBits(study)
    by_output = {str(unit.node.outputs[0].name): name for name, unit in alone.units.items()}
    names = [by_output[space.layers[i].evidence.site.output] for i in numbers] + [*space.beside.names]

    def diverges(name: str) -> float:
        return judge(study.exact.open(serialized(alone.model(name))), count).divergence

    found: dict[str, float] = {}
    for name, divergence in study.executor.map_unordered(diverges, names):
        study.progress("sensitivity", len(found), len(names), "in eight bits")
        found[name] = divergence
    study.progress("sensitivity", len(names), len(names), "")
    layers = dict(zip(numbers, (found[name] for name in names), strict=False))
    return layers, [found[name] for name in space.beside.names]


def _first_of_each_error(candidates: Sequence[Candidate]) -> list[int]:
    """Candidates whose errors differ, and are errors: those in eight bits have errors of others in float."""
    first: dict[float, int] = {}
    for k, candidate in enumerate(candidates):
        if not candidate.has_own_loss and candidate.scheme != KEEP:
            first.setdefault(candidate.weighted_error, k)
    return [*first.values()]


def _levels(layer: LayerChoices, settings: SearchSettings) -> list[int]:
    """Candidates to try: of the least error, the largest, and between; all that have a loss of their own."""
    candidates = layer.candidates
    on_curve = _first_of_each_error(candidates)
    by_error = sorted(on_curve, key=lambda k: candidates[k].weighted_error)
    last, levels = len(by_error) - 1, settings.sensitivity_levels
    spread = {round(k * last / (levels - 1)) for k in range(levels)} if by_error else set()
    return [
        *(by_error[k] for k in sorted(spread)),
        *(k for k, candidate in enumerate(candidates) if candidate.has_own_loss),
    ]
