"""Networks put into eight bits by what is seen on one input, and what becomes of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from sepfactor.factor.rounding import rounded
from sepfactor.fit.ranges import grids_of, look_at
from sepfactor.graph.instrument import serialized
from sepfactor.graph.int8 import int8_units, quantized
from sepfactor.graph.int8.units import groups_of_one_grid
from sepfactor.measure import OnnxRuntime


def kernel(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def in_eight_bits(plain: ir.Model, x: np.ndarray, chosen: Collection[str] | None = None) -> ir.Model:
    units = int8_units(plain)
    own = [unit for name, unit in units.items() if chosen is None or name in chosen]
    names = list(dict.fromkeys(name for unit in own for name in (*unit.reads, unit.name)))
    seen = look_at(plain, names, [{"x": x}], OnnxRuntime(), 10**9)
    weights = {
        unit.name: rounded(np.moveaxis(unit.weight, unit.weight_axis, 0)).along(unit.weight_axis)
        for unit in own
        if unit.is_weighted
    }
    return quantized(plain, [unit.name for unit in own], grids_of(groups_of_one_grid(own), seen), weights)


def ran(network: ir.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(OnnxRuntime().open(serialized(network)).run({"x": x})[0])


def operators(network: ir.Model, folder: Path) -> list[str]:
    optimised = folder / "optimised.onnx"
    OnnxRuntime().open(serialized(network), optimised_path=optimised)
    return [node.op_type for node in onnx.load(optimised).graph.node]


def snr(wanted: np.ndarray, found: np.ndarray) -> float:
    off = max(float(np.sum((wanted - found) ** 2)), 1e-30)
    return float(10 * np.log10(np.sum(wanted**2) / off))
