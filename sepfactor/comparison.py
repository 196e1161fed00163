"""``compare``: how far two networks differ on the same data."""

from __future__ import annotations

from typing import Any

from sepfactor import __version__
from sepfactor.deliver.describe import describe_data
from sepfactor.deliver.pictures import PictureBook
from sepfactor.errors import ModelError, within_means
from sepfactor.graph.load import ModelSource, load
from sepfactor.measure.accuracy import compare_sessions
from sepfactor.measure.session import Runtime, environment, open_session, run
from sepfactor.options import make_options
from sepfactor.progress import Progress, silent
from sepfactor.report.compared import Comparison
from sepfactor.study.splits import gather


@within_means()
def compare(
    reference: ModelSource, candidate: ModelSource, *, progress: Progress = silent, **options: Any
) -> Comparison:
    """How far the outputs of ``candidate`` are from those of ``reference``, and what labels say of both.

    Args:
        reference: path, bytes, ModelProto or ir.Model.
        candidate: a model with inputs and outputs of the same names.
        progress: called as the work goes on.
        **options: ``data``, ``labels``, ``targets``, ``input_shape``, ``limit``, ``threads``, ``provider``,
            ``seed``, ``pictures``, and how images become inputs; see :class:`sepfactor.options.Options`.

    Raises:
        SepfactorError: a model cannot be read or run on the data, or the two have nothing to compare.
    """
    asked = make_options({**options, "refit": False})
    runtime = Runtime(asked.threads, asked.provider)
    one, other = load(reference), load(candidate)
    data = gather(one, asked, runtime)
    feeds = data.judged_on
    sessions = []
    for model in (one, other):
        sessions.append(open_session(model.runnable, runtime))
        try:
            run(sessions[-1], feeds[0])
        except ModelError as error:
            raise type(error)(f"{model.name}: {error}") from error
    first, second = sessions
    preprocessing = feeds.preprocessing
    book = PictureBook(None if preprocessing is None else preprocessing.as_dict(), feeds.labels)
    found = compare_sessions(
        first,
        second,
        feeds,
        labels=feeds.labels,
        targets=feeds.targets,
        progress=lambda done, total: progress("compare", done, total, "both networks"),
        watch=book.look if asked.pictures else None,
    )
    notes = []
    if feeds.synthetic:
        notes.append("SYNTHETIC IMAGES were used, since no --data was given. No accuracy is claimed.")
    if (right := found.baseline_at_chance) is not None:
        notes.append(
            f"The first network itself gets only {100 * right:.1f} % right: preprocessing or labels do not "
            "fit it."
        )
    return Comparison.model_validate(
        {
            "sepfactor_version": __version__,
            "reference": str(one.path or one.name),
            "candidate": str(other.path or other.name),
            "environment": environment(runtime).as_dict(),
            "data": describe_data(data, asked),
            "pictures": book.pages(),
            "notes": notes,
            **found.as_dict(),
        }
    )
