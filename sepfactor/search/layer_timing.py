"""How long a layer takes as it is, and as each of its candidates: measured where it will run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Ints
from sepfactor.graph.instrument import outside_blocked_layout
from sepfactor.graph.kind import CONV_2D, Kind
from sepfactor.graph.lower import bench_model, neighbour_model
from sepfactor.layout import blockable
from sepfactor.measure.session import Runtime, open_session
from sepfactor.measure.timing import Samples, interleave, ratio
from sepfactor.measure.timing_cache import Entry, TimingCache

_SECONDS = 0.25
"""At most so long is one candidate timed, and not less than the rounds below."""

_ROUNDS = 9
_PRECISION = 0.02
_LEAST_SHARE = 0.1
"""Of a micro-benchmark is at least the layer's: what is subtracted is itself uncertain."""


@dataclass(frozen=True)
class LayerTime:
    """A candidate as timed against the layer it would replace, without its neighbours.

    Attributes:
        dense_ms, ms: of the layer and of the candidate, milliseconds.
        speedup: of the one over the other, with its 95 % interval ``low … high``.
        blocked: whether it keeps to onnxruntime's blocked layout where the layer did.
    """

    dense_ms: float
    ms: float
    speedup: float
    low: float
    high: float
    blocked: bool = True


@dataclass(frozen=True)
class Place:
    """What a layer's time depends on beside its shape: its kind, map and type of numbers."""

    size: Ints
    batch: int
    dtype: np.dtype[np.floating]
    kind: Kind = CONV_2D


class Stopwatch:
    """Times candidates against their layer, interleaved; what is in the cache is not timed again.

    Args:
        runtime: threads and provider.
        seed: of inputs and bootstrap.
        cache: what was timed before.
        may_time: if not, only the cache is asked, and what it does not know is left out.
    """

    def __init__(self, runtime: Runtime, seed: int, cache: TimingCache, may_time: bool = True) -> None:
        self._runtime, self._seed, self._ledger, self._may_time = runtime, seed, cache, may_time

    def times(
        self, dense: Factorization, others: Sequence[Factorization], place: Place
    ) -> list[LayerTime | None]:
        """The time of each of ``others``; None for what may not be timed and was not before."""
        keys = [_key(dense, other, place) for other in others]
        known = {key: _whole(self._ledger.get(key)) for key in dict.fromkeys(keys)}
        missing = [keys.index(key) for key, entry in known.items() if entry is None]
        if missing and self._may_time:
            for i, entry in zip(missing, self._time(dense, [others[i] for i in missing], place), strict=True):
                self._ledger.put(keys[i], entry)
                known[keys[i]] = entry
        return [_layer_time(known[key]) for key in keys]

    def _time(self, dense: Factorization, others: Sequence[Factorization], place: Place) -> list[Entry]:
        timed = [self._call(one, place) for one in (dense, *others)]
        around = self._neighbours(dense, place)
        calls = [call for call, _ in timed] + around
        samples = interleave(
            calls, budget_s=_SECONDS * len(calls), min_rounds=_ROUNDS, precision=_PRECISION, seed=self._seed
        )
        rows = samples[: len(timed)]
        beside = 0.5 * float(np.sum(np.median(samples[len(timed) :], axis=1)))
        alone: Samples = np.maximum(rows - beside, _LEAST_SHARE * rows)
        # Where few channels keep its neighbours out of the layout too, leaving it costs nothing more.
        matters = place.kind.is_blocked and blockable(dense.in_channels) and blockable(dense.out_channels)
        return self._entries(alone, [outside if matters else 0 for _, outside in timed])

    def _entries(self, alone: Samples, outside: Sequence[int]) -> list[Entry]:
        entries: list[Entry] = []
        for row, count in zip(alone[1:], outside[1:], strict=True):
            found = ratio(alone[0], row, seed=self._seed)
            entries.append(
                {
                    "dense_ms": float(np.median(alone[0])),
                    "ms": float(np.median(row)),
                    "speedup": found.speedup,
                    "low": found.low,
                    "high": found.high,
                    "blocked": float(count <= outside[0]),
                }
            )
        return entries

    def _call(self, factorization: Factorization, place: Place) -> tuple[Callable[[], object], int]:
        """A run of its micro-benchmark, and how many of its convolutions left the blocked layout."""
        model = bench_model(factorization, place.size, place.dtype, place.batch, place.kind)
        with tempfile.TemporaryDirectory(prefix="sepfactor-layout-") as folder:
            optimised = Path(folder) / "optimised.onnx"
            session = open_session(model, self._runtime, optimised_path=optimised)
            outside = outside_blocked_layout(optimised) if optimised.exists() else 0
        return self._run_of(session, place), outside

    def _neighbours(self, dense: Factorization, place: Place) -> list[Callable[[], object]]:
        """Runs of round trips whose time, halved, is that of what stands around the layer."""
        sides = [(dense.in_channels, place.size), (dense.out_channels, dense.output_size(place.size))]
        models = [
            neighbour_model(channels, size, place.dtype, place.batch)
            for channels, size in sides
            if place.kind.is_blocked and blockable(channels)
        ]
        return [self._run_of(open_session(model, self._runtime), place) for model in models]

    def _run_of(self, session: Any, place: Place) -> Callable[[], object]:
        x = self._input(session.get_inputs()[0].shape, place)
        return lambda: session.run(None, {"x": x})

    def _input(self, shape: Sequence[int], place: Place) -> np.ndarray:
        return np.random.default_rng(self._seed).standard_normal(shape).astype(place.dtype)


_FIELDS = ("dense_ms", "ms", "speedup", "low", "high", "blocked")


def _whole(entry: Entry | None) -> Entry | None:
    """The entry if nothing is missing in it: ledgers are files, and files can be anything."""
    return entry if entry is not None and all(entry.get(name, -1.0) >= 0 for name in _FIELDS) else None


def _layer_time(entry: Entry | None) -> LayerTime | None:
    if entry is None:
        return None
    return LayerTime(**{name: entry[name] for name in _FIELDS[:-1]}, blocked=bool(entry["blocked"]))


def _key(dense: Factorization, other: Factorization, place: Place) -> str:
    """Shapes, geometry and kind: nothing else decides how long it takes."""
    parts = [_shape(dense), _shape(other), place.size, place.batch, place.dtype.str]
    if place.kind != CONV_2D:
        parts.append(place.kind.name)
    return json.dumps(parts, separators=(",", ":"))


def _shape(factorization: Factorization) -> list[object]:
    def of(stage: Stage) -> list[object]:
        said = [stage.weight.shape, stage.strides, stage.pads, stage.dilations, stage.group]
        return [*said, stage.upsampling] if stage.is_transposed else said

    return [factorization.bias is not None, [[of(s) for s in chain.stages] for chain in factorization.chains]]
