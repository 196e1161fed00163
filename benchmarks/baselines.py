"""What others do with the same network: the rules to be beaten, runnable in the same harness.

    subject = Subject(file, prepared, sites, feeds, engine)
    for name, baseline in BASELINES.items():
        for label, model in baseline.points(subject):
            ...

None of them retrains. Multiply-accumulates are those of all convolutions, borders and strides
counted. A layer whose factors would cost as much as it does stays as it is, in every rule. With
``Subject.blocks`` ranks are multiples of 16 where the layer is that wide, which onnxruntime runs
fastest; without it every rank is allowed, as published.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx_ir as ir
from int8 import SPARED, Quantizer
from subject import Layer, Subject, moments, put

from sepfactor.factor import Decomposition, Factorization, Stage
from sepfactor.factor.channel import OUT
from sepfactor.factor.covariance import Formed
from sepfactor.factor.depthwise_pointwise import DEPTHWISE_FIRST
from sepfactor.factor.moments import Moments
from sepfactor.factor.solving import solve
from sepfactor.factor.spatial import VERTICAL_FIRST
from sepfactor.factor.stage import Array
from sepfactor.graph.rebuild import Replacement, rebuild

# Rules without data ------------------------------------------------------------------------------


def plain_svd(subject: Subject, share: float) -> list[Replacement]:
    """Spatial, vertical first, by truncated SVD of the weights; one ratio for all layers.

    Each k×k layer gets the largest rank of at most ``share`` of its multiply-accumulates, or the
    smallest there is.
    """
    found = []
    for layer in subject.layers:
        if VERTICAL_FIRST.refuses(layer.stage):
            continue
        decomposition = VERTICAL_FIRST.decompose(layer.stage)
        offered = subject.ranks(decomposition, layer)
        most = share * layer.macs / layer.macs_per_rank(decomposition)
        rank = max((rank for rank in offered if rank <= most), default=offered[0])
        found += layer.replaced(Factorization(decomposition.build((rank,)), layer.site.bias))
    return found


def network_decoupling(subject: Subject, energy: float) -> list[Replacement]:
    """Depthwise → pointwise in weight space; one threshold of energy for all layers.

    Each k×k layer gets the fewest pairs that keep ``energy`` of the kernel's energy, as a mean over
    its input channels: Guo et al. 2018, as their program does it. (It puts the pointwise part first
    unless told otherwise; the paper proposes both.) Their data-driven combinations with channel and
    spatial decomposition are left out.
    """
    found = []
    for layer in subject.layers:
        if DEPTHWISE_FIRST.refuses(layer.stage):
            continue
        decomposition = DEPTHWISE_FIRST.decompose(layer.stage)
        (full,) = decomposition.full_rank
        kept = _energy_by_pairs(layer.stage)
        pairs = min(1 + int(np.sum(kept < energy)), full)
        found += layer.replaced(Factorization(decomposition.build((pairs,)), layer.site.bias))
    return found


def _energy_by_pairs(stage: Stage) -> Array:
    """``(T,)``: share of the energy kept by 1, 2 … pairs, averaged over input channels that have any."""
    slices = stage.grouped().reshape(stage.group, -1, stage.weight.shape[1], math.prod(stage.kernel_shape))
    energy = np.linalg.svd(np.swapaxes(slices, 1, 2), compute_uv=False) ** 2  # (group, in, T)
    energy = energy.reshape(-1, energy.shape[-1])
    energy = energy[energy.sum(axis=1) > 0]
    kept: Array = np.mean(np.cumsum(energy, axis=1) / energy.sum(axis=1, keepdims=True), axis=0)
    return kept


# Rules that look at activations ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ladder:
    """The ranks of one layer in channel form, rising to the full one.

    Attributes:
        layer: the layer. decomposition: of it.
        ranks: to choose from.
        energy: share of the energy kept at each.
        macs: at each; where factoring does not pay, those of the layer, which then stays.
    """

    layer: Layer
    decomposition: Decomposition
    ranks: list[int]
    energy: Array
    macs: Array

    @classmethod
    def of(cls, layer: Layer, subject: Subject, seen: Moments) -> Ladder:
        """In the metric of ``seen``."""
        decomposition = OUT.decompose(layer.stage, seen)
        cost = layer.macs_per_rank(decomposition)
        offered = subject.ranks(decomposition, layer)
        return cls(
            layer,
            decomposition,
            offered,
            1.0 - decomposition.squared_error[offered],
            np.minimum(cost * np.array(offered, np.float64), layer.macs),
        )

    def at(self, rung: int) -> Factorization:
        """The factors at a rung, with the bias of the layer."""
        return Factorization(self.decomposition.build((self.ranks[rung],)), self.layer.site.bias)


def pca_energy(subject: Subject, share: float) -> list[Replacement]:
    """Channel decomposition of the responses, ranks by the greedy rule for the product of energies.

    Zhang et al. 2015: ``y − ȳ`` is projected on its leading principal directions. To bring the whole
    network down to ``share`` of its multiply-accumulates, the product over layers of the PCA energy
    kept is maximised greedily: directions are dropped where the relative loss of energy per
    complexity saved is least, a layer's complexity counted in proportion to its rank as in the
    paper, the budget in true figures. Each layer by itself, on the original's inputs.
    """
    found = []
    for ladder, rung in _greedy(subject, share):
        factors = ladder.at(rung)
        centred = replace(factors, bias=ladder.layer.moments.bias(factors.dense().weight))
        found += ladder.layer.replaced(centred)
    return found


def pca_energy_asymmetric(subject: Subject, share: float) -> list[Replacement]:
    """The same ranks, with the paper's asymmetric reconstruction: this is their whole linear method.

    Layer by layer in the order of the graph, the best map of that rank from what the layer answers
    in the network compressed so far to what the original answers (reduced-rank regression). Left
    out: the ReLU in the reconstruction, and the asymmetric 3-d form.
    """
    original, compressed = subject.walk(), subject.walk()
    found = []
    for ladder, rung in _greedy(subject, share):
        layer = ladder.layer
        if not layer.replaced(ladder.at(rung)):
            continue
        for walk in (original, compressed):
            walk.advance_for_input(layer.site)
        seen = moments(layer.site, layer.stage, compressed, original)
        target = replace(layer.stage, weight=_regressed(layer.stage, seen))
        chains = OUT.decompose(target, seen).build((ladder.ranks[rung],))
        factors = Factorization(chains)
        replacement = Replacement(layer.site, replace(factors, bias=seen.bias(factors.dense().weight)), {})
        put(compressed, replacement)
        found.append(replacement)
    return found


def _regressed(stage: Stage, seen: Moments) -> Array:
    """``M W``: the kernel followed by the least-squares map from its answers to the original's."""
    kernels = stage.weight.reshape(stage.group, -1, seen.covariance.shape[-1])
    regressed = []
    for w, covariance, cross in zip(kernels, seen.covariance, seen.cross, strict=True):
        regressed.append(solve(w @ covariance @ w.T, w @ cross.T).T @ w)
    return np.concatenate(regressed).reshape(stage.weight.shape)


