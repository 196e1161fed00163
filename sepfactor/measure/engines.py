"""The engines there are, by name, and what is done with any of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sepfactor.errors import ModelError, OptionError
from sepfactor.measure.engine import Engine, Feed, HowToTime, Session, Watch
from sepfactor.measure.in_turns import Runs, time_sessions
from sepfactor.measure.ncnn_engine import Ncnn
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.onnxruntime_web_engine import OnnxRuntimeWeb
from sepfactor.measure.openvino_engine import OpenVino
from sepfactor.measure.rounds import Rounds

ENGINES: Mapping[str, Callable[[int, str], Engine]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "onnxruntime-web": OnnxRuntimeWeb,
    "ncnn": Ncnn,
}
"""Name → engine with so many threads and this provider."""

INPUTS = 16
"""On so many inputs are networks timed, in turns."""

_MOST_BYTES = 64_000_000
"""Of all of these."""

OPENINGS = 5
"""How often networks are opened to be timed, where there is time."""


EVERY = "all"
"""What stands for every engine that is installed, where engines are compared."""


def open_engine(name: str = "onnxruntime", threads: int = 1, provider: str = "cpu") -> Engine:
    """An engine by its name.

    Args:
        name: one of :data:`ENGINES`.
        threads: threads within one operator; 0 leaves the number to the engine.
        provider: what runs the operators, in the engine's own words.

    Raises:
        OptionError: there is no such engine, it is not installed, or it cannot have so many threads.
    """
    if name == EVERY:
        raise OptionError(f"Only bench compares engines: name one of {', '.join(ENGINES)}, not {name!r}.")
    if name not in ENGINES:
        raise OptionError(f"There is no engine {name!r}. There are: {', '.join(ENGINES)}.")
    return ENGINES[name](threads, provider)


def open_every_engine(threads: int = 1, provider: str = "cpu") -> tuple[list[Engine], list[str]]:
    """The engines that are installed, onnxruntime first; and why each of the others is not there.

    Raises:
        OptionError: onnxruntime cannot have so many threads, or has no such provider.
    """
    found, missing = list[Engine](), list[str]()
    for name, opened in ENGINES.items():
        try:
            engine = opened(threads, provider)
            _ = engine.environment  # which asks the package itself
        except OptionError as error:
            if not found:
                raise
            missing.append(f"{name} was left out: {error}")
        else:
            found.append(engine)
    return found, missing


class Contestant(NamedTuple):
    """A network to time.

    Attributes:
        name: by which errors call it.
        model: path or serialised ModelProto.
        engine: that runs it.
    """

    name: str
    model: Path | bytes
    engine: Engine


def open_and_time(
    engine: Engine,
    networks: Sequence[tuple[str, Path | bytes]],
    feeds: Sequence[Feed],
    *,
    seconds: float = 5.0,
    min_rounds: int = 9,
    precision: float | None = 0.005,
    openings: int = OPENINGS,
    seed: int = 0,
    opened: Callable[[int, str], None] | None = None,
    watch: Watch | None = None,
) -> Rounds:
    """As :func:`race`, of networks that all run in one engine.

    Args:
        engine: what runs them.
        networks: name, by which errors call it, and path or serialised ModelProto; the first is the baseline.
        feeds: inputs by name; up to :data:`INPUTS` of them, of the shapes of the first, are timed on.
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
        ModelError: a network cannot be loaded, or run on a feed; of the first one the message begins with its
            name.
        ValueError: there is nothing to time, or no opening.
    """
    return race(
        [Contestant(name, model, engine) for name, model in networks],
        feeds,
        seconds=seconds,
        min_rounds=min_rounds,
        precision=precision,
        openings=openings,
        seed=seed,
        opened=opened,
        watch=watch,
    )


def race(
    contestants: Sequence[Contestant],
    feeds: Sequence[Feed],
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

    How long a run takes may depend on its input: where operators branch by each value, the speed of one
    network over another differs by a quarter from picture to picture. So each round takes another one.

    Sessions of the same network differ by up to a percent for as long as they live, since their memory lies
    elsewhere. So networks are opened anew a few times, if that does not take longer than the timing.

    Args:
        contestants: the first is the baseline.
        feeds: as in :func:`open_and_time`, and so are the others.
        seconds: at most so long is timed in all, but not before ``min_rounds``.
        min_rounds: at least so many rounds in all.
        precision: stop sooner, when the 95 % interval of every ratio is within ± this share of it.
        openings: at most so often are they opened.
        seed: of the order and the intervals.
        opened: told of each network before it is opened first.
        watch: told now and then how far the timing is.

    Returns:
        Times in the order of ``contestants``.

    Raises:
        ModelError: a network cannot be loaded, or run on a feed.
        ValueError: there is nothing to time, or no opening.
    """
    if openings < 1:
        raise ValueError(f"networks are opened at least once, not {openings} times")
    telling, engines = _telling(feeds), [one.engine for one in contestants]
    begin = time.perf_counter()
    sessions = _opened(contestants, telling[0], opened)
    if opened is not None:
        opened(len(contestants), "")
    if openings > 1:
        took = max(time.perf_counter() - begin, 1e-3)
        openings = max(1, min(openings, int(seconds / (2.0 * took))))  # each warms up as well
    parts: list[Rounds] = []
    for number in range(openings):
        if number:
            sessions = _opened(contestants, telling[0], None)
        first = sum(part.wall.shape[1] for part in parts) % len(telling)  # where the last opening ended
        turned = [*telling[first:], *telling[:first]]
        how = HowToTime(
            seconds=seconds / openings,
            min_rounds=-(-min_rounds // openings),
            precision=None if precision is None else precision * openings**0.5,
            seed=seed + number,
            as_in_use=True,
            watch=None if watch is None else _share_of(watch, number, openings),
        )
        if all(engine == engines[0] for engine in engines):
            part = engines[0].time([(session, turned) for session in sessions], **how)
        else:
            runs = [Runs(engine, one, turned) for engine, one in zip(engines, sessions, strict=True)]
            part = time_sessions(runs, **how)
        inputs = (first + np.arange(part.wall.shape[1])) % len(telling)
        parts.append(replace(part, inputs=inputs))
    return Rounds.of_openings(parts)


def _telling(feeds: Sequence[Feed]) -> list[Feed]:
    """Some of all feeds, evenly spaced, of the shapes of the first one, as many as there is room for.

    Raises:
        ValueError: there are none.
    """
    if not len(feeds):
        raise ValueError("there is no input to time networks on")
    first = feeds[0]
    size = sum(array.nbytes for array in first.values())
    count = min(len(feeds), INPUTS, max(_MOST_BYTES // max(size, 1), 1))
    others = (feeds[number * len(feeds) // count] for number in range(1, count))
    return [first, *(feed for feed in others if _shapes(feed) == _shapes(first))]


def _shapes(feed: Feed) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in feed.items()}


def _opened(
    contestants: Sequence[Contestant],
    feed: Feed,
    opened: Callable[[int, str], None] | None,
) -> list[Session]:
    """Sessions that ran once."""
    sessions: list[Session] = []
    for number, (name, model, engine) in enumerate(contestants):
        if opened is not None:
            opened(number, name)
        try:
            session = engine.open(model, use="times")
            session.run(feed)
        except ModelError as error:
            raise type(error)(f"{name}: {error}") from error
        sessions.append(session)
    return sessions


def _share_of(watch: Watch, number: int, count: int) -> Watch:
    return lambda done: watch((number + done) / count)
