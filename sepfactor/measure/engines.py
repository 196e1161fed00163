"""The engines there are, by name, and what is done with any of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sepfactor.errors import ModelError, OptionError
from sepfactor.measure.engine import Engine, Feed, Session, Watch
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.rounds import Rounds

ENGINES: Mapping[str, Callable[[int, str], Engine]] = {
    "onnxruntime": OnnxRuntime,
}
"""Name → engine with so many threads and this provider."""

OPENINGS = 5
"""How often networks are opened to be timed, where there is time."""


def open_engine(name: str = "onnxruntime", threads: int = 1, provider: str = "cpu") -> Engine:
    """An engine by its name.

    Args:
        name: one of :data:`ENGINES`.
        threads: threads within one operator; 0 leaves the number to the engine.
        provider: what runs the operators, in the engine's own words.

    Raises:
        OptionError: there is no such engine, or it cannot have so many threads.
    """
    if name not in ENGINES:
        raise OptionError(f"There is no engine {name!r}. There are: {', '.join(ENGINES)}.")
    return ENGINES[name](threads, provider)


def open_and_time(
    engine: Engine,
    networks: Sequence[tuple[str, Path | bytes]],
    feed: Feed,
    *,
    seconds: float = 5.0,
    min_rounds: int = 9,
    precision: float | None = 0.005,
    openings: int = OPENINGS,
    seed: int = 0,
    opened: Callable[[int, str], None] | None = None,
    watch: Watch | None = None,
) -> Rounds:
    """Open networks, run each once, and time them in turns on the same inputs; and all that several times.

    Sessions of the same network differ by up to a percent for as long as they live, since their memory lies
    elsewhere. So networks are opened anew a few times, if that does not take longer than the timing.

    Args:
        engine: what runs them.
        networks: name, by which errors call it, and path or serialised ModelProto; the first is the baseline.
        feed: inputs by name.
        seconds: at most so long is timed in all, but not before ``min_rounds``.
        min_rounds: at least so many rounds in all.
        precision: stop sooner, when the 95 % interval of every ratio is within ± this share of it.
        openings: at most so often are they opened.
        seed: of the order and the intervals.
        opened: told of each network before it is opened first: its number from 0, and its name; and at last
            of how many there are.
        watch: told now and then how far the timing is.

    Returns:
        Times in the order of ``networks``.

    Raises:
        ModelError: a network cannot be loaded or run on the feed; the message begins with its name.
        ValueError: there is nothing to time, or no opening.
    """
    if openings < 1:
        raise ValueError(f"networks are opened at least once, not {openings} times")
    begin = time.perf_counter()
    runs = _opened(engine, networks, feed, opened)
    if opened is not None:
        opened(len(networks), "")
    if openings > 1:
        took = max(time.perf_counter() - begin, 1e-3)
        openings = max(1, min(openings, int(seconds / (2.0 * took))))  # each warms up as well
    parts: list[Rounds] = []
    for number in range(openings):
        if number:
            runs = _opened(engine, networks, feed, None)
        parts.append(
            engine.time(
                runs,
                seconds=seconds / openings,
                min_rounds=-(-min_rounds // openings),
                precision=None if precision is None else precision * openings**0.5,
                seed=seed + number,
                watch=None if watch is None else _share_of(watch, number, openings),
            )
        )
    return Rounds.of_openings(parts)


def _opened(
    engine: Engine,
    networks: Sequence[tuple[str, Path | bytes]],
    feed: Feed,
    opened: Callable[[int, str], None] | None,
) -> list[tuple[Session, Feed]]:
    """Sessions that ran once."""
    runs: list[tuple[Session, Feed]] = []
    for number, (name, model) in enumerate(networks):
        if opened is not None:
            opened(number, name)
        try:
            session = engine.open(model, use="times")
            session.run(feed)
        except ModelError as error:
            raise type(error)(f"{name}: {error}") from error
        runs.append((session, feed))
    return runs


def _share_of(watch: Watch, number: int, count: int) -> Watch:
    return lambda done: watch((number + done) / count)
