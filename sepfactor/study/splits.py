"""Open the data a model is to be run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sepfactor.data import Feeds, InputSpec, Preprocessing, open_feeds
from sepfactor.errors import ModelError
from sepfactor.graph.load import Loaded
from sepfactor.measure.engine import Engine, Session
from sepfactor.options import Options


@dataclass(frozen=True, eq=False)
class Splits:
    """Inputs by what they are used for.

    Attributes:
        fit: for statistics and fitting.
        held_out: for judging fits; never in ``fit``, but empty where there is a single sample.
        judged_on: for the figures of the report.
    """

    fit: Feeds
    held_out: Feeds
    judged_on: Feeds

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the data were read, in sentences."""
        return tuple(dict.fromkeys(note for feeds in (self.fit, self.judged_on) for note in feeds.notes))

    @property
    def is_synthetic(self) -> bool:
        """Whether fits rest on made-up images."""
        return self.fit.synthetic


def open_splits(loaded: Loaded, options: Options, engine: Engine) -> Splits:
    """Open the data and set a part aside.

    Synthetic images are not split: nothing is claimed from them.

    Raises:
        ModelError: onnxruntime cannot load the model.
        DataError: the data cannot be read or do not fit its inputs.
    """
    session = engine.open(loaded.runnable)
    scalars = {
        value.name for value in loaded.model.graph.inputs if value.shape is not None and not value.shape
    }
    inputs = [InputSpec.of(one, is_scalar=one.name in scalars) for one in session.get_inputs()]
    settings = Preprocessing(
        options.color, options.scale, options.mean, options.std, options.layout, options.resize
    )
    common: dict[str, Any] = {
        "preprocessing": settings,
        "shapes": options.input_shape,
        "limit": options.limit,
        "seed": options.seed,
    }
    truth: dict[str, Any] = {"labels": options.labels, "targets": options.targets}
    # What is given belongs to what is judged on; but a table that names images serves wherever they lie.
    own = truth if options.eval_data is None else {"labels": options.labels, "labels_by_name": True}
    feeds = open_feeds(options.data, inputs, **own, **common)
    if feeds.synthetic:
        _try(session, feeds)
    fit, held_out = feeds.split(options.held_out, options.seed)
    if not options.refit or feeds.synthetic:
        fit = feeds  # nothing is fitted, or nothing can be claimed: all of it may serve for both
    if options.eval_data is not None:
        return Splits(fit, held_out, open_feeds(options.eval_data, inputs, **truth, **common))
    whole = fit is feeds or not len(held_out)
    return Splits(fit, held_out, feeds if whole else held_out)


def _try(session: Session, feeds: Feeds) -> None:
    """Fail here where the network cannot be run on what was made up for it."""
    try:
        session.run(feeds[0])
    except ModelError as error:
        raise ModelError(
            f"{error} These inputs were made up, since no --data was given: give it, or say with "
            "--input-shape what it takes."
        ) from None
