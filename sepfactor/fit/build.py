"""From a plan to a network: fit every factor, put them into the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from sepfactor.errors import PlanError
from sepfactor.factor import Factorization, weight_error
from sepfactor.factor.average_first import NAME as AVERAGE_FIRST
from sepfactor.factor.average_first import grid
from sepfactor.factor.scheme import Spectrum
from sepfactor.factor.stage import Ints
from sepfactor.fit.eligibility import LEFT_ALONE, obstacle
from sepfactor.fit.evidence import Evidence
from sepfactor.fit.int8 import in_eight_bits
from sepfactor.fit.layer_fit import Fit, FitTask
from sepfactor.fit.lossless import epsilon, is_rounding
from sepfactor.fit.planned_factors import bare_factors
from sepfactor.fit.sequential import affordable, fit
from sepfactor.fit.settings import STATES, FitMethod, fit_method, has_room
from sepfactor.graph.averages import Moved, may_average, move_averages
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.plans.document import Plan, PlannedLayer
from sepfactor.results import Tuning
from sepfactor.study.study import Study
from sepfactor.text import rank_text
from sepfactor.tune.tuning import tune


@dataclass(frozen=True, eq=False)
class FittedLayer:
    """A layer as it was planned, and what came of it.

    Attributes:
        evidence: of its site.
        planned: what the plan says.
        factorization: what stands in the graph for it; None where its node is as it was.
        fit: how that was fitted; None where it was not.
        exact: whether nothing but rounding is lost.
        block: pixels that its input is averaged over first, () for the whole map; None where it is not.
        spectrum: error of the bare weights at other ranks of the scheme.
    """

    evidence: Evidence
    planned: PlannedLayer
    factorization: Factorization | None = None
    fit: Fit | None = None
    exact: bool = False
    block: Ints | None = None
    spectrum: Spectrum = ()

    @property
    def is_replaced(self) -> bool:
        """Whether the plan replaces it; a layer that is only corrected is not."""
        return not self.planned.is_kept

    @property
    def is_corrected(self) -> bool:
        """Whether it stays dense, with other weights."""
        return self.fit is not None and not self.is_replaced

    @property
    def macs(self) -> int:
        """Multiply-accumulates of what it became; 0 where the map is unknown."""
        seen, stage = self.evidence, self.evidence.site.stage
        if stage is None or not seen.size or self.factorization is None:
            return seen.macs
        if self.block is not None:
            return stage.macs(grid(seen.size, self.block or seen.size))
        return self.factorization.macs(seen.size)

    @property
    def parameters(self) -> int:
        """Weights and biases of what it became."""
        return self.evidence.parameters if self.factorization is None else self.factorization.parameters


@dataclass(frozen=True, eq=False)
class Built:
    """A network made by a plan.

    Attributes:
        plan: that was carried out.
        layers: one per site, in the order of the graph.
        fitted_on: samples that fits rest on.
        model: what is run.
        to_write: the network as it goes into a file.
        site_of: output name of each new node of ``model`` → output name of the site it stands for.
        tuning: what tuning came to; None where there was none.
        is_tidied: whether the network was another before anything was replaced.
    """

    plan: Plan
    layers: tuple[FittedLayer, ...]
    fitted_on: int
    model: ir.Model
    to_write: ir.Model
    site_of: Mapping[str, str]
    tuning: Tuning | None = None
    is_tidied: bool = False

    @property
    def is_factored(self) -> bool:
        """Whether any layer was replaced."""
        return any(layer.is_replaced for layer in self.layers)

    @property
    def is_int8(self) -> bool:
        """Whether any of it is in eight bits."""
        return self.plan.int8 is not None

    @property
    def is_lossy(self) -> bool:
        """Whether more became of it than exact rewriting makes."""
        return self.is_factored or self.is_int8

    @property
    def is_changed(self) -> bool:
        """Whether it may be faster than the original: layers were replaced, or it was tidied."""
        return self.is_lossy or self.is_tidied

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Weights and biases of all layers, those of biases that corrections add included."""
        return sum(layer.parameters for layer in self.layers)


