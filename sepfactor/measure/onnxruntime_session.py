"""Opening and running onnxruntime sessions, and saying what went wrong in one sentence.

onnxruntime is imported inside the functions: it is slow to load, and half of the command line
does without it.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import ModelError, OptionError, OutputError
from sepfactor.measure.engine import Feed, Level, Use
from sepfactor.measure.sentences import one_line, taken_and_fed
from sepfactor.measure.time_limit import TooLong, watched
from sepfactor.serialized import Serialized

if TYPE_CHECKING:
    from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession

CPU = "CPUExecutionProvider"
"""Full name of the provider that all others fall back on."""

_FOLDER = "session.model_external_initializers_file_folder_path"
_SILENT = 4  # onnxruntime's severity "fatal": it prints nothing less grave
_SUFFIX = "ExecutionProvider"


def provider_name(provider: str) -> str:
    """The full name of an execution provider.

    Args:
        provider: short (``cpu``, ``cuda``) or in full (``CPUExecutionProvider``).

    Raises:
        OptionError: this onnxruntime has no such provider.
    """
    available = onnxruntime_module().get_available_providers()
    wanted = provider.lower()
    for name in available:
        if wanted in (name.lower(), name.removesuffix(_SUFFIX).lower()):
            return str(name)
    raise OptionError(
        f"This onnxruntime has no execution provider {provider!r}. Available are "
        f"{', '.join(provider_names())}."
    )


def provider_names() -> list[str]:
    """Short names of what this onnxruntime can run operators with."""
    return [name.removesuffix(_SUFFIX).lower() for name in onnxruntime_module().get_available_providers()]


def open_inference_session(
    model: Path | bytes,
    *,
    threads: int,
    provider: str,
    level: Level = "all",
    profile_prefix: Path | None = None,
    optimised_path: Path | None = None,
    use: Use = "times",
) -> InferenceSession:
    """A silent onnxruntime session.

    A session for times takes memory as onnxruntime does by default: in an arena that grows in large steps,
    and lives for as long as any array that a run handed out. One for values gives back what it does not need
    any more, and its arrays hold nothing but themselves.

    With more than one thread, workers stop spinning as soon as a run ends. Otherwise the workers of
    one session steal the cores of the next one, and interleaved timing measures that.

    Args:
        model: path, or a serialised ModelProto; its tensors lie within, or in files of the folder that
            :class:`~sepfactor.serialized.Serialized` bytes name.
        threads: threads within one operator; 0 leaves the number to onnxruntime.
        provider: execution provider, short or in full.
        level: onnxruntime's graph optimisation.
        profile_prefix: write a profile, to a file whose name begins so.
        optimised_path: write the optimised graph there.
        use: what it is opened for.

    Raises:
        ModelError: onnxruntime cannot load the model.
        OptionError: the provider is unknown, or does not start on this machine.
        OutputError: the folder of a file to write is missing.
    """
    name = provider_name(provider)
    options = _session_options(threads, level, profile_prefix, optimised_path)
    options.enable_cpu_mem_arena = options.enable_mem_pattern = use == "times"
    if use == "shapes":
        options.execution_order = onnxruntime_module().ExecutionOrder.PRIORITY_BASED
    if isinstance(model, Serialized) and model.folder is not None:
        options.add_session_config_entry(_FOLDER, str(model.folder))
    try:
        session: InferenceSession = onnxruntime_module().InferenceSession(
            str(model) if isinstance(model, Path) else model,
            options,
            providers=list(dict.fromkeys((name, CPU))),
            enable_fallback=False,  # the fallback prints, and times another provider than was asked
        )
    except failures() as error:
        said = complaint(error)
        raise ModelError(f"onnxruntime cannot load {_called(model)}: {said} {_how_to_mend(said)}") from error
    if name not in session.get_providers():
        raise OptionError(
            f"onnxruntime lists the provider {provider!r} but cannot start it on this machine. "
            "Install its libraries, or take provider 'cpu'."
        )
    return session


@cache
def known_operators() -> frozenset[tuple[str, str]]:
    """Domain, empty for the standard one, and name of all operators that onnxruntime has heard of."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    onnxruntime_module()
    return frozenset((schema.domain, schema.name) for schema in get_all_operator_schema())


