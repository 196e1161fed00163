"""How factors are fitted: the choices of the method, and how far the data may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sepfactor.factor import Stage
from sepfactor.factor.moment_sums import ROWS_FROM
from sepfactor.options import Options
from sepfactor.study.study import Study

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 3e-1)
"""Ridge towards the original weights, in shares of the mean input variance; held-out data choose."""

_ENTRIES = 4e7
"""At most so many numbers (patches × entries) are read per layer; four times fewer cost ESPCN 0.02 dB."""

STATES = 4 * 10**9
"""Bytes that images may come to on their way through both networks, in memory and in the temporary file: so
many images are fitted to, whatever memory may be used."""

SAMPLE_BYTES = 6 * 10**7
"""Of the patches that are kept of a layer, at most."""

_RIDGE = 1e-3
"""Ridge while candidates are compared; the fit itself tries several."""

_SYNTHETIC_RIDGE = 1.0
"""Ridge of classifiers and their like on synthetic images: what they see inside is too far from made-up
pictures to trust their statistics beyond a hint."""

_MOST_ANYWHERE = 2**27
"""Bytes that moments of a layer may take however little memory is to be used."""

Effort = Literal["full", "search"]
"""``search`` is for comparing plans; what is handed out is fitted in full."""


@dataclass(frozen=True)
class FitSettings:
    """Choices of the method; the defaults are what won (``benchmarks/ablation.py``).

    Attributes:
        sweeps: alternations over the factors; 0 solves for the last ones only.
        ridges: ridges to choose from.
        sweeps_at_last: choose the ridge by the last factors alone, and alternate with that one only.
        sequential: read from the network compressed so far, not from the original.
        residual: where the answer goes into a residual sum, aim at the original's sum.
        correct_kept: refit layers that stay dense behind one that was replaced.
        relu_rounds: refits to what a following ReLU lets through; 0 fits to all of the answer.
        weigh_by_readers: count errors of factors by what the layers that read the answer make of them.
        entries: bound on what is read per layer. Where a ReLU follows, up to twice as many float32
            are held while the layer is fitted.
    """

    sweeps: int = 2
    ridges: tuple[float, ...] = RIDGES
    sweeps_at_last: bool = False
    sequential: bool = True
    residual: bool = True
    correct_kept: bool = True
    relu_rounds: int = 2
    weigh_by_readers: bool = True
    entries: float = _ENTRIES


FULL = FitSettings()
"""What won."""

SEARCH = FitSettings(sweeps=1, ridges=(1e-3, 1e-1), relu_rounds=1, entries=1e7)
"""Less effort, to compare plans by; what it costs is in ``benchmarks/results/experiments.md``."""


@dataclass(frozen=True)
class FitMethod:
    """How factors are made in one run.

    Attributes:
        ridge: for comparing candidates; None to factor the bare weights.
        full: settings of the fit; None where nothing is fitted.
        search: settings of the fit while plans are compared.
    """

    ridge: float | None
    full: FitSettings | None
    search: FitSettings | None

    def settings(self, effort: Effort) -> FitSettings | None:
        """Of the fit; None where nothing is fitted."""
        return self.full if effort == "full" else self.search

    @property
    def is_fitted(self) -> bool:
        """Whether factors are fitted to data in the end."""
        return self.full is not None

    @property
    def is_sequential(self) -> bool:
        """Whether later layers are fitted to make up for earlier ones."""
        return self.full is not None and self.full.sequential and self.full.correct_kept


def fit_method(study: Study) -> FitMethod:
    """Fit in sequence; but without trusted data layer by layer and held back.

    A sequential refit on synthetic images made a classifier no better than bare weights, so there
    made-up pictures only tell the metric, weakly.
    """
    if not study.options.refit:
        return FitMethod(None, None, None)
    if study.trusts_data:
        return FitMethod(_RIDGE, FULL, SEARCH)
    settings = FitSettings(sequential=False, residual=False, correct_kept=False, ridges=(_SYNTHETIC_RIDGE,))
    return FitMethod(_SYNTHETIC_RIDGE, settings, SEARCH)


def moment_bytes(stage: Stage) -> int:
    """What the second moments of a layer's patches take: of those to fit on, and of those to judge by.

    Where fewer patches are read than each has entries, these are kept, in single precision. Solving for
    factors makes copies: at its height a fit holds three to four times as much.
    """
    entries = int(stage.weight[0].size)
    products = stage.group * entries**2
    keeps_rows = entries >= ROWS_FROM and products > _ENTRIES
    return 2 * (4 * int(_ENTRIES) if keeps_rows else 8 * products)


def ridge_bytes(stage: Stage) -> int:
    """What trying one ridge takes at its height, beside the moments: copies of those to fit on."""
    return 2 * moment_bytes(stage)


def working_bytes(stage: Stage) -> int:
    """What looking for factors of a layer takes at its height: moments, copies of them, and the patches."""
    return 3 * moment_bytes(stage) + 3 * SAMPLE_BYTES


def has_room(stage: Stage, options: Options) -> bool:
    """Whether the moments of a layer fit into the memory that may be used."""
    return moment_bytes(stage) <= max(options.memory, _MOST_ANYWHERE)
