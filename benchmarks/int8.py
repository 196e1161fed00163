"""onnxruntime's own static int8 quantisation, set as well as it can be.

Weights are QInt8 per channel, in QDQ format, after onnxruntime's own preprocessing; Softmax stays
float, whose 256 steps would make ties of close classes. What is left open is tried out: the type of
activations, 7 instead of 8 bits of weights (``reduce_range``, needed where sums of products saturate),
and how ranges are found. Of those that come as close to the float file as any, on *held-out
calibration* inputs, the fastest is taken: with QInt8 activations many a Conv stays float between
Quantize and Dequantize, and the network gets slower than it was. The images a network is judged on
have no say.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from sepfactor.data import Feed
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.measure import OnnxRuntime, open_and_time

_OPSET = 17
"""Scales per channel need opset 13; the models are published as old as 7."""

_IMAGES = 128
"""Calibration inputs at most: histograms keep every map of every one in memory."""

_HELD_OUT = 0.25

_AS_CLOSE = 1.1
"""An error so many times the least is as good: the types of activations differ by less, by rounding."""

_SECONDS = 1.0
"""Of timing, per setting that is as close as any."""

_ONE_THREAD = OnnxRuntime(threads=1)

_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Setting:
    """What is left open.

    Attributes:
        activations: their type.
        ranges: how they are found.
        reduce_range: weights of 7 bits.
    """

    activations: QuantType
    ranges: CalibrationMethod
    reduce_range: bool

    def __str__(self) -> str:
        bits = ", 7-bit weights" if self.reduce_range else ""
        return f"{self.activations.name}, {self.ranges.name}{bits}"


SETTINGS = tuple(
    itertools.starmap(
        Setting,
        itertools.product(
            (QuantType.QUInt8, QuantType.QInt8),
            (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile),
            (False, True),
        ),
    )
)

Spared = tuple[int, ...]
SPARED: dict[str, Spared] = {"whole": (), "first float": (0,), "last float": (-1,), "ends float": (0, -1)}
"""Which of the layers with weights stay float: what that costs and saves differs from network to network."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantised network.

    Attributes:
        model: the network.
        setting: the fastest of those that came as close to the float file as any.
        errors: of every setting tried, ``‖y − y'‖² / ‖y − mean(y)‖²`` over held-out calibration inputs.
    """

    model: ir.Model
    setting: Setting
    errors: dict[Setting, float]


class Quantizer:
    """The network in ``file``, as published or factored, ready to be quantised.

    Args:
        file: a float32 model.
        feeds: calibration inputs; a quarter of them chooses the setting.
        folder: where to work; must stay while this is in use.
        timing: how the result is to be run.
    """

    def __init__(
        self, file: Path, feeds: Sequence[Feed], folder: Path, timing: OnnxRuntime = _ONE_THREAD
    ) -> None:
        self._folder, self._timing = folder, timing
        self._fitted, self._held_out = held_apart(feeds)
        self._wanted = self._outputs(file)
        self._plain = _preprocessed(file, folder)

    def quantize(self, spared: Spared = (), settings: Sequence[Setting] = SETTINGS) -> Quantized:
        """In int8, but for the layers with weights at the places ``spared``."""
        files, errors = {}, {}
        for setting in settings:
            files[setting] = self._folder / f"{len(files)}.onnx"
            self._write(files[setting], setting, spared)
            errors[setting] = squared_error(self._wanted, self._outputs(files[setting]))
        close = [setting for setting in settings if errors[setting] <= _AS_CLOSE * min(errors.values())]
        best = self._fastest({setting: files[setting] for setting in close})
        return Quantized(ir.from_proto(onnx.load(files[best])), best, errors)

    def _outputs(self, file: Path) -> list[NDArray[np.float64]]:
        """The first output for every held-out input."""
        session = self._timing.open(file)
        return [session.run(feed)[0].astype(np.float64) for feed in self._held_out]

    def _fastest(self, files: Mapping[Setting, Path]) -> Setting:
        timed = [(str(setting), file) for setting, file in files.items()]
        rounds = open_and_time(self._timing, timed, self._held_out, seconds=_SECONDS * len(timed))
        return list(files)[int(np.argmin([rounds.median_ms(number) for number in range(len(timed))]))]

    def _write(self, target: Path, setting: Setting, spared: Spared) -> None:
        with _quiet():
            quantize_static(
                self._plain,
                target,
                _Reader(self._fitted),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=setting.reduce_range,
                activation_type=setting.activations,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_names(self._plain, spared),
                calibrate_method=setting.ranges,
                # By default percentiles are of magnitudes, which wastes half the codes behind a ReLU.
                extra_options={"CalibTensorRangeSymmetric": False},
                calibration_cache_path=self._folder / f"{setting.ranges.name}.json",
            )


def held_apart(feeds: Sequence[Feed]) -> tuple[list[Feed], list[Feed]]:
    """Inputs to calibrate on, and inputs to choose by; a single one serves for both."""
    order = np.random.default_rng(0).permutation(len(feeds))[:_IMAGES]
    chosen = [feeds[int(i)] for i in order]
    held = max(1, round(_HELD_OUT * len(chosen)))
    return chosen[held:] or chosen, chosen[:held]


def _preprocessed(file: Path, folder: Path) -> Path:
    """Initialisers off the inputs, nodes named, a recent opset; then folded and fused by onnxruntime."""
    model = prepare(load(file).model)
    for number, node in enumerate(model.graph):
        node.name = node.name or f"{node.op_type}_{number}"
    proto = ir.to_proto(model)
    if model.opset_imports.get("", 1) < _OPSET:
        proto = version_converter.convert_version(proto, _OPSET)
    plain, ready = folder / "plain.onnx", folder / "ready.onnx"
    onnx.save(proto, plain)
    with _quiet():
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
    return ready


def _names(file: Path, spared: Spared) -> list[str]:
    """Of the nodes that stay float."""
    nodes = onnx.load(file).graph.node
    weighted = [node.name for node in nodes if node.op_type in _WITH_WEIGHTS]
    softmax = [node.name for node in nodes if node.op_type == "Softmax"]
    return softmax + [weighted[i] for i in spared if weighted]


class _Reader(CalibrationDataReader):
    """Hands out feeds one by one."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next one; None behind the last."""
        return next(self._feeds, None)


def squared_error(wanted: Sequence[NDArray[np.float64]], found: Sequence[NDArray[np.float64]]) -> float:
    """Relative squared error."""
    y, z = np.stack(wanted), np.stack(found)
    spread = float(np.sum((y - y.mean(axis=0)) ** 2)) or float(np.sum(y**2)) or 1.0
    return float(np.sum((y - z) ** 2)) / spread


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither print nor log: onnxruntime's tools do both."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
