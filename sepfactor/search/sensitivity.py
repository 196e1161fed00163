"""How much the output suffers from an error in each layer, measured on unlabelled images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sepfactor.fit.int8 import EachInEightBits
from sepfactor.graph.instrument import serialized
from sepfactor.measure.quality import Judge
from sepfactor.plans.document import KEEP
from sepfactor.plans.losses import LossCurve
from sepfactor.search.candidate import Candidate
from sepfactor.search.each_alone import EachAlone
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
    tried = [[layer.candidates[k] for k in _levels(layer, settings)] for layer in space.layers]
    count = _images(space, tried, judge, settings)
    alone = EachAlone(study, judge, count)
    found: list[list[float]] = []
    for layer, candidates in zip(space.layers, tried, strict=True):
        site = layer.evidence.site
        study.progress("sensitivity", sum(map(len, found)), sum(map(len, tried)), site.name)
        what = ["alone", site.output, count, [candidate.label for candidate in candidates]]
        measure = partial(alone.divergences, candidates, site)
        found.append(study.journal.remember(what, list[float], measure))
    study.progress("sensitivity", sum(map(len, tried)), sum(map(len, tried)), "")
    int8, beside = _of_eight_bits(study, space, judge, count)
    losses = []
    for i, pairs in enumerate(zip(tried, found, strict=True)):
        own = [*zip(*pairs, strict=True)]
        curve = LossCurve.through((c.weighted_error, loss) for c, loss in own if not c.has_own_loss)
        losses.append(Losses(curve, {c.rank: loss for c, loss in own if c.has_own_loss}, int8.get(i, 0.0)))
    return space.with_losses(losses, beside)


def _images(
    space: SearchSpace, tried: Sequence[Sequence[Candidate]], judge: Judge, settings: SearchSettings
) -> int:
    """How many images there is time for: a trial runs its layer and what lies behind it."""
    macs = [layer.evidence.macs for layer in space.layers]
    work = sum(len(candidates) * sum(macs[i:]) for i, candidates in enumerate(tried))
    most = min(settings.sensitivity_images, len(judge.feeds))
    return max(1, min(most, int(settings.sensitivity_macs // max(work, 1))))


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

    def measure() -> list[float]:
        found: dict[str, float] = {}
        for name, divergence in study.executor.map_unordered(diverges, names):
            study.progress("sensitivity", len(found), len(names), "in eight bits")
            found[name] = divergence
        return [found[name] for name in names]

    losses = study.journal.remember(["in eight bits", count, names], list[float], measure)
    study.progress("sensitivity", len(names), len(names), "")
    return dict(zip(numbers, losses, strict=False)), losses[len(numbers) :]


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
        *(k for k, candidate in enumerate(candidates) if candidate.has_own_loss and not candidate.is_int8),
    ]
