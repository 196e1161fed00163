"""How much an error in each direction of a convolution's answer matters to the layers that read it.

Plain least squares counts every output channel alike. A layer that reads 128 channels and makes 16 of
them does not notice an error in most directions. With ``A`` the kernels that read the answer, one matrix
per tap, an error ``δ`` of the answer becomes, neighbours taken as independent::

    E‖A δ‖² = E δᵀ G δ,   G = Σ AᵀA          behind a ReLU: G ∘ E[m mᵀ], m = (y > 0)

So factors are fitted to ``L y`` instead of ``y``, with ``LᵀL = G + share · mean(diag G) · I``, and ``L⁻¹``
is folded into the stages that write the answer: nothing in the fit needs to know. It is the Gauss–Newton
metric cut off at the next layer (the output side of K-FAC, Martens & Grosse 2015, arXiv 1503.05671);
Fisher-weighted SVD (Hsu et al. 2022, arXiv 2207.00112) uses its diagonal, from labelled gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sepfactor.factor.moments import Moments
from sepfactor.factor.stage import Array, Chain, Factorization, Stage

_EVEN_SHARE = 0.5
"""Of the mean importance, given to every direction: what is read is refitted later, and errors go further
than one layer. Two fifths to twice as much made no difference."""


Rows = NDArray[np.float32]


def both_positive(answers: Rows, group: int) -> Array:
    """``(group, out/group, out/group)``: in how many rows ``(n, out)`` two answers are both positive."""
    positive = (answers > 0).astype(np.float32).reshape(len(answers), group, -1).swapaxes(0, 1)
    both: Array = (np.swapaxes(positive, 1, 2) @ positive).astype(np.float64)
    return both


@dataclass(frozen=True, eq=False)
class OutputMetric:
    """Importance of errors of an answer.

    Attributes:
        gram: ``(group, out/group, out/group)``, non-negative definite, any scale.
    """

    gram: Array

    @classmethod
    def of(cls, gram: Array, group: int) -> OutputMetric:
        """Of an ``(out, out)`` matrix; what connects different groups is left out."""
        size = len(gram) // group
        blocks = gram.reshape(group, size, group, size)
        return cls(np.stack([blocks[g, :, g] for g in range(group)]))

    def behind(self, both_positive: Array) -> OutputMetric:
        """Behind a ReLU, where two errors only meet if both answers are positive.

        Args:
            both_positive: ``(group, out/group, out/group)``, how often they are.
        """
        return OutputMetric(self.gram * both_positive)

    def for_form(self, factorization: Factorization) -> OutputMetric:
        """What can be folded into its last stages: its diagonal where these do not mix all channels."""
        group = len(self.gram)
        if all(chain.stages[-1].group == group for chain in factorization.chains):
            return self
        return OutputMetric(self.gram * np.eye(self.gram.shape[-1]))

    @cached_property
    def roots(self) -> tuple[Array, Array]:
        """``L`` and ``L⁻¹``, each ``(group, out/group, out/group)``; a layer nobody reads counts evenly."""
        values, vectors = np.linalg.eigh(self.gram)
        values = np.maximum(values, 0.0)
        mean = float(values.mean())
        lifted = values / mean + _EVEN_SHARE if mean > 0 else np.ones_like(values)
        flipped = np.swapaxes(vectors, -1, -2)
        root = np.sqrt(lifted)[..., None, :]
        return (vectors * root) @ flipped, (vectors / root) @ flipped

    def weigh(self, answers: Rows) -> Rows:
        """``L y`` of answers ``(n, out)``."""
        group = len(self.gram)
        left = np.swapaxes(self.roots[0], 1, 2).astype(np.float32)
        turned: Rows = answers.reshape(len(answers), group, -1).swapaxes(0, 1) @ left
        return turned.swapaxes(0, 1).reshape(answers.shape)

    def whiten_stage(self, dense: Stage) -> Stage:
        """``L W``: the dense convolution that answers ``L y``."""
        return replace(dense, weight=_times(self.roots[0], dense.weight))

    def whiten_moments(self, moments: Moments) -> Moments:
        """With ``L y`` as targets."""
        return moments.turned(self.roots[0])

    def whiten(self, factorization: Factorization) -> Factorization:
        """What answers ``L y`` where this answers ``y``."""
        return _folded(factorization, self.roots[0])

    def unwhiten(self, factorization: Factorization) -> Factorization:
        """What answers ``y`` where this answers ``L y``."""
        return _folded(factorization, self.roots[1])


def _folded(factorization: Factorization, left: Array) -> Factorization:
    chains = []
    for *first, last in (chain.stages for chain in factorization.chains):
        if last.group == len(left):
            weight = _times(left, last.weight)
        else:  # a diagonal, as for_form made it
            weight = np.einsum("goo->go", left).reshape(-1, *[1] * (last.weight.ndim - 1)) * last.weight
        chains.append(Chain((*first, replace(last, weight=weight))))
    bias = factorization.bias
    return Factorization(tuple(chains), None if bias is None else _times(left, bias))


def _times(left: Array, weight: Array) -> Array:
    """Block by block ``left @ weight``, for ``(group, o, o)`` and ``(group·o, …)``."""
    turned: Array = left @ weight.reshape(*left.shape[:2], -1)
    return turned.reshape(weight.shape)
