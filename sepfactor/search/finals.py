"""Plans of one precision throughout, beside those that mix them; and the fastest of all timed in turns.

What a plan in eight bits takes is predicted less surely than one in float: onnxruntime moves layers between
layouts, and where what comes together is in two of them, it turns maps around that none of the parts knew of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sepfactor.budgets import QualityLimits
from sepfactor.graph.instrument import serialized
from sepfactor.measure.engines import open_and_time
from sepfactor.progress import in_shares
from sepfactor.search.beside import FLOAT, INT8, LOSS, TIME
from sepfactor.search.gathering import timed_seconds
from sepfactor.search.planner import Planner
from sepfactor.search.points import Point

_FINALISTS = 4
_NEAR = 1.25
"""Plans are worth timing in turns with the fastest that may take so many times as long."""


def build_dense_int8(planner: Planner) -> Point | None:
    """The plan that factors nothing and has in eight bits all that can be; None where nothing can.

    It is what quantisation by itself makes of a network, which no result may be behind.
    """
    options = planner.space.dense_int8
    if not any(options[: len(planner.space.layers)]):
        return None
    return planner.build(options, "all in eight bits, nothing factored")


def build_of_one_precision(planner: Planner, limit: QualityLimits, start: float) -> None:
    """The fastest plans that keep a limit on loss in float alone, and in eight bits wherever there is a form.

    Where not even a plan that is expected to lose ``start`` comes near the fastest so far, none is built.

    Args:
        planner: has built plans that mix them.
        limit: on what is lost.
        start: expected loss to begin at.
    """
    for avoided in (INT8, FLOAT):
        likely, best = planner.solve(TIME, {LOSS: start, avoided: 0.0}), planner.best()
        if likely is None:
            continue
        if best is not None and planner.space.milliseconds(likely) > _NEAR * planner.milliseconds(best):
            continue
        found = planner.cheapest(limit, start, **{avoided: 0.0})
        if found is not None:
            planner.in_full(found)


def time_in_turns(planner: Planner) -> None:
    """Time those plans in turns with each other that may be the fastest of all that keep the budget."""
    study, points = planner.study, _finalists(planner)
    if len(points) < 2 or not study.may_time:
        return

    def raced() -> _Raced:
        networks: list[tuple[str, Path | bytes]] = [("the original", study.loaded.runnable)]
        for point in points:
            networks.append((point.label, serialized(point.built.model)))
            planner.forget_all_but(planner.best())
        rounds = open_and_time(
            study.engine,
            networks,
            study.splits.judged_on,
            seconds=timed_seconds(study, planner.settings) * len(networks),
            min_rounds=planner.settings.fewest_rounds,
            seed=study.options.seed,
            watch=in_shares(study.progress, "time", "the fastest plans, in turns"),
        )
        found = [rounds.ratio(number, seed=study.options.seed).ratio for number in range(1, len(networks))]
        return _Raced(tuple(found), bool(rounds.is_disturbed))

    what = ["in turns", *map(planner.recipe_of, points)]
    found = study.journal.remember(what, _Raced, raced, unless=lambda one: one.is_disturbed)
    planner.in_turns = {
        point: planner.original.ms / ratio for point, ratio in zip(points, found.ratios, strict=True)
    }


@dataclass(frozen=True)
class _Raced:
    """Of each plan how much faster it is than the original; and whether other programs disturbed that."""

    ratios: tuple[float, ...]
    is_disturbed: bool


def _finalists(planner: Planner) -> list[Point]:
    """Those that by what was learned, or by their own timing, come close to the fastest of them."""
    least = {point: min(planner.milliseconds(point), point.cost.ms) for point in planner.eligible()}
    near = [point for point, ms in least.items() if ms <= _NEAR * min(least.values())]
    return sorted(near, key=lambda point: least[point])[:_FINALISTS]