def build(study: Study, evidence: Sequence[Evidence], plan: Plan) -> Built:
    """Carry a plan out: the same study, evidence and plan give the same network.

    Where an average comes first, it does so in the network that fits aim at as well: nothing behind it can
    make up for what that loses, and errors of fits do not count it.

    Args:
        study: the run.
        evidence: of its sites.
        plan: with a line for every site, see :func:`~sepfactor.study.recipe.fitting_plan`.

    Raises:
        PlanError: it gives a layer a scheme or a rank that it cannot have.
    """
    method = fit_method(study)
    steps = [_step(study, method, *pair) for pair in zip(evidence, plan.layers, strict=True)]
    blocks = {step.layer.planned.output: step.layer.block for step in steps if step.layer.block is not None}
    moved = move_averages(study.prepared, blocks)
    if any(step.layer.is_replaced for step in steps):
        layers, count = _fitted(study, method, moved, steps, plan)
        layers = [_rewritten(study, layer) for layer in layers]
    else:
        layers, count = [step.layer for step in steps], 0
    layers = [_as_written(study, layer) for layer in layers]
    replacements = [_replacement(layer) for layer in layers if layer.factorization is not None]
    rebuilt = rebuild(moved.model, replacements)
    model, site_of = rebuilt.model, {**moved.site_of, **rebuilt.site_of}
    tuning = None
    if plan.tune is not None and any(layer.is_replaced for layer in layers):
        tuned = tune(study, model, plan.tune, _untouched(study, model, layers))
        model, tuning = tuned.model, tuned.report
        plan = plan.model_copy(update={"tune": tuned.tune})
    if plan.int8 is not None or any(layer.is_int8 for layer in plan.layers):
        if study.network.is_stand_in:
            raise PlanError(
                "The plan has layers in eight bits, but this network is one that onnxruntime cannot run, of "
                "which only the factors are written. Set their precision to float, and take `int8` out."
            )
        made = in_eight_bits(study, model, plan, site_of)
        model, plan = made.model, plan.model_copy(update={"int8": made.int8})
    return Built(
        plan,
        tuple(layers),
        count,
        model,
        study.network.to_write(model, replacements, blocks),
        site_of,
        tuning,
        study.network.is_tidied,
    )


@dataclass(frozen=True, eq=False)
class _Step:
    """What becomes of a layer before anything is fitted, and what is to be fitted of it."""

    layer: FittedLayer
    task: FitTask | None = None


def _step(study: Study, method: FitMethod, seen: Evidence, planned: PlannedLayer) -> _Step:
    site = seen.site
    if planned.is_kept:
        return _Step(FittedLayer(seen, planned), _correction(study, seen, planned))
    reason = obstacle(seen, study.options, method)
    if reason is not None or site.stage is None:
        raise PlanError(
            f"The plan replaces {site.name!r}, which cannot be: {reason}. Set its scheme to keep."
        )
    if planned.scheme == AVERAGE_FIRST:
        layer = _averaged(seen, planned)
        task = FitTask(site, fixed=layer.factorization) if layer.exact else _correction(study, seen, planned)
        return _Step(layer, task)
    bare, spectrum = bare_factors(site, planned)
    exact = is_rounding(weight_error(site.stage, bare), epsilon(study.network.written_dtype(site)))
    layer = FittedLayer(seen, planned, bare, exact=exact, spectrum=spectrum)
    if exact:
        return _Step(layer, FitTask(site, fixed=bare))
    return _Step(layer, FitTask(site, (planned.scheme,), planned.rank, metric=seen.metric))


def _correction(study: Study, seen: Evidence, planned: PlannedLayer) -> FitTask | None:
    """For a layer that stays dense and may get other weights: it was seen at work, and may be touched."""
    site = seen.site
    if site.stage is None or not seen.size or _is_left_alone(study, seen, planned):
        return None
    return FitTask(site) if has_room(site.stage, study.options) else None


