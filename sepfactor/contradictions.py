"""Options that do not go together, and what to do about it: one sentence for each pair."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Protocol

from sepfactor.layer_options import kebab

QUALITIES = ("max_drop", "max_estimated_drop", "min_snr", "min_psnr")
"""Budgets for what may be lost, of which there can be one."""


class Asked(Protocol):
    """The options that may contradict others, see :class:`sepfactor.options.Options`."""

    engine: Any
    int8: Any
    metric: Any
    rank: Any
    refit: Any
    task: Any
    tune: Any

    @property
    def has_rule(self) -> bool: ...  # noqa: D102
    @property
    def limits_cost(self) -> bool: ...  # noqa: D102
    @property
    def limits_quality(self) -> bool: ...  # noqa: D102


def contradiction(asked: Asked) -> str | None:
    """What contradicts what in these options, the first of such; None where all go together."""
    return next(chain(_of_budgets(asked), _of_rules(asked), _of_int8(asked)), None)


def _of_budgets(asked: Asked) -> Iterator[str]:
    given = [name for name in QUALITIES if getattr(asked, name) is not None]
    if len(given) > 1:
        yield f"{kebab(given[0])} and {kebab(given[1])} exclude each other: give one"
    if asked.metric is not None and given and given != ["max_drop"]:
        yield f"metric and {kebab(given[0])} exclude each other: max-drop says what a metric may lose"
    if asked.metric is not None and asked.task is not None:
        yield "metric and task exclude each other: a metric judges all outputs by itself"
    decibel = next((name for name in given if name in ("min_snr", "min_psnr")), None)
    if decibel is not None and asked.task not in (None, "dense"):
        yield (
            f"task {asked.task} and {kebab(decibel)} exclude each other: noise is counted whatever "
            "outputs are"
        )


def _of_int8(asked: Asked) -> Iterator[str]:
    if not asked.int8:
        return
    if asked.has_rule:
        yield (
            f"int8 is chosen under a budget, and {_rule(asked)} alone decides without one: give max-drop or "
            "another budget instead of it"
        )
    if asked.engine != "onnxruntime":
        yield (
            f"int8 and engine {asked.engine} exclude each other: what eight bits take is known of "
            "onnxruntime's kernels only. Leave int8 out, and quantise the result with tools of the engine"
        )


def _of_rules(asked: Asked) -> Iterator[str]:
    if asked.tune is not None and not asked.refit:
        yield "tune goes on from fitted factors, and no-refit fits none: leave one out"
    if asked.rank is not None and (asked.limits_quality or asked.limits_cost):
        yield "rank fixes the plan, so a budget has nothing to choose: give one of the two"
    if asked.metric is not None and asked.has_rule:
        yield (
            f"metric judges what a budget allows, and {_rule(asked)} alone decides without one: give "
            "max-drop instead of it, or leave the metric out"
        )


def _rule(asked: Asked) -> str:
    return "rank" if asked.rank is not None else "max-error"
