"""The networks that are measured, what becomes of them, and how they are judged.

Everything is read from ``../shared`` beside the repository (its ``MANIFEST.md`` files say what it
is); none of it may be redistributed. What a network is fitted on is never what it is judged on.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from photographs import BGR_MEAN, IMAGENET, SHARED, Feed, centred, classes_of, luma_pair, paths_of
from PIL import Image

from sepfactor.data import Feeds, InputSpec, Preprocessing, open_feeds
from sepfactor.factor import Factorization, select_schemes
from sepfactor.fit.layer_fit import FitTask
from sepfactor.fit.output_metrics import output_metrics
from sepfactor.fit.sequential import fit
from sepfactor.fit.settings import FitSettings
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from sepfactor.measure import OnnxRuntime, open_and_time
from sepfactor.measure.quality import Judge
from sepfactor.progress import silent
from sepfactor.results import Ratio

Scores = NDArray[np.float64]
Plan = Callable[[Site], tuple[int, ...] | None]

_MODELS, _DATA = SHARED / "models", SHARED / "data"

FITTING = OnnxRuntime(threads=2)
TIMING = OnnxRuntime(threads=1)
_MOST_COMPARED = 1000
"""Runs the distance to the original is taken on."""

VERTICAL = ("spatial-vertical",)
"""The one scheme of every plan here, so that columns differ in nothing but how factors are found."""


@dataclass(frozen=True, eq=False)
class Exam:
    """What a network is judged on.

    Attributes:
        feeds: the runs.
        mark: number of a run and its first output → one figure per sample.
        sample: one sample, for timing.
    """

    feeds: Sequence[Feed]
    mark: Callable[[int, NDArray[np.float32]], Sequence[float]]
    sample: Feed

    def take(self, model: Path) -> Scores:
        """One figure per sample: PSNR in dB, or 100 for right and 0 for wrong."""
        session = FITTING.open(model)
        marks = [self.mark(i, session.run(feed)[0]) for i, feed in enumerate(self.feeds)]
        return np.concatenate([np.asarray(m, np.float64) for m in marks])


@dataclass(frozen=True, eq=False)
class Task:
    """A network, the plan for it, and its data.

    Attributes:
        name: short, for the command line. title: for tables. unit: of its score.
        file: the network.
        plan: site → rank, or None where it is left dense.
        calibrate: the calibration inputs. examine: how it is judged.
        preprocessing: of images, for synthetic ones.
        synthetic: whether to fit it without data too.
        is_variant: the same network and plan as another task, judged otherwise.
    """

    name: str
    title: str
    unit: str
    file: Path
    plan: Plan
    calibrate: Callable[[], list[Feed]]
    examine: Callable[[], Exam]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    synthetic: bool = False
    is_variant: bool = False

    @property
    def is_classifier(self) -> bool:
        """Whether scores are 100 or 0."""
        return self.unit == "%"

    @functools.cached_property
    def prepared(self) -> ir.Model:
        """The network as sepfactor factors it."""
        return prepare(load(self.file).model)

    @functools.cached_property
    def sites(self) -> list[Site]:
        """Its convolutions."""
        return [site for site in survey(self.prepared) if site.stage is not None]

    @functools.cached_property
    def feeds(self) -> Feeds:
        """All calibration images, one a run."""
        return open_feeds(self.calibrate(), self._inputs)

    @functools.cached_property
    def exam(self) -> Exam:
        """The images it is judged on."""
        return self.examine()

    @functools.cached_property
    def original_scores(self) -> Scores:
        """Of the file as published."""
        return self.exam.take(self.file)

    def made_up(self, samples: int = 32) -> Feeds:
        """Synthetic calibration images."""
        return open_feeds(None, self._inputs, preprocessing=self.preprocessing, samples=samples)

    @property
    def _inputs(self) -> list[InputSpec]:
        return [InputSpec.of(argument) for argument in TIMING.open(self.file).get_inputs()]

    def fit_tasks(self, schemes: tuple[str, ...] = VERTICAL) -> list[FitTask]:
        """The plan as what is to be fitted."""
        metrics = output_metrics(self.prepared, self.sites)
        return [
            FitTask(site)
            if (rank := self.plan(site)) is None
            else FitTask(site, schemes, rank, metric=metrics.get(site.output))
            for site in self.sites
        ]

    def plain(self) -> ir.Model:
        """Truncated in weight space, biases as they were."""
        scheme = select_schemes(VERTICAL)[0]
        replacements = []
        for site in self.sites:
            if (rank := self.plan(site)) is not None and site.stage is not None:
                chains = scheme.decompose(site.stage).build(rank)
                replacements.append(Replacement(site, Factorization(chains, site.bias), {}))
        return rebuild(self.prepared, replacements).model

    def fitted(
        self, settings: FitSettings, feeds: Feeds | None = None, schemes: tuple[str, ...] = VERTICAL
    ) -> Fit:
        """Fitted by the engine on ``feeds``, or on all calibration images."""
        feeds = self.feeds if feeds is None else feeds
        begin = time.perf_counter()
        found = fit(self.prepared, self.fit_tasks(schemes), feeds, FITTING, 0, silent, settings)
        seconds = time.perf_counter() - begin
        replacements = [
            Replacement(site, one.factorization, {})
            for site, one in zip(self.sites, found, strict=True)
            if one is not None
        ]
        return Fit(rebuild(self.prepared, replacements).model, seconds, len(feeds))

    def judge(self, model: ir.Model) -> Scores:
        """Scores of the written file."""
        with _written(model) as path:
            return self.exam.take(path)

    def distance(self, model: ir.Model) -> str:
        """How far its answers are from the original's on the images it is judged on: KL, or SNR in dB."""
        with _written(model) as path:
            quality = self._judge(FITTING.open(path))
        return f"{quality.divergence:.3f}" if self.is_classifier else f"{quality.expected:.1f} dB"

    @functools.cached_property
    def _judge(self) -> Judge:
        return Judge(FITTING.open(self.file), self.exam.feeds[:_MOST_COMPARED])

    def speedups(self, model: ir.Model, seconds: float = 20.0) -> tuple[Ratio, Ratio]:
        """Of the written file over the original file and over the prepared network, one thread."""
        with _written(model) as result, _written(self.prepared) as prepared:
            timed = [("the file", self.file), ("prepared", prepared), ("result", result)]
            rounds = open_and_time(TIMING, timed, [self.exam.sample], seconds=seconds)
        return rounds.ratio(2, 0), rounds.ratio(2, 1)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted network, how long that took, and on how many images."""

    model: ir.Model
    seconds: float
    images: int


@contextmanager
def _written(model: ir.Model) -> Iterator[Path]:
    """A model as a file, while in use."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        ir.save(model, path)
        yield path