def _greedy(subject: Subject, share: float) -> list[tuple[Ladder, int]]:
    """Each layer's ladder and the rung it ends on."""
    ladders = _ladders(subject, lambda seen: seen)
    rungs = [len(ladder.ranks) - 1 for ladder in ladders]
    budget = _left_for(ladders, subject, share)
    while sum(ladder.macs[rung] for ladder, rung in zip(ladders, rungs, strict=True)) > budget:
        prices = [_price(ladder, rung) for ladder, rung in zip(ladders, rungs, strict=True)]
        if math.inf == min(prices, default=math.inf):
            break
        rungs[int(np.argmin(prices))] -= 1
    return list(zip(ladders, rungs, strict=True))


def _price(ladder: Ladder, rung: int) -> float:
    """Relative energy lost per complexity saved by going down one rung."""
    if rung == 0:
        return math.inf
    lost = (ladder.energy[rung] - ladder.energy[rung - 1]) / max(ladder.energy[rung], 1e-12)
    saved = ladder.layer.macs * (ladder.ranks[rung] - ladder.ranks[rung - 1]) / ladder.ranks[-1]
    return float(lost / saved)


def balf(subject: Subject, share: float) -> list[Replacement]:
    """Channel decomposition in the metric of the inputs, ranks by a Lagrangian over the energies.

    BALF (González Martínez 2025), as its program does it: weights whitened by the second moments of
    the patches, not centred, and truncated; over all layers the sum of the shares of energy kept,
    every layer weighing the same, is maximised under a budget of ``share`` of the multiply-accumulates,
    by bisection of the multiplier; the bias stays. Layer by layer on the original's inputs. Linear
    layers, which BALF factors too, are left alone.
    """
    ladders = _ladders(subject, _uncentred)
    budget = _left_for(ladders, subject, share)
    rungs = _lagrangian([ladder.energy for ladder in ladders], [ladder.macs for ladder in ladders], budget)
    pairs = zip(ladders, rungs, strict=True)
    return [found for ladder, rung in pairs for found in ladder.layer.replaced(ladder.at(rung))]


