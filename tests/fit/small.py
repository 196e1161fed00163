"""Small networks on correlated inputs, and a short way to fit and run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from sepfactor.factor.scheme import Rank
from sepfactor.fit.layer_fit import Fit, FitTask
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.sequential import fit
from sepfactor.fit.settings import FitSettings
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.progress import silent
from tests.graph.build import model, normal, session

ENGINE = OnnxRuntime()
EVERYWHERE = 1e9
"""Entries to read per layer: every position of every map."""

Feed = dict[str, np.ndarray]


def smooth(count: int, channels: int = 3, size: int = 12, seed: int = 0) -> np.ndarray:
    """``(count, channels, size, size)`` float32: neighbours and channels look alike, as in pictures."""
    rng = np.random.default_rng((seed, 7))
    x = rng.standard_normal((count, channels, size + 6, size + 6))
    for _ in range(3):
        x = (x[..., 2:, :] + x[..., 1:-1, :] + x[..., :-2, :])[..., 2:] / 3
        x = x + np.roll(x, 1, axis=-1)
    x += 1.5 * x.mean(axis=1, keepdims=True) + 0.5
    return (x[..., :size, :size] / x.std()).astype(np.float32)


def feeds(count: int, seed: int = 0, name: str = "x", **shape: int) -> list[Feed]:
    return [{name: image[None]} for image in smooth(count, seed=seed, **shape)]


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Scaled so that maps keep their size; for each ``w1`` a bias ``b1``."""
    found = {}
    for k, (name, shape) in enumerate(shapes.items()):
        found[name] = normal(*shape, seed=k) / np.float32(np.sqrt(np.prod(shape[1:])))
        found[name.replace("w", "b")] = normal(shape[0], seed=50 + k) * np.float32(0.2)
    return found


def residual_network() -> onnx.ModelProto:
    """Four 3×3 convolutions, ``a b c y``; the third one ends in a sum."""
    same = "<pads = [1, 1, 1, 1]>"
    return model(
        f"""
        a = Conv {same} (x, w1, b1)
        r = Relu (a)
        b = Conv {same} (r, w2, b2)
        s = Relu (b)
        c = Conv {same} (s, w3, b3)
        d = Add (c, r)
        t = Relu (d)
        y = Conv {same} (t, w4, b4)
        """,
        "float[N, 3, H, W] x",
        "float[N, 4, H, W] y",
        **weights(w1=(12, 3, 3, 3), w2=(12, 12, 3, 3), w3=(12, 12, 3, 3), w4=(4, 12, 3, 3)),
    )


def opened(proto: onnx.ModelProto) -> ir.Model:
    return prepare(load(proto).model)


def site_of(prepared: ir.Model, output: str) -> Site:
    return next(site for site in survey(prepared) if site.output == output)


def tasks(
    prepared: ir.Model, wanted: Mapping[str, tuple[str, Rank]], *, linear_layers: bool = False
) -> list[FitTask]:
    """What is wanted of some sites; the others are kept."""
    sites = survey(prepared, linear_layers=linear_layers)
    metrics = output_metrics(prepared, [site for site in sites if site.output in wanted])
    return [
        FitTask(site, (wanted[site.output][0],), wanted[site.output][1], metric=metrics.get(site.output))
        if site.output in wanted
        else FitTask(site)
        for site in sites
    ]


def fitted(
    proto: onnx.ModelProto,
    wanted: Mapping[str, tuple[str, Rank]] | Sequence[FitTask],
    data: Sequence[Feed],
    held_out: Sequence[Feed] = (),
    seed: int = 0,
    linear_layers: bool = False,
    **settings: Any,
) -> dict[str, Fit]:
    """The fits by output name of the site; those better left alone are absent."""
    prepared = opened(proto)
    asked = tasks(prepared, wanted, linear_layers=linear_layers) if isinstance(wanted, Mapping) else wanted
    return fits(prepared, asked, data, held_out, seed, **settings)


def fits(
    prepared: ir.Model,
    asked: Sequence[FitTask],
    data: Sequence[Feed],
    held_out: Sequence[Feed] = (),
    seed: int = 0,
    **settings: Any,
) -> dict[str, Fit]:
    """The same of these tasks."""
    found = fit(prepared, asked, data, ENGINE, seed, silent, FitSettings(**settings), held_out)
    pairs = zip(asked, found, strict=True)
    return {task.site.output: one for task, one in pairs if one is not None}


def built(proto: onnx.ModelProto, found: Mapping[str, Fit], *, linear_layers: bool = False) -> ir.Model:
    """The network with what was fitted in it."""
    prepared = opened(proto)
    sites = {site.output: site for site in survey(prepared, linear_layers=linear_layers)}
    replacements = [Replacement(sites[k], v.factorization, {}) for k, v in found.items()]
    return rebuild(prepared, replacements).model


def outputs(network: Any, data: Sequence[Feed]) -> np.ndarray:
    """The first output on every feed, along the batch axis, in double precision."""
    opened_session = session(network)
    return np.concatenate([opened_session.run(None, feed)[0] for feed in data]).astype(np.float64)


def off_by(network: Any, proto: onnx.ModelProto, data: Sequence[Feed]) -> float:
    """Error of the output relative to its spread around the mean of each channel."""
    right = outputs(proto, data)
    axes = (0, *range(2, right.ndim))
    spread = right - right.mean(axis=axes, keepdims=True)
    return float(np.linalg.norm(outputs(network, data) - right) / np.linalg.norm(spread))
