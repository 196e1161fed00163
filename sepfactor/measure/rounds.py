"""Times of networks run in turns, and what may be concluded from them.

A machine drifts: clocks rise and fall, neighbours come and go. So networks are run in turns, A B A B, and
what is reported is the ratio of medians, with an interval from a bootstrap that draws blocks of consecutive
rounds: a disturbance that hits a round hits all networks in it, and one that lasts hits the next round too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sepfactor.measure.bootstrap import Numbers, Samples, log_ratio_interval
from sepfactor.results import Clock, Ratio, Timing

Mask = NDArray[np.bool_]

_FEWEST = 5
"""Undisturbed runs of a network that its median may be taken of."""

_MOST_LEFT_ALONE = 0.5
"""Where so many runs of each network were left alone, only those count; fewer are the lucky ones."""

_TOWARDS_1, _AWAY_FROM_1 = 0.05, 0.15
"""By so much, times the share of time in which others had the core, an interval is wider: they leave caches
cold, and memory slower, for as long as they run. That costs two networks about as many milliseconds each, and
so hides some of what is between them: SqueezeNet at rank 16, 1.54 times as fast, was 1.50 times as fast
beside two endless loops and 1.47 beside four, by the processor's clock."""

_NEAR = 1.5
"""A run of several threads that took longer than this times the least was waiting for a core."""


