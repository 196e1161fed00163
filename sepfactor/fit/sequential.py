"""Fit every factor to what its layer reads in the network compressed so far, and should answer.

Layers are taken in the order of the graph. The original network runs beside the one being
compressed: the first tells what a layer should answer, the second what it reads by now. So an error
made early is corrected later instead of growing. Layers that stay dense are corrected the same way.
A part of the data is held out: it picks how strong a ridge keeps a fit near the original weights, and
whether the fit is kept at all. Where a ReLU follows, factors are fitted to what it lets through; and
errors count by what the layers make of them that read the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from sepfactor.data import Feed
from sepfactor.factor import Factorization
from sepfactor.fit.layer_fit import Fit, FitTask, fit_layer, within_reason
from sepfactor.fit.propagation import Propagation
from sepfactor.fit.sampling import read_rows
from sepfactor.fit.settings import FULL, FitSettings
from sepfactor.graph.lower import lower
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Engine
from sepfactor.progress import Progress
from sepfactor.resources import Resources


def fit(
    model: ir.Model,
    tasks: Sequence[FitTask],
    feeds: Sequence[Feed],
    engine: Engine,
    seed: int,
    progress: Progress,
    settings: FitSettings = FULL,
    held_out: Sequence[Feed] = (),
    resources: Resources | None = None,
) -> list[Fit | None]:
    """What each task comes to, in their order; None where a site is better left alone.

    Args:
        model: the prepared network.
        tasks: sites in the order of the graph.
        feeds: calibration data.
        engine: what runs the network.
        seed: of the split and of the sampled positions.
        progress: called per layer.
        settings: of the method.
        held_out: data to judge fits on; without any, a quarter of ``feeds`` is set aside.
        resources: memory for what is wanted again later, and cores.
    """
    together = [*feeds, *held_out]
    if held_out or len(together) == 1:
        held = set(range(len(feeds), len(together)))
    else:
        order = np.random.default_rng(seed).permutation(len(together))
        held = set(order[: max(1, len(together) // 4)].tolist())
    resources = resources or Resources()
    original, compressed = (Propagation(model, together, engine, resources) for _ in range(2))
    done: list[Fit | None] = []
    for number, task in enumerate(tasks):
        site = task.site
        progress("fit", number, len(tasks), site.name)
        done.append(None)
        if task.is_correction and not (any(done) and settings.correct_kept):
            continue
        compressed.advance_for_input(site)
        original.advance_for_answers(site)
        chosen = within_reason(settings, task)
        metric = task.metric if settings.weigh_by_readers else None
        read = read_rows(
            site,
            original,
            compressed,
            held,
            seed + number,
            entries=chosen.entries,
            residual=chosen.residual,
            rectified=chosen.relu_rounds > 0,
            spread=metric is not None,
            resources=resources,
        )
        found = None if read is None else fit_layer(task, *read, chosen, metric, resources)
        del read  # before the next ones are
        if found is None or not _can_be_stored(found.factorization, site.dtype):
            continue
        done[-1] = found
        if settings.sequential:
            _put(compressed, site, found.factorization)
    progress("fit", len(tasks), len(tasks), "")
    return done


def affordable(model: ir.Model, stops: Sequence[str], feed: Feed, engine: Engine, memory: int) -> int:
    """How many images two propagations may carry within ``memory`` bytes, at least two.

    Args:
        model: the prepared network.
        stops: output names of the sites.
        feed: one image.
        engine: what runs the network.
        memory: bytes.
    """
    propagation = Propagation(model, [feed], engine)
    most = propagation.bytes
    for stop in stops:
        propagation.advance(propagation.partition.position(stop) + 1)
        most = max(most, propagation.bytes)
    return max(2, int(memory // max(2 * most, 1)))


def _can_be_stored(factorization: Factorization, dtype: np.dtype[np.floating]) -> bool:
    """Whether its numbers are within the range of a type: what is nearly 0 asks for huge factors."""
    arrays = [stage.weight for chain in factorization.chains for stage in chain.stages]
    arrays += [] if factorization.bias is None else [factorization.bias]
    with np.errstate(over="ignore"):
        return all(bool(np.isfinite(array.astype(dtype)).all()) for array in arrays)


def _put(propagation: Propagation, site: Site, factorization: Factorization) -> None:
    x, y = ir.val(site.input), ir.val(site.output)
    lowered = lower(
        factorization,
        x,
        y,
        kind=site.kind,
        prefix=f"{site.output}/fitted",
        dtype=site.dtype,
        opset=propagation.partition.opset,
    )
    propagation.partition.replace(site.output, lowered.nodes, lowered.initializers)
