"""What every step of one run works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.stage import Array
from sepfactor.fit.evidence import Observed, observe
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.relu import row_of
from sepfactor.fit.settings import Method, choose_method
from sepfactor.graph.averages import Averaged, averaged_sites
from sepfactor.graph.load import Loaded
from sepfactor.graph.partition import Partition
from sepfactor.graph.survey import Site
from sepfactor.measure.session import Runtime, environment
from sepfactor.measure.timing_cache import DiskCache, MemoryCache, TimingCache, default_path
from sepfactor.options import Options
from sepfactor.plans.machine import MachineProfile, read_profile
from sepfactor.progress import Progress
from sepfactor.search.choice import Choice
from sepfactor.search.ranks import Spectrum
from sepfactor.study.network import Original, open_network
from sepfactor.study.splits import Data, gather

_SECONDS = 2.5
"""At most so long are whole networks timed while plans are made."""


@dataclass(frozen=True, eq=False)
class Decision:
    """A site, what was seen of it, and what is done with it."""

    site: Site
    observed: Observed | None
    choice: Choice


@dataclass(frozen=True, eq=False)
class Job:
    """A model, the data, and what is wished for.

    Attributes:
        loaded: the original, or its stand-in. prepared: the same made plain. sites: its convolutions.
        data: what is fitted to and judged on. method: how factors are made.
        options: what was asked for. runtime: threads and provider. progress: told how far it is.
        original: what the stand-in stands for, where onnxruntime cannot run that.
    """

    loaded: Loaded
    prepared: ir.Model
    sites: Sequence[Site]
    data: Data
    method: Method
    options: Options
    runtime: Runtime
    progress: Progress
    original: Original | None = None

    @property
    def source(self) -> Loaded:
        """The network as it was handed in, whether it can be run or not."""
        return self.loaded if self.original is None else self.original.loaded

    @property
    def notes(self) -> tuple[str, ...]:
        """What is measured in place of a network that cannot be run, in sentences."""
        return () if self.original is None else self.original.notes

    def written_as(self, site: Site) -> np.dtype[np.floating]:
        """The type that weights of a site have in the file."""
        return site.dtype if self.original is None else self.original.dtypes[site.output]

    @cached_property
    def observed(self) -> Mapping[str, Observed]:
        """What was seen of every site, by the name of its output."""
        return observe(
            self.prepared, self.sites, self.data.fit, self.runtime, self.options.seed, self.progress
        )

    @cached_property
    def averaged(self) -> Mapping[str, Averaged]:
        """Sites whose answers are only seen as averages, by the name of their output."""
        return averaged_sites(self.prepared, self.sites)

    @cached_property
    def metrics(self) -> Mapping[str, OutputMetric]:
        """What those who read it make of errors in a site's answer, by the name of its output."""
        return output_metrics(self.prepared, self.sites)

    @cached_property
    def rectified(self) -> Set[str]:
        """Outputs of sites that are only seen behind a ReLU, with nothing but a constant row added before."""
        return self.offsets.keys()

    @cached_property
    def offsets(self) -> Mapping[str, Array | None]:
        """By the output of each such site what is added, ``(out,)``; None where nothing is."""
        cutter = Partition(self.prepared)
        found: dict[str, Array | None] = {}
        for site in self.sites:
            if site.stage is None or not cutter.is_rectified(site.output) or cutter.partner(site.output):
                continue
            offset = cutter.offset(site.output)
            row = None if offset is None else row_of(site, offset)
            if offset is None or row is not None:
                found[site.output] = row
        return found

    @cached_property
    def spectra(self) -> dict[str, Mapping[str, Spectrum]]:
        """Output name of a site → scheme → error by rank; filled in as candidates are looked for."""
        return {}

    @property
    def may_time(self) -> bool:
        """Whether times of this machine count; with a profile, those of another do."""
        return self.options.profile is None

    @property
    def timing_seconds(self) -> float:
        """For timing whole networks while plans are made: less than the final measurement takes."""
        return min(_SECONDS, self.options.bench_seconds / 3)

    def profile_runs(self, ms: float, most: int) -> int:
        """Runs to profile a network of ``ms`` milliseconds: ``most``, or as many as there is time for."""
        return max(2, min(most, int(1e3 * _SECONDS / max(ms, 1e-3))))

    @cached_property
    def machine(self) -> MachineProfile | None:
        """The machine to plan for, where that is not this one.

        Raises:
            PlanError: its profile cannot be read.
        """
        return None if self.options.profile is None else read_profile(self.options.profile)

    @cached_property
    def timing_cache(self) -> TimingCache:
        """Times measured before on the machine that is planned for."""
        if self.machine is not None:
            return MemoryCache(self.machine.times)
        if not self.options.cache:
            return MemoryCache()
        here = environment(self.runtime)
        machine = {
            name: getattr(here, name)
            for name in ("onnxruntime", "processor", "provider", "threads", "usable_cores")
        }
        return DiskCache(default_path(), machine)


def open_job(loaded: Loaded, options: Options, progress: Progress) -> Job:
    """Make the model plain, find its convolutions, open the data.

    Raises:
        SepfactorError: the model cannot be run, or the data cannot be read or do not fit.
    """
    runtime = Runtime(options.threads, options.provider)
    progress("prepare", 0, 2, "making the model plain")
    network = open_network(
        loaded, runtime, dequantize=options.dequantize, linear_layers=options.linear_layers
    )
    progress("prepare", 1, 2, "opening the data")
    data = gather(network.loaded, options, runtime)
    method = choose_method(loaded, data, options)
    progress("prepare", 2, 2, "")
    return Job(
        network.loaded,
        network.prepared,
        network.sites,
        data,
        method,
        options,
        runtime,
        progress,
        network.original,
    )
