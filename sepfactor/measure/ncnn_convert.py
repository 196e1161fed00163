"""From ONNX to what ncnn reads: written directly where that is known, else by ncnn's converter, pnnx.

pnnx comes as a program in a Python package of the same name. The package itself imports torch, which a
conversion from ONNX does without; so it is only looked for, not imported.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import subprocess
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model

from sepfactor.errors import ModelError, OptionError
from sepfactor.measure.engine import PortInfo
from sepfactor.measure.ncnn_writer import Converted, Unwritable, attributes, constants, written
from sepfactor.measure.sentences import one_line
from sepfactor.measure.time_limit import run_seconds
from sepfactor.scratch import scratch_folder
from sepfactor.serialized import Serialized

Shape = tuple[int, ...]

_KEPT = 16
"""So many conversions by pnnx are remembered: networks are opened several times to be timed."""

_MOST_BYTES = 2**31 - 1
"""Of a message of protobuf."""

_converted: OrderedDict[str, Converted] = OrderedDict()

FAMILIES = {
    "Convolution": "Conv",
    "ConvolutionDepthWise": "Conv",
    "Convolution1D": "Conv",
    "ConvolutionDepthWise1D": "Conv",
    "Convolution3D": "Conv",
    "ConvolutionDepthWise3D": "Conv",
    "Deconvolution": "ConvTranspose",
    "DeconvolutionDepthWise": "ConvTranspose",
    "Deconvolution1D": "ConvTranspose",
    "InnerProduct": "Gemm",
}
"""Layer with weights → the ONNX operator that it is made of."""

_PRODUCTS = ("Gemm", "MatMul")

_LAST_AXIS, _OF_AN_AXIS = 13, ("Softmax", "LogSoftmax", "Hardmax")
"""Before this opset these were over the second axis if none was said, and pnnx takes the last."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CHATTER = re.compile(
    r"^(\w+ *=|#|[┌│├└]|get inputshape|model inputshape|FLOPS|memory OPS|.*LogEarlyWarning)"
)


def pnnx_program() -> Path:
    """Where pnnx is.

    Raises:
        OptionError: it is not installed.
    """
    name = "pnnx.exe" if os.name == "nt" else "pnnx"
    package = find_spec("pnnx")
    for folder in (package.submodule_search_locations or []) if package is not None else []:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    found = shutil.which("pnnx")
    if found is None:
        raise OptionError(
            "The engine ncnn needs the converter pnnx for this network, which is not installed. Install it "
            "with: pip install --no-deps pnnx (without the torch that its package asks for, as ONNX does "
            "without it), or leave --engine out for onnxruntime."
        )
    return Path(found)


