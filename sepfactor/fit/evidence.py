"""Run the prepared network on data and keep, of every convolution, its map size and a sample of patches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.data import Feed, Feeds
from sepfactor.data.patches import gather_patches, sample_positions, usable
from sepfactor.errors import ModelError
from sepfactor.factor import Statistics
from sepfactor.factor.stage import Ints
from sepfactor.graph.bodies import Probe, exposed
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.survey import Site
from sepfactor.measure.session import Runtime, open_session, run
from sepfactor.progress import Progress

_PATCHES = 4096
"""Patches kept per site, at most."""

_ENTRIES = 1.5e7
"""Numbers kept per site, at most: wide layers keep fewer patches."""


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of one site.

    Attributes:
        batch: of its input. size: of its input map. statistics: the sample of patches.
    """

    batch: int
    size: Ints
    statistics: Statistics | None


@dataclass
class _Sample:
    batch: int = 1
    size: Ints = ()
    patches: list[NDArray[np.float32]] = field(default_factory=list)


def observe(
    model: ir.Model,
    sites: Sequence[Site],
    feeds: Feeds,
    runtime: Runtime,
    seed: int,
    progress: Progress,
) -> dict[str, Observed]:
    """Map sizes and patches of every site that ran, by the name of its output value.

    Only the maps of one run are in memory at a time.
    """
    open_sites = [site for site in sites if site.stage is not None]
    if not open_sites:
        return {}
    probes = {site.output: Probe(site.output, "input", site.dtype) for site in open_sites if site.nested}
    names = dict.fromkeys(site.input for site in open_sites if not site.nested)
    view = _View(model, names, probes.values(), runtime)
    count = min(len(feeds), max(site.kind.runs for site in open_sites))
    samples: dict[str, _Sample] = defaultdict(_Sample)
    for i in range(len(feeds)):
        if i >= count and (view.is_blind or all(samples[name].patches for name in probes)):
            break  # only a branch may be taken so late
        progress("observe", min(i, count - 1), count, "running the network")
        feed = feeds[i]
        values = view.values(feed)
        for k, site in enumerate(open_sites):
            rng = np.random.default_rng((seed, i, k))
            wanted = -(-min(_PATCHES, int(_ENTRIES // _entries(site))) // count)
            probe = probes.get(site.output)
            read = [values[site.input]] if probe is None else [*view.turns(values, probe).values()]
            for value in read:
                _take(site, site.kind.maps(value), samples[site.output], -(-wanted // len(read)), rng)
    progress("observe", count, count, "")
    return {
        name: Observed(
            sample.batch,
            sample.size,
            Statistics(np.concatenate(sample.patches)) if sample.patches else None,
        )
        for name, sample in samples.items()
        if sample.size
    }


class _View:
    """A network that shows what its sites read, those in bodies as well."""

    def __init__(
        self, model: ir.Model, names: Iterable[str], probes: Collection[Probe], runtime: Runtime
    ) -> None:
        self._model, self._names, self._runtime = model, [*names], runtime
        self._open(probes)

    def _open(self, probes: Collection[Probe]) -> None:
        view = with_outputs(self._model, self._names, [*probes])
        self._taps, self._session = probes, open_session(view, self._runtime, level="basic")

    def values(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """What it shows of a run.

        Turns of a Scan whose maps differ in size do not stack: then no body is looked into any more.
        """
        try:
            found = run(self._session, feed)
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
