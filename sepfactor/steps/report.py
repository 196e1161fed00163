"""Put what was decided and measured into a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sepfactor.factor import Factorization
from sepfactor.observe import Feeds
from sepfactor.options import Options
from sepfactor.report.model import Layer, Totals
from sepfactor.steps.choose import Decision


def layer_rows(
    decisions: Sequence[Decision], before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[Layer, ...]:
    """A row per Conv; times by the output name of the site."""
    return tuple(_row(decision, before, after) for decision in decisions)


def _row(decision: Decision, before: Mapping[str, float], after: Mapping[str, float]) -> Layer:
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
        row |= {"group": stage.group, "strides": stage.strides}
        row["parameters_before"] = row["parameters_after"] = stage.parameters + bias
        if seen is not None:
            row["map_size"] = seen.size
            row["macs_before"] = row["macs_after"] = stage.macs(seen.size)
    if choice.trial is not None:
        row["trial_speedup"] = choice.trial.speedup
        row["trial_interval"] = (choice.trial.low, choice.trial.high)
    if choice.candidate is not None:
        row |= _replacement(choice.candidate)
    return Layer.model_validate(row)


def _replacement(candidate: Any) -> dict[str, Any]:
    factorization: Factorization = candidate.factorization
    return {
        "scheme": candidate.scheme,
        "form": candidate.form,
        "rank": candidate.rank,
        "exact": candidate.exact,
        "macs_after": candidate.macs,
        "parameters_after": factorization.parameters,
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


def describe_data(feeds: Feeds, judged_on: Feeds, options: Options) -> dict[str, Any]:
    """What the network was run on, for the report."""
    preprocessing = feeds.preprocessing
    return {
        "description": feeds.description,
        "judged_on": judged_on.description,
        "synthetic": judged_on.synthetic,
        "samples": len(judged_on),
        "labels": judged_on.labels is not None,
        "targets": judged_on.has_targets,
        "seed": options.seed,
        "preprocessing": None if preprocessing is None else preprocessing.as_dict(),
    }


def describe_options(options: Options) -> dict[str, Any]:
    """The effective options, as JSON can hold them; data given as objects become their description."""
    values = options.model_dump(by_alias=True)
    for name in ("data", "eval-data", "labels", "targets"):
        value = values[name]
        if value is not None and not isinstance(value, str):
            values[name] = str(value) if hasattr(value, "__fspath__") else type(value).__name__
    return values