def read(model: Path | bytes) -> onnx.ModelProto:
    """The network with all its tensors.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        if isinstance(model, Path):
            return onnx.load(model)
        proto = onnx.load_from_string(bytes(model))
        if isinstance(model, Serialized) and model.folder is not None:
            load_external_data_for_model(proto, str(model.folder))
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        called = str(model) if isinstance(model, Path) else "the model"
        raise ModelError(f"{called} cannot be read as ONNX: {_line(str(error))} Export it again.") from error
    return proto


def takes(graph: onnx.GraphProto) -> list[PortInfo]:
    """What a network is fed, in its order."""
    known = {tensor.name for tensor in graph.initializer}
    return [_port(value) for value in graph.input if value.name not in known]


def gives(graph: onnx.GraphProto) -> list[PortInfo]:
    """What it puts out, in its order."""
    return [_port(value) for value in graph.output]


def _port(value: onnx.ValueInfoProto) -> PortInfo:
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    axes = (d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
    return PortInfo(value.name, f"tensor({name})", tuple(axes))


def converted(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> Converted:
    """A network as ncnn reads it, for inputs of these shapes.

    Args:
        proto: with all its tensors.
        shapes: by input, with a first axis of one.

    Raises:
        ModelError: pnnx cannot convert it, or only into layers that this ncnn has not.
        OptionError: pnnx is needed, and not installed.
    """
    try:
        if all(len(shape) == 4 for shape in shapes.values()):
            return written(proto.graph)
    except Unwritable:
        pass
    if proto.ByteSize() > _MOST_BYTES:
        raise ModelError(
            "The model with its tensors is more than 2 GB, which pnnx cannot read. Take --engine onnxruntime."
        )
    fixed = _of_shapes(proto, shapes).SerializeToString(deterministic=True)
    key = hashlib.sha256(fixed).hexdigest()
    if key not in _converted:
        _converted[key] = _by_pnnx(fixed, shapes)
        while len(_converted) > _KEPT:
            _converted.popitem(last=False)
    _converted.move_to_end(key)
    return _converted[key]


def _of_shapes(proto: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """The same network, which takes nothing but inputs of these shapes; no other shape is told."""
    found = onnx.ModelProto()
    found.CopyFrom(proto)
    known = {tensor.name for tensor in found.graph.initializer}
    for value in [one for one in found.graph.input if one.name in known]:
        found.graph.input.remove(value)
    for value in found.graph.input:
        del value.type.tensor_type.shape.dim[:]
        for length in shapes[value.name]:
            value.type.tensor_type.shape.dim.add().dim_value = length
    for value in found.graph.output:
        value.type.tensor_type.ClearField("shape")
    del found.graph.value_info[:]
    if next((one.version for one in found.opset_import if not one.domain), 0) < _LAST_AXIS:
        for node in found.graph.node:
            if node.op_type in _OF_AN_AXIS and "axis" not in attributes(node):
                node.attribute.append(onnx.helper.make_attribute("axis", 1))
    return found


def _by_pnnx(model: bytes, shapes: Mapping[str, Shape]) -> Converted:
    program, told = pnnx_program(), ",".join(f"[{','.join(map(str, s))}]" for s in shapes.values())
    with scratch_folder() as folder:
        (folder / "m.onnx").write_bytes(model)
        try:
            done = subprocess.run(
                [program, "m.onnx", f"inputshape={told}"],
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=run_seconds(),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(
                f"pnnx, which converts networks for ncnn, does not run: {_line(str(error))}"
            ) from error
        param, weights = folder / "m.ncnn.param", folder / "m.ncnn.bin"
        if done.returncode or not param.is_file() or not weights.is_file():
            raise ModelError(
                f"pnnx cannot convert the model for ncnn: {_last_words(done.stderr or done.stdout)} "
                "Take --engine onnxruntime, or export the network with standard operators."
            )
        proto = onnx.load_from_string(model)
        lines = _completed(param.read_text("utf-8").splitlines(), proto.graph)
        outputs = tuple(f"out{number}" for number in range(len(proto.graph.output)))
        inputs = tuple(f"in{number}" for number in range(len(shapes)))
        return Converted(
            "\n".join(lines) + "\n", weights.read_bytes(), inputs, outputs, _origins(lines, proto)
        )


def _completed(lines: Sequence[str], graph: onnx.GraphProto) -> list[str]:
    """The layers, with those that pnnx leaves as they are in ONNX, though ncnn has them, as what ncnn has.

    These are DepthToSpace with depth first, and averages of blocks with more padding on one side.
    """
    left: dict[str, list[str]] = {"DepthToSpace": [], "AveragePool": []}
    for node in graph.node:
        said = attributes(node)
        if node.op_type == "DepthToSpace" and said.get("mode", b"DCR") == b"DCR":
            left[node.op_type].append(f"PixelShuffle {{}} 0={said['blocksize']} 1=1")
        elif node.op_type == "AveragePool" and len(said.get("pads", ())) == 4:
            (top, start, bottom, end), (high, wide) = said["pads"], said["kernel_shape"]
            if (top, start) != (bottom, end):
                down, on = said.get("strides", [1, 1])
                left[node.op_type].append(
                    f"Pooling {{}} 0=1 1={wide} 11={high} 2={on} 12={down} 3={start} 13={top} 14={end} "
                    f"15={bottom} 5=1 6={said.get('count_include_pad', 0)}"
                )
    found = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        if left.get(kind):
            line = left[kind].pop(0).format(rest.strip())
        found.append(line)
    return found


def _origins(lines: Sequence[str], proto: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """Layer with weights → name and operator of its node.

    pnnx drops the names, but keeps the order. So a layer is of the first node that has weights of its form
    and is not another's.
    """
    waiting = _weighted(proto)
    origins = {}
    for line in lines[2:]:
        words = line.split()
        family = FAMILIES.get(words[0])
        if family is None:
            continue
        said = dict(word.split("=", 1) for word in words if "=" in word)
        form = (family, *_form(said)) if family != "Gemm" else (family, int(said["2"]))
        node = next((one for one, known in waiting if known == form), None)
        if node is not None:
            origins[words[1]] = (node.name or node.output[0], node.op_type)
            waiting = [(one, known) for one, known in waiting if one is not node]
    return origins


def _form(said: Mapping[str, str]) -> tuple[int, int, int]:
    """Channels, size of the kernel and number of weights."""
    area = int(said["1"]) * int(said.get("11", said["1"] if "14" in said else 1))
    return int(said["0"]), area * int(said.get("21", 1)), int(said["6"])


def _weighted(proto: onnx.ModelProto) -> list[tuple[onnx.NodeProto, tuple[object, ...]]]:
    """Nodes with weights, and what tells their layers apart."""
    shapes = _known_shapes(proto)
    found: list[tuple[onnx.NodeProto, tuple[object, ...]]] = []
    for node in proto.graph.node:
        shape = shapes.get(node.input[1]) if len(node.input) > 1 else None
        if not shape:
            continue
        if node.op_type in _PRODUCTS:
            found.append((node, ("Gemm", math.prod(shape))))
        elif node.op_type == "Conv":
            found.append((node, ("Conv", shape[0], math.prod(shape[2:]), math.prod(shape))))
        elif node.op_type == "ConvTranspose":
            outs = shape[1] * attributes(node).get("group", 1)
            found.append((node, ("ConvTranspose", outs, math.prod(shape[2:]), math.prod(shape))))
    return found


def _known_shapes(proto: onnx.ModelProto) -> dict[str, Shape]:
    """Of constants, and of values that have them whatever is fed, such as weights that are computed."""
    found = {name: tuple(tensor.dims) for name, tensor in constants(proto.graph).items()}
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.value_info
    except (onnx.shape_inference.InferenceError, ValueError):
        return found
    for value in inferred:
        axes = value.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            found.setdefault(value.name, tuple(axis.dim_value for axis in axes))
    return found


def _last_words(said: str) -> str:
    """Of what pnnx said, the end, without its progress."""
    lines = [line.strip() for line in _COLOUR.sub("", said).splitlines()]
    telling = [line for line in lines if line and not _CHATTER.match(line) and "..." not in line]
    return _line(telling[-1] if telling else "it ended without a word")


def _line(said: str) -> str:
    return one_line(said, "it did not say why")
