"""What may be chosen: for each site its candidates, what they save, and what they cost at the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sepfactor.factor.stage import Array, Ints
from sepfactor.graph.instrument import read_by, serialized
from sepfactor.graph.survey import Site
from sepfactor.measure.session import open_session, run
from sepfactor.measure.timing import interleave
from sepfactor.plans.knapsack import Options as Columns
from sepfactor.plans.losses import LossCurve, shares_left
from sepfactor.progress import in_shares
from sepfactor.search.choice import Choice, is_faster, no_gain
from sepfactor.search.layer_timing import LayerTime, Stopwatch
from sepfactor.search.proposals import Offer, gather_offers, times_count
from sepfactor.search.rules import place_of
from sepfactor.search.subject import Candidate
from sepfactor.study.profiling import profile_layers
from sepfactor.study.study import Decision, Job

_PROFILED = 30
"""Runs the times of layers are medians of: what a neighbour on the machine does lasts longer than ten."""

FEW_ROUNDS = 3
"""Of timing are enough where a network takes seconds."""

_LEAST_MS = 0.02
"""Profiles count whole microseconds, and each node costs some: shorter layers say little by them."""

_FACTORS = (0.5, 3.0)
"""A profile that says a layer is off by more is not believed beyond that."""


@dataclass(frozen=True, eq=False)
class Losses:
    """What replacing a layer alone does to the output.

    Attributes:
        curve: divergence at the output by the error of the layer.
        averaged: the same by the block that its input is averaged over first.
    """

    curve: LossCurve = field(default_factory=lambda: LossCurve(()))
    averaged: Mapping[Ints, float] = field(default_factory=dict)

    def of(self, candidate: Candidate) -> float:
        """Divergence to expect of a candidate."""
        known = None if candidate.block is None else self.averaged.get(candidate.block)
        return self.curve(candidate.weighted_error) if known is None else known


@dataclass(frozen=True, eq=False)
class Row:
    """A site that has candidates.

    Attributes:
        site: which. candidates: cheapest first. trials: their times, each against the layer alone.
        seen: by option, milliseconds in the network, each time it was measured; 0 is the layer itself.
        macs, parameters: of the layer.
        losses: divergence at the output where this layer alone is replaced.
        is_followed: whether a convolution behind it may make up for its errors.
        share: of that loss which is left in a network fitted in sequence.
        usual: by scheme, time in the network over what was expected, as it came out where it was built.
    """

    site: Site
    candidates: tuple[Candidate, ...]
    trials: tuple[LayerTime, ...]
    seen: Mapping[int, tuple[float, ...]]
    macs: int
    parameters: int
    losses: Losses = field(default_factory=Losses)
    is_followed: bool = False
    share: float = 1.0
    usual: Mapping[str, float] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        """Milliseconds of the layer in the network."""
        return float(np.median(self.seen[0]))

    def alone(self, option: int) -> float:
        """Milliseconds of an option in the network, going by its micro-benchmark."""
        return self.ms / self.trials[option - 1].speedup if option else self.ms

    def milliseconds(self, option: int) -> float:
        """To expect in the network; option 0 keeps the layer, option ``k`` takes candidate ``k − 1``."""
        if option in self.seen:
            return float(np.median(self.seen[option]))
        return self.alone(option) * self.usual.get(
            self.candidates[option - 1].scheme, self.usual.get("", 1.0)
        )

    def expected_loss(self, option: int) -> float:
        """Divergence to expect of an option in a network fitted in sequence."""
        return (self.share if self.is_made_up_for(option) else 1.0) * self.alone_loss(option)

    def is_made_up_for(self, option: int) -> bool:
        """Whether a convolution behind it is fitted to make up for its error: not for that of averages."""
        return self.is_followed and (not option or self.candidates[option - 1].block is None)

    def alone_loss(self, option: int) -> float:
        """Divergence to expect of an option if no other layer is replaced."""
        return self.losses.of(self.candidates[option - 1]) if option else 0.0

    def columns(self, trust: float = 1.0) -> Columns:
        """Time, loss, multiply-accumulates and parameters of every option.

        Args:
            trust: in sensitivities. 1 takes them as measured; 0 counts the squared error itself, so that
                all layers matter alike; between is their geometric mean. Layers were tried alone, but are
                fitted in sequence, where those behind make up for errors of those before.
        """
        errors = [c.weighted_error for c in self.candidates]
        losses = [self.expected_loss(k) ** trust * (e * e) ** (1 - trust) for k, e in enumerate(errors, 1)]
        sizes = [c.parameters(self.site.bias) for c in self.candidates]
        return Columns(
            {
                "time": np.array([self.milliseconds(k) for k in range(len(self.candidates) + 1)]),
                "loss": np.array([0.0, *losses]),
                "macs": np.array([self.macs, *(c.macs for c in self.candidates)], float),
                "parameters": np.array([self.parameters, *sizes], float),
            }
        )


@dataclass(frozen=True, eq=False)
class Menu:
    """Everything there is to choose from.

    Attributes:
        rows: sites with candidates. kept: output name of the others → why.
        original_ms, prepared_ms: of one run of the whole network, as loaded and made plain.
        fixed: of what is not in the rows, each time it was measured.
    """

    rows: tuple[Row, ...]
    kept: Mapping[str, Choice]
    original_ms: float
    prepared_ms: float
    fixed: tuple[float, ...]

    def learn(self, options: Sequence[int], measured: Mapping[str, float], whole: float) -> Menu:
        """The same with times as they came out when these options were built.

        Alone, between small neighbours, a candidate runs from a warm cache; in the network it is slower, by a
        factor that its scheme has in common from layer to layer. Without that, what was never built
        would always look better than what was.

        Args:
            options: that were built.
            measured: output name of a site → milliseconds.
            whole: milliseconds of the network.
        """
        rows, of_rows = [], 0.0
        for row, k in zip(self.rows, options, strict=True):
            ms = measured.get(row.site.output, 0.0)
            if ms > 0 and row.ms >= _LEAST_MS:
                row = replace(row, seen={**row.seen, k: (*row.seen.get(k, ()), ms)})
            else:
                ms = row.milliseconds(k)
            rows.append(row)
            of_rows += ms
        usual = _usual(rows)
        rows = [replace(row, usual=usual) for row in rows]
        return replace(self, rows=tuple(rows), fixed=(*self.fixed, max(whole - of_rows, 0.0)))

    @property
    def fixed_ms(self) -> float:
        """What no choice changes."""
        return float(np.median(self.fixed))

    def milliseconds(self, options: Sequence[int]) -> float:
        """Expected time of the network."""
        return self.fixed_ms + sum(r.milliseconds(k) for r, k in zip(self.rows, options, strict=True))

    def speedup(self, options: Sequence[int]) -> float:
        """Expected, over the original file."""
        return self.original_ms / max(self.milliseconds(options), 1e-9)

    def loss(self, options: Sequence[int]) -> float:
        """Expected divergence at the output."""
        return float(sum(r.expected_loss(k) for r, k in zip(self.rows, options, strict=True)))

    def learn_shares(self, built: Sequence[tuple[Sequence[int], float]]) -> Menu:
        """The same with the shares of the losses that are left in a network fitted in sequence.

        Args:
            built: plans as options, each with the divergence of the result.
        """
        sums = []
        for options, measured in built:
            alone = [
                (row.is_made_up_for(k), row.alone_loss(k)) for row, k in zip(self.rows, options, strict=True)
            ]
            before, last = (sum(loss for f, loss in alone if f is followed) for followed in (True, False))
            sums.append((before, last, measured))
        before, last = shares_left(sums)
        return replace(
            self, rows=tuple(replace(row, share=before if row.is_followed else last) for row in self.rows)
        )

    def decisions(self, job: Job, options: Sequence[int]) -> list[Decision]:
        """One decision per Conv."""
        taken = {row.site.output: (row, k) for row, k in zip(self.rows, options, strict=True)}
        found = []
        for site in job.sites:
            choice = self.kept.get(site.output)
            if choice is None:
                row, k = taken[site.output]
                choice = (
                    Choice(row.candidates[k - 1], trial=row.trials[k - 1])
                    if k
                    else Choice(reason="kept: no candidate is worth what it loses within the budget")
                )
            found.append(Decision(site, job.observed.get(site.output), choice))
        return found


def gather_menu(job: Job, stopwatch: Stopwatch) -> Menu:
    """Propose candidates for every site, time them, and keep those that are faster than their layer."""
    network = network_times(job)
    offers = gather_offers(job)
    rows: list[Row] = []
    kept: dict[str, Choice] = {}
    for number, site in enumerate(job.sites):
        job.progress("time", number, len(job.sites), site.name)
        offer = offers[site.output]
        ms = network.layers.get(site.output, 0.0)
        found = _row(job, site, offer, stopwatch, ms) if isinstance(offer, Offer) else offer
        if isinstance(found, Row):
            rows.append(found)
        else:
            kept[site.output] = found
    job.progress("time", len(job.sites), len(job.sites), "")
    followed = read_by(job.prepared, [site.output for site in job.sites])
    rows = [replace(row, is_followed=row.site.output in followed) for row in rows]
    fixed = network.prepared_ms - sum(row.ms for row in rows)
    return Menu(tuple(rows), kept, network.original_ms, network.prepared_ms, (max(fixed, 0.0),))


@dataclass(frozen=True, eq=False)
class NetworkTimes:
    """Milliseconds of one run.

    Attributes:
        layers: output name of a Conv of the prepared network → its time.
        original_ms, prepared_ms: of the whole networks.
    """

    layers: Mapping[str, float]
    original_ms: float
    prepared_ms: float


def network_times(job: Job) -> NetworkTimes:
    """Of the machine that is planned for: measured, or read from its profile."""
    if job.machine is not None:
        return NetworkTimes(job.machine.layers, job.machine.original_ms, job.machine.prepared_ms)
    watch = in_shares(job.progress, "time", "the whole network")
    feed = job.data.judged_on[0]
    calls = []
    for model in (job.loaded.runnable, serialized(job.prepared)):
        session = open_session(model, job.runtime)
        run(session, feed)
        calls.append(lambda s=session: s.run(None, dict(feed)))
    samples = interleave(
        calls,
        budget_s=job.timing_seconds,
        min_rounds=FEW_ROUNDS,
        precision=0.005,
        seed=job.options.seed,
        watch=watch,
    )
    original_ms, prepared_ms = (float(np.median(row)) for row in samples)
    watch = in_shares(job.progress, "profile", "the network, layer by layer")
    times = profile_layers(job.prepared, feed, job.runtime, job.profile_runs(prepared_ms, _PROFILED), watch)
    # A profile costs time itself; what the layers take of it, they take of an ordinary run.
    scale = prepared_ms / (sum(times.operators.values()) or 1.0)
    layers = {name: scale * ms for name, ms in times.convolutions.items()}
    return NetworkTimes(layers, original_ms, prepared_ms)


def _row(job: Job, site: Site, offer: Offer, stopwatch: Stopwatch, ms: float) -> Row | Choice:
    candidates, counts_time = offer.candidates, times_count(job)
    found = stopwatch.times(offer.dense, [c.to_time for c in candidates], place_of(job, site))
    timed = [(c, t) for c, t in zip(candidates, found, strict=True) if t is not None]
    if not timed:
        return Choice(reason="the profile of the other machine does not hold its times")
    good = [(c, t) for c, t in timed if is_faster(t) or not counts_time]
    if not good:
        nearest, trial = max(timed, key=lambda pair: pair[1].speedup)
        return Choice(reason=no_gain(nearest, trial), trial=trial)
    good = _front(good)
    assert site.stage is not None
    bias = 0 if site.bias is None else site.bias.size
    if not ms and not site.nested:  # the profile lost sight of it; in a body it may not have run
        ms = good[0][1].dense_ms
    return Row(
        site,
        tuple(c for c, _ in good),
        tuple(t for _, t in good),
        {0: (ms,)},
        offer.macs,
        site.stage.parameters + bias,
    )


def _front(pairs: Sequence[tuple[Candidate, LayerTime]]) -> list[tuple[Candidate, LayerTime]]:
    """Those that nothing beats in time, error, multiply-accumulates and parameters at once; fastest first."""
    table: Array = np.array(
        [(t.ms, c.weighted_error, c.macs, c.factorization.parameters) for c, t in pairs], float
    )
    kept = []
    for i, row in enumerate(table):
        beaten = (table <= row).all(axis=1) & (table < row).any(axis=1)
        if not beaten.any():
            kept.append(pairs[i])
    return sorted(kept, key=lambda pair: pair[1].ms)


def _usual(rows: Sequence[Row]) -> dict[str, float]:
    """By scheme, how much longer built candidates took than their micro-benchmarks said; ``""`` for all."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for k in row.seen:
            if k and row.ms >= _LEAST_MS:
                factor = float(np.clip(np.median(row.seen[k]) / row.alone(k), *_FACTORS))
                found.setdefault(row.candidates[k - 1].scheme, []).append(factor)
    middle = _middle([factor for factors in found.values() for factor in factors])
    return {"": middle} | {scheme: _middle([*factors, middle]) for scheme, factors in found.items()}


def _middle(values: Sequence[float]) -> float:
    """Geometric mean; 1 of nothing."""
    return float(np.exp(np.mean(np.log(values)))) if len(values) else 1.0


def with_losses(menu: Menu, losses: Mapping[str, Losses]) -> Menu:
    """The same with what errors of each layer alone lose, by output name of the site."""
    rows = tuple(replace(row, losses=losses[row.site.output]) for row in menu.rows)
    return replace(menu, rows=rows)
