"""Opening and running networks in ncnn, and saying what went wrong in one sentence.

ncnn is imported inside the functions: it is an extra. A run in it cannot be broken off, but it has no loops:
every run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from sepfactor.errors import ModelError, OptionError
from sepfactor.extras import how_to_install
from sepfactor.measure.engine import Feed, NodeTime, PortInfo
from sepfactor.measure.ncnn_convert import FAMILIES, converted, gives, read, takes
from sepfactor.measure.ncnn_writer import Converted
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.sentences import shape_text, taken_and_fed
from sepfactor.scratch import scratch_folder

Array = NDArray[Any]
Shape = tuple[int, ...]

CPU = "CPU"
"""What networks run on; ncnn runs on graphics processors as well, which is not asked for here."""

PRECISION = "float32 with float16 weights"
"""What ncnn computes in on x86, with the file that pnnx writes unless it is told otherwise."""

_FLOAT = "tensor(float)"
_RANKS = (2, 5)
"""Axes that an input may have, with the first, which ncnn's own arrays are without."""

_FAR = 0.05
"""Of an answer's norm; so far from onnxruntime's it is another one's, and not that of float16 weights."""

_AS_IT_IS = 1
"""Of ``extract``: leave the channels packed, as the next layer takes them."""

_OPERATORS = {
    **FAMILIES,
    "ReLU": "Relu",
    "Interp": "Resize",
    "PixelShuffle": "DepthToSpace",
    "Padding": "Pad",
    "BatchNorm": "BatchNormalization",
    "InstanceNorm": "InstanceNormalization",
}
"""Its name of an operator → ONNX's."""


def ncnn_module() -> Any:
    """The module, imported late.

    Raises:
        OptionError: it is not installed.
    """
    try:
        import ncnn
    except ImportError as error:
        raise OptionError(
            "The engine ncnn needs the package ncnn, which is not installed. Install it with: "
            f"{how_to_install('ncnn')}, or leave --engine out for onnxruntime."
        ) from error
    return ncnn


def device_name(provider: str) -> str:
    """What runs networks.

    Raises:
        OptionError: it is something else than the processor.
    """
    if provider.removesuffix("ExecutionProvider").upper() == CPU:
        return CPU
    raise OptionError(f"In ncnn networks are run on the cpu only, not on {provider!r}. Leave --provider out.")


class NotOk(RuntimeError):
    """ncnn returned another number than 0."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A network in ncnn, for inputs of some shapes.

    Attributes:
        network: ncnn's own.
        files: it was read from.
        shapes: of one sample of each output; None where every one has one axis less than the graph says.
    """

    network: Any
    files: Converted
    shapes: list[Shape] | None


