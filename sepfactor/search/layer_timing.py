"""How long a layer takes as it is, and as each of its candidates: measured where it will run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sepfactor.codes import Precision, Reason
from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Ints
from sepfactor.fit.evidence import Evidence
from sepfactor.graph.instrument import outside_fast_form, serialized
from sepfactor.graph.int8 import in_eight_bits_for_timing
from sepfactor.graph.kind import CONV_2D, Kind
from sepfactor.graph.lower import bench_model, neighbour_model
from sepfactor.layout import blockable
from sepfactor.measure.engine import Engine, Feed, Session, Use
from sepfactor.measure.rounds import Rounds
from sepfactor.measure.timing_cache import DISTURBED, Entry, TimingCache
from sepfactor.memory import UNBOUNDED
from sepfactor.scratch import scratch_folder
from sepfactor.search.candidate import Candidate
from sepfactor.search.settings import DEFAULT, SearchSettings
from sepfactor.study.study import Study

_ROUNDED_UP = 3
"""Times the maps of a network, as seen of onnxruntime's arena."""

_LEAST_SHARE = 0.1
"""Of a micro-benchmark is at least the layer's: what is subtracted is itself uncertain."""


@dataclass(frozen=True)
class LayerTime:
    """A candidate as timed against the layer it would replace, without its neighbours.

    Attributes:
        dense_ms: milliseconds of the layer.
        ms: milliseconds of the candidate.
        speedup: of the one over the other.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        blocked: whether it keeps to onnxruntime's blocked layout where the layer did.
    """

    dense_ms: float
    ms: float
    speedup: float
    low: float
    high: float
    blocked: bool = True


def is_faster(time: LayerTime) -> bool:
    """Whether the gain is certain, and holds in a network that works in blocks."""
    return time.low > 1.0 and time.blocked


def is_slower(time: LayerTime) -> bool:
    """Whether the layer is likely to lose time by it."""
    return time.speedup < 1.0 or not time.blocked


def no_gain(candidate: Candidate, time: LayerTime) -> Reason:
    """Why a layer is kept though it has candidates, of which this is the nearest."""
    if time.low > 1.0:
        return Reason(
            "leaves-layout",
            "put back: the best candidate leaves onnxruntime's blocked layout, where the layer is",
            candidate.label,
        )
    interval = f", {time.low:.2f}–{time.high:.2f}" if time.speedup > 1.0 else ""
    return Reason(
        "no-faster",
        "put back: the best candidate measured no faster",
        f"{candidate.label}, {time.speedup:.2f}×{interval} alone",
    )


@dataclass(frozen=True)
class Place:
    """What a layer's time depends on beside its shape: its kind, map and type of numbers."""

    size: Ints
    batch: int
    dtype: np.dtype[np.floating]
    kind: Kind = CONV_2D

    @classmethod
    def of(cls, seen: Evidence) -> Place:
        """Where a site runs."""
        return cls(seen.size, seen.batch, seen.site.dtype, seen.site.kind)