def run_session(
    session: InferenceSession, feed: Feed, around: AbstractContextManager[object] | None = None
) -> list[NDArray[Any]]:
    """Every output of one run, in the order of the graph.

    Args:
        session: of the network.
        feed: inputs by name.
        around: entered by the thread that runs it, and left when it has.

    Raises:
        ModelError: the feed does not fit, the run fails or takes longer than
            :func:`~sepfactor.measure.time_limit.run_seconds` allows, or an output is not a tensor.
    """
    options = onnxruntime_module().RunOptions()
    options.log_severity_level = _SILENT

    def run() -> Any:
        with around or nullcontext():
            return session.run(None, dict(feed), options)

    try:
        outputs: Any = watched(run, options)
    except TooLong as seconds:
        raise ModelError(
            f"One run of the model takes longer than {seconds} s: does one of its loops ever end? Feed it "
            "smaller inputs (--input-shape, --resize), or set SEPFACTOR_RUN_SECONDS to what a run may take."
        ) from None
    except failures() as error:
        about = taken_and_fed(session.get_inputs(), feed)
        raise ModelError(f"onnxruntime cannot run the model: {complaint(error)} {about}") from error
    outputs = [_stacked(output) for output in outputs]
    for about, output in zip(session.get_outputs(), outputs, strict=True):
        if not isinstance(output, np.ndarray):
            raise ModelError(
                f"Output {about.name!r} is {about.type}, not a tensor. Remove it from the graph's "
                "outputs, or put the tensor it is made of in its place."
            )
    return list(outputs)


def _stacked(output: Any) -> Any:
    """A list of dictionaries of numbers, as a ZipMap makes it of rows, as these rows: ``(samples, keys)``."""
    if not (isinstance(output, list) and output and all(isinstance(row, dict) for row in output)):
        return output
    if any(row.keys() != output[0].keys() for row in output):
        return output
    return np.array([[row[key] for key in sorted(output[0])] for row in output])


_RUNNING = r"Non-zero status code returned while running \w+ node\. Name:'[^']*' Status Message: "


def complaint(error: BaseException) -> str:
    """What onnxruntime said, without codes, source positions and stack traces: one short line."""
    said = re.split(r"stack ?trace", str(error), maxsplit=1, flags=re.IGNORECASE)[0]
    said = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ :", "", said)
    said = re.sub(  # "…/file.cc:12 void ns::function(types) const " or "file.h:12 function "
        r"\S+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ (?:[\w:~<>*& ]+\([^()]*\)(?: const)? |\w+ )?", "", said
    )
    said = re.sub(r"Load model \S.*? failed[.:]\s*", "", said)
    said = said.split("Please fix either")[0]
    said = re.sub(rf"(?:{_RUNNING})+(?={_RUNNING})", "", said)  # what is inside what fails says why
    return one_line(said, type(error).__name__)


_UNKNOWN = (
    "Export it without its custom operators. As it is, sepfactor compress can work on convolutions that come "
    "before them, if there are any."
)
_MENDING = (
    ("external", "Keep the external data files beside the model, under their own names."),
    ("exist", "Check the path."),
    ("protobuf", "Is it an ONNX file, and whole? Download or export it again."),
    ("not a registered", _UNKNOWN),
    ("no op registered", _UNKNOWN),
    ("no opset import", "Export it again, with the operator sets of all its operators."),
    (
        "find an implementation",
        "Export it in float32, with standard operators of a newer set (onnx.version_converter raises an old "
        "one), or update onnxruntime.",
    ),
    ("opset", "Update onnxruntime, or convert the model with onnx.version_converter."),
    ("ir version", "Update onnxruntime, or export the model with an older onnx."),
)


def _how_to_mend(said: str) -> str:
    for word, hint in _MENDING:
        if word in said.lower():
            return hint
    return "onnx.checker.check_model(path, full_check=True) may say more; mend it, or export again."


def _session_options(
    threads: int, level: Level, profile_prefix: Path | None, optimised_path: Path | None
) -> Any:
    onnxruntime = onnxruntime_module()
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "none": levels.ORT_DISABLE_ALL,
    }[level]
    options.intra_op_num_threads = threads
    if threads != 1:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    for path in (profile_prefix, optimised_path):
        if path is not None and not path.absolute().parent.is_dir():
            raise OutputError(f"The folder {path.parent} of {path.name} is missing: create it.")
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    if optimised_path is not None:
        options.optimized_model_filepath = str(optimised_path)
    return options


def onnxruntime_module() -> Any:
    """The module, imported late; Any, for it re-exports its names in a way mypy does not follow."""
    import onnxruntime

    return onnxruntime


def failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its own exceptions share no base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (getattr(state, name) for name in dir(state))
    raised = [kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*raised, RuntimeError, ValueError, TypeError, OSError)


def _called(model: Path | bytes) -> str:
    return str(model) if isinstance(model, Path) else "the model"