@dataclass(frozen=True, eq=False)
class NcnnSession:
    """A network that ncnn runs.

    Attributes:
        threads: of one run; 0 leaves the number to ncnn.
        proto: the network.
        loaded: as ncnn has it, by the shapes of one sample.
    """

    threads: int
    proto: onnx.ModelProto
    loaded: dict[tuple[Shape, ...], _Loaded] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Path | bytes, threads: int) -> NcnnSession:
        """Open a network; one whose inputs have open shapes is converted when it is fed.

        Raises:
            ModelError: it cannot be read or converted, takes or gives other numbers than float32, or inputs
                of one axis or of more than five.
        """
        session = cls(threads, read(model))
        graph = session.proto.graph
        for port in [*takes(graph), *gives(graph)]:
            if port.type != _FLOAT:
                raise ModelError(
                    f"ncnn cannot load the model: it takes and gives float32 only, and {port.name} is "
                    f"{port.type}. Take --engine onnxruntime."
                )
        shapes = [port.shape for port in takes(graph)]
        if all(isinstance(axis, int) for shape in shapes for axis in shape[1:]):
            check_layers(converted(session.proto, {p.name: (1, *p.shape[1:]) for p in takes(graph)}))
        return session

    def get_inputs(self) -> Sequence[PortInfo]:
        """What it takes, in the order of the graph."""
        return takes(self.proto.graph)

    def get_outputs(self) -> Sequence[PortInfo]:
        """What it gives, in the order of the graph."""
        return gives(self.proto.graph)

    def run(self, feed: Feed) -> list[Array]:
        """Every output of one run, in the order of the graph; samples of a batch one at a time.

        Raises:
            ModelError: the feed does not fit, the network cannot be converted for it, or the run fails.
        """
        loaded, samples = self.prepared(feed)
        try:
            return _answers(loaded, samples)
        except failures() as error:
            raise self._cannot_run(feed, str(error)) from error

    def prepared(self, feed: Feed) -> tuple[_Loaded, list[list[Any]]]:
        """The network for a feed, and its samples in ncnn's own arrays.

        Raises:
            ModelError: as :meth:`run`.
        """
        said = _misfit(self.get_inputs(), feed)
        if said:
            raise self._cannot_run(feed, said)
        arrays = [np.ascontiguousarray(feed[port.name]) for port in self.get_inputs()]
        matrix = ncnn_module().Mat
        # A copy: ncnn writes into arrays that are its own alone, and numpy's it holds for such.
        samples = [[matrix(array[k]).clone() for array in arrays] for k in range(len(arrays[0]))]
        key = tuple(array.shape[1:] for array in arrays)
        if key not in self.loaded:
            self.loaded[key] = self._load(feed, samples, key)
        return self.loaded[key], samples

    def _load(self, feed: Feed, samples: Sequence[Sequence[Any]], key: Sequence[Shape]) -> _Loaded:
        names = [port.name for port in self.get_inputs()]
        files = converted(self.proto, {name: (1, *shape) for name, shape in zip(names, key, strict=True)})
        network = load(files, self.threads)
        if files.is_sure:
            return _Loaded(network, files, None)
        wanted = OnnxRuntime().open(self.proto.SerializeToString()).run(feed)
        loaded = _Loaded(network, files, [array.shape[1:] for array in wanted])
        try:
            distances = [_distance(*pair) for pair in zip(wanted, _answers(loaded, samples), strict=True)]
        except failures() as error:
            raise self._cannot_run(feed, str(error)) from error
        for port, far in zip(self.get_outputs(), distances, strict=True):
            if not far <= _FAR:
                raise self._cannot_run(
                    feed,
                    f"pnnx converts it into another network, whose {port.name} is off by {100 * far:.0f} % "
                    "from onnxruntime's",
                )
        return loaded

    def _cannot_run(self, feed: Feed, said: str) -> ModelError:
        about = taken_and_fed(self.get_inputs(), feed)
        return ModelError(f"ncnn cannot run the model: {said}. {about}")


def check_layers(files: Converted) -> None:
    """Fail where there are layers that this ncnn has not.

    Raises:
        ModelError: naming them.
    """
    kinds = dict.fromkeys(line.split()[0] for line in files.param.splitlines()[2:] if line.strip())
    known = ncnn_module().layer_to_index
    unknown = [kind for kind in kinds if known(kind) < 0]
    if unknown:
        raise ModelError(
            f"ncnn cannot load the model: it has no layer for {', '.join(unknown)}. Take --engine "
            "onnxruntime, or export the network with other operators."
        )


def load(files: Converted, threads: int) -> Any:
    """A network in ncnn, with the settings that are the default.

    Raises:
        ModelError: this ncnn has not all of its layers, or cannot load it.
    """
    check_layers(files)
    network = ncnn_module().Net()
    if threads:
        network.opt.num_threads = threads
    with scratch_folder() as folder:
        param, weights = folder / "m.param", folder / "m.bin"
        param.write_text(files.param, "utf-8")
        weights.write_bytes(files.weights)
        if network.load_param(str(param)) or network.load_model(str(weights)):
            raise ModelError(
                "ncnn cannot load the model that pnnx made for it. Take --engine onnxruntime, or export the "
                "network with standard operators."
            )
    return network


def run_once(loaded: _Loaded, sample: Sequence[Any]) -> list[Any]:
    """What ncnn computes, in its own arrays: every output, of one sample.

    Raises:
        NotOk: it fails.
    """
    extractor = loaded.network.create_extractor()
    for name, array in zip(loaded.files.inputs, sample, strict=True):
        extractor.input(name, array)
    found = []
    for name in loaded.files.outputs:
        code, array = extractor.extract(name)
        if code:
            raise NotOk(f"it gives up on {name} with {code}")
        found.append(array)
    return found


