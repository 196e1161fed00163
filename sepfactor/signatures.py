"""Keyword arguments of the public functions; made by ``python -m docs.generate``, not by hand.

A key is an option: :class:`sepfactor.options.Options` defines it, and :mod:`sepfactor.uses` says who uses it.
None stands for the default, as if it were not given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from sepfactor.amounts import Amount
from sepfactor.options import LayerOptions
from sepfactor.plans.document import Plan


class _QualityBudgets(TypedDict, total=False):
    max_drop: Amount | str | float | None
    """Budget: accuracy that may be lost, such as 1%; of --metric, a number in its unit, or a share of the
    score. Default: 1%, or 35 dB SNR."""
    max_estimated_drop: Amount | str | float | None
    """Budget: accuracy that may be lost, such as 1%, estimated without labels, from how likely the original
    holds its classes to be."""
    min_snr: float | None
    """Budget: signal to noise that outputs must keep against the original's."""
    min_psnr: float | None
    """Budget: the same as peak signal to noise."""


class _CostBudgets(TypedDict, total=False):
    speedup: float | None
    """Budget: be X times faster than the original file, at the least loss."""
    latency_ms: float | None
    """Budget: one run takes at most so long."""
    max_macs: Amount | str | float | None
    """Budget: multiply-accumulates left in all convolutions: 50%, or 300M."""
    max_params: Amount | str | float | None
    """Budget: parameters left in all convolutions: 50%, or 2M."""


class _Choosing(TypedDict, total=False):
    metric: str | Callable[[Mapping[str, Any], Mapping[str, Any]], float] | None
    """Judge by your own function (outputs, inputs) → score of one run, higher is better."""
    rank: int | None
    """Use this rank everywhere, instead of a budget."""
    profile: str | os.PathLike[str] | None
    """Choose by another machine's layer times, from `sepfactor profile`."""


class _Schemes(TypedDict, total=False):
    scheme: str | Sequence[str] | None
    """Use only these schemes, or families of schemes."""


class _Candidates(TypedDict, total=False):
    max_error: float | None
    """Relative output error each layer may have. Without a budget, the fastest within it."""
    cache: bool | None
    """Remember layer times on disk, and use those remembered. Default: on."""


class _Layers(TypedDict, total=False):
    ignore: str | Sequence[str] | None
    """Leave these layers alone: names of nodes or outputs, or globs of them."""
    layers: Mapping[str, LayerOptions | Mapping[str, Any]] | None
    """Other options for the layers of a name, or that a glob fits: name or glob → options. A rank holds under
    a budget too, which is then met by the other layers."""
    keep: bool | None
    """Leave the layer alone."""


class _Surveying(TypedDict, total=False):
    linear_layers: bool | None
    """Factor fully connected layers too: Gemm and MatMul with constant weights."""
    dequantize: bool | None
    """Make weights and values behind DequantizeLinear float, so that their layers can be factored."""


class _Precision(TypedDict, total=False):
    int8: bool | None
    """Let layers and what is between them compute in 8-bit integers, factored or not, where that is faster
    and keeps the budget."""


class _Rounding(TypedDict, total=False):
    reduce_range: bool | None
    """With --int8, weights of 7 bits: no sum of two products saturates on x86 without VNNI."""


class _Tidying(TypedDict, total=False):
    tidy: bool | None
    """Rewrite the network exactly before anything is factored, as `sepfactor tidy` does: where that is
    faster, and equal to rounding. Default: on."""


class _Delivery(TypedDict, total=False):
    plan: Plan | str | os.PathLike[str] | None
    """Build this plan instead of choosing."""
    force: bool | None
    """Write the closest result where the budget cannot be kept."""


class _Data(TypedDict, total=False):
    data: Any
    """Inputs to fit and judge on: .npz, .npy, a folder of them, of images or of .wav files, or
    file.py:function. Without it, synthetic images are used, and no accuracy is claimed."""
    input_shape: Mapping[str, Sequence[int]] | None
    """Fix symbolic dimensions of an input: name → shape."""
    sample_rate: int | None
    """Rate at which the network hears sounds, which .wav files of another are resampled to. Default: that of
    the files."""
    limit: int | None
    """Use at most so many samples."""
    seed: int | None
    """Of everything random. Default: 0."""
    color: Literal["auto", "rgb", "bgr", "gray"] | None
    """Channel order of images. Default: auto."""
    scale: float | None
    """Factor on pixels 0..255 of images; 1 leaves them. Default: 1/255."""
    mean: float | Sequence[float] | None
    """Subtracted from scaled pixels, one or one per channel: 0.485 at the usual scale, 123.7 at 1."""
    std: float | Sequence[float] | None
    """Divides what is left, one or one per channel, in the unit of --mean."""
    layout: Literal["nchw", "nhwc"] | None
    """Axis order of inputs made of images. Default: nchw."""
    resize: int | None
    """Shorter side of images before the centre crop."""
    letterbox: bool | None
    """Fit images whole into the input, with borders, as YOLO does; instead of the centre crop."""
    border: int | None
    """Value of pixels in the borders of --letterbox, before --scale. Default: 114."""