# Plans -------------------------------------------------------------------------------------------


def _halved(*dense: str, grid: int = 4, strided: bool = False) -> Plan:
    """Spatial, vertical first, at the largest rank on the grid of at most half the weights.

    At stride 1 that is half the MACs. Where a layer strides by 2 the vertical stage still works on
    every column, so twice as many outputs as inputs cost 2/3 of the MACs; with ``strided`` such
    layers are held to half the MACs as well. 1×1 layers and those named stay dense.
    """

    def plan(site: Site) -> tuple[int, ...] | None:
        stage = site.stage
        if stage is None or stage.is_pointwise or site.name in dense:
            return None
        outs, ins, kh, kw = stage.weight.shape
        columns = stage.strides[1] if strided else 1
        rank = outs * ins * kh * kw // (2 * (columns * ins * kh + outs * kw))
        return (rank // grid * grid,)

    return plan


def _ranks(ranks: Mapping[str, int]) -> Plan:
    return lambda site: (ranks[site.output],) if site.output in ranks else None


# ESPCN -------------------------------------------------------------------------------------------

_ESPCN_FITTED_ON, _ESPCN_JUDGED_ON, _BORDER = 25, 100, 8


def _espcn_exam(upsampling: Image.Resampling) -> Exam:
    pairs = [luma_pair(path, upsampling) for path in paths_of("evaluation", _ESPCN_JUDGED_ON)]
    inside = slice(_BORDER, -_BORDER)

    def psnr(number: int, output: NDArray[np.float32]) -> list[float]:
        wrong = np.clip(output[0, 0], 0, 1) - pairs[number][1]
        return [-10 * float(np.log10(np.mean(np.square(wrong[inside, inside], dtype=np.float64))))]

    return Exam([feed for feed, _ in pairs], psnr, pairs[0][0])


def _espcn(name: str, ranks: tuple[int, int], upsampling: Image.Resampling, title: str) -> Task:
    return Task(
        name=name,
        title=f"ESPCN, spatial {ranks[0]}/{ranks[1]}{title}",
        unit="dB",
        file=_MODELS / "espcn_super_resolution_10.onnx",
        plan=_ranks({"11": ranks[0], "13": ranks[1]}),
        calibrate=lambda: [
            luma_pair(path, upsampling)[0] for path in paths_of("calibration", _ESPCN_FITTED_ON)
        ],
        examine=lambda: _espcn_exam(upsampling),
        synthetic=True,
        is_variant=bool(title),
    )


# SqueezeNet --------------------------------------------------------------------------------------

_SQUEEZENET_FITTED_ON = 100


def _squeezenet(name: str, plan: Plan, title: str) -> Task:
    return Task(
        name=name,
        title=f"SqueezeNet 1.1, spatial, 3×3 halved{title}",
        unit="%",
        file=_MODELS / "squeezenet11_imagenet_fp32.onnx",
        plan=plan,
        calibrate=lambda: [centred(path) for path in paths_of("calibration", _SQUEEZENET_FITTED_ON)],
        examine=_squeezenet_exam,
        preprocessing=Preprocessing(color="bgr", scale=1.0, mean=BGR_MEAN),
        synthetic=True,
        is_variant=bool(title),
    )


def squeezenet_labels() -> list[int]:
    """True classes of the photographs SqueezeNet is fitted to."""
    return classes_of(paths_of("calibration", _SQUEEZENET_FITTED_ON))


def _squeezenet_exam() -> Exam:
    paths = paths_of("evaluation")
    labels = classes_of(paths)
    feeds = [centred(path) for path in paths]
    return Exam(feeds, lambda i, y: [100.0 * (int(y.argmax()) == labels[i])], feeds[0])


# ResNet-20 ---------------------------------------------------------------------------------------

_BATCH = 100


def _cifar(file: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``(n, 3, 32, 32)`` as the network takes them, and labels."""
    with np.load(_DATA / file) as arrays:
        pixels, labels = arrays["x"].astype(np.float32) / 255, arrays["y"].astype(np.int64)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2)), labels


def _resnet_exam() -> Exam:
    x, labels = _cifar("cifar10_test_5000.npz")
    starts = range(0, len(x), _BATCH)

    def right(number: int, output: NDArray[np.float32]) -> list[float]:
        return list(100.0 * (output.argmax(axis=1) == labels[starts[number] :][: len(output)]))

    return Exam([{"input": x[i : i + _BATCH]} for i in starts], right, {"input": x[:1]})


def _resnet(name: str, plan: Plan, title: str) -> Task:
    return Task(
        name=name,
        title=f"ResNet-20 CIFAR-10, spatial, 3×3 halved{title}",
        unit="%",
        file=_MODELS / "cifar10_resnet20_akamaster.onnx",
        plan=plan,
        calibrate=lambda: [{"input": x[None]} for x in _cifar("cifar10_calibration_1000.npz")[0]],
        examine=_resnet_exam,
        is_variant=bool(title),
    )


_BICUBIC, _NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST

TASKS = {
    task.name: task
    for task in (
        _espcn("espcn-32-16", (32, 16), _BICUBIC, ""),
        _espcn("espcn-16-16", (16, 16), _BICUBIC, ""),
        _espcn("espcn-32-16-coarse", (32, 16), _NEAREST, ", coarse pictures"),
        _espcn("espcn-16-16-coarse", (16, 16), _NEAREST, ", coarse pictures"),
        _squeezenet("squeezenet", _halved("conv1_1"), ""),
        _squeezenet("squeezenet-fine", _halved("conv1_1", grid=1), ", ranks off the grid"),
        _resnet("resnet20", _halved("conv1"), ""),
        _resnet("resnet20-strict", _halved("conv1", strided=True), ", MACs of strided too"),
    )
}


def select(names: Sequence[str]) -> list[Task]:
    """The tasks whose names begin so, or all; ends the program if one is unknown or its data are absent."""
    chosen = [task for name, task in TASKS.items() if not names or any(map(name.startswith, names))]
    idle = [name for name in names if not any(task.startswith(name) for task in TASKS)]
    if idle:
        sys.exit(f"There is no task {idle[0]!r}. Known are {', '.join(TASKS)}.")
    for path in (*(task.file for task in chosen), IMAGENET / "labels.csv", _DATA):
        if not path.exists():
            sys.exit(
                f"{path} is missing. The benchmarks need the test networks and images, which are not "
                f"part of the repository: put the folder shared/ beside it, at {SHARED}."
            )
    return chosen
