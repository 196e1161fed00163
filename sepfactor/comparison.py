"""``compare``: how far two networks differ on the same data."""

from __future__ import annotations

import os

from typing_extensions import Unpack

import sepfactor.report  # noqa: F401  # so that notebooks show results
from sepfactor import __version__
from sepfactor.budgets.base import too_few
from sepfactor.deliver.describe import describe_data, two_engines
from sepfactor.deliver.pictures import PictureBook
from sepfactor.errors import ModelError, within_means
from sepfactor.graph.load import ModelSource, load
from sepfactor.measure.accuracy import compare_sessions
from sepfactor.measure.engines import open_engine
from sepfactor.measure.quality import Judge, by_boxes
from sepfactor.options import make_options
from sepfactor.progress import Progress, silent
from sepfactor.results import Comparison
from sepfactor.signatures import CompareOptions
from sepfactor.study.splits import open_splits


@within_means()
def compare(
    reference: ModelSource,
    candidate: ModelSource,
    *,
    config: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """How far the outputs of ``candidate`` are from those of ``reference``, and what labels say of both.

    In another engine than onnxruntime runs the candidate alone: so what its precision costs is counted.

    Args:
        reference: path, bytes, ModelProto or ir.Model.
        candidate: a model with inputs and outputs of the same names.
        config: TOML file of options.
        progress: called as the work goes on.
        **options: data, labels, targets and how they are run, see :class:`sepfactor.options.Options`.

    Raises:
        OptionError: an option is none that comparing uses, or does not fit.
        SepfactorError: a model cannot be read or run on the data, or the two have nothing to compare.
    """
    asked = make_options(options, config, {"refit": False}, function="compare")
    engine = open_engine(asked.engine, asked.threads, asked.provider)
    one, other = load(reference), load(candidate)
    data = open_splits(one, asked, engine.exact)
    feeds, environment = data.judged_on, engine.environment
    sessions = []
    for model, runs in ((one, engine.exact), (other, engine)):
        sessions.append(runs.open(model.runnable))
        try:
            sessions[-1].run(feeds[0])
        except ModelError as error:
            raise type(error)(f"{model.name}: {error}") from error
    first, second = sessions
    book = PictureBook(feeds.preprocessing, feeds.labels)
    found = compare_sessions(
        first,
        second,
        feeds,
        labels=feeds.labels,
        targets=feeds.targets,
        progress=lambda done, total: progress("compare", done, total, "both networks"),
        watch=book.look if asked.pictures else None,
    )
    if feeds.boxes is not None:
        found = found.model_copy(update={"boxes": by_boxes(first, second, feeds, feeds.boxes)})
    judge = None if asked.task is None else Judge(first, feeds, feeds.labels, task=asked.task)
    quality = judge(second) if judge else None
    notes = [*data.notes, *(judge.notes if judge else ()), *two_engines(environment)]
    if judge is not None and quality is not None and not feeds.synthetic:
        notes += [*too_few(quality), *judge.left_out(quality)]
    if feeds.synthetic:
        notes.append("SYNTHETIC IMAGES were used, since no --data was given. No accuracy is claimed.")
    if (right := found.baseline_at_chance) is not None:
        notes.append(
            f"The first network itself gets only {100 * right:.1f} % right: preprocessing or labels do not "
            "fit it."
        )
    return Comparison(
        sepfactor_version=__version__,
        reference=str(one.path or one.name),
        candidate=str(other.path or other.name),
        environment=environment,
        data=describe_data(data, asked),
        accuracy=found,
        tasks=judge.described() if judge else (),
        quality=quality,
        pictures=book.pages(),
        notes=tuple(notes),
    )
