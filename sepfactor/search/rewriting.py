"""Which exact rewritings a network is faster for: each is tried on top of the ones before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from sepfactor.codes import Reason
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import Loaded
from sepfactor.graph.prepare import may_change_speed, prepare
from sepfactor.graph.rewrites import REWRITES, Rule, apply
from sepfactor.measure.bootstrap import Samples
from sepfactor.measure.engine import Engine
from sepfactor.measure.engines import open_and_time
from sepfactor.measure.reference import Reference
from sepfactor.measure.rounds import Rounds
from sepfactor.progress import Progress, in_shares
from sepfactor.results import Ratio, RewriteRow

_PRECISION = 0.02
"""Timing ends when the interval of every ratio is within ± this share of it."""

_WORSE = 0.99
"""A rule is left out if the network is slower for it than this, for less is not worth a second look."""

_ROUNDS = 5
"""At least so many are timed, however long they take."""

PREPARE = Rule("prepare", "constants off the inputs, folds what needs no new node", lambda *_: None)
"""What all rules start from; it is applied by :func:`sepfactor.graph.prepare.prepare`."""

_DIFFERS = Reason("differs", "its outputs differ by more than rounding")
_SLOWER = Reason("slower", "the network is slower with it")
_NO_FASTER = Reason("no-faster", "it adds nodes, and the network is no faster with it")
_NO_GAIN = Reason("no-gain", "all together make it no faster")


@dataclass(frozen=True, eq=False)
class Trial:
    """A network, and what its rewritings are tried by.

    Attributes:
        loaded: the network.
        engine: what runs it.
        reference: its outputs; it is timed on the first of the inputs.
        seconds: at most so long is each timing.
        seed: of the order and of intervals.
        progress: told how far it is.
    """

    loaded: Loaded
    engine: Engine
    reference: Reference
    seconds: float
    seed: int
    progress: Progress


@dataclass(frozen=True, eq=False)
class Choice:
    """The rewritings that are kept.

    Attributes:
        model: the network with them; None where there are none.
        rows: the rules that found something.
        stayed: why places that look like a rule's stayed, in sentences.
    """

    model: ir.Model | None
    rows: tuple[RewriteRow, ...]
    stayed: tuple[str, ...]

    def withdrawn(self) -> Choice:
        """None kept, as the network is not measurably faster for all of them."""
        rows = (row if row.reason else row.model_copy(update={"reason": _NO_GAIN}) for row in self.rows)
        return Choice(None, tuple(rows), self.stayed)


def choose_rewrites(trial: Trial, rules: Sequence[Rule] = REWRITES) -> Choice:
    """Apply every rule in turn; and again without those that the network is slower for, while there are any.

    Args:
        trial: the network.
        rules: in the order in which they are tried.

    Raises:
        ModelError: a rewritten network cannot be run.
    """
    out: dict[str, RewriteRow] = {}
    while True:
        chain = _rewrite(trial, [rule for rule in rules if rule.name not in out])
        out |= chain.unequal
        rows = _rows(trial, chain.steps)
        slower = {name: row for name, row in rows.items() if row.reason}
        if not slower:
            break
        out |= slower
    model = chain.steps[-1].model if chain.steps else None
    return Choice(model, (*rows.values(), *out.values()), chain.notes)


# The chain ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Step:
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
class _Chain:
    """Networks with one more rule each, as far as their outputs are equal.

    Attributes:
        steps: in order; empty where nothing was found that onnxruntime does not do itself.
        unequal: rules whose outputs were not.
        notes: why places stayed.
    """

    steps: tuple[_Step, ...]
    unequal: Mapping[str, RewriteRow]
    notes: tuple[str, ...]


def _rewrite(trial: Trial, rules: Sequence[Rule]) -> _Chain:
    """Try rules in turn until none finds anything."""
    original = trial.loaded.model
    steps: list[_Step] = []
    unequal: dict[str, RewriteRow] = {}

    def extend(rule: Rule, before: ir.Model, after: ir.Model, times: int) -> bool:
        """Whether it goes on from there."""
        if not trial.reference.is_equal(trial.engine.open(serialized(after))):
            unequal[rule.name] = RewriteRow(rule=rule.name, does=rule.does, times=times, reason=_DIFFERS)
            return False
        steps.append(_Step(rule, after, times, _size(after) > _size(before)))
        return True

    extend(PREPARE, original, prepare(original), 1)
    first_notes: tuple[str, ...] | None = None
    found = True
    while found:
        found = False
        notes: list[str] = []
        for number, rule in enumerate(rules):
            trial.progress("rewrite", number, len(rules), rule.does)
            if rule.name in unequal:
                continue
            before = steps[-1].model if steps else original
            applied = apply(before, [rule])
            notes += applied.notes
            times = applied.counts.get(rule.name, 0)
            found |= bool(times) and extend(rule, before, applied.model, times)
        if first_notes is None:  # later ones are of nodes that rules made
            first_notes = tuple(notes)
    trial.progress("rewrite", len(rules), len(rules), "")
    if [step.rule for step in steps] == [PREPARE] and not may_change_speed(original, steps[0].model):
        steps = []
    return _Chain(tuple(steps), unequal, first_notes or ())


def _size(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())


# What each rule is worth --------------------------------------------------------------------------


def _rows(trial: Trial, steps: Sequence[_Step]) -> dict[str, RewriteRow]:
    """A row a rule, but for what prepares and does nothing that onnxruntime would not do itself."""
    if not steps:
        return {}
    rounds = _timed(trial, steps)
    rows = {}
    for rule in dict.fromkeys(step.rule for step in steps):
        places = [number for number, step in enumerate(steps) if step.rule == rule]
        if rule == PREPARE and not may_change_speed(trial.loaded.model, steps[0].model):
            continue
        own = _by_rule(rounds, places)
        speedup = own.ratio(1, seed=trial.seed)
        rows[rule.name] = RewriteRow(
            rule=rule.name,
            does=rule.does,
            times=sum(steps[i].times for i in places),
            reason=_reason_against(rule, speedup, any(steps[i].grows for i in places)),
            saves_ms=own.median_ms(0) - own.median_ms(1),
            speedup=speedup,
        )
    return rows


def _timed(trial: Trial, steps: Sequence[_Step]) -> Rounds:
    """The original and all steps in turns."""
    networks = [(trial.loaded.name, trial.loaded.runnable)]
    networks += [(f"{trial.loaded.name} with {step.rule.name}", serialized(step.model)) for step in steps]
    return open_and_time(
        trial.engine,
        networks,
        trial.reference.feeds[0],
        seconds=trial.seconds,
        min_rounds=_ROUNDS,
        precision=_PRECISION,
        openings=1,  # the result is timed again, opened several times, and few openings would say less
        seed=trial.seed,
        watch=in_shares(trial.progress, "time", "each rewriting, in turns"),
    )


def _by_rule(rounds: Rounds, places: Sequence[int]) -> Rounds:
    """The network without a rule and with it, after all rules before.

    Of a rule that found something at several places of the chain, the first of the two is what it would be
    without what the rule saved at each of them.

    Args:
        rounds: of the original and all steps.
        places: steps of the rule.
    """

    def pair(times: Samples) -> Samples:
        last = times[places[-1] + 1]
        return np.stack([last + sum(times[i] - times[i + 1] for i in places), last])

    both = sorted({j for i in places for j in (i, i + 1)})
    disturbed = rounds.disturbed[both].any(axis=0)
    cpu = None if rounds.cpu is None else pair(rounds.cpu)
    return replace(rounds, wall=pair(rounds.wall), cpu=cpu, disturbed=np.stack([disturbed, disturbed]))


def _reason_against(rule: Rule, speedup: Ratio, grows: bool) -> Reason | None:
    """Why a rule is left out; what all others start from is judged with them as a whole."""
    if rule == PREPARE:
        return None
    if speedup.high < 1.0 and speedup.ratio < _WORSE:
        return _SLOWER
    return _NO_FASTER if grows and speedup.low <= 1.0 else None
