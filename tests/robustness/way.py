"""The whole way, and what may come of it: a result that is right, or a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import sepfactor
from sepfactor.pipeline import Result
from tests.timing import decide_layers

QUICK: dict[str, Any] = {"bench_seconds": 0}

RULES = {"rank", "config", "max_drop", "min_snr", "min_psnr", "max_macs", "max_params"}
"""Where one of them is given there is no need for an error that each layer may have."""


def pretend_faster(replace: Callable[..., object]) -> None:
    """Let every candidate count as twice as fast; ``replace`` is ``setattr`` or a monkeypatch's."""
    decide_layers(replace, lambda *_: 2.0)


def attempt(model: Any, output: Path | None = None, **options: Any) -> Result | str:
    """What :func:`sepfactor.compress` returns, or what it says, after a look at how it says it."""
    decided = {} if RULES & set(options) else {"max_error": 0.05}
    try:
        return sepfactor.compress(model, output, **QUICK | decided | options)
    except sepfactor.SepfactorError as error:
        said = str(error)
        assert_sentence(said)
        return said


def assert_sentence(said: str) -> None:
    """One line a person can act on, of bounded length."""
    assert "\n" not in said, said
    assert said.endswith((".", "?")), said
    assert len(said.split()) > 4, said
    assert len(said) < 1000, said


def session_bytes(result: Result) -> bytes:
    return bytes(ir.to_proto(result.model).SerializeToString())


def assert_near(found: np.ndarray, expected: np.ndarray, tolerance: Mapping[str, float]) -> None:
    """Equal to rounding (of whole numbers: equal), measured against the largest value."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if not expected.size:
        return
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found.astype(np.float64) - expected).max() <= tolerance.get(str(expected.dtype), 0) * scale
