"""Small random networks around convolutions of every kind, drawn by hypothesis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.printer
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

KINDS = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}
Size = tuple[int, ...]
MOST_MULTIPLIED = 24
"""Channels of a map, at most."""

MOST_WIDE = 30
"""Pixels of a map along an axis, at most."""


class Drawn:
    """A network, and what to feed it: three samples."""

    def __init__(self, model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
        self.model, self.feed = model, feed

    def __repr__(self) -> str:
        bare = onnx.ModelProto.FromString(self.model.SerializeToString())
        for tensor in bare.graph.initializer:
            tensor.ClearField("raw_data")
        return onnx.printer.to_text(bare)


@dataclass
class _Sketch:
    """A network while it is drawn: ``maps`` are its values, with channels and size of each.

    ``ends`` are values that nothing reads any more: outputs, of other axes than maps.
    """

    draw: st.DrawFn
    dtype: Any
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, tuple[int, Size]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    ends: dict[str, tuple[int, Size]] = field(default_factory=dict)

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def coin(self, one_in: int = 2) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    def pick(self, among: Any) -> Any:
        return self.draw(st.sampled_from(list(among)))

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.nodes)}_{len(self.constants)}"

    def read(self, name: str) -> str:
        self.unread.discard(name)
        return name

    def emit(self, op: str, inputs: list[str], channels: int, size: Size, **attributes: Any) -> str:
        output = self.name(op.lower())
        label = output if self.coin(3) else ""
        self.nodes.append(helper.make_node(op, [*map(self.read, inputs)], [output], name=label, **attributes))
        self.maps[output] = channels, size
        self.unread.add(output)
        return output

    def constant(self, array: np.ndarray, *, plain: bool = False) -> str:
        """An initialiser; unless ``plain``, now and then behind an Identity, or a Constant node."""
        name = self.name("c")
        form = 0 if plain else self.integer(0, 6)
        if form == 6 and array.dtype == np.float32:
            return self.quantised(array)
        if form == 5:
            value = numpy_helper.from_array(array)
            self.nodes.append(helper.make_node("Constant", [], [name], value=value))
            return name
        self.constants[name] = array
        if form == 4:
            copy = self.name("copy")
            self.nodes.append(helper.make_node("Identity", [name], [copy]))
            return copy
        return name

    def quantised(self, array: np.ndarray) -> str:
        """Whole numbers of eight bits behind a DequantizeLinear."""
        step = np.float32(np.abs(array).max() / 127 + 1e-9)
        whole = self.constant(np.round(array / step).astype(np.int8), plain=True)
        scale = self.constant(step, plain=True)
        name = self.name("d")
        self.nodes.append(helper.make_node("DequantizeLinear", [whole, scale], [name]))
        return name


def _weight(sketch: _Sketch, shape: tuple[int, ...]) -> np.ndarray:
    """Random; often exactly separable, sometimes zero in part or constant."""
    rng = np.random.default_rng(sketch.integer(0, 2**16))
    scale = 1 / np.sqrt(np.prod(shape[1:]))
    form = sketch.integer(0, 5)
    if form <= 2:
        mix, column, row = (rng.standard_normal(n) for n in (shape[:2], shape[2], shape[3]))
        weight = mix[:, :, None, None] * np.outer(column, row)
    elif form == 3:
        weight = np.ones(shape)
    else:
        weight = rng.standard_normal(shape)
        if form == 4:
            weight[::2] = 0
    return np.asarray(weight * scale, sketch.dtype)


def _conv(sketch: _Sketch) -> None:
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    group = sketch.pick(g for g in (1, 1, 2, 3, channels) if channels % g == 0)
    shared = [
        name
        for name, array in sketch.constants.items()
        if array.ndim == 4
        and array.dtype == sketch.dtype
        and array.shape[1] * group == channels
        and array.shape[0] % group == 0
    ]
    if shared and sketch.coin(3):
        weight = sketch.pick(shared)
        array = sketch.constants[weight]
    else:
        outs = group * sketch.integer(1, max(1, MOST_MULTIPLIED // group // 2))
        kernel = tuple(sketch.pick((1, 2, 3, 3, 5)) for _ in size)
        array = _weight(sketch, (outs, channels // group, *kernel))
        weight = sketch.constant(array)
    attributes, out = _geometry(sketch, array.shape[2:], size)
    if min(out) < 1:
        return
    inputs = [x, weight]
    if sketch.coin():
        rng = np.random.default_rng(sketch.integer(0, 99))
        inputs.append(sketch.constant(np.asarray(rng.standard_normal(array.shape[0]), sketch.dtype)))
    if group > 1 or sketch.coin(3):
        attributes["group"] = group
    sketch.emit("Conv", inputs, array.shape[0], out, **attributes)


def _geometry(sketch: _Sketch, kernel: tuple[int, ...], size: Size) -> tuple[dict[str, Any], Size]:
    """Attributes, and the size of the map that comes out; what is left out has its default."""
    said: dict[str, Any] = {}
    strides = [sketch.pick((1, 1, 1, 2, 3)) for _ in size]
    dilations = [sketch.pick((1, 1, 1, 2)) for _ in size]
    if strides != [1, 1] or sketch.coin():
        said["strides"] = strides
    if dilations != [1, 1] or sketch.coin():
        said["dilations"] = dilations
    if sketch.coin():
        said["kernel_shape"] = list(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    form = sketch.pick(("same", "same", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"))
    if form.startswith("SAME") and dilations == [1, 1]:
        said["auto_pad"] = form
        return said, (-(-size[0] // strides[0]), -(-size[1] // strides[1]))
    if form == "VALID":
        said["auto_pad"] = form
    pads = [0] * 4
    if form == "same":
        pads = [*((r - 1) // 2 for r in reach), *(r // 2 for r in reach)]
    elif form == "pads":
        pads = [sketch.integer(0, 3) for _ in range(4)]
    if any(pads) or (form == "none" and sketch.coin()):
        said["pads"] = pads
    height, width = (
        (n + pads[a] + pads[a + 2] - r) // s + 1
        for a, (n, r, s) in enumerate(zip(size, reach, strides, strict=True))
    )
    return said, (height, width)


def _transposed(sketch: _Sketch) -> None:
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    group = sketch.pick(g for g in (1, 1, 2, channels) if channels % g == 0)
    outs = group * sketch.integer(1, max(1, MOST_MULTIPLIED // group // 2))
    kernel, strides = ([sketch.pick(among) for _ in size] for among in ((1, 2, 3, 4), (1, 2, 2, 3)))
    weight = sketch.constant(_weight(sketch, (channels, outs // group, *kernel)))
    pads = [sketch.integer(0, k - 1) for k in (*kernel, *kernel)]
    extra = [sketch.integer(0, s - 1) for s in strides]
    out = tuple(
        (n - 1) * s + k - pads[a] - pads[a + 2] + e
        for a, (n, s, k, e) in enumerate(zip(size, strides, kernel, extra, strict=True))
    )
    if min(out) < 1 or max(out) > MOST_WIDE:
        return
    said = {"strides": strides, "pads": pads, "output_padding": extra, "group": group}
    sketch.emit("ConvTranspose", [x, weight], outs, out, **said)


def _row(sketch: _Sketch) -> None:
    """One or two 1-D convolutions over a map whose pixels stand in a row; an end, as maps of one axis are."""
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    shape = sketch.constant(np.array([0, channels, -1]), plain=True)
    value = sketch.emit("Reshape", [x, shape], channels, (size[0] * size[1],))
    outs = sketch.pick((16, sketch.integer(1, MOST_MULTIPLIED)))
    for ins in (channels, outs)[: sketch.integer(1, 2)]:
        kernel = sketch.pick((1, 3, 5))
        weight = sketch.constant(_weight(sketch, (outs, ins, kernel, 1))[..., 0], plain=True)
        del sketch.maps[value]
        convolved = sketch.emit("Conv", [value, weight], outs, (size[0] * size[1],), pads=[kernel // 2] * 2)
        value = sketch.emit("Relu", [convolved], outs, (size[0] * size[1],))
        del sketch.maps[convolved]
    sketch.ends[value] = sketch.maps.pop(value)


def _volume(sketch: _Sketch) -> None:
    """One or two convolutions of three axes, two of which were channels; an end."""
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    depth = sketch.pick(d for d in (2, 3, 4, 1) if channels % d == 0)
    rows = sketch.pick(r for r in (3, 2, 4, 1) if channels // depth % r == 0)
    ins, inside = channels // depth // rows, (depth, rows, math.prod(size))
    shape = sketch.constant(np.array([0, ins, depth, rows, -1]), plain=True)
    value = sketch.emit("Reshape", [x, shape], ins, inside)
    for _ in range(sketch.integer(1, 2)):
        del sketch.maps[value]
        outs = sketch.integer(1, MOST_MULTIPLIED // 2)
        kernel = [sketch.pick((1, 3, 3)) for _ in inside]
        flat = _weight(sketch, (outs, ins, kernel[0], kernel[1] * kernel[2]))
        weight = sketch.constant(flat.reshape(outs, ins, *kernel), plain=True)
        convolved = sketch.emit("Conv", [value, weight], outs, inside, pads=[k // 2 for k in kernel] * 2)
        value = sketch.emit("Relu", [convolved], outs, inside)
        del sketch.maps[convolved]
        ins = outs
    sketch.ends[value] = sketch.maps.pop(value)


def _head(sketch: _Sketch) -> None:
    """One or two products behind the mean of a map."""
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    pooled = sketch.emit("GlobalAveragePool", [x], channels, tuple(1 for _ in size))
    del sketch.maps[pooled]
    value = sketch.emit("Flatten", [pooled], channels, ())
    for _ in range(sketch.integer(1, 2)):
        ins, _ = sketch.maps.pop(value)
        outs = sketch.integer(1, MOST_MULTIPLIED)
        weight = sketch.constant(_weight(sketch, (ins, outs, 1, 1))[..., 0, 0], plain=True)
        value = sketch.emit(sketch.pick(("Gemm", "MatMul")), [value, weight], outs, ())
    sketch.ends[value] = sketch.maps.pop(value)


def _unary(sketch: _Sketch) -> None:
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    op = sketch.pick(
        ("Relu", "Identity", "Sigmoid", "Pad", "BatchNormalization", "MaxPool", "QuantizeLinear")
    )
    if op == "QuantizeLinear" and sketch.dtype != np.float32:
        return
    if op == "Pad":
        # Not as wide as the kernel of a MaxPool: onnxruntime would fold it into that, and then refuse it.
        pads = sketch.constant(np.array([0, 0, 1, 1, 0, 0, 0, 1]), plain=sketch.coin())
        sketch.emit("Pad", [x, pads], channels, (size[0] + 1, size[1] + 2))
    elif op == "BatchNormalization":
        rng = np.random.default_rng(sketch.integer(0, 99))
        rows = [rng.uniform(0.5, 1.5, channels).astype(sketch.dtype) for _ in range(4)]
        sketch.emit(op, [x, *(sketch.constant(row, plain=True) for row in rows)], channels, size)
    elif op == "QuantizeLinear":
        more = [sketch.constant(np.float32(0.03), plain=True), sketch.constant(np.uint8(90), plain=True)]
        whole = sketch.emit(op, [x, *more], channels, size)
        del sketch.maps[whole]
        sketch.emit("DequantizeLinear", [whole, *more], channels, size)
    elif op == "MaxPool":
        if min(size) > 3:
            out = (size[0] // 2, size[1] // 2)
            sketch.emit(op, [x], channels, out, kernel_shape=[2, 2], strides=[2, 2])
    else:
        sketch.emit(op, [x], channels, size)


def _join(sketch: _Sketch) -> None:
    """Add or Concat of maps that go together, perhaps of one with itself."""
    x = sketch.pick(sketch.maps)
    channels, size = sketch.maps[x]
    if sketch.coin():
        other = sketch.pick(name for name, shape in sketch.maps.items() if shape == (channels, size))
        sketch.emit("Add", [x, other], channels, size)
        return
    other = sketch.pick(name for name, shape in sketch.maps.items() if shape[1] == size)
    total = channels + sketch.maps[other][0]
    if total <= MOST_MULTIPLIED:
        sketch.emit("Concat", [x, other], total, size, axis=1)


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    """A network of one to three inputs and outputs, and three samples for it."""
    dtype = draw(st.sampled_from((np.float32, np.float32, np.float32, np.float16)))
    sketch = _Sketch(draw, dtype, draw(st.sampled_from((13, 17, 21))))
    size = (sketch.integer(5, 12), sketch.integer(5, 12))
    for number in range(sketch.integer(1, 2)):
        sketch.maps[f"in{number}"] = sketch.integer(1, 6), size
        sketch.unread.add(f"in{number}")
    inputs = dict(sketch.maps)
    _conv(sketch)
    for _ in range(sketch.integer(0, 6)):
        draw(st.sampled_from((_conv, _conv, _unary, _join, _transposed)))(sketch)
    for kind in (_row, _head, _volume):
        if sketch.coin(3):
            kind(sketch)
    for name in [n for n in inputs if n in sketch.unread]:
        sketch.emit("Relu", [name], *inputs[name])
    ends = [name for name in sketch.maps if name in sketch.unread]
    more = [name for name in sketch.maps if name not in inputs and name not in ends]
    if more and sketch.coin():
        ends.append(sketch.pick(more))
    ends += sketch.ends
    sketch.maps |= sketch.ends
    return _finished(sketch, inputs, ends)


def _finished(sketch: _Sketch, inputs: dict[str, tuple[int, Size]], ends: list[str]) -> Drawn:
    symbolic = sketch.integer(0, 2)
    kind = KINDS[sketch.dtype]

    def declared(name: str, open_sizes: bool) -> onnx.ValueInfoProto:
        channels, size = sketch.maps[name]
        shape: list[Any] = ["N" if symbolic else 1, channels, *size]
        if symbolic == 2:
            shape[2:] = [f"{name}_{axis}" if open_sizes else axis.upper() for axis in "hwd"[: len(size)]]
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        sketch.nodes,
        "drawn",
        [declared(name, False) for name in inputs],
        [declared(name, True) for name in ends],
        [numpy_helper.from_array(array, name) for name, array in sketch.constants.items()],
    )
    if sketch.coin(4):  # as exporters of old wrote them
        graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in graph.initializer
        )
    opset = helper.make_opsetid("", sketch.opset)
    rng = np.random.default_rng(sketch.integer(0, 99))
    feed = {
        name: rng.standard_normal((3, channels, *size)).astype(sketch.dtype)
        for name, (channels, size) in inputs.items()
    }
    return Drawn(helper.make_model(graph, opset_imports=[opset], ir_version=8), feed)
