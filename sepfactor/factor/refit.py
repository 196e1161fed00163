"""Fit the factors of a factorization to moments, by alternating exact least squares.

The answer of a sum of chains is linear in the weights of any one stage. With ``S(x) = Z_b x`` the
features that stage reads, seen through tap ``b`` of what follows it, and ``P_b`` what follows::

    F(Θ) = F_rest + Σ_b P_b Θ Z_b                    minimise  power − 2⟨F, B⟩ + ⟨F C, F⟩  over Θ

The last stages of all chains are solved together and in closed form (``P = 1``; the normal matrix is
``Z C Zᵀ``, as small as the features are few). Earlier stages are solved by conjugate gradients,
preconditioned with ``(Σ P_bᵀP_b)⁻¹ ⊗ (mean Z_b C Z_bᵀ)⁻¹``, which is exact when there is one tap.
Each solve is for a step from where the weights are, not for the weights: where few rows were seen, what
they do not tell stays as it was, and rounding is not blown up in directions that cost nothing.
Nothing here knows a scheme: whatever is a sum of chains can be fitted, hybrids included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from sepfactor.factor.features import Entries, Features, Mixtures
from sepfactor.factor.moments import Moments
from sepfactor.factor.solving import solve
from sepfactor.factor.stage import Array, Chain, Factorization, Stage
from sepfactor.factor.statistics import on_grid

_ITERATIONS = 12
"""Conjugate-gradient steps per stage and sweep; the next sweep goes on from there."""

_NOTHING_LEFT = 1e-14
"""Share of the power below which a step gains less than the rounding of float32 weights costs: going on
follows rounding, into directions nobody saw."""

_MOST_FEATURES = 4e7
"""Features of the last stages times entries of a patch; beyond that a fit takes minutes and gigabytes."""


def can_refit(dense: Stage, factorization: Factorization) -> bool:
    """Whether each kernel axis of ``dense`` is worked on by one stage of each chain, in full.

    And whether the normal equations of the last stages are of a size worth solving.
    """
    read = sum(chain.stages[-1].weight[0].size * chain.stages[-1].group for chain in factorization.chains)
    if read / dense.group * dense.weight[0].size > _MOST_FEATURES:
        return False
    return all(
        sorted((stage.kernel_shape[axis] for stage in chain.stages), reverse=True)
        == [dense.kernel_shape[axis], *[1] * (len(chain.stages) - 1)]
        and all(stage.group % dense.group == 0 for stage in chain.stages)
        for chain in factorization.chains
        for axis in dense.axes
    )


def refit(dense: Stage, factorization: Factorization, moments: Moments, *, sweeps: int = 2) -> Factorization:
    """``factorization`` with factors that fit ``moments`` better, and with the best bias.

    Args:
        dense: the convolution it replaces, for its shape and groups.
        factorization: where to start from; returned with a new bias only if :func:`can_refit` says no.
        moments: of the inputs it will see and the outputs it should give.
        sweeps: rounds over the earlier stages; 0 solves for the last ones only.
    """
    if can_refit(dense, factorization):
        parts = [
            _Problem(dense.kernel_shape, m).fit(_part(factorization, g, dense.group), sweeps)
            for g, m in enumerate(_groups(moments))
        ]
        factorization = _merged(parts, factorization)
    return replace(factorization, bias=moments.bias(on_grid(dense, factorization)))


Weights = list[list[Array]]
"""Per chain and stage: ``(out, in, *kernel)``, zeros where groups do not connect."""


@dataclass(frozen=True, eq=False)
class _Parts:
    """The stages of one group of the dense convolution, and where their weights may be other than zero."""

    weights: Weights
    masks: Weights
    groups: list[list[int]]


def _groups(moments: Moments) -> Iterator[Moments]:
    outs = moments.cross.shape[1]
    for g in range(moments.group):
        yield replace(
            moments,
            inputs=moments.inputs.of_group(g),
            cross=moments.cross[g : g + 1],
            x_mean=moments.x_mean[g : g + 1],
            y_mean=moments.y_mean[g * outs : (g + 1) * outs],
            known={},
        )


def _part(factorization: Factorization, g: int, groups: int) -> _Parts:
    weights: Weights = []
    masks: Weights = []
    inner: list[list[int]] = []
    for chain in factorization.chains:
        parts = []
        for stage in chain.stages:
            size = stage.out_channels // groups
            own = replace(stage, weight=stage.weight[g * size : (g + 1) * size], group=stage.group // groups)
            parts.append(own)
        weights.append([part.regrouped(1).weight for part in parts])
        ones = [replace(part, weight=np.ones_like(part.weight)) for part in parts]
        masks.append([one.regrouped(1).weight for one in ones])
        inner.append([part.group for part in parts])
    return _Parts(weights, masks, inner)


def _merged(parts: Sequence[_Parts], like: Factorization) -> Factorization:
    chains = []
    for c, chain in enumerate(like.chains):
        stages = []
        for s, stage in enumerate(chain.stages):
            blocks = [_compact(part.weights[c][s], part.groups[c][s]) for part in parts]
            stages.append(replace(stage, weight=np.concatenate(blocks)))
        chains.append(Chain(tuple(stages)))
    return Factorization(tuple(chains), like.bias)


def _compact(weight: Array, group: int) -> Array:
    """A dense weight of ``group`` diagonal blocks, without the zeros between them."""
    outs, ins = weight.shape[0] // group, weight.shape[1] // group
    blocks = [weight[b * outs : (b + 1) * outs, b * ins : (b + 1) * ins] for b in range(group)]
    return np.concatenate(blocks)


class _Problem:
    """Least squares for one group."""

    def __init__(self, kernel: tuple[int, ...], moments: Moments) -> None:
        self._kernel, self._ins = kernel, moments.kernel_shape[0]
        self._inputs, self._b, self._power = moments.inputs, moments.cross[0], moments.power

    def fit(self, parts: _Parts, sweeps: int) -> _Parts:
        """Solve for the last stages, then sweep: earlier stages, last stages again; the best that was met."""
        weights = [list(chain) for chain in parts.weights]
        best, least = parts.weights, self._loss(weights)
        for sweep in range(sweeps + 1):
            for c, chain in enumerate(weights):
                for s in range(len(chain) - 1 if sweep else 0):
                    chain[s] = self._solve_inner(weights, parts.masks[c][s], c, s)
            self._solve_last(weights, parts.masks)
            loss = self._loss(weights)
            if loss < least:
                best, least = [list(chain) for chain in weights], loss
        return replace(parts, weights=best)

    def _through(self, kernels: Array) -> Array:
        """``F C`` of ``(o, D)``."""
        found: Array = self._inputs.times(kernels[None])[0]
        return found

    def _loss(self, weights: Weights) -> float:
        """What is missed, but for a constant."""
        whole = self._whole(weights)
        return float(np.sum(whole * (self._through(whole) - 2.0 * self._b)))

    def _solve_last(self, weights: Weights, masks: Weights) -> None:
        features = [self._features(chain, len(chain) - 1)[0] for chain in weights]
        allowed = np.concatenate([_flat(mask[-1]) for mask in masks], axis=1) > 0
        z = np.concatenate(features)
        zc = self._through(z)
        found = np.concatenate([_flat(chain[-1]) for chain in weights], axis=1)
        missed = self._b - found @ zc
        for rows, columns in _blocks(allowed):
            read = z[columns]
            normal, right = zc[columns] @ read.T, missed[rows] @ read.T
            found[np.ix_(rows, columns)] += solve(normal, right.T).T
        start = 0
        for chain, z_chain in zip(weights, features, strict=True):
            chain[-1] = found[:, start : start + len(z_chain)].reshape(chain[-1].shape)
            start += len(z_chain)

    def _solve_inner(self, weights: Weights, mask: Array, c: int, s: int) -> Array:
        """Preconditioned conjugate gradients on the weights of stage ``s`` of chain ``c``."""
        chain = weights[c]
        posts, offsets = self._post(chain, s)
        z = self._seen_by(chain, s, offsets)
        allowed = _flat(mask)

        def forward(theta: Array) -> Array:
            total: Array = np.zeros_like(self._b)
            for p, zb in zip(posts, z, strict=True):
                zb.add(total, p, theta)
            return total

        def backward(g: Array) -> Array:
            total: Array = np.zeros_like(allowed)
            for p, zb in zip(posts, z, strict=True):
                total += zb.back(p, g)
            masked: Array = total * allowed
            return masked

        precondition = self._preconditioner(posts, z, mask)
        theta = _flat(chain[s])
        residual = backward(self._b - self._through(self._whole(weights)))
        direction = step = precondition(residual)
        energy = float(np.sum(residual * step))
        enough = max(1e-10 * energy, _NOTHING_LEFT * self._power)
        for _ in range(_ITERATIONS):
            if energy <= enough:
                break
            image = backward(self._through(forward(direction)))
            curvature = float(np.sum(direction * image))
            if curvature <= 0:
                break
            theta = theta + (energy / curvature) * direction
            residual = residual - (energy / curvature) * image
            step = precondition(residual)
            new = float(np.sum(residual * step))
            direction = step + (new / energy) * direction
            energy = new
        return theta.reshape(chain[s].shape)

    def _preconditioner(
        self, post: list[Array], z: Sequence[Features], mask: Array
    ) -> Callable[[Array], Array]:
        """``X ↦ P⁻¹ X Q⁻¹``, block by block where the stage is grouped."""
        p = np.sum([one.T @ one for one in post], axis=0)
        q = z[0].covariance(self._inputs)
        for zb in z[1:]:
            q = q + zb.covariance(self._inputs)
        allowed = _flat(mask) > 0
        if allowed.all():
            left, right = _inverting(p), _inverting(q)
            return lambda x: len(z) * left(right(x.T).T)
        p, q = _damped(p), _damped(q / len(z))
        # A grouped stage: each output channel reads a block of features of its own.
        columns = np.stack([np.flatnonzero(row) for row in allowed])
        rows = np.arange(len(columns))[:, None]
        blocks = q[columns[:, :, None], columns[:, None, :]]
        inverse = np.linalg.inv(blocks) / np.diag(p)[:, None, None]

        def apply(x: Array) -> Array:
            result = np.zeros_like(x)
            result[rows, columns] = np.einsum("oij,oj->oi", inverse, x[rows, columns])
            return result

        return apply

    def _seen_by(self, chain: list[Array], s: int, offsets: Sequence[tuple[int, ...]]) -> Sequence[Features]:
        """For each offset what stage ``s`` reads: entries of the patch themselves, if it is the first."""
        if s:
            return [Mixtures(z) for z in self._features(chain, s, offsets)]
        taps = list(np.ndindex(*chain[0].shape[2:]))
        grid = np.arange(self._ins * int(np.prod(self._kernel))).reshape(self._ins, *self._kernel)
        places = [[grid[(slice(None), *np.add(tap, offset))] for tap in taps] for offset in offsets]
        return [Entries(np.stack(each, axis=1).reshape(-1)) for each in places]

    def _features(self, chain: list[Array], s: int, offsets: Sequence[tuple[int, ...]] = ()) -> list[Array]:
        """For each offset, or none, the features stage ``s`` reads, ``(in·taps, D)``, as patch kernels."""
        ones = (1,) * len(self._kernel)
        pre = np.eye(self._ins).reshape(self._ins, self._ins, *ones)
        for weight in chain[:s]:
            pre = _compose(pre, weight)
        taps = list(np.ndindex(*chain[s].shape[2:]))
        result = []
        for offset in offsets or [(0,) * len(ones)]:
            z = np.zeros((pre.shape[0], len(taps), self._ins, *self._kernel), dtype=self._inputs.dtype)
            for t, tap in enumerate(taps):
                begin = [a + b for a, b in zip(tap, offset, strict=True)]
                window = tuple(slice(b, b + n) for b, n in zip(begin, pre.shape[2:], strict=True))
                z[:, t][(slice(None), slice(None), *window)] = pre
            result.append(z.reshape(pre.shape[0] * len(taps), -1))
        return result

    def _post(self, chain: list[Array], s: int) -> tuple[list[Array], list[tuple[int, ...]]]:
        """What follows stage ``s``: per tap a matrix ``(out, in)``, and the tap's offset."""
        post = chain[s + 1]
        for weight in chain[s + 2 :]:
            post = _compose(post, weight)
        taps = list(np.ndindex(*post.shape[2:]))
        flat = np.moveaxis(post.reshape(*post.shape[:2], -1), -1, 0)
        return list(np.ascontiguousarray(flat)), taps

    def _whole(self, weights: Weights) -> Array:
        """``(out, D)``: the kernel of the sum."""
        total: Array = np.sum([self._dense(chain) for chain in weights], axis=0)
        return total

    def _dense(self, chain: list[Array]) -> Array:
        dense = chain[0]
        for weight in chain[1:]:
            dense = _compose(dense, weight)
        return dense.reshape(len(dense), -1)


