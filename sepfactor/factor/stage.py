"""Sum → chain → stage: the one data structure behind every factorised convolution.

A *stage* is one convolution without bias, a *chain* is stages run one after the other, and a
*factorization* is a sum of chains plus one bias. The dense kernel it stands for, its
multiply-accumulates, its parameters, its micro-benchmark and its ONNX nodes are all derived from
here, so a new scheme has nothing to say about any of them.

A chain equals **one** dense convolution exactly, borders included, only if zero padding meets no
earlier kernel on the same axis and no bias: padding ``K₁ ∗ x`` with zeros is not ``K₁`` applied to
a padded ``x``. :class:`Chain` refuses anything else.

A transposed convolution is a convolution too, at stride 1 over its input with zeros between the
pixels: its stride is the *upsampling* of the stage, and everything else follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sepfactor.threads import one_blas_thread

Array = NDArray[np.float64]
Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Stage:
    """One convolution without bias.

    Attributes:
        weight: ``(out_channels, in_channels / group, *kernel_shape)``.
        strides: one step per spatial axis.
        pads: ``(begin, end)`` zeros per spatial axis.
        dilations: one spacing per spatial axis.
        group: number of groups.
        upsampling: pixels that become of one on each spatial axis before the kernel, all but the first
            of them zeros; 1 if not said.
    """

    weight: Array
    strides: Ints
    pads: Pads
    dilations: Ints
    group: int = 1
    upsampling: Ints = ()

    def __post_init__(self) -> None:
        axes = self.weight.ndim - 2
        if not self.upsampling:
            object.__setattr__(self, "upsampling", (1,) * axes)
        if {len(self.strides), len(self.pads), len(self.dilations), len(self.upsampling)} != {axes}:
            raise ValueError(
                f"a kernel of {axes} axes needs as many strides, pads and dilations; got "
                f"{self.strides}, {self.pads}, {self.dilations}"
            )
        if self.weight.shape[0] % self.group:
            raise ValueError(f"{self.weight.shape[0]} outputs do not divide into {self.group} groups")

    @classmethod
    def pointwise(cls, weight: Array, axes: int = 2, group: int = 1) -> Stage:
        """A 1×1 stage from a matrix ``(out_channels, in_channels / group)``."""
        ones = (1,) * axes
        return cls(weight.reshape(*weight.shape, *ones), ones, ((0, 0),) * axes, ones, group)

    def along(self, weight: Array, axes: Iterable[int], group: int | None = None) -> Stage:
        """A stage with ``weight`` that takes this stage's geometry on ``axes`` and none elsewhere.

        Strides and pads must sit on the axis that has the kernel: a 1×1 with pads loses
        onnxruntime's pointwise kernel, and a stride taken too early drops pixels. So must upsampling:
        taken too early, it multiplies work.
        """
        chosen = set(axes)
        return Stage(
            weight,
            tuple(s if a in chosen else 1 for a, s in enumerate(self.strides)),
            tuple(p if a in chosen else (0, 0) for a, p in enumerate(self.pads)),
            tuple(d if a in chosen else 1 for a, d in enumerate(self.dilations)),
            self.group if group is None else group,
            tuple(u if a in chosen else 1 for a, u in enumerate(self.upsampling)),
        )

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0])

    @property
    def in_channels(self) -> int:
        return int(self.weight.shape[1]) * self.group

    @property
    def kernel_shape(self) -> Ints:
        return self.weight.shape[2:]

    @property
    def axes(self) -> range:
        return range(self.weight.ndim - 2)

    @property
    def kernel_axes(self) -> Ints:
        """Those on which the kernel has more than one tap."""
        return tuple(a for a, k in enumerate(self.kernel_shape) if k > 1)

    def kernel_on(self, axes: Iterable[int]) -> Ints:
        """The kernel shape on ``axes``, and one tap on all others."""
        chosen = set(axes)
        return tuple(k if a in chosen else 1 for a, k in enumerate(self.kernel_shape))

    @property
    def is_depthwise(self) -> bool:
        """One input channel per group, and more than one group."""
        return self.group > 1 and self.weight.shape[1] == 1

    @property
    def is_pointwise(self) -> bool:
        return all(k == 1 for k in self.kernel_shape)

    @property
    def is_transposed(self) -> bool:
        """Whether it sees zeros between the pixels of its input."""
        return any(u > 1 for u in self.upsampling)

    def grouped(self) -> Array:
        """The weight as ``(group, out/group, in/group, *kernel_shape)``."""
        return self.weight.reshape(self.group, -1, *self.weight.shape[1:])

    def output_size(self, size: Ints) -> Ints:
        """The map a map of ``size`` becomes (ONNX Conv, explicit pads)."""
        return tuple(
            ((n - 1) * u + b + e - (k - 1) * d) // s + 1
            for n, u, (b, e), k, d, s in zip(
                size, self.upsampling, self.pads, self.kernel_shape, self.dilations, self.strides, strict=True
            )
        )

    @property
    def parameters(self) -> int:
        return self.weight.size

    def macs(self, size: Ints) -> int:
        """Multiply-accumulates on one map of ``size``, borders counted in full, zeros in between not."""
        met = (
            n if u > 1 else out
            for n, u, out in zip(size, self.upsampling, self.output_size(size), strict=True)
        )
        return self.parameters * math.prod(met)

    def then(self, last: Stage) -> Stage:
        """The single dense stage that equals this one followed by ``last``.

        With ``a`` over the taps of this stage and ``b`` over those of ``last``, per axis
        ``K[d₁·a + s₁·d₂·b] += K₂[b] K₁[a]``; strides multiply; a pad of ``last`` counts ``s₁``-fold.
        Where ``last`` upsamples, this stage must do nothing.
        """
        if last.in_channels != self.out_channels:
            raise ValueError(f"{self.out_channels} channels feed a stage of {last.in_channels}")
        steps = [s * d for s, d in zip(self.strides, last.dilations, strict=True)]
        spacing = tuple(
            math.gcd(d if k > 1 else 0, step if n > 1 else 0) or 1
            for d, k, step, n in zip(self.dilations, self.kernel_shape, steps, last.kernel_shape, strict=True)
        )
        extent = tuple(
            ((k - 1) * d + (n - 1) * step) // g + 1
            for k, d, n, step, g in zip(
                self.kernel_shape, self.dilations, last.kernel_shape, steps, spacing, strict=True
            )
        )
        group, product = _channel_product(self, last)
        weight = np.zeros((*product.shape[:2], *extent))
        own = tuple(
            slice(None, (k - 1) * d // g + 1, max(d // g, 1))
            for k, d, g in zip(self.kernel_shape, self.dilations, spacing, strict=True)
        )
        for tap in np.ndindex(*last.kernel_shape):
            shift = (t * step // g for t, step, g in zip(tap, steps, spacing, strict=True))
            window = tuple(slice(o, o + s.stop, s.step) for o, s in zip(shift, own, strict=True))
            weight[(slice(None), slice(None), *window)] += product[(..., *tap)]
        pads = tuple(
            (b + s * c, e + s * f)
            for (b, e), s, (c, f) in zip(self.pads, self.strides, last.pads, strict=True)
        )
        strides = tuple(s * t for s, t in zip(self.strides, last.strides, strict=True))
        upsampling = tuple(u * v for u, v in zip(self.upsampling, last.upsampling, strict=True))
        return Stage(weight, strides, pads, spacing, group, upsampling)

    def regrouped(self, group: int) -> Stage:
        """The same convolution written with fewer groups (``group`` divides ``self.group``)."""
        if group == self.group:
            return self
        merged = self.group // group
        blocks = self.weight.reshape(group, merged, -1, *self.weight.shape[1:])
        _, _, outs, ins, *kernel = blocks.shape
        full = np.zeros((group, merged, outs, merged, ins, *kernel))
        for index in range(merged):
            full[:, index, :, index] = blocks[:, index]
        return replace(self, weight=full.reshape(group * merged * outs, merged * ins, *kernel), group=group)


@one_blas_thread()
def _channel_product(first: Stage, last: Stage) -> tuple[int, Array]:
    """``(group, weight)``: the stages multiplied over the channels between them.

    The weight is ``(out, in/group, *first.kernel, *last.kernel)``. Computed group by group, so that
    a depthwise stage never becomes a dense one on the way.
    """
    if first.group % last.group and last.group % first.group:
        common = math.gcd(first.group, last.group)
        first, last = first.regrouped(common), last.regrouped(common)
    k1, k2 = first.kernel_shape, last.kernel_shape
    finer, group = max(first.group, last.group), min(first.group, last.group)
    inner = finer // group
    # a: taps of the first stage, b: taps of the last, m: middle channels within the finer group.
    left = first.weight.reshape(group, -1, first.weight.shape[1], math.prod(k1))
    right = last.weight.reshape(group, -1, last.weight.shape[1], math.prod(k2))
    ins = first.weight.shape[1]
    if first.group >= last.group:
        left = left.reshape(group, inner, -1, ins, left.shape[-1])
        right = right.reshape(group, right.shape[1], inner, -1, right.shape[-1])
        product = np.einsum("ghmia,gohmb->gohiab", left, right, optimize=True)
        product = product.reshape(last.out_channels, inner * ins, *k1, *k2)
    else:
        left = left.reshape(group, inner, -1, ins, left.shape[-1])
        right = right.reshape(group, inner, -1, right.shape[2], right.shape[-1])
        product = np.einsum("ghmia,ghomb->ghoiab", left, right, optimize=True)
        product = product.reshape(last.out_channels, ins, *k1, *k2)
    return group, product


@dataclass(frozen=True, eq=False)
class Chain:
    """Stages run one after the other; equal to one dense convolution (see the module's docstring)."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a chain needs at least one stage")
        for axis in self.stages[0].axes:
            kernel_seen = busy = False
            for stage in self.stages:
                if kernel_seen and stage.pads[axis] != (0, 0):
                    raise ValueError(f"axis {axis} is padded behind its kernel: borders would differ")
                if busy and stage.upsampling[axis] > 1:
                    raise ValueError(f"axis {axis} is upsampled behind a stage that works on it")
                kernel_seen |= stage.kernel_shape[axis] > 1 or stage.pads[axis] != (0, 0)
                busy |= kernel_seen or stage.strides[axis] > 1 or stage.upsampling[axis] > 1

    def dense(self) -> Stage:
        """The one dense stage this chain equals."""
        dense, *rest = self.stages
        for stage in rest:
            dense = dense.then(stage)
        return dense

    @property
    def parameters(self) -> int:
        return sum(stage.parameters for stage in self.stages)

    def macs(self, size: Ints) -> int:
        total = 0
        for stage in self.stages:
            total += stage.macs(size)
            size = stage.output_size(size)
        return total


@dataclass(frozen=True, eq=False)
class Factorization:
    """A sum of chains plus one bias ``(out_channels,)``: what a convolution is replaced by."""

    chains: tuple[Chain, ...]
    bias: Array | None = None

    @classmethod
    def of(cls, stage: Stage, bias: Array | None = None) -> Factorization:
        """A convolution itself, as a sum of one chain of one stage."""
        return cls((Chain((stage,)),), bias)

    @property
    def stages(self) -> Sequence[Stage]:
        """Every stage, chain by chain, in the order they run."""
        return [stage for chain in self.chains for stage in chain.stages]

    @property
    def out_channels(self) -> int:
        return self.chains[0].stages[-1].out_channels

    @property
    def in_channels(self) -> int:
        return self.chains[0].stages[0].in_channels

    def dense(self) -> Stage:
        """The one dense stage the sum equals; groups are widened to the greatest common one."""
        return self._dense

    @cached_property
    def _dense(self) -> Stage:
        parts = [chain.dense() for chain in self.chains]
        group = math.gcd(*(part.group for part in parts))
        parts = [part.regrouped(group) for part in parts]
        return replace(parts[0], weight=np.sum([part.weight for part in parts], axis=0))

    @property
    def parameters(self) -> int:
        """Weights and bias together."""
        bias = 0 if self.bias is None else self.bias.size
        return bias + sum(chain.parameters for chain in self.chains)

    def rounded(self, dtype: np.dtype[np.floating]) -> Factorization:
        """The same with weights and bias as they are once written as ``dtype``."""
        bias = None if self.bias is None else self.bias.astype(dtype).astype(self.bias.dtype)
        return Factorization(self._changed(lambda weight: weight.astype(dtype).astype(weight.dtype)), bias)

    def held_as(self, dtype: np.dtype[np.floating]) -> Factorization:
        """The same with weights in ``dtype``, and without the dense kernel it remembers."""
        return Factorization(self._changed(lambda weight: weight.astype(dtype)), self.bias)

    def with_weights(self, weights: Iterable[Array]) -> Factorization:
        """The same with other weights for its stages, in the order they run."""
        found = iter(weights)
        return Factorization(self._changed(lambda _: next(found)), self.bias)

    def _changed(self, change: Callable[[Array], Array]) -> tuple[Chain, ...]:
        def stage(one: Stage) -> Stage:
            return replace(one, weight=change(one.weight))

        return tuple(Chain(tuple(map(stage, chain.stages))) for chain in self.chains)

    def macs(self, size: Ints) -> int:
        """Multiply-accumulates on one map of ``size``; the additions that join chains are not counted."""
        return sum(chain.macs(size) for chain in self.chains)

    def output_size(self, size: Ints) -> Ints:
        for stage in self.chains[0].stages:
            size = stage.output_size(size)
        return size
