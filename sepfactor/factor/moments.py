"""Second moments of what a convolution reads and what it should answer: all that least squares needs.

For patches ``x`` (``D`` entries per group) and targets ``y``, centred::

    C = Cov(x)   (D, D)        B = Cov(y, x)   (O, D)        power = Σ_o Var(y_o)
    E‖y − ȳ − F (x − x̄)‖² = power − 2 ⟨F, B⟩ + ⟨F C, F⟩        best bias: b = ȳ − F x̄

So any kernel ``F`` is judged, and any factor of it fitted, without going back to the data. Of few rows ``C``
is kept as these (:mod:`~sepfactor.factor.covariance`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sepfactor.factor.covariance import Covariance
from sepfactor.factor.solving import Roots, roots
from sepfactor.factor.stage import Array


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of one convolution, per group.

    Attributes:
        kernel_shape: ``(in/group, *kernel)``: how the ``D`` entries of a patch are laid out.
        inputs: ``C``.
        cross: ``(group, out/group, D)``.
        power: total variance of the targets.
        x_mean: ``(group, D)``. y_mean: ``(out,)``.
        count: patches seen.
        spread: ``(group, out/group, out/group)``, covariance of the targets, where it was asked for.
        known: roots of averages over the covariance, kept as they are asked for.
    """

    kernel_shape: tuple[int, ...]
    inputs: Covariance
    cross: Array
    power: float
    x_mean: Array
    y_mean: Array
    count: int
    spread: Array | None = None
    known: dict[tuple[int, ...], Roots] = field(default_factory=dict, repr=False)

    @property
    def group(self) -> int:
        """Number of groups."""
        return self.inputs.group

    @property
    def covariance(self) -> Array:
        """``C`` as a matrix ``(group, D, D)``, which may have to be formed."""
        return self.inputs.matrix

    def split(self, weight: Array) -> Array:
        """A kernel ``(out, in/group, *kernel)`` as ``(group, out/group, D)``."""
        return weight.reshape(self.group, -1, self.inputs.entries)

    def error(self, weight: Array, bias: Array | None = None) -> float:
        """Relative output error: root of the mean square missed over the variance of the targets.

        Without a bias, with the best one.
        """
        missed = max(self.loss(weight), 0.0)
        if bias is not None:
            missed += float(np.sum((self.bias(weight) - bias) ** 2))
        return math.sqrt(missed / self.power) if self.power > 0 else 0.0

    def loss(self, weight: Array) -> float:
        """``E‖y − ȳ − F (x − x̄)‖²``."""
        f = self.split(weight)
        return self.power + float(np.sum(f * (self.inputs.times(f) - 2.0 * self.cross)))

    def bias(self, weight: Array) -> Array:
        """``ȳ − F x̄``, ``(out,)``: with it the mean of the answer is exact."""
        answered: Array = np.einsum("god,gd->go", self.split(weight), self.x_mean).reshape(-1)
        return self.y_mean - answered

    def ridged(self, anchor: Array, share: float) -> Moments:
        """The same with ``share`` of the mean variance of ``x`` added as a ridge towards ``anchor``.

        Least squares on these moments is ridge regression towards the kernel ``anchor``.
        """
        each = share * self.inputs.variance() / self.inputs.entries
        ridge, f = each[:, None, None], self.split(anchor)
        ridged = replace(
            self,
            inputs=self.inputs.ridged(each),
            cross=self.cross + ridge * f,
            power=self.power + float(np.sum(ridge * f * f)),
            known={},
        )
        if self.spread is None:
            return ridged
        return replace(ridged, spread=self.spread + ridge * f @ np.swapaxes(f, 1, 2))

    def turned(self, left: Array) -> Moments:
        """With ``left @ y`` as targets, for ``(group, out/group, out/group)``; needs the spread."""
        assert self.spread is not None
        spread = left @ self.spread @ np.swapaxes(left, 1, 2)
        return replace(
            self,
            cross=left @ self.cross,
            y_mean=(left @ self.y_mean.reshape(*left.shape[:2], 1)).reshape(-1),
            power=float(np.einsum("goo->", spread)),
            spread=spread,
        )

    def target(self) -> Array:
        """``(out, in/group, *kernel)``: the least-squares map from ``x`` to ``y``."""
        return self.inputs.solved(self.cross).reshape(-1, *self.kernel_shape)

    def channels(self) -> Array:
        """``(group, in, in)``: covariance between channels at one tap, averaged over taps."""
        return self.inputs.averaged(self.kernel_shape, [0])

    def strips(self, axes: Sequence[int]) -> Array:
        """``(group, in·k, in·k)``: covariance of patches one tap wide along all other axes, averaged.

        ``k`` counts the taps on ``axes``.
        """
        return self.inputs.averaged(self.kernel_shape, [0, *(1 + axis for axis in axes)])

    def strip_roots(self, axes: Sequence[int] = ()) -> Roots:
        """Roots of :meth:`strips`, or without axes of :meth:`channels`: many forms need these, and wait."""
        key = tuple(axes)
        if key not in self.known:
            self.known[key] = roots(self.strips(key))
        return self.known[key]

    def single(self) -> Moments:
        """With a covariance of single precision, for decompositions to be compared: twice as fast."""
        return replace(self, inputs=self.inputs.single(), known={})

    def taps_on(self, axes: Sequence[int]) -> Array:
        """``(group, k, k)``: covariance of taps along ``axes``, averaged over channels and all other axes."""
        return self.inputs.averaged(self.kernel_shape, [1 + axis for axis in axes])

    def neighbour_correlation(self) -> float | None:
        """Correlation of pixels side by side, pooled over channels; None for 1×1 kernels or no variance."""
        own = self.per_channel()
        variance = np.einsum("gikk->gik", own).reshape(-1, *self.kernel_shape[1:])
        grid = np.arange(own.shape[-1]).reshape(self.kernel_shape[1:])
        lines = [np.moveaxis(grid, axis, 0) for axis in range(grid.ndim)]
        pairs = np.concatenate([np.stack([line[:-1].ravel(), line[1:].ravel()], axis=1) for line in lines])
        if not len(pairs) or variance.mean() <= 0:
            return None
        return float(own[..., pairs[:, 0], pairs[:, 1]].mean() / variance.mean())

    def channel_correlation(self) -> float | None:
        """Mean absolute correlation of two channels at one pixel; None where there is one channel."""
        covariance = self.channels()
        deviation = np.sqrt(np.einsum("gii->gi", covariance))
        scale = deviation[:, :, None] * deviation[:, None, :]
        apart = ~np.eye(covariance.shape[-1], dtype=bool) & (scale > 0)
        if not apart.any():
            return None
        return float(np.mean(np.abs(covariance[apart] / scale[apart])))

    def per_channel(self) -> Array:
        """``(group, in, k, k)``: covariance between the taps of each channel."""
        return self.inputs.per_channel(self.kernel_shape[0])
