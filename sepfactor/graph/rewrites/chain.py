"""Rules applied one after the other: what they make of a network, and the networks on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from sepfactor.graph.rewrites.driver import apply
from sepfactor.graph.rewrites.rule import Rule

_MOST_ROUNDS = 10
"""What a rule makes may be what an earlier one looks for; this is for a pair that might undo one another."""


@dataclass(frozen=True, eq=False)
class Step:
    """A network after one more rule.

    Attributes:
        rule: that was applied last.
        model: the network with it.
        times: how often it was applied.
        grows: whether there are more nodes than before.
    """

    rule: Rule
    model: ir.Model
    times: int
    grows: bool


@dataclass(frozen=True, eq=False)
class Chain:
    """Networks with one more rule each.

    Attributes:
        start: the network without any.
        steps: in order; a rule may be in several of them.
        notes: why places that look like a rule's stayed, in sentences.
    """

    start: ir.Model
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    @property
    def model(self) -> ir.Model:
        """The network with all of them."""
        return self.steps[-1].model if self.steps else self.start

    @property
    def counts(self) -> dict[str, int]:
        """Rule → how often it was applied, in the order in which they found something first."""
        found: Counter[str] = Counter()
        for step in self.steps:
            found[step.rule.name] += step.times
        return dict(found)


def rewrite(model: ir.Model, rules: Sequence[Rule]) -> Chain:
    """Apply rules in turn until none finds anything: the same model and rules give the same network.

    Rules that find nothing may be left out, and nothing is changed by it.

    Args:
        model: prepared, see :func:`~sepfactor.graph.rewrites.driver.apply`; it is left as it is.
        rules: in the order in which they are applied.

    Raises:
        ModelError: the graph is so far from valid ONNX that it cannot be gone through.
    """
    steps: list[Step] = []
    first_notes: tuple[str, ...] | None = None
    for _ in range(_MOST_ROUNDS):
        begin, notes = len(steps), list[str]()
        for rule in rules:
            before = steps[-1].model if steps else model
            applied = apply(before, [rule])
            notes += applied.notes
            times = applied.counts.get(rule.name, 0)
            if times:
                steps.append(Step(rule, applied.model, times, _size(applied.model) > _size(before)))
        if first_notes is None:  # later ones are of nodes that rules made
            first_notes = tuple(dict.fromkeys(notes))
        if len(steps) == begin:
            break
    return Chain(model, tuple(steps), first_notes or ())


def _size(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())
