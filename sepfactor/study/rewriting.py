"""Which exact rewritings a network is faster for: each is tried on top of the ones before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import onnx_ir as ir

from sepfactor.codes import Reason
from sepfactor.data.making import unused_by
from sepfactor.errors import ModelError, PlanError
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import Loaded
from sepfactor.graph.rewrites import REWRITES, Chain, Rule, rewrite
from sepfactor.measure.engine import Engine, Feed
from sepfactor.measure.equality import noise
from sepfactor.options import Options
from sepfactor.results import Ratio, RewriteRow
from sepfactor.study.rewrite_times import (
    PREPARE,
    WHOLE,
    Trial,
    Worth,
    measured,
    measured_in_eight_bits,
    measured_whole,
)
from sepfactor.study.splits import Splits, open_splits

_WORSE = 0.99
"""A rule is left out if the network is slower for it than this, for less is not worth a second look."""

_DIFFERS = Reason("differs", "the network cannot be run with it, or its outputs differ by more than rounding")
_SLOWER = Reason("slower", "the network is slower with it")
_SLOWER_IN_EIGHT_BITS = Reason(
    "slower-in-int8", "it makes eight bits slower, and those are faster than float without it"
)
_NO_FASTER = Reason("no-faster", "it adds nodes, and the network is no faster with it")
_NO_GAIN = Reason("no-gain", "all together make it no faster")
_NO_TIMES = Reason("no-times", "the profile of the other machine does not hold what it is worth")


@dataclass(frozen=True, eq=False)
class Choice:
    """The rewritings that are kept.

    Attributes:
        model: the network with them; None where there are none.
        rows: the rules that found something.
        stayed: why places that look like a rule's stayed, in sentences.
        speedup: of all rules together over the prepared network; None where there are none, or no times.
    """

    model: ir.Model | None
    rows: tuple[RewriteRow, ...] = ()
    stayed: tuple[str, ...] = ()
    speedup: Ratio | None = None

    def withdrawn(self, reason: Reason = _NO_GAIN) -> Choice:
        """None kept, as the network is not measurably faster for all of them."""
        rows = (row if row.reason else row.model_copy(update={"reason": reason}) for row in self.rows)
        return Choice(None, tuple(rows), self.stayed)

    def timed(self, speedup: Ratio, saves_ms: float) -> Choice:
        """Where a rule is alone, and was not timed: what the whole network gained is its gain."""
        if len(self.rows) != 1 or self.rows[0].speedup is not None:
            return self
        row = self.rows[0].model_copy(update={"speedup": speedup, "saves_ms": saves_ms})
        return replace(self, rows=(row,))

    def without_rules(self) -> Choice:
        """Nothing but what prepares kept, as the network is not measurably faster for the others."""
        pairs = zip(self.rows, self.withdrawn().rows, strict=True)
        rows = (old if old.rule == PREPARE.name else new for old, new in pairs)
        return Choice(None, tuple(rows), self.stayed)


_WITHOUT_DATA = {
    name: Options.model_fields[name].default
    for name in ("data", "eval_data", "labels", "targets", *unused_by(None))
}
"""Options so that inputs are made up."""


def inputs_to_compare(splits: Splits, loaded: Loaded, asked: Options, engine: Engine) -> list[Feed]:
    """One that is given, where any is, a picture, and noise: of pictures some networks make nothing."""
    feeds: list[Feed] = [splits.judged_on[0]]
    if not splits.judged_on.synthetic:
        with suppress(ModelError):  # it takes nothing but what it is meant for
            made_up_alone = asked.model_copy(update=_WITHOUT_DATA)
            feeds.append(open_splits(loaded, made_up_alone, engine).judged_on[0])
    with suppress(ModelError):
        made_up = noise(feeds[-1], asked.seed)
        engine.open(loaded.runnable).run(made_up)
        feeds.append(made_up)
    return feeds


def look_for_rewrites(prepared: ir.Model) -> Chain:
    """Every rule that finds anything, whatever it is worth.

    Args:
        prepared: see :func:`~sepfactor.graph.prepare.prepare`.
    """
    return rewrite(prepared, REWRITES)


def rewrite_by_name(prepared: ir.Model, names: Sequence[str]) -> Chain:
    """The network with the rules of these names, as it was when they were chosen.

    Raises:
        PlanError: there is no such rule.
    """
    unknown = {*names} - {rule.name for rule in REWRITES}
    if unknown:
        raise PlanError(
            f"The plan names a rewriting {min(unknown)!r}, which this sepfactor does not know. "
            f"There are: {', '.join(rule.name for rule in REWRITES)}. Make the plan again."
        )
    return rewrite(prepared, [rule for rule in REWRITES if rule.name in names])


def choose_rewrites(trial: Trial, found: Chain) -> Choice:
    """Apply every rule in turn; and again without those that the network is slower for, while there are any.

    Args:
        trial: the network.
        found: as :func:`look_for_rewrites` of it has it.

    Raises:
        ModelError: a rewritten network cannot be run.
    """
    out: dict[str, RewriteRow] = {}
    chain = found
    while True:
        wrong = _unequal(trial, chain)
        worth = {} if wrong is not None else measured(trial, chain)
        if worth is None:
            return Choice(None, (*_rows(chain, {}), *out.values()), found.notes).withdrawn(_NO_TIMES)
        rows = _rows(chain, worth) if wrong is None else [_row(wrong, chain, _DIFFERS)]
        bad = {row.rule: row for row in rows if row.reason}
        if not bad:
            break
        out |= bad
        chain = rewrite(trial.prepared, [rule for rule in REWRITES if rule.name not in out])
    model = chain.model if chain.steps or trial.prepares else None
    whole = worth[WHOLE].speedup if chain.steps else None
    return Choice(model, (*rows, *out.values()), found.notes, whole)


def prepared_alone(trial: Trial) -> Choice:
    """Where no rule found anything: the network made plain."""
    return Choice(trial.prepared, (_row(PREPARE, Chain(trial.prepared, (), ()), None),))


def confirmed(trial: Trial, choice: Choice) -> Choice:
    """The same, if all rules together make the network measurably faster; where that is open, timed anew."""
    if choice.model is None or choice.speedup is None:
        return choice
    speedup: Ratio | None = choice.speedup
    if speedup is not None and speedup.low <= 1.0 <= speedup.high:
        speedup = measured_whole(trial, choice.model, [row.rule for row in choice.rows if row.kept])
    return choice if speedup is not None and speedup.low > 1.0 else choice.without_rules()


def for_eight_bits(trial: Trial, choice: Choice) -> Choice:
    """The same without the rules that the network is slower for in eight bits, if it is faster there then.

    Args:
        trial: the network.
        choice: of the rules that it is faster for in float.
    """
    kept = [row.rule for row in choice.rows if row.kept and row.rule != PREPARE.name]
    if choice.model is None or not kept:
        return choice
    int8 = replace(trial, precision="int8")
    worth = measured(int8, rewrite_by_name(trial.prepared, kept)) or {}
    against = {name for name in kept if name in worth and _is_slower(worth[name].speedup)}
    if not against:
        return choice
    left = [name for name in kept if name not in against]
    found = rewrite_by_name(trial.prepared, left)
    gain = measured_in_eight_bits(int8, choice.model, kept, found.model, left)
    if gain is None or gain.low <= 1.0:
        return choice
    rows = (
        row.model_copy(update={"reason": _SLOWER_IN_EIGHT_BITS}) if row.rule in against else row
        for row in choice.rows
    )
    return replace(choice, model=found.model, rows=tuple(rows), speedup=None)


# Whether they compute the same --------------------------------------------------------------------


def _unequal(trial: Trial, chain: Chain) -> Rule | None:
    """The first rule with which the network does not compute the same, if it does not with all of them."""

    def is_equal(model: ir.Model) -> bool:
        try:
            return trial.reference.is_equal(trial.engine.exact.open(serialized(model)))
        except ModelError:  # whatever is wrong with it, the network can do without
            return False

    trial.progress("rewrite", 0, 1, "comparing outputs")
    equal = not chain.steps or is_equal(chain.model)
    trial.progress("rewrite", 1, 1, "")
    if equal:
        return None
    return next((step.rule for step in chain.steps if not is_equal(step.model)), chain.steps[-1].rule)


# Rows ---------------------------------------------------------------------------------------------


def _rows(chain: Chain, worth: Mapping[str, Worth]) -> list[RewriteRow]:
    """A row for each rule that found something, and for preparing where that was timed."""
    rows = []
    if (own := worth.get(PREPARE.name)) is not None:
        rows.append(_row(PREPARE, chain, None, own))
    for rule in dict.fromkeys(step.rule for step in chain.steps):
        own = worth.get(rule.name)
        grows = any(step.grows for step in chain.steps if step.rule == rule)
        rows.append(_row(rule, chain, None if own is None else _reason_against(own.speedup, grows), own))
    return rows


def _row(rule: Rule, chain: Chain, reason: Reason | None, worth: Worth | None = None) -> RewriteRow:
    return RewriteRow(
        rule=rule.name,
        does=rule.does,
        times=chain.counts.get(rule.name, 1),
        reason=reason,
        saves_ms=None if worth is None else worth.saves_ms,
        speedup=None if worth is None else worth.speedup,
    )


def rows_of(chain: Chain, *, prepares: bool = False) -> tuple[RewriteRow, ...]:
    """A row for each rule of a chain, none of them timed.

    Args:
        chain: the rules.
        prepares: whether making the network plain counts as one.
    """
    first = (_row(PREPARE, chain, None),) if prepares else ()
    return (*first, *_rows(chain, {}))


def _reason_against(speedup: Ratio, grows: bool) -> Reason | None:
    """Why a rule is left out."""
    if _is_slower(speedup):
        return _SLOWER
    return _NO_FASTER if grows and speedup.low <= 1.0 else None


def _is_slower(speedup: Ratio) -> bool:
    """Whether the network is measurably slower with a rule, by more than is worth leaving alone."""
    return speedup.high < 1.0 and speedup.ratio < _WORSE
