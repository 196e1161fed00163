"""Opening and running networks in OpenVINO, and saying what went wrong in one sentence.

OpenVINO is imported inside the functions: it is an extra, and slow to load.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import ModelError, OptionError
from sepfactor.extras import how_to_install
from sepfactor.measure.engine import Feed, NodeTime, PortInfo
from sepfactor.measure.sentences import one_line, taken_and_fed
from sepfactor.measure.time_limit import run_seconds
from sepfactor.scratch import scratch_folder
from sepfactor.serialized import Serialized

CPU = "CPU"
"""OpenVINO's name of the processor among its devices."""

_TYPES = {"f32": "float", "f16": "float16", "f64": "double", "bf16": "bfloat16", "boolean": "bool"}
_INTEGER = re.compile(r"(u?)i?(8|16|32|64)$")

_SINK = "/sink_port_"
"""Before a number, behind the name of an output, in the name of what OpenVINO ends it with."""

_OPERATORS = {
    "Convolution": "Conv",
    "GroupConvolution": "Conv",
    "Deconvolution": "ConvTranspose",
    "FullyConnected": "MatMul",
    "AvgPool": "AveragePool",
    "ReduceMean": "GlobalAveragePool",
}
"""Its name of an operator → ONNX's."""

_WITHOUT_BIASES = "/WithoutBiases"
"""What OpenVINO puts behind the name of a convolution that it parted from its bias."""

K = TypeVar("K")

_WAIT_MS = 50
_COUNTED = 7  # runs of a network that is compiled once
_SHARE = 0.25


