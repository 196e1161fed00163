"""Open the data a model is to be run on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sepfactor.data import Feeds, InputSpec, Preprocessing, open_feeds
from sepfactor.data.copies import without_copies
from sepfactor.data.sources import kind_of_data
from sepfactor.errors import DataError, ModelError
from sepfactor.graph.load import Loaded
from sepfactor.measure.engine import Engine, Session
from sepfactor.measure.relatives import Groups, joined, relatives
from sepfactor.memory import Pool
from sepfactor.options import Options

_IMAGES = [field.name for field in fields(Preprocessing)]
"""Options that say how images become inputs."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Inputs by what they are used for.

    Attributes:
        fit: for statistics and fitting.
        held_out: for judging fits while they are made; not in ``fit``, but empty where there are few samples.
        chosen_on: for judging plans while they are searched for: ``held_out``, and if those are few, some of
            ``fit`` with them.
        fitted_only: what of ``fit`` is not in ``chosen_on``.
        judged_on: for the figures of the report.
        decided_nothing: whether ``judged_on`` is apart from all of these.
        judged_units: groups in ``judged_on`` of samples that a network takes for nearly the same; None of
            single samples.
    """

    fit: Feeds
    held_out: Feeds
    chosen_on: Feeds
    fitted_only: Feeds
    judged_on: Feeds
    decided_nothing: bool = False
    judged_units: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the data were read, in sentences."""
        return tuple(dict.fromkeys(note for feeds in (self.fit, self.judged_on) for note in feeds.notes))

    @property
    def is_synthetic(self) -> bool:
        """Whether fits rest on made-up images."""
        return self.fit.synthetic


def open_splits(
    loaded: Loaded, options: Options, engine: Engine, pool: Pool | None = None, *, chooses: bool = False
) -> Splits:
    """Open the data and set a part aside.

    Synthetic images are not split: nothing is claimed from them.

    Args:
        loaded: the network.
        options: where the data are, and how they are read.
        engine: that runs it.
        pool: keeps what can be read once only.
        chooses: whether plans are chosen by how they do on the data, even if nothing is fitted to them.

    Raises:
        ModelError: onnxruntime cannot load the model.
        DataError: the data cannot be read or do not fit its inputs, or all that is to judge was fitted to.
    """
    session = engine.open(loaded.runnable)
    scalars = {
        value.name for value in loaded.model.graph.inputs if value.shape is not None and not value.shape
    }
    inputs = [InputSpec.of(one, is_scalar=one.name in scalars) for one in session.get_inputs()]
    settings = Preprocessing(**{name: getattr(options, name) for name in _IMAGES})
    common: dict[str, Any] = {
        "preprocessing": settings,
        "sample_rate": options.sample_rate,
        "shapes": options.input_shape,
        "limit": options.limit,
        "seed": options.seed,
        "pool": pool or Pool(options.memory),
    }
    truth: dict[str, Any] = {"labels": options.labels, "targets": options.targets}
    # What is given belongs to what is judged on; but a table that names images serves wherever they lie.
    own = truth if options.eval_data is None else {"labels": options.labels, "labels_by_name": True}
    other = kind_of_data(options.eval_data, truth.values())
    feeds = open_feeds(options.data, inputs, **own, elsewhere=other, **common)
    if feeds.synthetic:
        _try(session, feeds)
    final = None
    if options.eval_data is not None:
        other = kind_of_data(options.data, own.values())
        final = open_feeds(options.eval_data, inputs, **truth, elsewhere=other, **common)
    if feeds.synthetic or not (options.refit or chooses):
        return _together(feeds, final, options)
    feeds = without_copies(feeds)
    if final is not None and chooses:  # else nothing is promised
        final = _unseen(final, feeds)
    if len(feeds) < _LEAST:
        return _together(feeds, final, options)
    return _apart(_mixed(session, feeds, options.seed), final, options)


def _together(feeds: Feeds, final: Feeds | None, options: Options) -> Splits:
    """Where nothing can be claimed, or nothing is decided: all of it may serve for everything."""
    count = sum(split_sizes(len(feeds), options.held_out)) if options.refit and feeds.synthetic else 0
    held_out = feeds.shuffled(options.seed)[:count]
    if final is None:
        return Splits(feeds, held_out, held_out, feeds, feeds)
    return Splits(feeds, held_out, held_out, feeds, final, decided_nothing=True)


@dataclass(frozen=True, eq=False)
class _Mixed:
    """Runs in an order drawn by a seed, those of one group together.

    Attributes:
        feeds: the runs.
        groups: ``(runs,)``, of each the number of its group.
        counts_groups: whether intervals are to be of groups, since a network takes all of one for the same.
    """

    feeds: Feeds
    groups: Groups
    counts_groups: bool