class Interval(NamedTuple):
    """A ratio and the two ends of its 95 % interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Rounds:
    """Times of networks run in turns; column by column the same round.

    Attributes:
        wall: time that passed, ``(networks, rounds)`` milliseconds.
        cpu: time the processor worked for the run, likewise; None where no clock says that.
        disturbed: from which runs other programs took a core away, ``(networks, rounds)``.
        openings: number of the opening of the networks that each round belongs to, ``(rounds,)``; None of
            a single one.
        inputs: number of the input that each round was timed on, likewise.
    """

    wall: Samples
    cpu: Samples | None
    disturbed: Mask
    openings: Numbers | None = None
    inputs: Numbers | None = None

    @classmethod
    def of_several_threads(cls, wall: Samples, switched: Mask) -> Rounds:
        """Where no clock counts the work: disturbed is what was taken off a core, or waited for one.

        Args:
            wall: ``(networks, rounds)`` milliseconds.
            switched: whether the operating system took a thread of this process off its core meanwhile.
        """
        return cls(wall, None, switched | (wall > _NEAR * wall.min(axis=1, keepdims=True)))

    @classmethod
    def of_openings(cls, parts: Sequence[Rounds]) -> Rounds:
        """All rounds of the same networks, timed anew each time they were opened."""
        clocks = [part.cpu for part in parts if part.cpu is not None]
        inputs = [part.inputs for part in parts if part.inputs is not None]
        return cls(
            np.concatenate([part.wall for part in parts], axis=1),
            np.concatenate(clocks, axis=1) if len(clocks) == len(parts) else None,
            np.concatenate([part.disturbed for part in parts], axis=1),
            np.repeat(np.arange(len(parts)), [part.wall.shape[1] for part in parts]),
            np.concatenate(inputs) if len(inputs) == len(parts) else None,
        )

    @property
    def clock(self) -> Clock:
        """What the figures are of."""
        return "wall" if self.cpu is None else "cpu"

    @property
    def is_disturbed(self) -> bool:
        """Whether so few runs were left alone that figures are of disturbed ones."""
        least = min(_FEWEST, self.wall.shape[1])
        return self.cpu is None and bool(((~self.disturbed).sum(axis=1) < least).any())

    @property
    def samples(self) -> Samples:
        """The times that count, ``(networks, rounds)`` milliseconds; NaN for a run that does not."""
        if self.cpu is not None:
            left_alone = float((~self.disturbed).mean(axis=1).min())
            return np.where(self.disturbed, np.nan, self.cpu) if left_alone >= _MOST_LEFT_ALONE else self.cpu
        return self.wall if self.is_disturbed else np.where(self.disturbed, np.nan, self.wall)

    def median_ms(self, network: int) -> float:
        """Median of the times that count, milliseconds."""
        return float(np.nanmedian(self.samples[network]))

    def timing(self, network: int) -> Timing:
        """How long this network takes."""
        return Timing(
            **_quartiles(self.samples[network]),
            clock=self.clock,
            wall_ms=float(np.median(self.wall[network])),
            disturbed=float(self.disturbed[network].mean()),
            is_disturbed=self.is_disturbed,
            inputs=1 if self.inputs is None else len(np.unique(self.inputs)),
        )

    def ratio(self, network: int, baseline: int = 0, *, seed: int = 0) -> Ratio:
        """How many times faster than the baseline this network is."""
        wall = np.median(self.wall, axis=1)
        found = self.scatter(network, baseline, seed=seed)
        taken = self._taken([baseline, network])
        down, up = (_TOWARDS_1, _AWAY_FROM_1)[:: 1 if found.ratio >= 1.0 else -1]
        return Ratio(
            ratio=found.ratio,
            low=found.low * math.exp(-down * taken),
            high=found.high * math.exp(up * taken),
            clock=self.clock,
            wall_ratio=float(wall[baseline] / wall[network]),
            disturbed=float(self.disturbed[[baseline, network]].mean()),
            is_disturbed=self.is_disturbed,
        )

    def scatter(self, network: int, baseline: int = 0, *, seed: int = 0) -> Interval:
        """By how these runs scatter, whatever else the machine did meanwhile."""
        samples = self.samples
        return _interval(samples[baseline], samples[network], self._shared, seed)

    def _taken(self, networks: list[int]) -> float:
        """The share of the time of these runs in which others had the core."""
        if self.cpu is None:
            return 0.0
        return float(max(1.0 - self.cpu[networks].sum() / max(self.wall[networks].sum(), 1e-12), 0.0))

    @property
    def _shared(self) -> tuple[Numbers, ...]:
        """What rounds have in common with some others."""
        return tuple(one for one in (self.openings, self.inputs) if one is not None)

    def first(self, count: int) -> Rounds:
        """Those of so many networks."""
        cpu = None if self.cpu is None else self.cpu[:count]
        return replace(self, wall=self.wall[:count], cpu=cpu, disturbed=self.disturbed[:count])

    def less(self, milliseconds: float | Sequence[float], least_share: float) -> Rounds:
        """Without what is known to take so long in every run; of each run is left at least this share.

        Args:
            milliseconds: of all networks, or one number for each.
            least_share: of a run, that is left.
        """
        known = np.asarray(milliseconds, np.float64).reshape(-1, 1)

        def lessened(times: Samples) -> Samples:
            return np.maximum(times - known, least_share * times)

        cpu = None if self.cpu is None else lessened(self.cpu)
        return replace(self, wall=lessened(self.wall), cpu=cpu)


def summarise(samples: Samples) -> Timing:
    """Median and quartiles of ``(rounds,)`` milliseconds; NaN does not count."""
    return Timing(**_quartiles(samples))


def ratio(baseline: Samples, candidate: Samples, *, shared: Sequence[Numbers] = (), seed: int = 0) -> Ratio:
    """Speedup of the candidate, with a 95 % interval from a bootstrap over blocks of rounds.

    Args:
        baseline: ``(rounds,)`` milliseconds; NaN does not count.
        candidate: ``(rounds,)`` milliseconds, of the same rounds.
        shared: by what some rounds differ from others, such as the number of the input, ``(rounds,)`` each.
        seed: of the bootstrap.

    Raises:
        ValueError: the two are not of the same rounds.
    """
    return Ratio(**_interval(baseline, candidate, shared, seed)._asdict())


def are_precise(rounds: Rounds, precision: float, seed: int) -> bool:
    """Whether undisturbed runs say every ratio to the first within ± ``precision`` of it."""
    found = (rounds.scatter(network, seed=seed) for network in range(1, len(rounds.wall)))
    return not rounds.is_disturbed and all(r.high - r.low <= 2.0 * precision * r.ratio for r in found)


def _quartiles(samples: Samples) -> dict[str, Any]:
    counted = samples[~np.isnan(samples)]
    low, median, high = (float(value) for value in np.percentile(counted, (25, 50, 75)))
    return {"median_ms": median, "low_ms": low, "high_ms": high, "rounds": len(counted)}


def _interval(baseline: Samples, candidate: Samples, shared: Sequence[Numbers], seed: int) -> Interval:
    if baseline.ndim != 1 or baseline.shape != candidate.shape or not baseline.size:
        raise ValueError(f"rounds do not pair: {baseline.shape} and {candidate.shape}")
    ends = log_ratio_interval(baseline, candidate, shared, seed)
    return Interval(*map(math.exp, ends))