class LayerTimer:
    """Times candidates against their layer, interleaved; what is in the cache is not timed again.

    Args:
        engine: what runs them.
        seed: of inputs and intervals.
        cache: what was timed before.
        settings: of the search.
        may_time: if not, only the cache is asked, and what it does not know is left out.
        most: bytes that what is timed in turns may take.
    """

    def __init__(
        self,
        engine: Engine,
        seed: int,
        cache: TimingCache,
        settings: SearchSettings = DEFAULT,
        may_time: bool = True,
        most: int = UNBOUNDED,
    ) -> None:
        self._engine, self._seed, self._cache, self._may_time = engine, seed, cache, may_time
        self._settings, self._most = settings, most

    @classmethod
    def of(
        cls, study: Study, settings: SearchSettings = DEFAULT, cache: TimingCache | None = None
    ) -> LayerTimer:
        """Of a run; with another cache than its own, if one is given."""
        cache = study.timing_cache if cache is None else cache
        return cls(study.engine, study.options.seed, cache, settings, study.may_time, study.pool.working)

    def times(
        self,
        dense: Factorization,
        others: Sequence[Factorization],
        place: Place,
        precision: Precision = "float",
    ) -> list[LayerTime | None]:
        """The time of each of ``others``; None for what may not be timed and was not before.

        Args:
            dense: the layer, in float.
            others: what may stand for it.
            place: where it runs.
            precision: of the others, whose neighbours then compute in it too.
        """
        keys = [_key(dense, other, place, precision) for other in others]
        known = {key: _whole(self._cache.get(key)) for key in dict.fromkeys(keys)}
        missing = [keys.index(key) for key, entry in known.items() if entry is None]
        if missing and self._may_time:
            for use, part in self._in_parts(dense, others, missing, place):
                entries = self._time(dense, [others[i] for i in part], place, use, precision)
                for i, entry in zip(part, entries, strict=True):
                    self._cache.put(keys[i], entry)
                    known[keys[i]] = entry
        return [_layer_time(known[key]) for key in keys]

    def _in_parts(
        self, dense: Factorization, others: Sequence[Factorization], missing: Sequence[int], place: Place
    ) -> Iterator[tuple[Use, list[int]]]:
        """The missing ones, as many at once as there is memory for beside the layer and its neighbours.

        Where there is none even for one, sessions that keep no memory from run to run are timed.
        """
        around = 3 * _held(dense, place)
        if around + max(_held(others[i], place) for i in missing) > self._most:
            yield "values", [*missing]
            return
        part, held = list[int](), 0
        for i in missing:
            own = _held(others[i], place)
            if part and around + held + own > self._most:
                yield "times", part
                part, held = [], 0
            part.append(i)
            held += own
        yield "times", part

    def _time(
        self,
        dense: Factorization,
        others: Sequence[Factorization],
        place: Place,
        use: Use,
        precision: Precision,
    ) -> list[Entry]:
        opened = [self._open(dense, place, use), *(self._open(one, place, use, precision) for one in others)]
        around = self._neighbours(dense, place, use)
        own = [] if precision == "float" else self._neighbours(dense, place, use, precision)
        sessions = [session for session, _ in opened] + around + own
        noise: dict[tuple[int, ...], Feed] = {}
        for session in sessions:
            shape = tuple(session.get_inputs()[0].shape)
            if shape not in noise:
                drawn = np.random.default_rng(self._seed).standard_normal(shape).astype(place.dtype)
                noise[shape] = {"x": drawn}
        runs = [(session, [noise[tuple(session.get_inputs()[0].shape)]]) for session in sessions]
        rounds = self._engine.time(
            runs,
            seconds=self._settings.candidate_seconds * len(runs),
            min_rounds=self._settings.candidate_rounds,
            precision=self._settings.candidate_precision,
            seed=self._seed,
        )
        first, middle = len(opened), len(opened) + len(around)
        beside = 0.5 * sum(rounds.median_ms(i) for i in range(first, middle))
        beside_own = 0.5 * sum(rounds.median_ms(i) for i in range(middle, len(runs))) if own else beside
        alone = rounds.first(first).less([beside, *(beside_own for _ in others)], _LEAST_SHARE)
        # Where few channels keep its neighbours out of the layout too, leaving it costs nothing more.
        matters = place.kind.is_blocked and blockable(dense.in_channels) and blockable(dense.out_channels)
        return self._entries(alone, [outside if matters else 0 for _, outside in opened])

    def _entries(self, alone: Rounds, outside: Sequence[int]) -> list[Entry]:
        entries: list[Entry] = []
        for number, count in enumerate(outside[1:], 1):
            found = alone.scatter(number, seed=self._seed)
            entries.append(
                {
                    "dense_ms": alone.median_ms(0),
                    "ms": alone.median_ms(number),
                    "speedup": found.ratio,
                    "low": found.low,
                    "high": found.high,
                    "blocked": float(count <= outside[0]),
                    DISTURBED: float(alone.is_disturbed),
                }
            )
        return entries

    def _open(
        self, factorization: Factorization, place: Place, use: Use, precision: Precision = "float"
    ) -> tuple[Session, int]:
        """Its micro-benchmark, and how many of its convolutions are not in the form that is fast."""
        model = bench_model(factorization, place.size, place.dtype, place.batch, place.kind)
        with scratch_folder() as folder:
            optimised = folder / "optimised.onnx"
            made = serialized(model if precision == "float" else in_eight_bits_for_timing(model))
            session = self._engine.open(made, optimised_path=optimised, use=use)
            outside = outside_fast_form(optimised) if optimised.exists() else 0
        return session, outside

    def _neighbours(
        self, dense: Factorization, place: Place, use: Use, precision: Precision = "float"
    ) -> list[Session]:
        """Round trips whose time, halved, is that of what stands around the layer."""
        sides = [(dense.in_channels, place.size), (dense.out_channels, dense.output_size(place.size))]
        models = [
            neighbour_model(channels, size, place.dtype, place.batch)
            for channels, size in sides
            if place.kind.is_blocked and blockable(channels)
        ]
        if precision == "int8":
            models = [in_eight_bits_for_timing(model) for model in models]
        return [self._engine.open(serialized(model), use=use) for model in models]


def _held(factorization: Factorization, place: Place) -> int:
    """Bytes that onnxruntime's arena may come to for it: all maps, and their copies in blocks, rounded up."""
    maps = factorization.in_channels * math.prod(place.size)
    for chain in factorization.chains:
        size = place.size
        for stage in chain.stages:
            size = stage.output_size(size)
            maps += stage.out_channels * math.prod(size)
    return _ROUNDED_UP * place.batch * maps * place.dtype.itemsize


_FIELDS = ("dense_ms", "ms", "speedup", "low", "high", "blocked")


def _whole(entry: Entry | None) -> Entry | None:
    """The entry if nothing is missing in it: ledgers are files, and files can be anything."""
    return entry if entry is not None and all(entry.get(name, -1.0) >= 0 for name in _FIELDS) else None


def _layer_time(entry: Entry | None) -> LayerTime | None:
    if entry is None:
        return None
    return LayerTime(**{name: entry[name] for name in _FIELDS[:-1]}, blocked=bool(entry["blocked"]))


def _key(dense: Factorization, other: Factorization, place: Place, precision: Precision = "float") -> str:
    """Shapes, geometry and kind: nothing else decides how long it takes."""
    parts = [_shape(dense), _shape(other), place.size, place.batch, place.dtype.str]
    if place.kind != CONV_2D:
        parts.append(place.kind.name)
    if precision != "float":
        parts.append(precision)
    return json.dumps(parts, separators=(",", ":"))


def _shape(factorization: Factorization) -> list[object]:
    def of(stage: Stage) -> list[object]:
        said = [stage.weight.shape, stage.strides, stage.pads, stage.dilations, stage.group]
        return [*said, stage.upsampling] if stage.is_transposed else said

    return [factorization.bias is not None, [[of(s) for s in chain.stages] for chain in factorization.chains]]
