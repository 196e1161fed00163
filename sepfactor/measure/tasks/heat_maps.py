"""Detectors of the CenterNet kind: peaks of a heat map, and maps that say what lies at a peak.

Peaks are what a 3 × 3 maximum leaves (Zhou et al. 2019, "Objects as Points"). A peak of one network is found
where the other has one within a cell that says about the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sepfactor.measure.metrics import are_probabilities
from sepfactor.measure.tasks.base import Answers, Found, Wanted
from sepfactor.measure.tasks.boxes import LOW, THRESHOLD, Boxes
from sepfactor.measure.tasks.detector import Detector, plausible

Array = NDArray[Any]

_SPARSE = 0.2
"""Heat maps are below it in the mean."""

_HALF = 1.5
"""Half the side of the box around a peak, in cells: boxes a cell apart overlap by half."""

_MOST_CHANNELS = 64
_LEAST_STEPS = 32
_ALIKE = 0.7
"""Correlation of neighbouring steps of a scale."""


@dataclass(frozen=True)
class Peaks:
    """A heat map of each class, and maps of the same size."""

    name: str = "CenterNet's heat maps"
    is_list: ClassVar[bool] = False
    is_placed: ClassVar[bool] = False

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Boxes of each image of a run, around its peaks."""
        heat, *maps = run
        beside = np.concatenate([np.asarray(one, np.float64) for one in maps], axis=1)
        return [self._of_image(np.asarray(heat[k], np.float64), beside[k]) for k in range(len(heat))]

    def _of_image(self, heat: Array, maps: Array) -> Boxes:
        padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        is_peak = heat >= sliding_window_view(padded, (3, 3), axis=(1, 2)).max(axis=(3, 4))
        label, y, x = np.nonzero(is_peak & (heat >= LOW))
        centre = np.stack([x, y], axis=1).astype(np.float64)
        corners = np.concatenate([centre - _HALF, centre + _HALF], axis=1)
        return Boxes.of(corners, heat[label, y, x], label, maps[:, y, x].T)


@dataclass(frozen=True)
class Steps:
    """Shares along a scale, such as pitches: peaks are answers."""

    name: str = "a scale"
    is_list: ClassVar[bool] = False
    is_placed: ClassVar[bool] = False

    def decode(self, run: Sequence[Array], batch: int) -> list[Boxes]:
        """Stretches of the scale around the peaks of each sample."""
        (table,) = run
        return [self._of_sample(np.asarray(row, np.float64)) for row in table]

    def _of_sample(self, heat: Array) -> Boxes:
        padded = np.pad(heat, 1, constant_values=-np.inf)
        at = np.flatnonzero((heat >= np.maximum(padded[:-2], padded[2:])) & (heat >= LOW))
        corners = np.stack([at - _HALF, np.zeros(len(at)), at + _HALF, np.ones(len(at))], axis=1)
        return Boxes.of(corners, heat[at]).without_doubles()


class Scales(Detector):
    """By the share of peaks along a scale that both networks have."""

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """Rows of shares that are alike from each step to the next."""
        for one in outputs:
            if not _is_scale(one):
                continue
            family = Steps()
            count = plausible((one,), family)
            if count is not None:
                why = f"peaks along a scale of {one.shape[1]} steps, {count:.1f} a sample above {THRESHOLD:g}"
                yield Found(cls(one, family=family, wanted=wanted), why)


class HeatMaps(Detector):
    """By the share of peaks that both networks have."""

    @classmethod
    def find(cls, outputs: Sequence[Answers], wanted: Wanted) -> Iterator[Found]:
        """A map of shares that is nearly empty, with other maps of its size."""
        maps = [one for one in outputs if one.runs[0].dtype.kind == "f" and one.runs[0].ndim == 4]
        for heat in maps:
            first = heat.runs[0]
            same = [one for one in maps if one is not heat and _fits(one.runs[0], first)]
            if not same or not _is_heat(heat):
                continue
            group, family = (heat, *same), Peaks()
            count = plausible(group, family)
            if count is not None:
                why = f"peaks as {family.name} have them, {count:.1f} an image above {THRESHOLD:g}"
                yield Found(cls(*group, family=family, wanted=wanted), why)
                return


def _fits(one: Array, heat: Array) -> bool:
    return one.shape[2:] == heat.shape[2:] and min(one.shape[2:]) > 1 and one.shape[1] <= _MOST_CHANNELS


def _is_heat(answers: Answers) -> bool:
    values = [run for run in answers.runs[:8] if run.size]
    low, high = min(float(run.min()) for run in values), max(float(run.max()) for run in values)
    return (
        low >= 0
        and high <= 1
        and high > THRESHOLD
        and float(np.mean([run.mean() for run in values])) < _SPARSE
    )


def _is_scale(answers: Answers) -> bool:
    runs = answers.runs
    if runs[0].dtype.kind != "f" or runs[0].ndim != 2 or runs[0].shape[1] < _LEAST_STEPS:
        return False
    if [len(run) for run in runs] != list(answers.batches) or len({run.shape[1] for run in runs}) > 1:
        return False
    table = np.concatenate(runs).astype(np.float64)
    if not np.isfinite(table).all() or table.min() < 0 or table.max() > 1 or are_probabilities(table).all():
        return False
    one, other = table[:, :-1].ravel(), table[:, 1:].ravel()
    return bool(one.std() > 0 and other.std() > 0 and np.corrcoef(one, other)[0, 1] > _ALIKE)
