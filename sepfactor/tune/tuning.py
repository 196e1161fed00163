"""Tune a network that was made of another: what is aimed at, by which samples, and whether it can be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.codes import Reason
from sepfactor.data import Feed
from sepfactor.errors import ModelError, OptionError
from sepfactor.extras import how_to_install
from sepfactor.graph.instrument import with_outputs
from sepfactor.graph.load import first_line
from sepfactor.measure.engine import Engine
from sepfactor.measure.quality import Judge
from sepfactor.measure.tasks.classes import ClassScores
from sepfactor.plans.document import Tune
from sepfactor.results import Tuning
from sepfactor.study.study import Study
from sepfactor.tune.aims import Aim, aims
from sepfactor.tune.samples import Samples, behind

if TYPE_CHECKING:
    from sepfactor.tune.descent import Descent
    from sepfactor.tune.network import TorchNetwork

Array = NDArray[Any]

_ALIKE, _ALIKE_HALF = 1e-3, 2e-2
"""How far torch may be from onnxruntime, in shares of a value's size: in float32, and in half precision."""

_FAILS = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AssertionError)
"""What torch raises where shapes do not fit."""


class _Impossible(Exception):
    """Why a network cannot be tuned."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code, text)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of it.

    Attributes:
        model: the network; as it was where nothing was won.
        tune: with the number of steps, so that the same can be done again.
        report: for people.
    """

    model: ir.Model
    tune: Tune
    report: Tuning


def check_torch(what: str = "--tune") -> None:
    """Refuse before any work what cannot be done without torch.

    Args:
        what: needs it.

    Raises:
        OptionError: it is not installed.
    """
    if find_spec("torch") is None:
        raise OptionError(
            f"{what} needs the package torch, which is not installed. Install it with: "
            f"{how_to_install('tune')}, or do without."
        )


def tune(study: Study, model: ir.Model, asked: Tune, frozen: Collection[str] = ()) -> Tuned:
    """Descend on the weights of a network towards what the original answers on the samples that fit.

    Which share of the way is gone, perhaps none, is said by the samples that choose. The same steps make the
    same bytes, on the same kind of processor and with the same torch.

    Args:
        study: the run.
        model: made of ``study.prepared``; values of the same meaning have the same name.
        asked: seconds of the processor's time, or steps.
        frozen: names of weights that stay as they are.

    Raises:
        OptionError: torch is not installed.
    """
    check_torch()
    with _one_thread():
        try:
            return _tuned(study, model, asked, frozen)
        except _Impossible as error:
            return Tuned(model, asked, Tuning(reason=error.reason))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same bits on any number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _tuned(study: Study, model: ir.Model, asked: Tune, frozen: Collection[str]) -> Tuned:
    from sepfactor.tune.network import put_weights

    begin = time.process_time()
    descent = _descent(study, model, frozen)
    steps = asked.steps
    if steps is None:
        left = (asked.seconds or 0.0) - (time.process_time() - begin)
        steps = descent.steps_within(left)
    aim = "towards what the original answers"
    found = descent.run(steps, lambda done: study.progress("tune", done, steps, aim))
    made = model.clone()
    if found.share:
        put_weights(made, found.weights)
    report = Tuning(
        steps=steps,
        seconds=time.process_time() - begin,
        before=found.before,
        after=found.after,
        share=found.share,
    )
    return Tuned(made, asked.model_copy(update={"steps": steps}), report)


def _descent(study: Study, model: ir.Model, frozen: Collection[str]) -> Descent:
    """Ready to begin.

    Raises:
        _Impossible: the network cannot be tuned.
    """
    from sepfactor.tune.descent import Descent

    if study.network.is_stand_in:
        raise _Impossible("stand-in", "onnxruntime cannot run it, so nothing says what it answers")
    if not study.trusts_data:
        raise _Impossible("no-data", "made-up inputs say too little of what the network will see: give data")
    fit, choose = _parts(study)
    feeds, network = [*choose, *fit], _network(model, frozen)
    found = _common(study, model, network, choose)
    names = [aim.original for aim in found]
    original = study.exact.open(with_outputs(study.prepared, names))
    samples, numbers = Samples(feeds, original, names), range(len(feeds))
    own = [aim.own for aim in found]
    samples.together = _may_be_together(samples.answer, samples)
    return Descent(
        network,
        found,
        samples,
        fit=numbers[len(choose) :],
        choose=numbers[: len(choose)],
        together=_may_be_together(lambda feed: network.values(feed, own), samples),
        seed=study.options.seed,
    )