def _blocks(allowed: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows that read the same columns, and those columns."""
    if allowed.all():
        yield np.arange(allowed.shape[0]), np.arange(allowed.shape[1])
        return
    together: dict[bytes, list[int]] = {}
    for number, row in enumerate(allowed):
        together.setdefault(row.tobytes(), []).append(number)
    for rows in together.values():
        yield np.array(rows), np.flatnonzero(allowed[rows[0]])


def _inverting(gram: Array) -> Callable[[Array], Array]:
    """``X ↦ A⁻¹ X`` of a Gram made safely invertible."""
    for share in (1e-9, 1e-7, 1e-5):  # rounding of sums in float32 may make one indefinite
        with suppress(np.linalg.LinAlgError):
            factor = scipy.linalg.cho_factor(_damped(gram, share), overwrite_a=True, check_finite=False)
            return lambda x: scipy.linalg.cho_solve(factor, x, check_finite=False)
    inverse = np.linalg.inv(_damped(gram))
    return lambda x: inverse @ x


def _damped(gram: Array, share: float = 1e-9) -> Array:
    """A Gram with a little weight for all directions, seen or not; laid out so that LAPACK copies none."""
    scale = float(np.trace(gram)) / len(gram)
    damped = np.array(gram, order="F")
    damped[np.diag_indices(len(gram))] += share * scale if scale > 0 else 1.0
    return damped


def _flat(weight: Array) -> Array:
    return weight.reshape(len(weight), -1)


def _compose(first: Array, last: Array) -> Array:
    """Kernel of ``last`` after ``first`` at stride 1; on each axis one of the two has a single tap."""
    (m, i, *a), (o, _, *b) = first.shape, last.shape
    extent = [x + y - 1 for x, y in zip(a, b, strict=True)]
    result = np.zeros((o, i, *extent))
    taps = last.reshape(o, m, -1)
    for number, tap in enumerate(itertools.product(*map(range, b))):
        window = tuple(slice(t, t + n) for t, n in zip(tap, a, strict=True))
        part: Array = taps[..., number] @ first.reshape(m, -1)
        result[(slice(None), slice(None), *window)] += part.reshape(o, i, *a)
    return result
