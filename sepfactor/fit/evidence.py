"""What is seen of every convolution: its map, a sample of patches, and what becomes of its answers.

The prepared network is run on data; who reads an answer is read off the graph.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.patches import gather_patches, sample_positions, usable
from sepfactor.factor import Statistics
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.stage import Array, Ints
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.relu import row_of
from sepfactor.fit.settings import SAMPLE_BYTES
from sepfactor.fit.viewing import Walk, Within, in_parts
from sepfactor.graph.averages import Averaged, averaged_sites
from sepfactor.graph.bodies import Probe
from sepfactor.graph.partition import Partition
from sepfactor.graph.survey import Site
from sepfactor.memory import Pool, Stored, StoredArrays
from sepfactor.study.study import Study

_PATCHES = 4096
"""Patches kept per site, at most."""

_ENTRIES = SAMPLE_BYTES / 4
"""Numbers kept per site, at most: wide layers keep fewer patches."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was seen of one site.

    Attributes:
        site: which.
        batch: samples of its input in one run.
        size: of its input map; empty where it never ran.
        patches: samples of what it reads, ``(samples, in_channels, *kernel_shape)`` each; none where none was
            usable.
        metric: what errors of its answer come to for the layers that read it; None counts channels alike.
        rectified: whether the answer is only seen behind a ReLU, with nothing but a constant added before.
        offset: ``(out,)``, that constant; None where nothing is added.
        averaged: how its answers are averaged, where they are only seen so.
    """

    site: Site
    batch: int = 1
    size: Ints = ()
    patches: StoredArrays = field(default_factory=StoredArrays)
    metric: OutputMetric | None = None
    rectified: bool = False
    offset: Array | None = None
    averaged: Averaged | None = None

    @property
    def ran(self) -> bool:
        """Whether the site was seen at work."""
        return self.site.stage is not None and bool(self.size)

    def statistics(self) -> Statistics:
        """The sample of patches, read from where they are kept."""
        return Statistics(np.concatenate(self.patches))

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
    patches: list[Stored] = field(default_factory=list)


def observe(study: Study, *, weighed: bool = True) -> tuple[Evidence, ...]:
    """What is seen of every site on the data to fit on, in the order of the graph.

    Only maps of one run are in memory at a time, and of these only as many as there is memory for: where that
    are not those of all sites, the network is run in parts.

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
                StoredArrays(sample.patches),
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
    samples: dict[str, _Sample] = defaultdict(_Sample)
    numbered = [*enumerate(site for site in study.sites if site.stage is not None)]
    plain = {site.output: k for k, site in numbered if not site.nested}
    nested = {site.output: k for k, site in numbered if site.nested}
    if plain:
        _in_the_graph(study, [site for k, site in numbered if site.output in plain], plain, samples)
    if nested:
        _in_bodies(study, [site for k, site in numbered if site.output in nested], nested, samples)
    return samples


def _in_the_graph(
    study: Study, sites: Sequence[Site], numbers: Mapping[str, int], samples: dict[str, _Sample]
) -> None:
    feeds = study.splits.fit
    count = min(len(feeds), max(site.kind.runs for site in sites))
    parts = in_parts(study.prepared, sites, feeds[0], study.exact, study.pool.working)
    walk = Walk(study.prepared, parts, study.exact)
    for i in range(count):
        study.progress("observe", i, count, "running the network")
        for part, values in zip(parts, walk.values(feeds[i]), strict=True):
            for site in part:
                rng = np.random.default_rng((study.options.seed, i, numbers[site.output]))
                _take(study.pool, site, [values[site.input]], samples[site.output], count, rng)
    study.progress("observe", count, count, "")


def _in_bodies(
    study: Study, sites: Sequence[Site], numbers: Mapping[str, int], samples: dict[str, _Sample]
) -> None:
    feeds = study.splits.fit
    count = min(len(feeds), max(site.kind.runs for site in sites))
    probes = {site.output: Probe(site.output, "input", site.dtype) for site in sites}
    view = Within(study.prepared, probes.values(), study.exact)
    for i in range(len(feeds)):
        if i >= count and (view.is_blind or all(samples[name].patches for name in probes)):
            break  # only a branch may be taken so late
        study.progress("observe", min(i, count - 1), count, "looking into bodies")
        values = view.values(feeds[i])
        for site in sites:
            rng = np.random.default_rng((study.options.seed, i, numbers[site.output]))
            read = [*view.turns(values, probes[site.output]).values()]
            _take(study.pool, site, read, samples[site.output], count, rng)
    study.progress("observe", count, count, "")


def _entries(site: Site) -> int:
    assert site.stage is not None
    return site.stage.in_channels * math.prod(site.stage.kernel_shape)


def _take(
    pool: Pool,
    site: Site,
    read: Sequence[NDArray[Any]],
    sample: _Sample,
    count: int,
    rng: np.random.Generator,
) -> None:
    """Patches of what a site read in one of ``count`` runs, turn by turn."""
    stage = site.stage
    assert stage is not None
    wanted = -(-min(_PATCHES, int(_ENTRIES // _entries(site))) // count)
    for x in map(site.kind.maps, read):
        out_size = stage.output_size(tuple(x.shape[2:]))
        if x.shape[0] == 0 or min(out_size) < 1:
            continue
        if not sample.size:
            sample.batch, sample.size = x.shape[0], tuple(x.shape[2:])
        batch = int(rng.integers(x.shape[0]))
        positions = sample_positions(out_size, -(-wanted // len(read)), rng)
        (kept,) = usable(gather_patches(x, stage, batch, positions))
        if len(kept):
            sample.patches.append(pool.put(kept))