def openvino_module() -> Any:
    """The module, imported late.

    Raises:
        OptionError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise OptionError(
            "The engine openvino needs the package openvino, which is not installed. Install it with: "
            f"{how_to_install('openvino')}, or leave --engine out for onnxruntime."
        ) from error
    return openvino


def device_name(provider: str) -> str:
    """OpenVINO's name of a device.

    Raises:
        OptionError: OpenVINO is not installed, or has no such device here.
    """
    wanted, devices = provider.removesuffix("ExecutionProvider").lower(), device_names()
    if wanted in devices:
        return wanted.upper()
    raise OptionError(
        f"This OpenVINO has no device {provider!r} for --provider. There are: {', '.join(devices)}."
    )


def device_names() -> list[str]:
    """Devices that there are here, as ``--provider`` names them.

    Raises:
        OptionError: OpenVINO is not installed.
    """
    return [str(device).lower() for device in _core(os.getpid()).available_devices]


def precision_of(device: str) -> str:
    """The type that networks in float32 compute in on a device, unless told otherwise."""
    kind = _core(os.getpid()).get_property(device, "INFERENCE_PRECISION_HINT")
    return {"bf16": "bfloat16", "f16": "float16"}.get(str(kind.get_type_name()), "float32")


def compiled(model: Path | bytes, *, threads: int, device: str) -> Any:
    """A network as OpenVINO runs it: one run at a time, at the precision that is the default.

    Args:
        model: path, or a serialised ModelProto; its tensors lie within, or in files of the folder that
            :class:`~sepfactor.serialized.Serialized` bytes name.
        threads: threads of one run; 0 leaves the number to OpenVINO.
        device: OpenVINO's name.

    Raises:
        ModelError: OpenVINO cannot read the network, or has no kernel for some of it.
    """
    return _compiled(model, threads, device)[0]


def _compiled(model: Path | bytes, threads: int, device: str, counts: bool = False) -> tuple[Any, set[str]]:
    """The same, perhaps one that counts what its nodes take; and how they were called before that."""
    settings: dict[str, Any] = {"PERF_COUNT": counts}
    if device == CPU:
        settings["NUM_STREAMS"] = 1
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
    core, called = _core(os.getpid()), str(model) if isinstance(model, Path) else "the model"
    try:
        with _readable(model) as source:
            read = core.read_model(source)
            names = {str(node.friendly_name) for node in read.get_ordered_ops()} if counts else set[str]()
            return core.compile_model(read, device, settings), names
    except failures() as error:
        raise ModelError(
            f"OpenVINO cannot load {called}: {complaint(error)} Take --engine onnxruntime, or export the "
            "network with standard operators."
        ) from error


def run_request(request: Any, feed: Feed) -> list[NDArray[Any]]:
    """Every output of one run, in the order of the graph.

    Raises:
        ModelError: the feed does not fit, the run fails or takes longer than
            :func:`~sepfactor.measure.time_limit.run_seconds` allows.
    """
    ports = request.model_inputs
    try:
        _check_feed([value_info(port) for port in ports], feed)
        request.start_async(dict(feed), share_inputs=True)
        end = time.perf_counter() + run_seconds()
        try:
            while not request.wait_for(_WAIT_MS):  # so that Ctrl-C is heard
                if time.perf_counter() > end:
                    raise TimeoutError
        except BaseException:
            request.cancel()
            with suppress(*failures()):
                request.wait()  # else it would work on with memory that is given back
            raise
        return [np.array(request.get_output_tensor(i).data) for i in range(len(request.model_outputs))]
    except TimeoutError:
        raise ModelError(
            f"One run of the model takes longer than {run_seconds():g} s: does one of its loops ever end? "
            "Feed it smaller inputs (--input-shape, --resize), or raise SEPFACTOR_RUN_SECONDS."
        ) from None
    except failures() as error:
        about = taken_and_fed([value_info(port) for port in ports], feed)
        raise ModelError(f"OpenVINO cannot run the model: {complaint(error)} {about}") from error


def profiled(
    model: Path | bytes,
    feed: Feed,
    *,
    threads: int,
    device: str,
    runs: int,
    watch: Callable[[float], None] | None = None,
) -> list[NodeTime]:
    """Time of every node that was run, in the order of execution.

    It is called after the first operator of the network that became part of it. Runs are by the calling
    thread: on a busy machine one that is woken for each is taken off its core, and always at the same node.

    OpenVINO says means over all runs so far, in whole microseconds. What the last of n runs took is known
    from them to n microseconds, so after a few runs the network is compiled anew.

    Args:
        model: as for :func:`compiled`.
        feed: inputs by name.
        threads: threads of one run.
        device: OpenVINO's name.
        runs: how many there are; of each node the lower quartile counts, for others take the core in many.
        watch: told which share of them is done.

    Raises:
        ModelError: the network cannot be loaded or run.
        ValueError: there is nothing to take a median of.
    """
    if runs < 1:
        raise ValueError(f"a profile needs at least one run, not {runs}")
    inputs, found = as_they_are(feed), list[Mapping[tuple[str, str], float]]()
    while len(found) < runs:
        opened, known = _compiled(model, threads, device, counts=True)
        request, called = opened.create_infer_request(), _called(opened, known)
        run_request(request, feed)  # says in words what cannot be run; and code is made for these shapes
        before = _counted(request.get_profiling_info(), called)
        for number in range(2, _COUNTED + 2):
            request.infer(inputs, share_inputs=True, share_outputs=True)
            mean = _counted(request.get_profiling_info(), called)
            found.append(last_run(mean, before, number))
            before = mean
            if watch is not None:
                watch(min(len(found) / runs, 1.0))
            if len(found) == runs:
                break
    seen = dict.fromkeys(node for times in found for node in times)
    lower = {node: float(np.quantile([times.get(node, 0.0) for times in found], _SHARE)) for node in seen}
    return [NodeTime(name, kind, index, lower[name, kind]) for index, (name, kind) in enumerate(seen)]


def last_run(mean: Mapping[K, float], before: Mapping[K, float], number: int) -> dict[K, float]:
    """What the last of so many runs took, by the means over all of them and over those before."""
    return {one: max(number * ms - (number - 1) * before.get(one, 0.0), 0.0) for one, ms in mean.items()}


def as_they_are(feed: Feed) -> dict[str, NDArray[Any]]:
    """Inputs that OpenVINO does not copy before each run."""
    return {name: np.require(array, requirements=("C", "W")) for name, array in feed.items()}


def _called(opened: Any, known: set[str]) -> Mapping[str, str]:
    """Node as it runs → what it is called after: the first of those it is made of that the network has."""
    found = {}
    for node in opened.get_runtime_model().get_ordered_ops():
        parts = node.get_rt_info()["originalLayersNames"].astype(str).split(",")
        named = next((part for part in parts if part in known), None)
        if named is not None:
            found[str(node.friendly_name)] = named.removesuffix(_WITHOUT_BIASES)
    return found


def value_info(port: Any) -> PortInfo:
    """An input or output of a compiled network, or of a request.

    A value may go by several names in OpenVINO; an output is called as the graph calls it.
    """
    names, ended = port.names, str(port.node.friendly_name).rpartition(_SINK)[0]
    name = ended if ended in names else min(names, default=ended)
    kind = str(port.element_type.get_type_name())
    integer = _INTEGER.match(kind)
    element = f"{'u' if integer[1] else ''}int{integer[2]}" if integer else _TYPES.get(kind, kind)
    rank = port.partial_shape
    axes = () if rank.rank.is_dynamic else rank
    return PortInfo(
        name, f"tensor({element})", tuple(axis.get_length() if axis.is_static else None for axis in axes)
    )


def failures() -> tuple[type[Exception], ...]:
    """What OpenVINO raises."""
    return (RuntimeError, ValueError, TypeError, KeyError, OSError)


def complaint(error: BaseException) -> str:
    """What OpenVINO said, without source positions: one short line."""
    said = re.sub(r"Exception from \S+:\d+:", "", str(error))
    said = re.sub(r"Check '.*?' failed at \S+:\d+:", "", said)
    said = re.sub(r"FrontEnd API failed with \w+:|Summary:|To facilitate .*", "", said, flags=re.DOTALL)
    return one_line(said, type(error).__name__)


@cache
def _core(_process: int) -> Any:
    return openvino_module().Core()


@contextmanager
def _readable(model: Path | bytes) -> Iterator[str | bytes]:
    """What OpenVINO reads a network from; tensors in files it looks for beside a file."""
    if isinstance(model, Path):
        yield str(model)
        return
    if not isinstance(model, Serialized) or model.folder is None:
        yield bytes(model)
        return
    with scratch_folder() as folder:
        for file in model.folder.iterdir():
            if file.is_file() and file.name.encode() in bytes(model):
                _beside(file, folder / file.name)
        path = folder / "sepfactor.onnx"
        path.write_bytes(model)
        yield str(path)


def _beside(file: Path, target: Path) -> None:
    """The same file in another folder: OpenVINO follows no link that leads out of the network's."""
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)


def _check_feed(takes: Sequence[PortInfo], feed: Feed) -> None:
    """OpenVINO runs on what it had before where an input is left out.

    Raises:
        ValueError: in words.
    """
    for port in takes:
        if port.name not in feed:
            raise ValueError(f"it was not fed {port.name}")
    unknown = feed.keys() - {port.name for port in takes}
    if unknown:
        raise ValueError(f"it has no input {min(unknown)}")


def _counted(nodes: Sequence[Any], called: Mapping[str, str]) -> Mapping[tuple[str, str], float]:
    """Milliseconds by value and operator, of what was run."""
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for node in nodes:
        if node.status == type(node.status).EXECUTED:
            kind, name = str(node.node_type), str(node.node_name)
            found[called.get(name, name), _OPERATORS.get(kind, kind)] += node.real_time.total_seconds() * 1e3
    return found
