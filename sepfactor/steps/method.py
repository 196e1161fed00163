"""How far the data may be trusted, and so how the factors are fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from sepfactor.graph.load import Loaded
from sepfactor.measure.session import Runtime
from sepfactor.options import Options
from sepfactor.progress import Progress
from sepfactor.steps.choose import Decision, wishes
from sepfactor.steps.fit import FitSettings, Fitted, affordable, fit
from sepfactor.steps.gather import Data

_PULL = 1e-3
"""Ridge while candidates are compared; the fit itself tries several."""

_SYNTHETIC_PULL = 1.0
"""Ridge of classifiers and their like on synthetic images: what they see inside is too far from made-up
pictures to trust their statistics beyond a hint."""


@dataclass(frozen=True)
class Method:
    """How factors are made.

    Attributes:
        pull: ridge for comparing candidates; None to factor the bare weights.
        settings: of the fit; None where nothing is fitted.
    """

    pull: float | None
    settings: FitSettings | None


def choose_method(loaded: Loaded, data: Data, options: Options) -> Method:
    """Fit in sequence; but without data, unless images come out, layer by layer and held back.

    A sequential refit on synthetic images made a classifier no better than bare weights, so there
    made-up pictures only tell the metric, weakly. Image-to-image networks see in them nearly what they
    will see, and lost nothing (``benchmarks/results/reconstruction.md``).
    """
    if not options.refit:
        return Method(None, None)
    if not data.is_synthetic or all(_is_map(value) for value in loaded.model.graph.outputs):
        return Method(_PULL, FitSettings())
    settings = FitSettings(sequential=False, residual=False, correct_kept=False, pulls=(_SYNTHETIC_PULL,))
    return Method(_SYNTHETIC_PULL, settings)


def fit_all(
    prepared: ir.Model,
    decisions: Sequence[Decision],
    data: Data,
    method: Method,
    options: Options,
    runtime: Runtime,
    progress: Progress,
) -> tuple[Mapping[str, Fitted], int]:
    """The fits by output name of the site, and how many samples they rest on."""
    if method.settings is None or all(d.choice.candidate is None for d in decisions):
        return {}, 0
    asked = wishes(decisions, options)
    stops = [wish.site.output for wish in asked]
    most = affordable(prepared, stops, data.fit[0], runtime, options.memory)
    held_out = [] if data.is_synthetic else data.held_out[: max(1, most // 4)]
    feeds = data.fit[: max(1, most - len(held_out))]
    found = fit(prepared, asked, feeds, runtime, options.seed, progress, method.settings, held_out)
    return found, len(feeds)


def _is_map(value: ir.Value) -> bool:
    """Whether an output is an image: ``(N, C, H, W)``, not ``(N, C, 1, 1)``."""
    shape = value.shape
    return shape is not None and len(shape) == 4 and all(size != 1 for size in list(shape)[2:])