class _Fitting(TypedDict, total=False):
    held_out: float | None
    """Share of --data never fitted to: a third of it chooses, the rest judges. Default: 0.25, more of few."""
    refit: bool | None
    """Fit the factors to the activations; else they are those of the bare weights. Default: on."""
    memory: int | str | None
    """What data, maps, answers and moments may take together; more goes to a temporary file: 2GB, 500MB.
    Default: 2GB."""


class _Tuning(TypedDict, total=False):
    tune: float | None
    """Tune weights for so many seconds towards what the original answers, without labels; needs the extra
    `tune`."""


class _Evaluation(TypedDict, total=False):
    eval_data: Any
    """Other inputs to judge on, instead of the held-out part of --data."""


class _Labels(TypedDict, total=False):
    labels: Any
    """True classes (.npy, .npz, .csv), or boxes (COCO's .json, a folder of YOLO's .txt, .npz), of
    --eval-data, or of --data where there is none. What names images serves both. An array 'labels' in the
    .npz itself needs no flag."""


class _Judging(TypedDict, total=False):
    task: Literal["classifier", "detector", "segmentation", "text", "embedding", "dense"] | None
    """What outputs are, and so how they are judged, where that is not recognised."""


class _Comparison(TypedDict, total=False):
    targets: Any
    """What dense outputs should be, for their PSNR against the truth (.npy, .npz)."""
    pictures: bool | None
    """Show samples on which the networks differ, where they are images. Default: on."""


class _Running(TypedDict, total=False):
    engine: Literal["onnxruntime", "openvino", "onnxruntime-web", "ncnn", "all"] | None
    """What networks are timed and judged in, and so planned for; bench takes all that are installed. Default:
    onnxruntime."""
    threads: int | None
    """Of the engine; 0 leaves it to the engine. Default: 1."""
    provider: str | None
    """Execution provider of onnxruntime, or device of OpenVINO. Default: cpu."""


class _Timing(TypedDict, total=False):
    bench_seconds: float | None
    """Time spent on timing the whole networks, at most: it ends when the interval is narrow. A busy machine
    takes up to three times as long for it. 0 leaves it out. Default: 8."""


class _Writing(TypedDict, total=False):
    overwrite: bool | None
    """Replace existing output files."""


class CompressOptions(
    _QualityBudgets,
    _CostBudgets,
    _Choosing,
    _Schemes,
    _Candidates,
    _Layers,
    _Surveying,
    _Precision,
    _Rounding,
    _Tidying,
    _Delivery,
    _Data,
    _Fitting,
    _Tuning,
    _Evaluation,
    _Labels,
    _Judging,
    _Comparison,
    _Running,
    _Timing,
    _Writing,
    total=False,
):
    """Options of :func:`sepfactor.compress`."""


class PlanOptions(
    _QualityBudgets,
    _CostBudgets,
    _Choosing,
    _Schemes,
    _Candidates,
    _Layers,
    _Surveying,
    _Precision,
    _Rounding,
    _Tidying,
    _Data,
    _Fitting,
    _Tuning,
    _Evaluation,
    _Labels,
    _Judging,
    _Running,
    _Timing,
    total=False,
):
    """Options of :func:`sepfactor.plan`."""


class ApplyOptions(
    _Layers,
    _Surveying,
    _Data,
    _Fitting,
    _Tuning,
    _Evaluation,
    _Labels,
    _Comparison,
    _Running,
    _Timing,
    _Writing,
    total=False,
):
    """Options of :func:`sepfactor.apply`."""


class ProfileOptions(
    _CostBudgets,
    _Schemes,
    _Candidates,
    _Layers,
    _Surveying,
    _Precision,
    _Tidying,
    _Data,
    _Fitting,
    _Running,
    _Timing,
    total=False,
):
    """Options of :func:`sepfactor.profile`."""


class TidyOptions(
    _Data,
    _Running,
    _Timing,
    _Writing,
    total=False,
):
    """Options of :func:`sepfactor.tidy`."""


class InspectOptions(
    _Schemes,
    _Surveying,
    _Data,
    _Running,
    total=False,
):
    """Options of :func:`sepfactor.inspect`."""


class BenchOptions(
    _Data,
    _Running,
    _Timing,
    total=False,
):
    """Options of :func:`sepfactor.bench`."""


class CompareOptions(
    _Data,
    _Labels,
    _Judging,
    _Comparison,
    _Running,
    total=False,
):
    """Options of :func:`sepfactor.compare`."""