def _is_left_alone(study: Study, seen: Evidence, planned: PlannedLayer) -> bool:
    """Whether a layer is to stay byte for byte, by what is asked for now or was when the plan was made."""
    site, reason = seen.site, planned.reason
    if planned.is_kept and reason is not None and reason.code == LEFT_ALONE.code:
        return True
    return study.options.for_layer(site.name, site.output).keep


def _averaged(seen: Evidence, planned: PlannedLayer) -> FittedLayer:
    site, averaged = seen.site, seen.averaged
    assert site.stage is not None
    if averaged is None or not may_average(averaged, planned.rank):
        over = rank_text(planned.rank) or "the whole map"
        raise PlanError(
            f"The plan averages what {planned.name!r} reads, over {over}; here its answers are not averaged "
            "like that. Set its scheme to keep."
        )
    dense = Factorization.of(site.stage, site.bias)
    return FittedLayer(seen, planned, dense, exact=averaged.linear, block=planned.rank)


def _fitted(
    study: Study, method: FitMethod, moved: Moved, steps: Sequence[_Step], plan: Plan
) -> tuple[list[FittedLayer], int]:
    """The layers after fitting, and how many samples that rests on."""
    settings = method.settings(plan.effort)
    if settings is None:
        return [step.layer for step in steps], 0
    tasks = [_on_averages(step.task, moved) for step in steps if step.task is not None]
    splits = study.splits
    stops = [task.site.output for task in tasks]
    most = affordable(moved.model, stops, splits.fit[0], study.exact, STATES)
    held_out = [] if splits.is_synthetic else splits.held_out[: max(1, most // 4)]
    feeds = splits.fit[: max(1, most - len(held_out))]
    fits = iter(
        fit(
            *(moved.model, tasks, feeds, study.exact, study.options.seed, study.progress, settings),
            held_out,
            study.resources,
        )
    )
    layers = []
    for step in steps:
        found = None if step.task is None else next(fits)
        if found is None:
            layers.append(step.layer)
        else:
            layers.append(replace(step.layer, factorization=found.factorization, fit=found))
    return layers, len(feeds)


def _untouched(study: Study, model: ir.Model, layers: Sequence[FittedLayer]) -> set[str]:
    """Names of weights of layers that are to stay byte for byte."""
    alone = {layer.planned.output for layer in layers if _is_left_alone(study, layer.evidence, layer.planned)}
    nodes = [node for node in model.graph if node.outputs and node.outputs[0].name in alone]
    return {str(value.name) for node in nodes for value in node.inputs if value is not None}


def _on_averages(task: FitTask, moved: Moved) -> FitTask:
    site = task.site
    return replace(task, site=replace(site, input=moved.inputs.get(site.output, site.input)))


def _rewritten(study: Study, layer: FittedLayer) -> FittedLayer:
    """Where anything is replaced, so is a kept layer that is faster in another form, as it is."""
    site = layer.evidence.site
    if layer.factorization is not None or site.stage is None or not site.kind.rewrites(site.stage):
        return layer
    if _is_left_alone(study, layer.evidence, layer.planned):
        return layer
    return replace(layer, factorization=Factorization.of(site.stage, site.bias))


def _as_written(study: Study, layer: FittedLayer) -> FittedLayer:
    """With weights as the file will have them, where a stand-in has more digits."""
    site = layer.evidence.site
    dtype = study.network.written_dtype(site)
    if layer.factorization is None or dtype == site.dtype:
        return layer
    return replace(layer, factorization=layer.factorization.rounded(dtype))


def _replacement(layer: FittedLayer) -> Replacement:
    """What goes into the graph, with the metadata of the new nodes."""
    site, built = layer.evidence.site, layer.factorization
    assert site.stage is not None
    assert built is not None
    scheme = layer.planned.scheme if layer.is_replaced else "corrected" if layer.is_corrected else "rewritten"
    metadata = {
        "sepfactor.scheme": scheme,
        "sepfactor.rank": rank_text(layer.planned.rank),
        "sepfactor.weight_error": f"{weight_error(site.stage, built):.3e}",
    }
    if layer.fit is not None:
        metadata["sepfactor.output_error"] = f"{layer.fit.after:.3e}"
    return Replacement(site, built, metadata)
