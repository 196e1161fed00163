"""NNCF's post-training quantisation for OpenVINO, set as well as it can be.

What is left open is tried out: whether activations may be signed, and how their ranges are found. Of those
settings that come as close to the float file as any, on *held-out calibration* inputs, the fastest is taken,
as of onnxruntime's own (``int8.py``). Needs ``pip install nncf openvino``.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from int8 import held_apart, squared_error
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.measure import Engine, OnnxRuntime, open_and_time, open_engine

PRESETS = ("PERFORMANCE", "MIXED")
RANGES = ("MEAN_MINMAX", "MINMAX", "MEDIAN_MINMAX")
SETTINGS = tuple(itertools.product(PRESETS, RANGES))

_AS_CLOSE = 1.1
_SECONDS = 1.0


def quantized(file: Path, feeds: Sequence[Feed], original: Path, folder: Path) -> tuple[Path, str]:
    """The network in int8, in OpenVINO's own format, and the setting that was best.

    Args:
        file: ONNX in float32, as published or factored.
        feeds: calibration inputs; a quarter of them chooses the setting.
        original: what results are to be close to.
        folder: where to write.
    """
    fitted, held = held_apart(feeds)
    wanted = _outputs(OnnxRuntime(), original, held)
    engine = open_engine("openvino")
    files, errors = dict[str, Path](), dict[str, float]()
    for preset, ranges in SETTINGS:
        name = f"{preset}, {ranges}"
        files[name] = folder / f"nncf-{preset}-{ranges}.xml"
        _write(file, files[name], fitted, preset, ranges)
        errors[name] = squared_error(wanted, _outputs(engine, files[name], held))
    close = [name for name in files if errors[name] <= _AS_CLOSE * min(errors.values())]
    timed = [(name, files[name]) for name in close]
    rounds = open_and_time(engine, timed, held, seconds=_SECONDS * len(timed))
    best = close[int(np.argmin([rounds.median_ms(number) for number in range(len(timed))]))]
    return files[best], best


def _write(file: Path, target: Path, feeds: Sequence[Feed], preset: str, ranges: str) -> None:
    import openvino

    with _quiet():
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        estimator = getattr(RangeEstimatorParametersSet, ranges)
        found = nncf.quantize(
            openvino.Core().read_model(str(file)),
            nncf.Dataset(list(feeds)),
            preset=nncf.QuantizationPreset[preset],
            subset_size=len(feeds),
            advanced_parameters=AdvancedQuantizationParameters(activations_range_estimator_params=estimator),
        )
    openvino.save_model(found, str(target), compress_to_fp16=False)


def _outputs(engine: Engine, file: Path, feeds: Sequence[Feed]) -> list[NDArray[np.float64]]:
    session: Any = engine.open(file)
    return [session.run(feed)[0].astype(np.float64) for feed in feeds]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Neither progress bars nor log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
