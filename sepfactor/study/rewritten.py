"""The network of a run, rewritten exactly before anything is factored."""

from __future__ import annotations

from collections.abc import Sequence

from sepfactor.graph.instrument import serialized
from sepfactor.measure.engine import Engine
from sepfactor.measure.reference import Reference
from sepfactor.measure.timing_cache import TimingCache
from sepfactor.options import Options
from sepfactor.progress import Progress
from sepfactor.study.network import Network
from sepfactor.study.rewrite_times import Trial
from sepfactor.study.rewriting import (
    choose_rewrites,
    confirmed,
    for_eight_bits,
    inputs_to_compare,
    look_for_rewrites,
    rewrite_by_name,
    rows_of,
)
from sepfactor.study.splits import Splits

_SHARE = 1 / 3
"""Of the time that whole networks may be timed for, as while plans are made."""


def rewritten_by_name(network: Network, names: Sequence[str], options: Options) -> Network:
    """With the rewritings that a plan names.

    Raises:
        PlanError: it names one that there is none of.
    """
    chain = rewrite_by_name(network.prepared, names)
    if not chain.steps or not network.may_be_rewritten:
        return network
    return network.with_rewrites(chain.model, rows_of(chain), linear_layers=options.linear_layers)


def rewritten_where_faster(
    network: Network,
    splits: Splits,
    options: Options,
    engine: Engine,
    cache: TimingCache,
    progress: Progress,
    *,
    may_time: bool,
) -> Network:
    """With the rewritings that it is measurably faster for; where there are none to try, nothing is run.

    Where it may be in eight bits and is faster there, those are left out that it is slower for in them.

    Args:
        network: as it was opened.
        splits: the data.
        options: what was asked for.
        engine: what runs networks.
        cache: times that are known.
        progress: told how far it is.
        may_time: if not, only what the cache knows is gone by.

    Raises:
        ModelError: a rewritten network cannot be run.
    """
    sizes = (options.max_macs, options.max_params)  # shares of what the file has, and rewriting may add
    if not network.may_be_rewritten or any(size is not None for size in sizes):
        return network
    found = look_for_rewrites(network.prepared)
    if not found.steps:
        return network
    # Making it plain is not in question, and may be asked to do more than the same (--dequantize).
    feeds = inputs_to_compare(splits, network.loaded, options, engine)
    reference = Reference.of(engine, serialized(network.prepared), feeds)
    seconds = _SHARE * options.bench_seconds
    trial = Trial(
        network.loaded,
        network.prepared,
        engine,
        reference,
        splits.judged_on,
        seconds,
        options.seed,
        progress,
        cache,
        may_time,
    )
    choice = confirmed(trial, choose_rewrites(trial, found))
    choice = for_eight_bits(trial, choice) if options.int8 else choice
    model = network.prepared if choice.model is None else choice.model
    return network.with_rewrites(model, choice.rows, linear_layers=options.linear_layers)
