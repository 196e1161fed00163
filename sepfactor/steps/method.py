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

_SYNTHETIC_PULL = {"scores": 1.0, "dense": 0.03}
"""Ridge on synthetic images. What a classifier sees inside is too far from made-up pictures to trust
their statistics beyond a hint; image-to-image networks see nearly what they will see."""


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
    """Fit in sequence to real data, layer by layer and held back to synthetic images, or not at all.

    A sequential refit on synthetic images made a classifier worse than bare weights, so made-up
    pictures only tell the metric, weakly.
    """
    if not options.refit:
        return Method(None, None)
    if not data.is_synthetic:
        return Method(_PULL, FitSettings())
    kind = "scores" if any(_is_scores(value) for value in loaded.model.graph.outputs) else "dense"
    pull = _SYNTHETIC_PULL[kind]
    settings = FitSettings(sequential=False, residual=False, correct_kept=False, pulls=(pull,))
    return Method(pull, settings)


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


def _is_scores(value: ir.Value) -> bool:
    """Whether an output is one number per class: ``(N, C)``, or with trailing ones."""
    shape = value.shape
    if shape is None or len(shape) < 2:
        return False
    channels = shape[1]
    return channels != 1 and all(size == 1 for size in list(shape)[2:])
