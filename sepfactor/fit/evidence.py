"""What is seen of every convolution: its map, a sample of patches, and what becomes of its answers.

The prepared network is run on data; who reads an answer is read off the graph.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.data.patches import gather_patches, sample_positions, usable
from sepfactor.errors import ModelError
from sepfactor.factor import Statistics
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.stage import Array, Ints
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.relu import row_of
from sepfactor.graph.averages import Averaged, averaged_sites
from sepfactor.graph.bodies import Probe, exposed
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.partition import Partition
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Engine
from sepfactor.study.study import Study

_PATCHES = 4096
"""Patches kept per site, at most."""

_ENTRIES = 1.5e7
"""Numbers kept per site, at most: wide layers keep fewer patches."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was seen of one site.

    Attributes:
        site: which.
        batch: samples of its input in one run.
        size: of its input map; empty where it never ran.
        statistics: the sample of patches; None where none was usable.
        metric: what errors of its answer come to for the layers that read it; None counts channels alike.
        rectified: whether the answer is only seen behind a ReLU, with nothing but a constant added before.
        offset: ``(out,)``, that constant; None where nothing is added.
        averaged: how its answers are averaged, where they are only seen so.
    """

    site: Site
    batch: int = 1
    size: Ints = ()
    statistics: Statistics | None = None
    metric: OutputMetric | None = None
    rectified: bool = False
    offset: Array | None = None
    averaged: Averaged | None = None

    @property
    def ran(self) -> bool:
        """Whether the site was seen at work."""
        return self.site.stage is not None and bool(self.size)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the site on its map; 0 where that is unknown."""
        return self.site.stage.macs(self.size) if self.site.stage is not None and self.size else 0

    @property
    def parameters(self) -> int:
        """Weights and biases of the site; 0 where they are unknown."""
        return self.site.parameters


@dataclass
class _Sample:
    batch: int = 1
    size: Ints = ()
    patches: list[NDArray[np.float32]] = field(default_factory=list)


def observe(study: Study, *, weighed: bool = True) -> tuple[Evidence, ...]:
    """What is seen of every site on the data to fit on, in the order of the graph.

    Only the maps of one run are in memory at a time.

    Args:
        study: the run.
        weighed: whether to look for what errors come to for the layers that read an answer.
    """
    model, sites = study.prepared, study.sites
    samples = _sample(study)
    metrics = output_metrics(model, sites) if weighed else {}
    averaged, partition = averaged_sites(model, sites), Partition(model)
    found = []
    for site in sites:
        sample = samples.get(site.output, _Sample())
        rectified, offset = _behind_relu(site, partition)
        found.append(
            Evidence(
                site,
                sample.batch,
                sample.size,
                Statistics(np.concatenate(sample.patches)) if sample.patches else None,
                metrics.get(site.output),
                rectified,
                offset,
                averaged.get(site.output),
            )
        )
    return tuple(found)


def _behind_relu(site: Site, partition: Partition) -> tuple[bool, Array | None]:
    """Whether a site is only seen behind a ReLU, and the constant row that is added before that."""
    if site.stage is None or not partition.is_rectified(site.output) or partition.partner(site.output):
        return False, None
    offset = partition.offset(site.output)
    row = None if offset is None else row_of(site, offset)
    return offset is None or row is not None, row


def _sample(study: Study) -> dict[str, _Sample]:
    """Map sizes and patches of sites, by the name of their output."""
    feeds, progress = study.splits.fit, study.progress
    open_sites = [site for site in study.sites if site.stage is not None]
    if not open_sites:
        return {}
    probes = {site.output: Probe(site.output, "input", site.dtype) for site in open_sites if site.nested}
    names = dict.fromkeys(site.input for site in open_sites if not site.nested)
    view = _View(study.prepared, names, probes.values(), study.engine)
    count = min(len(feeds), max(site.kind.runs for site in open_sites))
    samples: dict[str, _Sample] = defaultdict(_Sample)
    for i in range(len(feeds)):
        if i >= count and (view.is_blind or all(samples[name].patches for name in probes)):
            break  # only a branch may be taken so late
        progress("observe", min(i, count - 1), count, "running the network")
        values = view.values(feeds[i])
        for k, site in enumerate(open_sites):
            rng = np.random.default_rng((study.options.seed, i, k))
            wanted = -(-min(_PATCHES, int(_ENTRIES // _entries(site))) // count)
            probe = probes.get(site.output)
            read = [values[site.input]] if probe is None else [*view.turns(values, probe).values()]
            for value in read:
                _take(site, site.kind.maps(value), samples[site.output], -(-wanted // len(read)), rng)
    progress("observe", count, count, "")
    return samples


class _View:
    """A network that shows what its sites read, those in bodies as well."""

    def __init__(
        self, model: ir.Model, names: Iterable[str], probes: Collection[Probe], engine: Engine
    ) -> None:
        self._model, self._names, self._engine = model, [*names], engine
        self._open(probes)

    def _open(self, probes: Collection[Probe]) -> None:
        view = with_outputs(self._model, self._names, [*probes])
        self._taps, self._session = probes, self._engine.open(view, level="basic")

    def values(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """What it shows of a run.

        Turns of a Scan whose maps differ in size do not stack: then no body is looked into any more.
        """
        try:
            found = self._session.run(feed)
        except ModelError:
            if self.is_blind:
                raise
            self._open(())
            return self.values(feed)
        names = [output.name for output in self._session.get_outputs()]
        return {**dict(zip(names, found, strict=True)), **feed}

    @property
    def is_blind(self) -> bool:
        """Whether it looks into no body."""
        return not self._taps

    def turns(self, values: Mapping[str, NDArray[Any]], probe: Probe) -> Mapping[int, NDArray[Any]]:
        """What a probe saw, turn by turn."""
        return {} if self.is_blind else exposed(values, probe)


def _entries(site: Site) -> int:
    assert site.stage is not None
    return site.stage.in_channels * math.prod(site.stage.kernel_shape)


def _take(site: Site, x: NDArray[np.floating], sample: _Sample, count: int, rng: np.random.Generator) -> None:
    stage = site.stage
    assert stage is not None
    out_size = stage.output_size(tuple(x.shape[2:]))
    if x.shape[0] == 0 or min(out_size) < 1:
        return
    if not sample.size:
        sample.batch, sample.size = x.shape[0], tuple(x.shape[2:])
    batch = int(rng.integers(x.shape[0]))
    patches = gather_patches(x, stage, batch, sample_positions(out_size, count, rng))
    (kept,) = usable(patches)
    if len(kept):
        sample.patches.append(kept)
