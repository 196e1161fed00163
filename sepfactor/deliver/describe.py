"""Put what was decided and measured into a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from sepfactor.factor import weight_error
from sepfactor.fit.sequential import Fitted
from sepfactor.options import Options
from sepfactor.report.model import Budget, FrontPoint, Layer, Speed, Totals
from sepfactor.search.planner import Point
from sepfactor.search.ranks import Spectrum
from sepfactor.search.space import Menu
from sepfactor.search.subject import Candidate
from sepfactor.search.to_budget import Outcome
from sepfactor.study.splits import Data
from sepfactor.study.study import Decision


def layer_rows(
    decisions: Sequence[Decision],
    fitted: Mapping[str, Fitted],
    before: Mapping[str, float],
    after: Mapping[str, float],
    spectra: Mapping[str, Mapping[str, Spectrum]] = MappingProxyType({}),
) -> tuple[Layer, ...]:
    """A row per Conv; fits, times and errors by rank by the output name of the site."""
    rows = []
    for decision in decisions:
        output = decision.site.output
        row = _row(decision, fitted.get(output), before, after)
        rows.append(row.model_copy(update={"spectrum": spectra.get(output) or None}))
    return tuple(rows)


def _row(
    decision: Decision, fit: Fitted | None, before: Mapping[str, float], after: Mapping[str, float]
) -> Layer:
    site, choice, seen = decision.site, decision.choice, decision.observed
    stage = site.stage
    row: dict[str, Any] = {
        "name": site.name,
        "output": site.output,
        "weight_shape": site.weight_shape,
        "replaced": choice.candidate is not None,
        "reason": choice.reason,
        "milliseconds_before": before.get(site.output),
        "milliseconds_after": after.get(site.output),
    }
    if stage is not None:
        bias = 0 if site.bias is None else site.bias.size
        row |= {"group": stage.group, "strides": site.kind.own(stage.strides)}
        row["parameters_before"] = row["parameters_after"] = stage.parameters + bias
        if seen is not None:
            row["map_size"] = site.kind.own(seen.size)
            row["macs_before"] = row["macs_after"] = stage.macs(seen.size)
    if choice.trial is not None:
        row["trial_speedup"] = choice.trial.speedup
        row["trial_interval"] = (choice.trial.low, choice.trial.high)
    if choice.candidate is not None:
        row |= _replacement(choice.candidate)
    if fit is not None and stage is not None:
        row |= {
            "corrected": choice.candidate is None,
            "ridge": fit.ridge,
            "unfitted_error": fit.before,
            "fitted_error": fit.after,
            "parameters_after": fit.factorization.parameters,
            "weight_error": weight_error(stage, fit.factorization),
        }
    return Layer.model_validate(row)


def _replacement(candidate: Candidate) -> dict[str, Any]:
    return {
        "scheme": candidate.scheme,
        "form": candidate.form,
        "rank": candidate.rank,
        "exact": candidate.exact,
        "macs_after": candidate.macs,
        "parameters_after": candidate.factorization.parameters,
        "weight_error": candidate.weight_error,
        "output_error": candidate.output_error,
    }


def totals(layers: Sequence[Layer], bytes_before: int, bytes_after: int) -> Totals:
    """Sums over the rows."""

    def total(field: str) -> int:
        return sum(getattr(layer, field) or 0 for layer in layers)

    return Totals(
        convolutions=len(layers),
        replaced=sum(layer.replaced for layer in layers),
        macs_before=total("macs_before"),
        macs_after=total("macs_after"),
        parameters_before=total("parameters_before"),
        parameters_after=total("parameters_after"),
        bytes_before=bytes_before,
        bytes_after=bytes_after,
    )


def describe_data(data: Data, options: Options, fitted_on: int = 0) -> dict[str, Any]:
    """What the network was run on, for the report."""
    feeds, judged_on = data.fit, data.judged_on
    preprocessing = feeds.preprocessing
    return {
        "description": feeds.description,
        "fitted_on": fitted_on,
        "judged_on": judged_on.description,
        "synthetic": judged_on.synthetic,
        "samples": len(judged_on),
        "labels": judged_on.labels is not None,
        "targets": judged_on.has_targets,
        "seed": options.seed,
        "preprocessing": None if preprocessing is None else preprocessing.as_dict(),
    }


def describe_budget(outcome: Outcome) -> Budget:
    """What was asked of the whole network, and what came of it."""
    point = outcome.point
    return Budget(
        verdict=outcome.verdict,
        is_met=outcome.is_met,
        predicted_speedup=None if point is None else outcome.menu.original_ms / point.predicted_ms,
        quality=None if point is None else point.quality.as_dict(),
    )


def front_of(outcome: Outcome, speed: Speed | None = None) -> tuple[FrontPoint, ...]:
    """Every plan that was built, by speed; speeds are predicted where they were not timed.

    Args:
        outcome: of planning.
        speed: of the plan chosen, as it was timed at last.
    """
    points = [front_point(outcome.menu, p, p is outcome.point) for p in outcome.points]
    if speed is not None:
        last = {
            "speedup": speed.speedup["speedup"],
            "interval": (speed.speedup["low"], speed.speedup["high"]),
        }
        points = [point.model_copy(update=last) if point.chosen else point for point in points]
    return tuple(sorted(points, key=lambda p: p.speedup or 0.0))


def front_point(menu: Menu, point: Point, chosen: bool = False) -> FrontPoint:
    """One plan that was built."""
    quality = point.quality
    noise = quality.kind in ("snr", "psnr")
    predicted = menu.original_ms / point.predicted_ms
    return FrontPoint(
        label=point.label,
        speedup=predicted if point.speed is None else point.speed.speedup,
        interval=None if point.speed is None else (point.speed.low, point.speed.high),
        drop=None if noise else quality.drop,
        snr_db=quality.expected if noise and np.isfinite(quality.expected) else None,
        chosen=chosen,
    )


def describe_options(options: Options) -> dict[str, Any]:
    """The effective options, as JSON can hold them; data given as objects become their description."""
    values = options.model_dump(by_alias=True)
    for name in ("data", "eval-data", "labels", "targets"):
        value = values[name]
        if value is not None and not isinstance(value, str):
            values[name] = str(value) if hasattr(value, "__fspath__") else type(value).__name__
    return values
