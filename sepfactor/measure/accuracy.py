"""Two sessions on the same data: how far apart their outputs are, and what that costs in accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import DataError, ModelError, OptionError
from sepfactor.measure.engine import Feed, Session
from sepfactor.measure.metrics import OutputMeter, looks_like_class_scores
from sepfactor.measure.tasks.base import batch_of
from sepfactor.results import Accuracy

Array = NDArray[Any]
Watch = Callable[[Feed, Mapping[str, Array], Mapping[str, Array]], None]


def compare_sessions(
    reference: Session,
    candidate: Session,
    feeds: Sequence[Feed],
    labels: Array | None = None,
    targets: Sequence[Array] | Array | None = None,
    *,
    classifier_output: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    watch: Watch | None = None,
) -> Accuracy:
    """Run both on every feed and compare all outputs; one run at a time is held in memory.

    Args:
        reference: the original model.
        candidate: one with outputs of the same names.
        feeds: inputs by name, for each run.
        labels: ``(samples,)`` or ``(runs, batch)`` class indices, −1 where unknown, in the order of
            the feeds. They are compared with the first output that looks like class scores, ``(N, C)``.
        targets: what the output should be: one array a sample, with or without a batch axis of 1, or
            one a run, with the batch axis of the output. They are compared with the first floating
            output of that shape.
        classifier_output: compare the labels with this output instead.
        progress: called with runs done and runs in all.
        watch: shown every run: what went in, and the outputs of both by name.

    Raises:
        DataError: there are no feeds, or labels or targets do not fit them or the outputs.
        ModelError: a run fails, or the candidate lacks an output.
        OptionError: there is no output ``classifier_output``.
    """
    if not len(feeds):
        raise DataError("There is no data to compare on: give at least one input.")
    labels = None if labels is None else _class_indices(labels)
    meters = {name: OutputMeter(name) for name in _shared_outputs(reference, candidate)}
    roles: _Roles | None = None
    truth = targets
    samples = 0
    for done, feed in enumerate(feeds, 1):
        before, after = _outputs(reference, feed), _outputs(candidate, feed)
        if roles is None:
            roles = _assign(before, labels, targets, classifier_output, batch_of(feed))
            truth = _per_sample(targets, before[roles.dense].ndim) if roles.dense else targets
        batch = _batch(before[roles.counted])
        here = slice(samples, samples + batch)
        for name, meter in meters.items():
            meter.update(
                before[name],
                after[name],
                labels=_labels(labels, here) if name == roles.scores else None,
                target=_target(truth, here, before[name]) if name == roles.dense else None,
                batch=batch_of(feed),
            )
        samples += batch
        if watch:
            watch(feed, before, after)
        if progress:
            progress(done, len(feeds))
    _check_count("labels", labels, samples)
    _check_count("targets", truth, samples)
    known = 0 if labels is None else int(np.count_nonzero(labels >= 0))
    return Accuracy(
        outputs=tuple(meter.result() for meter in meters.values()),
        samples=samples,
        with_labels=known,
        classifier=roles.scores if roles else None,
    )


@dataclass(frozen=True)
class _Roles:
    """Which output is compared with labels, which with targets, and whose batch axis counts."""

    scores: str | None
    dense: str | None
    counted: str


def _assign(
    outputs: Mapping[str, Array],
    labels: Array | None,
    targets: Sequence[Array] | Array | None,
    classifier_output: str | None,
    batch: int,
) -> _Roles:
    shapes = "; ".join(f"{name} {output.shape}" for name, output in outputs.items())
    scores, dense = classifier_output, None
    if scores is not None and scores not in outputs:
        raise OptionError(f"The model has no output {scores!r}. Its outputs are {shapes}.")
    if labels is None:
        scores = None
    elif scores is None:
        scores = _first(outputs, lambda o: looks_like_class_scores(o) and o.shape[0] in (1, batch))
        if scores is None:
            raise DataError(
                f"No output holds class scores (N, C) to compare with labels; there are {shapes}. "
                "Leave the labels out."
            )
    if targets is not None and len(targets):
        shape = np.shape(targets[0])
        dense = _first(outputs, lambda o: _is_float(o) and _is_of(shape, o.shape))
        if dense is None:
            raise DataError(
                f"Targets of shape {shape} fit no floating output; there are {shapes}, the first "
                "axis the batch. Give one array per sample, in the shape of an output, or none."
            )
    return _Roles(scores, dense, scores or dense or next(iter(outputs)))


def _first(outputs: Mapping[str, Array], fits: Callable[[Array], bool]) -> str | None:
    return next((name for name, output in outputs.items() if fits(output)), None)


def _is_float(output: Array) -> bool:
    return output.dtype.kind == "f"


def _is_of(target: tuple[int, ...], output: tuple[int, ...]) -> bool:
    """Whether a target is one sample of the output, with a batch axis of 1 or none, or all of a run."""
    sample = output[1:]
    return target in (sample, (1, *sample), output)


def _per_sample(targets: Sequence[Array] | Array | None, rank: int) -> Sequence[Array] | None:
    """Views of the targets, one per sample, whether they came by sample or by run.

    Args:
        targets: as given.
        rank: of the output, with the batch axis.
    """
    if targets is None:
        return None
    arrays = map(np.asarray, targets)
    return [sample for a in arrays for sample in (a if a.ndim == rank > 0 else (a,))]


def _batch(output: Array) -> int:
    return output.shape[0] if output.ndim else 1


def _class_indices(labels: Array) -> Array:
    flat = np.asarray(labels).reshape(-1)
    if flat.dtype.kind not in "iu":
        raise DataError(f"Labels are {flat.dtype}: give integers, one class index per sample.")
    return flat.astype(np.int64)


def _labels(labels: Array | None, here: slice) -> Array | None:
    _check_count("labels", labels, here.stop, at_least=True)
    return None if labels is None else labels[here]


def _target(targets: Sequence[Array] | Array | None, here: slice, output: Array) -> Array | None:
    if targets is None:
        return None
    _check_count("targets", targets, here.stop, at_least=True)
    ours = [np.asarray(target) for target in targets[here]]
    sample = output.shape[1:]
    wrong = next((target.shape for target in ours if target.shape != sample), None)
    if wrong is not None:
        raise DataError(
            f"A target of shape {wrong} does not fit an output sample of shape {sample}. Give one "
            "array per sample, in the order of the data."
        )
    return np.stack(ours).reshape(output.shape)


def _check_count(
    what: str, given: Sequence[Array] | Array | None, samples: int, *, at_least: bool = False
) -> None:
    if given is None or len(given) == samples or (at_least and len(given) > samples):
        return
    more = "at least " if at_least else ""
    raise DataError(
        f"There are {len(given)} {what} for {more}{samples} samples: give one per sample, in the "
        "order of the data."
    )


def _shared_outputs(reference: Session, candidate: Session) -> list[str]:
    names = [output.name for output in reference.get_outputs()]
    lacking = set(names) - {output.name for output in candidate.get_outputs()}
    if lacking:
        raise ModelError(
            f"The candidate has no output {', '.join(map(repr, sorted(lacking)))} to compare with "
            "the reference's. Compare models whose outputs have the same names."
        )
    return names


def _outputs(session: Session, feed: Feed) -> dict[str, Array]:
    names = (output.name for output in session.get_outputs())
    return dict(zip(names, session.run(feed), strict=True))