def _mixed(session: Session, feeds: Feeds, seed: int) -> _Mixed:
    order = np.random.default_rng(seed).permutation(len(feeds))
    related, recordings = relatives(session, feeds), _recordings(feeds)
    together = joined(len(feeds), related, recordings)
    if related is not None and _is_too_large(together):  # each links what the other does not
        together, recordings = related, None
    groups, parted = _without_large(together)
    notes = []
    if related is not None:
        notes.append(
            f"The network takes some samples for nearly the same ({len(np.unique(related))} groups of "
            f"{len(feeds)}): each group is fitted to, chosen on or judged on as a whole."
        )
    elif len(np.unique(groups)) < len(groups):
        notes.append("Windows of one recording are fitted to, chosen on or judged on together.")
    if parted:
        notes.append(_OF_ONE_RECORDING)
    _, first, number = np.unique(groups[order], return_index=True, return_inverse=True)
    order = order[np.argsort(first[number], kind="stable")]
    return _Mixed(feeds.take(order).noting(notes), groups[order], related is not None)


def _recordings(feeds: Feeds) -> Groups | None:
    """The group of each run by the file that it begins in; None where each is of its own."""
    files, groups = np.unique(feeds.files, return_inverse=True)
    return None if len(files) == len(groups) else groups.astype(np.int64)


def _is_too_large(groups: Groups) -> bool:
    return bool(np.bincount(groups).max() > _LARGEST * len(groups))


def _without_large(groups: Groups) -> tuple[Groups, bool]:
    """The same with the members of a group that is too large each alone, and whether there is one."""
    large = np.bincount(groups)[groups] > _LARGEST * len(groups)
    return np.where(large, len(groups) + np.arange(len(groups)), groups), bool(large.any())


def _boundary(groups: Groups, at: int) -> int:
    """The first place from ``at`` on where a group ends; the last group stays behind it."""
    ends = np.flatnonzero(np.diff(groups)) + 1
    return int(min(ends[ends >= at], default=ends[-1])) if at and len(ends) else at


def _apart(found: _Mixed, final: Feeds | None, options: Options) -> Splits:
    """What judges, what chooses and what is fitted to, in parts of the data or with those to judge on."""
    mixed, groups = found.feeds, found.groups
    judging, choosing = split_sizes(len(mixed), options.held_out)
    judging, held = _boundary(groups, judging), _boundary(groups, judging + choosing)
    first = judging if final is None else 0
    last = max(held, min(first + _TO_CHOOSE, len(mixed)))
    return Splits(
        fit=mixed[held:],
        held_out=mixed[judging:held],
        chosen_on=mixed[first:last],
        fitted_only=mixed[last:],
        judged_on=mixed[:judging] if final is None else final,
        decided_nothing=True,
        judged_units=len(np.unique(groups[:judging])) if final is None and found.counts_groups else None,
    )


def _unseen(final: Feeds, feeds: Feeds) -> Feeds:
    """What of the data to judge on is not fitted to.

    Raises:
        DataError: nothing is.
    """
    found = without_copies(final, feeds)
    if not len(found):
        raise DataError(
            f"All samples of --eval-data ({final.description}) are also in --data, so they can judge "
            "nothing. Give others, or leave --eval-data out: a part of --data is held out then."
        )
    return found


def split_sizes(samples: int, share: float | None = None) -> tuple[int, int]:
    """How many samples judge, and how many choose; at least one is left to fit to, if there is one.

    Two thirds of the share judge, or all of so few that nothing could be said otherwise; those that choose
    are helped by what was fitted to. Without a share it is a quarter, and of few samples up to half.
    """
    usual = max(round(0.25 * samples), min(12, samples // 2))
    held = usual if share is None else round(share * samples)
    held = min(max(held, 1), samples - 1)
    judging = held - held // 3 if held > _FEW else held
    return judging, held - judging


_LARGEST = 0.25
"""Of all samples, that windows of one recording may be and stay together."""

_OF_ONE_RECORDING = (
    "More than a quarter of the windows are of one recording, which is parted, so that what is judged on is "
    "also of what is fitted to: other recordings as --eval-data say what is lost on them."
)

_TO_CHOOSE = 12
"""Plans are chosen on so many samples at least, if there are as many."""

_LEAST = 4
"""Fewer samples would show nothing, and are all fitted to."""

_FEW = 4
"""So few held-out samples judge and choose nothing."""


def _try(session: Session, feeds: Feeds) -> None:
    """Fail here where the network cannot be run on what was made up for it."""
    try:
        session.run(feeds[0])
    except ModelError as error:
        raise ModelError(
            f"{error} These inputs were made up, since no --data was given: give it, or say with "
            "--input-shape what it takes."
        ) from None