def _parts(study: Study) -> tuple[list[Feed], list[Feed]]:
    """Samples to go by, and samples that choose: those held out, or a quarter where none are."""
    fit, choose = [*study.splits.fit], [*study.splits.held_out]
    if not study.splits.is_synthetic and choose:
        return fit, choose
    if len(fit) < 2:
        raise _Impossible("no-data", "one sample cannot both be gone by and choose: give more")
    order = np.random.default_rng(study.options.seed).permutation(len(fit))
    held = max(1, len(fit) // 4)
    return [fit[i] for i in order[held:]], [fit[i] for i in order[:held]]


def _network(model: ir.Model, frozen: Collection[str]) -> TorchNetwork:
    from sepfactor.tune.network import TorchNetwork
    from sepfactor.tune.operators import Unknown

    try:
        network = TorchNetwork(model, frozen)
    except Unknown as error:
        raise _Impossible("unknown-operator", f"it has {error}, which is not known to tuning") from None
    if not network.weights:
        raise _Impossible("no-weights", "no layer of it has weights that may be tuned")
    return network


def _common(study: Study, model: ir.Model, network: TorchNetwork, choose: Sequence[Feed]) -> list[Aim]:
    """Aims of the same shape in both networks, where torch computes what onnxruntime does.

    Raises:
        _Impossible: it does not.
    """
    feed, classes = choose[0], _classes(study, choose)
    asked = aims(study.prepared, model, [site.input for site in study.sites if not site.nested], classes)
    theirs = _values(study.exact, study.prepared, [aim.original for aim in asked], feed)
    own = _values(study.exact, model, [aim.own for aim in asked], feed)
    found = [
        replace(aim, kind="probabilities")
        if aim.kind == "scores" and _are_probabilities(theirs[aim.original])
        else aim
        for aim in asked
        if theirs[aim.original].shape == own[aim.own].shape
    ]
    if not any(aim.is_output for aim in found):
        raise _Impossible("no-floats", "no output of it is of floating-point numbers")
    names = [aim.own for aim in found]
    for name, value in zip(names, _computed(network, feed, names), strict=True):
        if not _is_alike(value, own[name]):
            raise _Impossible("computed-otherwise", f"torch computes {name!r} otherwise than onnxruntime")
    return found


def _classes(study: Study, feeds: Sequence[Feed]) -> set[str]:
    """Outputs that are scores of classes."""
    judge = Judge(study.exact.open(study.loaded.runnable), feeds, task=study.options.task)
    return {one.name for task in judge.tasks if isinstance(task, ClassScores) for one in task.outputs}


def _are_probabilities(value: Array) -> bool:
    rows = value.reshape(len(value), -1).astype(np.float64)
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-2))


def _values(engine: Engine, model: ir.Model, names: Sequence[str], feed: Feed) -> dict[str, Array]:
    session = engine.open(with_outputs(model, names))
    order = [output.name for output in session.get_outputs()]
    values = session.run(feed)
    return {name: np.asarray(values[order.index(name)]) for name in names}


def _computed(network: TorchNetwork, feed: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    from sepfactor.tune.operators import Unknown

    try:
        return network.values(feed, names)
    except Unknown as error:
        raise _Impossible("unknown-operator", f"it has {error}, which is not known to tuning") from None
    except _FAILS as error:
        raise _Impossible("not-computed", f"torch cannot compute it: {first_line(error)}") from None


def _is_alike(value: Array, wanted: Array) -> bool:
    if value.shape != wanted.shape:
        return False
    most = _ALIKE_HALF if wanted.dtype == np.float16 else _ALIKE
    wide = wanted.astype(np.float64)
    return bool(np.linalg.norm(value - wide) <= most * np.linalg.norm(wide) + 1e-6 * np.sqrt(wide.size))


def _may_be_together(run: Callable[[Feed], list[Array]], samples: Samples) -> bool:
    """Whether a network computes several runs as one, behind one another."""
    if len(samples) < 2:
        return False
    both = samples.plain([0, 1])
    try:
        pairs = zip(run(behind(both)), *map(run, both), strict=True)
        return all(_is_alike(whole, np.concatenate([a, b])) for whole, a, b in pairs)
    except (*_FAILS, ModelError):
        return False
