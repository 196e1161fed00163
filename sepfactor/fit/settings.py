"""How far the data may be trusted, and so how the factors are fitted."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from sepfactor.factor import Stage
from sepfactor.fit.sequential import FitSettings
from sepfactor.graph.load import Loaded
from sepfactor.options import Options
from sepfactor.study.splits import Data

_RIDGE = 1e-3
"""Ridge while candidates are compared; the fit itself tries several."""

_SYNTHETIC_RIDGE = 1.0
"""Ridge of classifiers and their like on synthetic images: what they see inside is too far from made-up
pictures to trust their statistics beyond a hint."""


_MOST_ANYWHERE = 2**27
"""Bytes that moments of a layer may take however little memory is to be used."""


@dataclass(frozen=True)
class Method:
    """How factors are made.

    Attributes:
        ridge: ridge for comparing candidates; None to factor the bare weights.
        settings: of the fit; None where nothing is fitted.
        trusts_data: whether what the network does with the data says what it will do in use.
    """

    ridge: float | None
    settings: FitSettings | None
    trusts_data: bool = True

    @property
    def sequential(self) -> bool:
        """Whether later layers are fitted to make up for earlier ones."""
        return self.settings is not None and self.settings.sequential and self.settings.correct_kept


def choose_method(loaded: Loaded, data: Data, options: Options) -> Method:
    """Fit in sequence; but without data, unless images come out, layer by layer and held back.

    A sequential refit on synthetic images made a classifier no better than bare weights, so there
    made-up pictures only tell the metric, weakly. Image-to-image networks see in them nearly what they
    will see, and lost nothing (``benchmarks/results/reconstruction.md``).
    """
    trusted = not data.is_synthetic or all(_is_map(value) for value in loaded.model.graph.outputs)
    if not options.refit:
        return Method(None, None, trusted)
    if trusted:
        return Method(_RIDGE, FitSettings())
    settings = FitSettings(sequential=False, residual=False, correct_kept=False, ridges=(_SYNTHETIC_RIDGE,))
    return Method(_SYNTHETIC_RIDGE, settings, trusts_data=False)


def _is_map(value: ir.Value) -> bool:
    """Whether an output is an image or a volume: ``(N, C, H, W)`` or more axes, not ``(N, C, 1, 1)``."""
    shape = value.shape
    return shape is not None and len(shape) >= 4 and all(size != 1 for size in list(shape)[2:])


def moment_bytes(stage: Stage) -> int:
    """What the second moments of a layer's patches take: of those to fit on, and of those to judge by.

    Solving for factors makes copies of them: at its height a fit holds about five times as much.
    """
    return 2 * 8 * stage.group * int(stage.weight[0].size) ** 2


def has_room(stage: Stage, options: Options) -> bool:
    """Whether the moments of a layer fit into the memory that may be used."""
    return moment_bytes(stage) <= max(options.memory, _MOST_ANYWHERE)
