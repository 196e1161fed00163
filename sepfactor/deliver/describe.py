"""Put what was decided and measured into a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sepfactor.factor import form_of, weight_error
from sepfactor.factor.scheme import Spectrum
from sepfactor.fit.build import Built, FittedLayer
from sepfactor.memory import peak_bytes
from sepfactor.options import OBJECTS, Options
from sepfactor.results import Data, EightBits, Environment, Json, Layer, MemoryUse, StageRow
from sepfactor.results.context import ENGINE_TITLES
from sepfactor.study.profiling import LayerTimes
from sepfactor.study.splits import Splits
from sepfactor.study.study import Study

_IN_INTEGERS = ("QLinear", "QGemm", "Nhwc")
"""How onnxruntime calls what computes in integers begins."""


def layer_row(
    layer: FittedLayer, before: float | None, after: float | None, spectra: Mapping[str, Spectrum]
) -> Layer:
    """The row of a layer.

    Args:
        layer: what became of it.
        before: milliseconds in the original network; None where they are not known.
        after: milliseconds of all that stands for it in the result.
        spectra: scheme → error by rank, as candidates were looked for; empty of a plan that was given.
    """
    seen, planned = layer.evidence, layer.planned
    site, stage = seen.site, seen.site.stage
    row: dict[str, Any] = {
        "name": site.name,
        "output": site.output,
        "weight_shape": site.weight_shape,
        "replaced": layer.is_replaced,
        "reason": planned.reason,
        "precision": planned.precision,
        "milliseconds_before": before,
        "milliseconds_after": after,
        "spectrum": spectra or ({planned.scheme: layer.spectrum} if layer.spectrum else None),
    }
    if stage is not None:
        row |= {"group": stage.group, "strides": site.kind.own(stage.strides)}
        row |= {"parameters_before": seen.parameters, "parameters_after": layer.parameters}
        if seen.size:
            row |= {"map_size": site.kind.own(seen.size), "macs_before": seen.macs, "macs_after": layer.macs}
    if planned.alone is not None:
        row["trial_speedup"] = planned.alone.speedup
        row["trial_interval"] = (planned.alone.low, planned.alone.high)
    if layer.is_replaced:
        row |= {
            "scheme": planned.scheme,
            "form": form_of(planned.scheme),
            "rank": planned.rank,
            "chains": _chains(layer),
            "exact": layer.exact,
        }
    return Layer.model_validate(row | _errors(layer))


def _chains(layer: FittedLayer) -> list[list[StageRow]]:
    """The stages of what a layer became, but for one whose input was only averaged."""
    if layer.factorization is None or layer.block is not None:
        return []
    own, found = layer.evidence.site.kind.own, []
    for chain in layer.factorization.chains:
        size, rows = layer.evidence.size, []
        for stage in chain.stages:
            shape = (*stage.weight.shape[:2], *own(stage.kernel_shape))
            macs = stage.macs(size) if size else None
            rows.append(
                StageRow(weight_shape=shape, group=stage.group, strides=own(stage.strides), macs=macs)
            )
            size = stage.output_size(size) if size else size
        found.append(rows)
    return found


def eight_bits(built: Built, times: LayerTimes) -> EightBits | None:
    """What of a network computes in 8-bit integers; None where nothing does.

    Args:
        built: the network.
        times: of it, from a profile.
    """
    int8 = built.plan.int8
    if int8 is None:
        return None
    whole = sum(times.operators.values())
    own = sum(ms for operator, ms in times.operators.items() if operator.startswith(_IN_INTEGERS))
    return EightBits(
        layers=sum(layer.is_int8 for layer in built.plan.layers),
        beside=len(int8.nodes),
        share=own / whole if whole else None,
    )


def _errors(layer: FittedLayer) -> dict[str, Any]:
    """How far what stands in the graph is from the layer; alone, that is as it was expected when planned."""
    stage, built = layer.evidence.site.stage, layer.factorization
    if stage is None or built is None or not (layer.is_replaced or layer.is_corrected):
        return {}
    found: dict[str, Any] = {"weight_error": weight_error(stage, built)}
    if layer.is_replaced:
        found["output_error"] = layer.planned.error
    if layer.fit is not None:
        found |= {
            "corrected": layer.is_corrected,
            "ridge": layer.fit.ridge,
            "unfitted_error": layer.fit.before,
            "fitted_error": layer.fit.after,
        }
    return found


def describe_data(data: Splits, options: Options, fitted_on: int = 0) -> Data:
    """What the network was run on, for the report."""
    judged_on = data.judged_on
    return Data(
        description=data.fit.description,
        fitted_on=fitted_on,
        judged_on=judged_on.description,
        synthetic=judged_on.synthetic,
        samples=len(judged_on),
        labels=judged_on.labels is not None or judged_on.boxes is not None,
        targets=judged_on.has_targets,
        seed=options.seed,
        preprocessing=data.fit.preprocessing,
        shapes={name: array.shape for name, array in judged_on[0].items()} if len(judged_on) else {},
    )


def describe_memory(study: Study) -> MemoryUse:
    """What was taken of it so far."""
    return MemoryUse(allowed=study.pool.total, peak=peak_bytes(), put_away=study.pool.put_away)


def describe_options(options: Options) -> dict[str, Json]:
    """The effective options, as JSON can hold them; what was given as an object becomes its name."""
    plain = options.model_dump(mode="json", by_alias=True, exclude=set(OBJECTS))
    described: dict[str, Json] = {}
    for name, field in Options.model_fields.items():
        key = field.alias or name
        described[key] = _named(getattr(options, name)) if name in OBJECTS else plain[key]
    return described


def _named(value: object) -> str | None:
    """A path or a text as it is, a function by its name, and any other object by that of its type."""
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "__fspath__"):
        return str(value)
    return str(getattr(value, "__name__", type(value).__name__))


def two_engines(environment: Environment) -> list[str]:
    """That results run in another engine than what they are compared with, where they do."""
    if environment.engine == "onnxruntime":
        return []
    name = ENGINE_TITLES.get(environment.engine, environment.engine)
    return [
        f"The result runs in {name} in {environment.precision}, and is compared with the original as "
        f"onnxruntime runs it in the type of the file: what {environment.precision} loses is in the figures."
    ]
