"""The opened network, data and machine that a run works on: plain values, nothing lazy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from sepfactor.errors import OptionError, PlanError
from sepfactor.graph.int8 import INT8_OPSET
from sepfactor.graph.load import Loaded
from sepfactor.graph.survey import Site
from sepfactor.journal import Journal
from sepfactor.measure.engine import Engine
from sepfactor.measure.engines import open_engine
from sepfactor.measure.tasks import image_size
from sepfactor.measure.timing_cache import (
    DiskCache,
    MemoryCache,
    RecordingCache,
    TimingCache,
    default_path,
)
from sepfactor.memory import Pool, give_back_what_is_freed
from sepfactor.options import Options
from sepfactor.plans.machine import MachineProfile, read_profile
from sepfactor.progress import Progress
from sepfactor.resources import Resources
from sepfactor.results import Environment
from sepfactor.study.chance import open_drawing
from sepfactor.study.network import Network
from sepfactor.study.rewritten import rewritten_by_name, rewritten_where_faster
from sepfactor.study.searches import open_journal
from sepfactor.study.splits import Splits, open_splits
from sepfactor.threads import Executor, Threads

_OF_WEIGHTS = 5
"""Times the weights in float64, that stages, graphs and sessions hold of them together: of a network of 22
million weights four times as much was in use before any data was looked at; and plans are built later."""


@dataclass(frozen=True, eq=False)
class Study:
    """What every step of one run works on.

    Attributes:
        network: what is run, and how a result is written for what was handed in.
        splits: the data, by what it is used for.
        options: what was asked for.
        engine: what networks are timed and judged in.
        environment: software and processor.
        machine: the machine to plan for, where that is not this one.
        timing_cache: times measured before, on the machine that is planned for; it holds all that were asked
            for in this run.
        executor: runs what can be done side by side.
        pool: keeps what is wanted again later, within the memory that may be used.
        progress: told how far it is.
        journal: keeps what a search measured, for the next one if this is killed.
    """

    network: Network
    splits: Splits
    options: Options
    engine: Engine
    environment: Environment
    machine: MachineProfile | None
    timing_cache: RecordingCache
    executor: Executor
    pool: Pool
    progress: Progress
    journal: Journal = field(default_factory=Journal)

    @property
    def resources(self) -> Resources:
        """Memory and cores that work may use."""
        return Resources(self.pool, self.executor)

    @property
    def loaded(self) -> Loaded:
        """What is run, as it was read."""
        return self.network.loaded

    @property
    def prepared(self) -> ir.Model:
        """What is run, made plain."""
        return self.network.prepared

    @property
    def sites(self) -> Sequence[Site]:
        """The convolutions of ``prepared``, in the order they run in."""
        return self.network.sites

    @property
    def may_time(self) -> bool:
        """Whether times of this machine count; with a profile, those of another do."""
        return self.machine is None

    @property
    def exact(self) -> Engine:
        """What runs networks for their values: to fit to, and to compare results with."""
        return self.engine.exact

    @property
    def trusts_data(self) -> bool:
        """Whether what the network does with the data says what it will do in use.

        Made-up pictures say little of a classifier, and made-up bytes or sounds of anything; networks that
        make images of images see in them nearly what they will see
        (``benchmarks/results/reconstruction.md``).
        """
        if not self.splits.is_synthetic:
            return True
        outputs = self.network.source.model.graph.outputs
        return image_size(self.splits.fit[0]) is not None and all(_is_map(value) for value in outputs)


def open_study(
    loaded: Loaded,
    options: Options,
    progress: Progress,
    rewrites: Sequence[str] | None = None,
    *,
    chooses: bool = False,
) -> Study:
    """Make a network plain, open the data, rewrite the network exactly, find its convolutions.

    Args:
        loaded: the network as it was handed in.
        options: what was asked for.
        progress: told how far it is.
        rewrites: names of the exact rewritings to apply; None for those that the network is faster for.
        chooses: whether plans are chosen by how they do on the data.

    Raises:
        OptionError: 7-bit weights are asked for without eight bits.
        PlanError: the profile of another machine cannot be read, or is of another engine.
        SepfactorError: the network cannot be run, or the data cannot be read or do not fit.
    """
    if options.reduce_range and not options.int8:
        raise OptionError(
            "reduce-range is about weights in eight bits, and without int8 are none: give both."
        )
    machine = None if options.profile is None else read_profile(options.profile)
    engine = open_engine(options.engine, options.threads, options.provider)
    if machine is not None and machine.engine != engine.name:
        raise PlanError(
            f"The times in {options.profile} are of {machine.engine}, and the plan is for {engine.name}. Say "
            f"--engine {machine.engine}, or make a profile with `sepfactor profile --engine {engine.name}`."
        )
    if machine is not None and options.int8 and machine.int8 is None:
        raise PlanError(
            f"The times in {options.profile} are of float alone, and the plan may be in eight bits. Make the "
            "profile again with `sepfactor profile --int8`, or leave int8 out."
        )
    progress("prepare", 0, 2, "making the model plain")
    network = open_drawing(
        loaded, engine.exact, dequantize=options.dequantize, linear_layers=options.linear_layers
    )
    progress("prepare", 1, 2, "opening the data")
    give_back_what_is_freed()
    pool = Pool(options.memory)
    pool.reserve(_OF_WEIGHTS * sum(s.stage.weight.nbytes for s in network.sites if s.stage is not None))
    splits = open_splits(network.loaded, options, engine.exact, pool, chooses=chooses)
    if engine != engine.exact:
        engine.open(network.loaded.runnable)  # what it cannot read is told before the work
    progress("prepare", 2, 2, "")
    if options.int8:
        network = network.in_opset(INT8_OPSET, linear_layers=options.linear_layers)
    here = engine.environment
    cache = RecordingCache(_timing_cache(options, here, machine))
    if rewrites is not None:
        network = rewritten_by_name(network, rewrites, options)
    elif options.tidy:
        network = rewritten_where_faster(
            network, splits, options, engine, cache, progress, may_time=machine is None
        )
    journal = open_journal(network, splits, options, here) if chooses else Journal()
    if len(journal):
        told = f"going on from {len(journal)} measurements of a search that did not come to its end"
        progress("prepare", 2, 2, told)
    options = options.for_network(name for site in network.sites for name in (site.name, site.output))
    return Study(
        network,
        splits,
        options,
        engine,
        here,
        machine,
        cache,
        Threads.of_this_machine(),
        pool,
        progress,
        journal,
    )


def _timing_cache(options: Options, here: Environment, machine: MachineProfile | None) -> TimingCache:
    if machine is not None:
        return MemoryCache(machine.times)
    if not options.cache:
        return MemoryCache()
    names = (
        "engine",
        "engine_version",
        "precision",
        "processor",
        "provider",
        "threads",
        "usable_cores",
        "clock",
    )
    where: Mapping[str, Any] = {name: getattr(here, name) for name in names}
    path = default_path()
    return MemoryCache() if path is None else DiskCache(path, where)


def _is_map(value: ir.Value) -> bool:
    """Whether an output is an image or a volume: ``(N, C, H, W)`` or more axes, not ``(N, C, 1, 1)``."""
    shape = value.shape
    return shape is not None and len(shape) >= 4 and all(size != 1 for size in list(shape)[2:])