def _lagrangian(energies: Sequence[Array], costs: Sequence[Array], budget: float) -> list[int]:
    """Per layer the choice of the most ``energy − λ·cost``, at the least λ whose total cost fits.

    Where even the cheapest choices do not fit, those.
    """

    def choices(multiplier: float) -> list[int]:
        return [int(np.argmax(e - multiplier * c)) for e, c in zip(energies, costs, strict=True)]

    def fits(multiplier: float) -> bool:
        return sum(c[i] for c, i in zip(costs, choices(multiplier), strict=True)) <= budget

    if fits(0.0):
        return choices(0.0)
    low, high = 0.0, 1.0  # one more multiply-accumulate never keeps a whole layer's energy
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return choices(high)


def _ladders(subject: Subject, metric: Callable[[Moments], Moments]) -> list[Ladder]:
    eligible = [layer for layer in subject.layers if not OUT.refuses(layer.stage)]
    return [Ladder.of(layer, subject, metric(layer.moments)) for layer in eligible]


def _left_for(ladders: Sequence[Ladder], subject: Subject, share: float) -> float:
    """Of ``share`` of all multiply-accumulates, what is left when layers without a ladder have theirs."""
    return sum(ladder.layer.macs for ladder in ladders) - (1.0 - share) * subject.macs


def _uncentred(seen: Moments) -> Moments:
    """Second moments around zero in place of the covariance."""
    mean = seen.x_mean
    return replace(seen, inputs=Formed(seen.covariance + mean[:, :, None] * mean[:, None, :]))


# The registry ------------------------------------------------------------------------------------


class Baseline(Protocol):
    """A rule and its operating points."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def source(self) -> str:
        """The paper or the tool."""

    def points(self, subject: Subject) -> Iterator[tuple[str, ir.Model]]:
        """What to call each operating point, and its network: from mild to strong, no two the same."""


@dataclass(frozen=True)
class Rule:
    """A rule with one number to turn.

    Attributes:
        name, source: see :class:`Baseline`.
        knob: what the number is.
        settings: from mild to strong.
        replacements: the rule.
    """

    name: str
    source: str
    knob: str
    settings: tuple[float, ...]
    replacements: Callable[[Subject, float], list[Replacement]]

    def points(self, subject: Subject) -> Iterator[tuple[str, ir.Model]]:
        """See :class:`Baseline`; without settings that replace nothing, or the same as the one before."""
        before: list[tuple[str, int]] = []
        for setting in self.settings:
            found = self.replacements(subject, setting)
            shape = [(r.site.output, r.factorization.parameters) for r in found]
            if shape != before:
                yield f"{self.knob} {setting:g}", rebuild(subject.prepared, found).model
            before = shape


@dataclass(frozen=True)
class Int8:
    """onnxruntime's static quantisation: of all layers, or sparing the first, the last, or both."""

    name: str = "int8"
    source: str = "onnxruntime.quantization.quantize_static"

    def points(self, subject: Subject) -> Iterator[tuple[str, ir.Model]]:
        """See :class:`Baseline`."""
        with tempfile.TemporaryDirectory() as folder:
            quantizer = Quantizer(subject.file, subject.feeds, Path(folder))
            for label, spared in reversed(SPARED.items()):
                found = quantizer.quantize(spared)
                yield f"{label}: {found.setting}", found.model


_SHARES = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3)

BASELINES: dict[str, Baseline] = {
    baseline.name: baseline
    for baseline in (
        Rule("plain SVD", "Jaderberg 2014, Tai 2016", "MACs ≤", _SHARES, plain_svd),
        Rule(
            "Network Decoupling",
            "Guo 2018, arXiv 1808.05517",
            "energy ≥",
            (0.99, 0.98, 0.95, 0.9, 0.8, 0.7),
            network_decoupling,
        ),
        Rule("PCA energy", "Zhang 2015, arXiv 1505.06798", "MACs ≤", _SHARES, pca_energy),
        Rule(
            "PCA energy, asymmetric", "Zhang 2015, arXiv 1505.06798", "MACs ≤", _SHARES, pca_energy_asymmetric
        ),
        Rule("BALF", "González Martínez 2025, arXiv 2509.25136", "MACs ≤", _SHARES, balf),
        Int8(),
    )
}
"""Every baseline by name."""
