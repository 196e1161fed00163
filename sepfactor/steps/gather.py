"""Open the data a model is to be run on."""

from __future__ import annotations

from typing import Any

from sepfactor.graph.load import Loaded
from sepfactor.measure.session import Runtime, open_session
from sepfactor.observe import Feeds, InputSpec, Preprocessing, open_feeds
from sepfactor.options import Options


def gather(loaded: Loaded, options: Options, runtime: Runtime) -> tuple[Feeds, Feeds]:
    """The feeds to look at, and those to judge on (the same, unless others were given).

    Raises:
        ModelError: onnxruntime cannot load the model.
        DataError: the data cannot be read or do not fit its inputs.
    """
    session = open_session(loaded.runnable, runtime)
    inputs = [InputSpec.of(argument) for argument in session.get_inputs()]
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
    if options.eval_data is None:
        feeds = open_feeds(options.data, inputs, **truth, **common)
        return feeds, feeds
    feeds = open_feeds(options.data, inputs, **common)
    return feeds, open_feeds(options.eval_data, inputs, **truth, **common)