def profiled(
    session: NcnnSession,
    feed: Feed,
    *,
    clock: Callable[[], float],
    runs: int,
    watch: Callable[[float], None] | None = None,
) -> list[NodeTime]:
    """Time of every layer, in the order of execution: what it takes longer to ask for what it writes.

    ncnn computes no more than is asked for, and goes on from there when it is asked for more. Channels stay
    packed in between.

    Args:
        session: the network.
        feed: inputs by name; of a batch the first sample is run.
        clock: seconds.
        runs: how many runs the medians are over.
        watch: told which share of them is done.

    Raises:
        ModelError: the network cannot be run.
        ValueError: there is nothing to take a median of.
    """
    if runs < 1:
        raise ValueError(f"a profile needs at least one run, not {runs}")
    session.run(feed)  # says in words what cannot be run
    loaded, samples = session.prepared(feed)
    layers = [layer for layer in loaded.network.layers() if layer.type not in ("Input", "Split")]
    took = np.zeros((runs + 1, len(layers)))
    for number in range(runs + 1):
        took[number] = _layer_times(loaded, samples[0], layers, clock)
        if watch is not None:
            watch(min(number / runs, 1.0))
    medians = np.median(took[1:], axis=0)  # memory is found in the first
    return [
        _node_time(layer, index, float(ms), loaded.files.origins)
        for index, (layer, ms) in enumerate(zip(layers, medians, strict=True))
    ]


def _layer_times(
    loaded: _Loaded, sample: Sequence[Any], layers: Sequence[Any], clock: Callable[[], float]
) -> list[float]:
    extractor = loaded.network.create_extractor()
    for name, array in zip(loaded.files.inputs, sample, strict=True):
        extractor.input(name, array)
    took = []
    for layer in layers:
        blob, begin = layer.tops[0], clock()
        extractor.extract(blob, _AS_IT_IS)
        took.append(1e3 * (clock() - begin))
    return took


def _node_time(layer: Any, index: int, ms: float, origins: Mapping[str, tuple[str, str]]) -> NodeTime:
    kind = str(layer.type)
    name, operator = origins.get(layer.name, (str(layer.name), _OPERATORS.get(kind, kind)))
    return NodeTime(name, operator, index, ms)


def failures() -> tuple[type[Exception], ...]:
    """What ncnn raises, and what is raised of what it returns."""
    return (RuntimeError, ValueError, TypeError, KeyError, OSError)


def _misfit(ports: Sequence[PortInfo], feed: Feed) -> str:
    """Why a feed does not fit; empty where it does."""
    low, high = _RANKS
    for port in ports:
        if port.name not in feed:
            return f"it was not fed {port.name}"
        array = feed[port.name]
        if array.dtype != np.float32:
            return f"{port.name} is not float32"
        if not low <= array.ndim <= high:
            return f"ncnn takes inputs of {low} to {high} axes, and {port.name} has {array.ndim}"
        known = [(axis, n) for axis, n in zip(port.shape, array.shape, strict=False) if isinstance(axis, int)]
        if len(port.shape) != array.ndim or any(axis != n for axis, n in known):
            return f"the shape of {port.name} is incompatible"
    unknown = feed.keys() - {port.name for port in ports}
    if unknown:
        return f"it has no input {min(unknown)}"
    if not ports or len({len(feed[port.name]) for port in ports}) > 1 or not len(feed[ports[0].name]):
        return "it has no inputs with a first axis of the same length, for samples"
    return ""


def _answers(loaded: _Loaded, samples: Sequence[Sequence[Any]]) -> list[Array]:
    """Every output of all samples.

    Raises:
        NotOk: a run fails, or an output is of another size than in onnxruntime.
    """
    runs = [run_once(loaded, sample) for sample in samples]
    return [
        np.stack([_shaped(loaded, number, run[number]) for run in runs])
        for number in range(len(loaded.files.outputs))
    ]


def _shaped(loaded: _Loaded, number: int, array: Any) -> Array:
    """One sample of an output, without ncnn's padding.

    Raises:
        NotOk: it is of another size than in onnxruntime.
    """
    found: Array = np.array(array)
    if loaded.shapes is None:
        return found
    wanted = loaded.shapes[number]
    if found.size != int(np.prod(wanted)):
        raise NotOk(
            f"output {number + 1} is {shape_text(found.shape)}, and {shape_text(wanted)} in onnxruntime"
        )
    return found.reshape(wanted)


def _distance(wanted: Array, found: Array) -> float:
    """Norm of the difference over that of what is wanted."""
    size = float(np.linalg.norm(wanted.ravel()))
    far = float(np.linalg.norm((wanted - found).ravel()))
    return far / size if size else far
