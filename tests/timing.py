"""Times that are decided, not measured: what is tested is what is made of them; and fits that take little.

Layer times are inputs of planning: they come from the timing cache, which here knows all of them.
Whole networks take what an engine says, see :mod:`tests.engines`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest

from sepfactor.factor import Chain, Factorization, Stage
from sepfactor.fit import settings
from sepfactor.fit.settings import FitSettings
from sepfactor.measure import engines
from sepfactor.measure.timing_cache import Entry, MemoryCache
from sepfactor.study import study
from tests.engines import DecidedEngine, NodeCost, Shapes, macs

Speedup = Callable[[Factorization, Factorization, tuple[int, ...]], float]
"""Of a candidate over its layer, on a map of some size."""


IN_EIGHT_BITS = 3.0
"""Times that a candidate is faster in eight bits."""


class DecidedCache(MemoryCache):
    """Knows the time of every candidate, within ± 1 %; in eight bits it is three times faster."""

    def __init__(self, speedup: Speedup, entries: Mapping[str, Entry] | None = None) -> None:
        super().__init__(entries)
        self._speedup = speedup

    def get(self, key: str) -> Entry | None:
        known = super().get(key)
        if known is not None:
            return known
        if key.startswith("{"):  # of whole networks, which engines time
            return None
        dense, other, size, *more = json.loads(key)
        speedup = self._speedup(_of_shape(dense), _of_shape(other), tuple(size))
        speedup *= IN_EIGHT_BITS if "int8" in more else 1.0
        found = {"dense_ms": 1.0, "ms": 1 / speedup, "speedup": speedup, "blocked": 1.0}
        return {**found, "low": 0.99 * speedup, "high": 1.01 * speedup}


def _of_shape(shape: Any) -> Factorization:
    """Zeros of the shapes that a key of the cache names."""
    has_bias, chains = shape
    made = tuple(Chain(tuple(_stage(*stage) for stage in stages)) for stages in chains)
    return Factorization(made, np.zeros(made[0].stages[-1].out_channels) if has_bias else None)


def _stage(weight: Any, strides: Any, pads: Any, dilations: Any, group: int, upsampling: Any = None) -> Stage:
    zeros = np.broadcast_to(0.0, weight)
    sides = tuple(tuple(pair) for pair in pads)
    more = {} if upsampling is None else {"upsampling": tuple(upsampling)}
    return Stage(zeros, tuple(strides), sides, tuple(dilations), group, **more)


def by_macs(dense: Factorization, other: Factorization, size: tuple[int, ...]) -> float:
    """As many times faster as it has fewer multiply-accumulates."""
    return dense.macs(size) / max(other.macs(size), 1)


def of_macs(node: onnx.NodeProto, shapes: Shapes) -> float:
    """A millisecond for a million multiply-accumulates, a third in eight bits; next to nothing else."""
    is_int8 = any(name.startswith("sepfactor/int8") for name in node.input)
    return 1e-6 * macs(node, shapes) / (IN_EIGHT_BITS if is_int8 else 1.0) + 1e-9


def decide_engine(monkeypatch: pytest.MonkeyPatch, cost: NodeCost = of_macs) -> None:
    """Let every node of whole networks take what it costs, from here on."""

    def make(engine: Any, threads: int, provider: str) -> DecidedEngine:
        return DecidedEngine(cost, engine(threads, provider))

    found = {
        "onnxruntime": engines.OnnxRuntime,
        "openvino": engines.OpenVino,
        "onnxruntime-web": engines.OnnxRuntimeWeb,
        "ncnn": engines.Ncnn,
    }
    for name, engine in found.items():
        monkeypatch.setitem(engines.ENGINES, name, partial(make, engine))  # type: ignore[arg-type]


def decide_layers(replace: Callable[..., object], speedup: Speedup = by_macs) -> None:
    """Let every candidate be so many times faster than its layer, from here on.

    Args:
        replace: ``setattr``, or a monkeypatch's.
        speedup: of a candidate.
    """

    def make(_: Any, __: Any, machine: Any) -> DecidedCache:
        return DecidedCache(speedup, None if machine is None else machine.times)

    replace(study, "_timing_cache", make)


def decide_times(monkeypatch: pytest.MonkeyPatch, speedup: float) -> None:
    """Let all candidates be so many times faster than their layer when they are timed alone."""
    decide_engine(monkeypatch)
    decide_layers(monkeypatch.setattr, lambda *_: speedup)


def fit_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let factors be fitted once and to little of the data: for tests of the way, not of what is lost."""
    briefly = FitSettings(sweeps=1, ridges=(1e-2,), relu_rounds=1, entries=1e6)
    monkeypatch.setattr(settings, "FULL", briefly)
    monkeypatch.setattr(settings, "SEARCH", briefly)


def times_by_macs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything take as long as it has multiply-accumulates, alone and in the network."""
    decide_engine(monkeypatch)
    decide_layers(monkeypatch.setattr)
