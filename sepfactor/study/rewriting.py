"""Which exact rewritings a network is faster for: each is tried on top of the ones before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from sepfactor.codes import Reason
from sepfactor.errors import ModelError, PlanError
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import Loaded
from sepfactor.graph.prepare import may_change_speed
from sepfactor.graph.rewrites import REWRITES, Chain, Rule, rewrite
from sepfactor.measure.bootstrap import Samples
from sepfactor.measure.engine import Engine, Feed
from sepfactor.measure.engines import open_and_time
from sepfactor.measure.equality import noise
from sepfactor.measure.reference import Reference
from sepfactor.measure.rounds import Rounds
from sepfactor.measure.timing_cache import DISTURBED, Entry, MemoryCache, TimingCache
from sepfactor.options import Options
from sepfactor.progress import Progress, in_shares
from sepfactor.results import Ratio, RewriteRow
from sepfactor.study.splits import Splits, open_splits

_PRECISION = 0.02
"""Timing ends when the interval of every ratio is within ± this share of it."""

_WORSE = 0.99
"""A rule is left out if the network is slower for it than this, for less is not worth a second look."""

_ROUNDS = 3
"""At least so many are timed, however long they take."""

PREPARE = Rule("prepare", "constants off the inputs, folds what needs no new node", lambda *_: None)
"""What all rules start from; it is applied by :func:`sepfactor.graph.prepare.prepare`."""

_WHOLE = "all"
"""What all rules together are called among those that were timed."""

_DIFFERS = Reason("differs", "its outputs differ by more than rounding")
_SLOWER = Reason("slower", "the network is slower with it")
_NO_FASTER = Reason("no-faster", "it adds nodes, and the network is no faster with it")
_NO_GAIN = Reason("no-gain", "all together make it no faster")
_NO_TIMES = Reason("no-times", "the profile of the other machine does not hold what it is worth")


@dataclass(frozen=True, eq=False)
class Trial:
    """A network, and what its rewritings are tried by.

    Attributes:
        loaded: the network, which all are compared with.
        prepared: the same made plain.
        engine: what runs it.
        reference: its outputs; it is timed on the first of the inputs.
        seconds: at most so long is each timing.
        seed: of the order and of intervals.
        progress: told how far it is.
        cache: what was timed before.
        may_time: if not, only the cache is asked, and what it does not know is left out.
    """

    loaded: Loaded
    prepared: ir.Model
    engine: Engine
    reference: Reference
    seconds: float
    seed: int
    progress: Progress
    cache: TimingCache = field(default_factory=MemoryCache)
    may_time: bool = True

    @property
    def prepares(self) -> bool:
        """Whether making it plain may itself have made it faster."""
        return may_change_speed(self.loaded.model, self.prepared)


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


def inputs_to_compare(splits: Splits, loaded: Loaded, asked: Options, engine: Engine) -> list[Feed]:
    """One that is given, where any is, a picture, and noise: of pictures some networks make nothing at all.

    The first is what is timed.
    """
    feeds: list[Feed] = [splits.judged_on[0]]
    if not splits.judged_on.synthetic:
        with suppress(ModelError):  # it takes nothing but what it is meant for
            feeds.append(open_splits(loaded, asked.model_copy(update={"data": None}), engine).judged_on[0])
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
        worth = {} if wrong is not None else _measured(trial, chain)
        if worth is None:
            return Choice(None, (*_rows(chain, {}), *out.values()), found.notes).withdrawn(_NO_TIMES)
        rows = _rows(chain, worth) if wrong is None else [_row(wrong, chain, _DIFFERS)]
        bad = {row.rule: row for row in rows if row.reason}
        if not bad:
            break
        out |= bad
        chain = rewrite(trial.prepared, [rule for rule in REWRITES if rule.name not in out])
    model = chain.model if chain.steps or trial.prepares else None
    whole = worth[_WHOLE].speedup if chain.steps else None
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
        speedup = _measured_whole(trial, choice)
    return choice if speedup is not None and speedup.low > 1.0 else choice.without_rules()


# Whether they compute the same --------------------------------------------------------------------


def _unequal(trial: Trial, chain: Chain) -> Rule | None:
    """The first rule with which the network does not compute the same, if it does not with all of them."""

    def is_equal(model: ir.Model) -> bool:
        return trial.reference.is_equal(trial.engine.open(serialized(model)))

    trial.progress("rewrite", 0, 1, "comparing outputs")
    equal = not chain.steps or is_equal(chain.model)
    trial.progress("rewrite", 1, 1, "")
    if equal:
        return None
    return next((step.rule for step in chain.steps if not is_equal(step.model)), chain.steps[-1].rule)


# What each rule is worth --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Worth:
    """The network without a rule against that with it, and milliseconds that it saves."""

    speedup: Ratio
    saves_ms: float

    def entry(self, name: str) -> Entry:
        """As the cache keeps it."""
        ratio = self.speedup
        figures = {"ratio": ratio.ratio, "low": ratio.low, "high": ratio.high, "saves_ms": self.saves_ms}
        return {f"{name}:{field}": value for field, value in figures.items()}

    @classmethod
    def of(cls, entry: Entry, name: str, trial: Trial) -> _Worth | None:
        """As the cache has it; None where something is missing: files can be anything."""
        figures = [entry.get(f"{name}:{one}") for one in ("ratio", "low", "high", "saves_ms")]
        ratio, low, high, saves_ms = figures
        if ratio is None or low is None or high is None or saves_ms is None or not 0 < low <= high:
            return None
        return cls(Ratio(ratio=ratio, low=low, high=high, clock=trial.engine.clock), saves_ms)


def _measured(trial: Trial, chain: Chain) -> dict[str, _Worth] | None:
    """By rule, and of all together; None where nothing may be timed that was not before."""
    names = [*([PREPARE.name] if trial.prepares else ()), *chain.counts]
    names += [_WHOLE] if chain.steps else []
    if not names:
        return {}
    key = _key(trial, list(chain.counts))
    known = _known(trial, key, names)
    if known is not None or not trial.may_time:
        return known
    networks: list[tuple[str, Path | bytes]] = [(trial.loaded.name, trial.loaded.runnable)]
    networks += [(f"{trial.loaded.name} made plain", serialized(trial.prepared))] if trial.prepares else []
    networks += [(f"{trial.loaded.name} with {s.rule.name}", serialized(s.model)) for s in chain.steps]
    rounds = _timed(trial, networks, "each rewriting, in turns", openings=1, precision=_PRECISION)
    first = len(networks) - len(chain.steps) - 1
    found = {PREPARE.name: _worth(trial, rounds, [0])} if trial.prepares else {}
    for name in chain.counts:
        places = [first + i for i, step in enumerate(chain.steps) if step.rule.name == name]
        found[name] = _worth(trial, rounds, places)
    if chain.steps:
        found[_WHOLE] = _of_two(trial, rounds, first, len(networks) - 1)
    _remember(trial, key, found, rounds)
    return found


def _measured_whole(trial: Trial, choice: Choice) -> Ratio | None:
    """All rules together against the prepared network, opened several times."""
    assert choice.model is not None
    key = _key(trial, [row.rule for row in choice.rows if row.kept], anew=True)
    known = _known(trial, key, [_WHOLE])
    if known is None and not trial.may_time:
        return None
    if known is None:
        networks = [("made plain", serialized(trial.prepared)), ("rewritten", serialized(choice.model))]
        rounds = _timed(trial, networks, "all rewritings, in turns", openings=3, precision=_PRECISION / 4)
        known = {_WHOLE: _of_two(trial, rounds, 0, 1)}
        _remember(trial, key, known, rounds)
    return known[_WHOLE].speedup


def _key(trial: Trial, names: Sequence[str], anew: bool = False) -> str:
    """The network, the shapes of what it is timed on, and which rules were tried."""
    feed = trial.reference.feeds[0]
    parts = {
        "network": hashlib.sha256(serialized(trial.prepared)).hexdigest(),
        "inputs": {name: [*array.shape] for name, array in feed.items()},
        "rewrites": [*names],
        "prepares": trial.prepares,
        "anew": anew,
    }
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def _known(trial: Trial, key: str, names: Sequence[str]) -> dict[str, _Worth] | None:
    entry = trial.cache.get(key)
    read = {} if entry is None else {name: _Worth.of(entry, name, trial) for name in names}
    found = {name: worth for name, worth in read.items() if worth is not None}
    return found if len(found) == len(names) else None


def _remember(trial: Trial, key: str, found: Mapping[str, _Worth], rounds: Rounds) -> None:
    entry: dict[str, float] = {DISTURBED: float(rounds.is_disturbed)}
    for name, worth in found.items():
        entry |= worth.entry(name)
    trial.cache.put(key, entry)


def _timed(
    trial: Trial, networks: Sequence[tuple[str, Path | bytes]], what: str, *, openings: int, precision: float
) -> Rounds:
    return open_and_time(
        trial.engine,
        networks,
        trial.reference.feeds[0],
        seconds=trial.seconds,
        min_rounds=_ROUNDS,
        precision=precision,
        openings=openings,
        seed=trial.seed,
        watch=in_shares(trial.progress, "time", what),
    )


def _worth(trial: Trial, rounds: Rounds, places: Sequence[int]) -> _Worth:
    own = _by_rule(rounds, places)
    return _of_two(trial, own, 0, 1)


def _of_two(trial: Trial, rounds: Rounds, before: int, after: int) -> _Worth:
    return _Worth(
        rounds.ratio(after, before, seed=trial.seed), rounds.median_ms(before) - rounds.median_ms(after)
    )


def _by_rule(rounds: Rounds, places: Sequence[int]) -> Rounds:
    """The network without a rule and with it, after all rules before.

    Of a rule that found something at several places of the chain, the first of the two is what it would be
    without what the rule saved at each of them.

    Args:
        rounds: of all networks of a chain.
        places: numbers of those that the rule was applied to.
    """

    def pair(times: Samples) -> Samples:
        last = times[places[-1] + 1]
        return np.stack([last + sum(times[i] - times[i + 1] for i in places), last])

    both = sorted({j for i in places for j in (i, i + 1)})
    disturbed = rounds.disturbed[both].any(axis=0)
    cpu = None if rounds.cpu is None else pair(rounds.cpu)
    return replace(rounds, wall=pair(rounds.wall), cpu=cpu, disturbed=np.stack([disturbed, disturbed]))


# Rows ---------------------------------------------------------------------------------------------


def _rows(chain: Chain, worth: Mapping[str, _Worth]) -> list[RewriteRow]:
    """A row for each rule that found something, and for preparing where that was timed."""
    rows = []
    if (own := worth.get(PREPARE.name)) is not None:
        rows.append(_row(PREPARE, chain, None, own))
    for rule in dict.fromkeys(step.rule for step in chain.steps):
        own = worth.get(rule.name)
        grows = any(step.grows for step in chain.steps if step.rule == rule)
        rows.append(_row(rule, chain, None if own is None else _reason_against(own.speedup, grows), own))
    return rows


def _row(rule: Rule, chain: Chain, reason: Reason | None, worth: _Worth | None = None) -> RewriteRow:
    return RewriteRow(
        rule=rule.name,
        does=rule.does,
        times=chain.counts.get(rule.name, 1),
        reason=reason,
        saves_ms=None if worth is None else worth.saves_ms,
        speedup=None if worth is None else worth.speedup,
    )


def rows_of(chain: Chain) -> tuple[RewriteRow, ...]:
    """A row for each rule of a chain, none of them timed."""
    return tuple(_rows(chain, {}))


def _reason_against(speedup: Ratio, grows: bool) -> Reason | None:
    """Why a rule is left out."""
    if speedup.high < 1.0 and speedup.ratio < _WORSE:
        return _SLOWER
    return _NO_FASTER if grows and speedup.low <= 1.0 else None
