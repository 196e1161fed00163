"""The search space: for each layer its candidates, what they save, and what they cost at the output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sepfactor.budgets import Cost, CostLimit
from sepfactor.codes import Precision, Reason
from sepfactor.factor import Rank
from sepfactor.factor.scheme import Spectrum
from sepfactor.fit.evidence import Evidence
from sepfactor.plans.document import KEEP, Int8, PlannedLayer, TimeAlone
from sepfactor.plans.knapsack import Options as Columns
from sepfactor.plans.knapsack import solve
from sepfactor.plans.losses import LossCurve, shares_left
from sepfactor.search.beside import FLOAT, INT8, LOSS, TIME, Beside
from sepfactor.search.candidate import Candidate
from sepfactor.search.layer_timing import LayerTime, is_slower
from sepfactor.study.recipe import kept

_LEAST_MS = 0.02
"""Profiles count whole microseconds, and each node costs some: shorter layers say little by them."""

_FACTORS = (0.5, 3.0)
"""A profile that says a layer is off by more is not believed beyond that."""

IN_EIGHT_BITS = Reason("in-eight-bits", "it stays dense, in 8-bit integers")
NOT_WORTH_IT = Reason("not-worth-it", "no candidate is worth what it loses within the budget")


@dataclass(frozen=True, eq=False)
class Losses:
    """What replacing a layer alone does to the output.

    Attributes:
        curve: divergence at the output by the error of the layer.
        measured: the same by the rank of candidates that are measured for themselves.
        int8: what eight bits add to that.
    """

    curve: LossCurve = field(default_factory=lambda: LossCurve(()))
    measured: Mapping[Rank, float] = field(default_factory=dict)
    int8: float = 0.0

    def of(self, candidate: Candidate) -> float:
        """Divergence to expect of a candidate."""
        known = self.measured.get(candidate.rank) if candidate.has_own_loss else None
        own = self.curve(candidate.weighted_error) if known is None else known
        return own + (self.int8 if candidate.is_int8 else 0.0)


@dataclass(frozen=True, eq=False)
class LayerChoices:
    """What may become of one layer.

    Attributes:
        evidence: of its site.
        candidates: fastest first; none where it can only be kept.
        times: theirs, each against the layer alone.
        reason: why there is nothing to choose from.
        nearest: the time of the nearest candidate, where none was faster.
        spectra: scheme → error by rank, candidates or not.
        seen: by option, milliseconds in the network, each time it was measured; 0 is the layer itself.
        bytes_each: of one weight in the file.
        losses: divergence at the output where this layer alone is replaced.
        is_followed: whether a convolution behind it may make up for its errors.
        share: of that loss which is left in a network fitted in sequence.
        usual: by scheme, time in the network over what was expected, as it came out where it was built.
    """

    evidence: Evidence
    candidates: tuple[Candidate, ...] = ()
    times: tuple[LayerTime, ...] = ()
    reason: Reason | None = None
    nearest: LayerTime | None = None
    spectra: Mapping[str, Spectrum] = field(default_factory=dict)
    seen: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    bytes_each: int = 4
    losses: Losses = field(default_factory=Losses)
    is_followed: bool = False
    share: float = 1.0
    usual: Mapping[str, float] = field(default_factory=dict)

    @property
    def ms(self) -> float:
        """Milliseconds of the layer in the network; 0 where they are not known."""
        return float(np.median(self.seen[0])) if 0 in self.seen else 0.0

    def alone(self, option: int) -> float:
        """Milliseconds of an option in the network, going by its micro-benchmark."""
        return self.ms / self.times[option - 1].speedup if option else self.ms

    def milliseconds(self, option: int) -> float:
        """To expect in the network; option 0 keeps the layer, option ``k`` takes candidate ``k − 1``."""
        if option in self.seen:
            return float(np.median(self.seen[option]))
        if not option:
            return 0.0
        family = self.candidates[option - 1].family
        return self.alone(option) * self.usual.get(family, self.usual.get("", 1.0))

    def is_int8(self, option: int) -> bool:
        """Whether an option computes in eight bits."""
        return option > 0 and self.candidates[option - 1].is_int8

    @property
    def dense_int8(self) -> int:
        """The option that keeps the layer, in eight bits; 0 where there is none."""
        candidates = enumerate(self.candidates, 1)
        return next((k for k, one in candidates if one.is_int8 and one.scheme == KEEP), 0)

    def seen_in_eight_bits(self, ms: float | None) -> LayerChoices:
        """The same with what it takes dense in a network in eight bits, where that is known."""
        option = self.dense_int8
        if not option or not ms or self.ms < _LEAST_MS:
            return self
        return replace(self, seen={**self.seen, option: (*self.seen.get(option, ()), ms)})

    def expected_loss(self, option: int) -> float:
        """Divergence to expect of an option in a network fitted in sequence."""
        return (self.share if self.is_made_up_for(option) else 1.0) * self.alone_loss(option)

    def is_made_up_for(self, option: int) -> bool:
        """Whether a convolution behind it is fitted to make up for its error."""
        return self.is_followed and (not option or self.candidates[option - 1].can_be_made_up_for)

    def alone_loss(self, option: int) -> float:
        """Divergence to expect of an option if no other layer is replaced."""
        return self.losses.of(self.candidates[option - 1]) if option else 0.0

    def cost(self, option: int) -> Cost:
        """What an option costs."""
        ms, seen = self.milliseconds(option), self.evidence
        if not option:
            return Cost(ms, seen.macs, seen.parameters, seen.parameters * self.bytes_each)
        candidate = self.candidates[option - 1]
        parameters = candidate.parameters(seen.site.bias)
        return Cost(ms, candidate.macs, parameters, parameters * self.bytes_of(candidate.precision))

    def bytes_of(self, precision: Precision) -> int:
        """What one weight takes in the file."""
        return 1 if precision == "int8" else self.bytes_each

    def columns(
        self, limits: Iterable[CostLimit] = (), trust: float = 1.0, *, slower: bool = True
    ) -> Columns:
        """Time, loss and limited quantities of every option.

        Args:
            limits: of a budget.
            trust: in sensitivities. 1 takes them as measured; 0 counts the squared error itself, so that
                all layers matter alike; between is their geometric mean. Layers were tried alone, but are
                fitted in sequence, where those behind make up for errors of those before.
            slower: whether candidates that are slower than the layer may be taken.
        """
        errors = [c.weighted_error for c in self.candidates]
        losses = [self._trusted(k, e, trust) for k, e in enumerate(errors, 1)]
        if not slower:
            losses = [np.inf if self._is_slower(k) else loss for k, loss in enumerate(losses, 1)]
        costs = [self.cost(k) for k in range(len(self.candidates) + 1)]
        limited = {
            limit.option: np.array([limit.quantity(cost) for cost in costs], float) for limit in limits
        }
        times = np.array([cost.ms for cost in costs], float)
        side = np.array([float(self.is_int8(k)) for k in range(len(costs))])
        avoided = (1.0 - side) * side.max()
        lost = np.array([0.0, *losses])
        return Columns({TIME: times, LOSS: lost, INT8: side, FLOAT: avoided, **limited}, side)

    def _trusted(self, option: int, error: float, trust: float) -> float:
        """The loss of an option between what is measured and its squared error."""
        int8 = self.losses.int8 if self.is_int8(option) else 0.0
        own = max(self.expected_loss(option) - int8, 0.0)
        return float(own**trust * (error * error) ** (1 - trust) + int8)

    def _is_slower(self, option: int) -> bool:
        """Whether the layer is likely to lose time by a candidate, alone or in the network."""
        return is_slower(self.times[option - 1]) or self.milliseconds(option) > self.ms

    def planned(self, option: int) -> PlannedLayer:
        """The line of a plan that takes an option."""
        site = self.evidence.site
        if not option:
            layer = kept(site, self.reason or NOT_WORTH_IT)
            return layer.model_copy(update={"alone": None if self.nearest is None else _alone(self.nearest)})
        candidate, time = self.candidates[option - 1], self.times[option - 1]
        return PlannedLayer(
            name=site.name,
            output=site.output,
            weight_shape=site.weight_shape,
            scheme=candidate.scheme,
            rank=candidate.rank,
            precision=candidate.precision,
            reason=IN_EIGHT_BITS if candidate.scheme == KEEP else None,
            error=candidate.output_error,
            milliseconds=(self.ms, self.milliseconds(option)) if self.ms else None,
            alone=_alone(time),
        )


def _alone(time: LayerTime) -> TimeAlone:
    return TimeAlone(speedup=time.speedup, low=time.low, high=time.high)


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """Everything there is to choose from. A choice is an option for every layer; 0 keeps it.

    Attributes:
        layers: one per site, in the order of the graph.
        original_ms: of one run of the network as loaded.
        prepared_ms: of the same made plain, and rewritten exactly.
        fixed: milliseconds of what no choice changes, each time they were measured.
        beside: nodes beside the layers that may be in eight bits.
    """

    layers: tuple[LayerChoices, ...]
    original_ms: float
    prepared_ms: float
    fixed: tuple[float, ...]
    beside: Beside = field(default_factory=Beside)

    @property
    def is_empty(self) -> bool:
        """Whether every layer can only be kept."""
        return not any(layer.candidates for layer in self.layers)

    @property
    def fixed_ms(self) -> float:
        """What no choice changes."""
        return float(np.median(self.fixed))

    @property
    def original(self) -> Cost:
        """What the network as handed in costs."""
        return replace(sum((layer.cost(0) for layer in self.layers), Cost()), ms=self.original_ms)

    @property
    def tidied(self) -> Cost:
        """What it costs with every layer kept, made plain and rewritten exactly."""
        return replace(self.original, ms=self.prepared_ms)

    def cost(self, options: Sequence[int]) -> Cost:
        """What a choice is expected to cost."""
        pairs = zip(self.layers, self.of_layers(options), strict=True)
        return sum((layer.cost(k) for layer, k in pairs), Cost(ms=self.fixed_ms + self.beside_ms(options)))

    @property
    def dense_int8(self) -> tuple[int, ...]:
        """The choice that factors nothing, and has in eight bits all that can be."""
        return (*(layer.dense_int8 for layer in self.layers), *(1 for _ in self.beside.names))

    def of_layers(self, options: Sequence[int]) -> tuple[int, ...]:
        """The part of a choice that is of the layers."""
        return tuple(options[: len(self.layers)])

    def _of_beside(self, options: Sequence[int]) -> tuple[int, ...]:
        """The part that is of the nodes beside them; all in float where a choice does not speak of them."""
        return tuple(options[len(self.layers) :]) or (0,) * len(self.beside.names)

    def solve(
        self,
        minimise: str,
        bounds: Mapping[str, float],
        limits: Sequence[CostLimit] = (),
        trust: float = 1.0,
        *,
        slower: bool = True,
    ) -> tuple[int, ...] | None:
        """The best choice, or None if nothing keeps the bounds.

        Args:
            minimise: the quantity of which there should be least.
            bounds: quantity → the most of it, layers and nodes beside them taken together.
            limits: of a budget, whose quantities may be bounded.
            trust: in sensitivities, see :meth:`LayerChoices.columns`.
            slower: whether candidates that are slower than their layer may be taken.
        """
        columns = [layer.columns(limits, trust, slower=slower) for layer in self.layers]
        return solve([*columns, *self.beside.columns(limits)], minimise, bounds, self.beside.counted(limits))

    def int8(self, options: Sequence[int]) -> Int8 | None:
        """What is in eight bits beside the layers that say so; None where nothing is, of them or of these."""
        layers = zip(self.layers, self.of_layers(options), strict=True)
        pairs = zip(self.beside.names, self._of_beside(options), strict=True)
        nodes = tuple(name for name, taken in pairs if taken)
        return Int8(nodes=nodes) if nodes or any(layer.is_int8(k) for layer, k in layers) else None

    def beside_ms(self, options: Sequence[int]) -> float:
        """Milliseconds that nodes beside the layers, and borders, take beyond what they take in float."""
        taken = self._of_beside(options)
        pairs = zip(self.layers, self.of_layers(options), strict=True)
        sides = [*(float(layer.is_int8(k)) for layer, k in pairs), *map(float, taken)]
        own = sum(ms for ms, is_int8 in zip(self.beside.extra_ms, taken, strict=True) if is_int8)
        return own + sum(border.cost(sides) for border in self.beside.borders)

    def milliseconds(self, options: Sequence[int]) -> float:
        """Expected time of the network."""
        return self.cost(options).ms

    def loss(self, options: Sequence[int]) -> float:
        """Expected divergence at the output."""
        pairs = zip(self.layers, self.of_layers(options), strict=True)
        return float(sum(r.expected_loss(k) for r, k in pairs)) + self.loss_beside(options)

    def loss_beside(self, options: Sequence[int]) -> float:
        """Divergence to expect of the nodes beside the layers that are in eight bits."""
        pairs = zip(self.beside.losses, self._of_beside(options), strict=True)
        return sum((loss for loss, taken in pairs if taken), 0.0)

    def planned(self, options: Sequence[int]) -> list[PlannedLayer]:
        """The lines of the plan that takes these options."""
        return [layer.planned(k) for layer, k in zip(self.layers, self.of_layers(options), strict=True)]

    def with_losses(self, losses: Sequence[Losses], beside: Sequence[float] = ()) -> SearchSpace:
        """The same with what errors of each layer alone lose, and nodes beside them in eight bits."""
        pairs = zip(self.layers, losses, strict=True)
        layers = tuple(replace(layer, losses=own) for layer, own in pairs)
        return replace(self, layers=layers, beside=self.beside.with_losses(beside))

    def learn(self, options: Sequence[int], measured: Sequence[float | None], whole: float) -> SearchSpace:
        """The same with times as they came out when these options were built.

        Alone, between small neighbours, a candidate runs from a warm cache; in the network it is slower, by a
        factor that its scheme has in common from layer to layer. Without that, what was never built
        would always look better than what was.

        Args:
            options: that were built.
            measured: milliseconds of each layer; None where they are not known.
            whole: milliseconds of the network.
        """
        layers, in_layers = [], 0.0
        for layer, k, ms in zip(self.layers, self.of_layers(options), measured, strict=True):
            if not layer.candidates:
                layers.append(layer)
                in_layers += layer.milliseconds(0)
            elif ms is not None and ms > 0 and layer.ms >= _LEAST_MS:
                layers.append(replace(layer, seen={**layer.seen, k: (*layer.seen.get(k, ()), ms)}))
                in_layers += ms
            else:
                layers.append(layer)
                in_layers += layer.milliseconds(k)
        usual = _usual(layers)
        layers = [replace(layer, usual=usual) for layer in layers]
        rest = whole - in_layers - self.beside_ms(options)
        return replace(self, layers=tuple(layers), fixed=(*self.fixed, max(rest, 0.0)))

    def learn_shares(self, built: Sequence[tuple[Sequence[int], float]]) -> SearchSpace:
        """The same with the shares of the losses that are left in a network fitted in sequence.

        Args:
            built: choices, each with the divergence of the result.
        """
        sums = []
        for options, measured in built:
            pairs = [*zip(self.layers, self.of_layers(options), strict=True)]
            alone = [(layer.is_made_up_for(k), layer.alone_loss(k)) for layer, k in pairs]
            before, last = (sum(loss for f, loss in alone if f is followed) for followed in (True, False))
            last += self.loss_beside(options)
            sums.append((before, last, measured))
        before, last = shares_left(sums)
        layers = (replace(layer, share=before if layer.is_followed else last) for layer in self.layers)
        return replace(self, layers=tuple(layers))


def _usual(layers: Sequence[LayerChoices]) -> dict[str, float]:
    """By scheme, how much longer built candidates took than their micro-benchmarks said; ``""`` for all."""
    found: dict[str, list[float]] = {}
    for layer in layers:
        for k in layer.seen:
            if k and layer.ms >= _LEAST_MS:
                factor = float(np.clip(np.median(layer.seen[k]) / layer.alone(k), *_FACTORS))
                found.setdefault(layer.candidates[k - 1].family, []).append(factor)
    middle = _middle([factor for factors in found.values() for factor in factors])
    return {"": middle} | {scheme: _middle([*factors, middle]) for scheme, factors in found.items()}


def _middle(values: Sequence[float]) -> float:
    """Geometric mean; 1 of nothing."""
    return float(np.exp(np.mean(np.log(values)))) if len(values) else 1.0
