"""What each exact rewriting of a network is worth: timed in turns, or as it was timed before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from sepfactor.codes import Precision
from sepfactor.graph.instrument import serialized
from sepfactor.graph.int8 import in_eight_bits_for_timing
from sepfactor.graph.load import Loaded
from sepfactor.graph.prepare import may_change_speed
from sepfactor.graph.rewrites import Chain, Rule
from sepfactor.measure.bootstrap import Samples
from sepfactor.measure.engine import Engine, Feed
from sepfactor.measure.engines import INPUTS, open_and_time
from sepfactor.measure.reference import Reference
from sepfactor.measure.rounds import Rounds
from sepfactor.measure.timing_cache import DISTURBED, Entry, MemoryCache, TimingCache
from sepfactor.progress import Progress, in_shares
from sepfactor.results import Ratio
from sepfactor.serialized import Serialized

_PRECISION = 0.02
"""Timing ends when the interval of every ratio is within ± this share of it."""

_ROUNDS = 3
"""At least so many are timed, however long they take."""

PREPARE = Rule("prepare", "constants off the inputs, folds what needs no new node", lambda *_: None)
"""What all rules start from; it is applied by :func:`sepfactor.graph.prepare.prepare`."""

WHOLE = "all"
"""What all rules together are called among those that were timed."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A network, and what its rewritings are tried by.

    Attributes:
        loaded: the network, which all are compared with.
        prepared: the same made plain.
        engine: what runs it.
        reference: its outputs.
        feeds: inputs that it is timed on.
        seconds: at most so long is each timing.
        seed: of the order and of intervals.
        progress: told how far it is.
        cache: what was timed before.
        may_time: if not, only the cache is asked, and what it does not know is left out.
        precision: in which they are timed.
    """

    loaded: Loaded
    prepared: ir.Model
    engine: Engine
    reference: Reference
    feeds: Sequence[Feed]
    seconds: float
    seed: int
    progress: Progress
    cache: TimingCache = field(default_factory=MemoryCache)
    may_time: bool = True
    precision: Precision = "float"

    @property
    def prepares(self) -> bool:
        """Whether making it plain may itself have made it faster."""
        return self.precision == "float" and may_change_speed(self.loaded.model, self.prepared)

    def as_timed(self, model: ir.Model) -> Serialized:
        """A network as it is timed: in eight bits, that is all of it that can be there."""
        return serialized(model if self.precision == "float" else in_eight_bits_for_timing(model))

    @property
    def before(self) -> Path | bytes:
        """What is timed before any rule is applied."""
        return self.loaded.runnable if self.precision == "float" else self.as_timed(self.prepared)


@dataclass(frozen=True)
class Worth:
    """The network without a rule against that with it, and milliseconds that it saves."""

    speedup: Ratio
    saves_ms: float

    def entry(self, name: str) -> Entry:
        """As the cache keeps it."""
        ratio = self.speedup
        figures = {"ratio": ratio.ratio, "low": ratio.low, "high": ratio.high, "saves_ms": self.saves_ms}
        return {f"{name}:{field}": value for field, value in figures.items()}

    @classmethod
    def of(cls, entry: Entry, name: str, trial: Trial) -> Worth | None:
        """As the cache has it; None where something is missing: files can be anything."""
        figures = [entry.get(f"{name}:{one}") for one in ("ratio", "low", "high", "saves_ms")]
        ratio, low, high, saves_ms = figures
        if ratio is None or low is None or high is None or saves_ms is None or not 0 < low <= high:
            return None
        return cls(Ratio(ratio=ratio, low=low, high=high, clock=trial.engine.clock), saves_ms)


def measured(trial: Trial, chain: Chain) -> dict[str, Worth] | None:
    """By rule, and of all together; None where nothing may be timed that was not before."""
    names = [*([PREPARE.name] if trial.prepares else ()), *chain.counts]
    names += [WHOLE] if chain.steps else []
    if not names:
        return {}
    key = _key(trial, list(chain.counts))
    known = _known(trial, key, names)
    if known is not None or not trial.may_time:
        return known
    networks: list[tuple[str, Path | bytes]] = [(trial.loaded.name, trial.before)]
    networks += [(f"{trial.loaded.name} made plain", serialized(trial.prepared))] if trial.prepares else []
    networks += [(f"{trial.loaded.name} with {s.rule.name}", trial.as_timed(s.model)) for s in chain.steps]
    rounds = _timed(trial, networks, "each rewriting, in turns", openings=1, precision=_PRECISION)
    first = len(networks) - len(chain.steps) - 1
    found = {PREPARE.name: _worth(trial, rounds, [0])} if trial.prepares else {}
    for name in chain.counts:
        places = [first + i for i, step in enumerate(chain.steps) if step.rule.name == name]
        found[name] = _worth(trial, rounds, places)
    if chain.steps:
        found[WHOLE] = _of_two(trial, rounds, first, len(networks) - 1)
    _remember(trial, key, found, rounds)
    return found


def measured_whole(trial: Trial, model: ir.Model, names: Sequence[str]) -> Ratio | None:
    """All rules together against the prepared network, opened several times."""
    both = [("made plain", trial.as_timed(trial.prepared)), ("rewritten", trial.as_timed(model))]
    return _measured_anew(trial, names, both)


def measured_in_eight_bits(
    trial: Trial, floats: ir.Model, in_float: Sequence[str], model: ir.Model, names: Sequence[str]
) -> Ratio | None:
    """A network in eight bits against one in float, opened several times.

    Args:
        trial: in eight bits.
        floats: the one in float, of more rules.
        in_float: names of its rules.
        model: the other.
        names: of the rules of the latter.
    """
    both = [("in float", serialized(floats)), ("in eight bits", trial.as_timed(model))]
    return _measured_anew(trial, [*names, "beside", *in_float], both)


def _measured_anew(
    trial: Trial, names: Sequence[str], both: Sequence[tuple[str, Path | bytes]]
) -> Ratio | None:
    """The second network against the first; None where that may not be timed and was not before."""
    key = _key(trial, names, anew=both[0][0])
    known = _known(trial, key, [WHOLE])
    if known is None and not trial.may_time:
        return None
    if known is None:
        rounds = _timed(trial, both, "all rewritings, in turns", openings=3, precision=_PRECISION / 4)
        known = {WHOLE: _of_two(trial, rounds, 0, 1)}
        _remember(trial, key, known, rounds)
    return known[WHOLE].speedup


def _key(trial: Trial, names: Sequence[str], anew: str = "") -> str:
    """The network, how many inputs of which shapes it is timed on, and which rules were tried."""
    feed = trial.feeds[0]
    parts = {
        "network": hashlib.sha256(serialized(trial.prepared)).hexdigest(),
        "inputs": {name: [*array.shape] for name, array in feed.items()},
        "rewrites": [*names],
        "prepares": trial.prepares,
        "anew": anew,
        "samples": min(len(trial.feeds), INPUTS),
    }
    if trial.precision != "float":
        parts["precision"] = trial.precision
    return json.dumps(parts, sort_keys=True, separators=(",", ":"))


def _known(trial: Trial, key: str, names: Sequence[str]) -> dict[str, Worth] | None:
    entry = trial.cache.get(key)
    read = {} if entry is None else {name: Worth.of(entry, name, trial) for name in names}
    found = {name: worth for name, worth in read.items() if worth is not None}
    return found if len(found) == len(names) else None


def _remember(trial: Trial, key: str, found: Mapping[str, Worth], rounds: Rounds) -> None:
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
        trial.feeds,
        seconds=trial.seconds,
        min_rounds=_ROUNDS,
        precision=precision,
        openings=openings,
        seed=trial.seed,
        watch=in_shares(trial.progress, "time", what),
    )


def _worth(trial: Trial, rounds: Rounds, places: Sequence[int]) -> Worth:
    own = _by_rule(rounds, places)
    return _of_two(trial, own, 0, 1)


def _of_two(trial: Trial, rounds: Rounds, before: int, after: int) -> Worth:
    return Worth(
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
