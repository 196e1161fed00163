"""What is known of a convolution's activations: a sample of the patches it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor.moment_sums import MomentSums
from sepfactor.factor.moments import Moments
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.stage import Array, Factorization, Stage
from sepfactor.threads import one_blas_thread

_CONSTANT = 1e-5
"""Share of its norm below which the spread of a float32 output is rounding: the output is constant."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Input patches of one convolution, drawn from its inputs on calibration data.

    Attributes:
        patches: ``(samples, in_channels, *kernel_shape)`` float32, zero padding included.
    """

    patches: NDArray[np.float32]

    @one_blas_thread()
    def outputs(self, weight: Array, group: int) -> NDArray[np.float32]:
        """``(samples, out_channels)``: what a kernel ``(out, in/group, *kernel)`` answers, without bias."""
        samples = self.patches.shape[0]
        blocks = self.patches.reshape(samples, group, -1)
        kernels = weight.reshape(group, -1, blocks.shape[-1]).astype(np.float32)
        answers = np.matmul(blocks.transpose(1, 0, 2), kernels.transpose(0, 2, 1))
        flat: NDArray[np.float32] = answers.transpose(1, 0, 2).reshape(samples, -1)
        return flat

    def parts(self, share: float = 0.25) -> tuple[Statistics, Statistics]:
        """The first rows, to fit on, and the last ``share`` of them, to judge on.

        Rows come image by image, so that the two see different images (but for one on the border).
        """
        cut = len(self.patches) - round(share * len(self.patches))
        if cut in (0, len(self.patches)):
            return self, self
        return Statistics(self.patches[:cut]), Statistics(self.patches[cut:])

    def moments(self, dense: Stage, bias: Array | None = None, spread: bool = False) -> Moments:
        """Moments of these patches and of what ``dense`` answers to them, its covariance too if asked for."""
        sums = MomentSums(self.patches.shape[1:], dense.group, dense.out_channels, spread=spread)
        answers = self.outputs(dense.weight, dense.group)
        if bias is not None:
            answers = answers + bias.astype(np.float32)
        sums.add(self.patches, answers)
        return sums.moments()


class Errors(NamedTuple):
    """Relative errors of a replacement: of its kernel, of what it answers, and as its readers see that."""

    weight: float
    output: float
    weighted: float


class ReplacementErrors:
    """How far replacements of one convolution are off; what it answers itself is computed once.

    Of the kernel that is ``‖W − W'‖ / ‖W‖`` (Frobenius). Of the answer it is ``‖y − y'‖ / ‖y − mean(y)‖``
    over the sample (root of the share of variance). The mean is left out of the reference so that an offset,
    which the bias can carry, does not make a layer look better than it is. A constant output counts by its
    own norm.

    Args:
        seen: patches to judge on.
        dense: the convolution that is replaced.
        bias: of it, ``(out,)``.
        offset: ``(out,)``, added to its answer.
        metric: of errors of the answer, as its readers see it.
        rectified: whether they see it behind a ReLU.
    """

    def __init__(
        self,
        seen: Statistics,
        dense: Stage,
        bias: Array | None = None,
        offset: Array | None = None,
        metric: OutputMetric | None = None,
        *,
        rectified: bool = False,
    ) -> None:
        self._seen, self._dense, self._metric, self._rectified = seen, dense, metric, rectified
        none = np.zeros(dense.out_channels)
        self._bias = none if bias is None else bias
        self._norm = float(np.linalg.norm(dense.weight)) or 1.0
        right = seen.outputs(dense.weight, dense.group)
        self._scale = self._weighed_scale = _scale(right)
        self._right: NDArray[np.float32] | None = None
        if metric is not None or rectified:
            self._right = right + (self._bias + (none if offset is None else offset)).astype(np.float32)
            answer = np.maximum(self._right, 0) if rectified else self._right
            self._weighed_scale = _scale(answer if metric is None else metric.weigh(answer))

    @one_blas_thread()
    def __call__(self, replacement: Factorization) -> Errors:
        """Of a replacement, with its own bias."""
        difference = kernel_difference(self._dense, replacement)
        own = np.zeros(()) if replacement.bias is None else replacement.bias
        wrong = self._seen.outputs(difference.weight, difference.group)
        wrong += (self._bias - own).astype(np.float32)
        output = weighted = _norm(wrong) / self._scale
        if self._right is not None:
            if self._rectified:
                wrong = np.maximum(self._right, 0) - np.maximum(self._right - wrong, 0)
            wrong = wrong if self._metric is None else self._metric.weigh(wrong)
            weighted = _norm(wrong) / self._weighed_scale
        return Errors(float(np.linalg.norm(difference.weight)) / self._norm, output, weighted)


def _scale(answers: NDArray[np.float32]) -> float:
    """What an error is relative to: how far answers spread, or their norm where they are constant."""
    size, spread = _norm(answers), _norm(answers - answers.mean(axis=0))
    return (spread if spread > _CONSTANT * size else size) or 1.0


def _norm(rows: NDArray[np.float32]) -> float:
    """Summed in double: squares of float32 overflow from 1e19 on."""
    return math.sqrt(np.einsum("ij,ij->", rows, rows, dtype=np.float64))


def kernel_difference(dense: Stage, replacement: Factorization) -> Stage:
    """``dense − replacement`` as one stage of the shape of ``dense`` (of fewer groups if need be).

    A replacement with a trimmed kernel is set back into the place it was cut from.
    """
    other = replacement.dense()
    if other.group != dense.group:
        common = int(np.gcd(other.group, dense.group))
        other, dense = other.regrouped(common), dense.regrouped(common)
    weight = dense.weight.copy()
    where = tuple(
        slice((a[0] - b[0]) // d, (a[0] - b[0]) // d + k)
        for a, b, d, k in zip(dense.pads, other.pads, dense.dilations, other.kernel_shape, strict=True)
    )
    weight[(slice(None), slice(None), *where)] -= other.weight
    return dense.along(weight, dense.axes)


def on_grid(dense: Stage, replacement: Factorization) -> Array:
    """The kernel of ``replacement`` in the shape and groups of ``dense``, also where it was trimmed."""
    missing: Array = kernel_difference(dense, replacement).weight
    return dense.weight - missing


@one_blas_thread()
def weight_error(dense: Stage, replacement: Factorization) -> float:
    """Relative error in weight space, ``‖W − W'‖ / ‖W‖`` (Frobenius)."""
    norm = float(np.linalg.norm(dense.weight)) or 1.0
    return float(np.linalg.norm(kernel_difference(dense, replacement).weight)) / norm
