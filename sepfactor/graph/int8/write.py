"""Write nodes in eight-bit integers: QuantizeLinear and DequantizeLinear around each, integers as weights.

Activations are uint8, weights int8 around zero with a scale for every output, biases int32 in the unit that
products have: that is what the fast kernels of onnxruntime want (Jacob et al. 2018, arXiv 1712.05877, eq. 4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from sepfactor.factor.rounding import Rounded
from sepfactor.graph.int8.fill import PREFIX, Filler
from sepfactor.graph.int8.units import LARGEST_CODE, Grid, Unit, int8_units
from sepfactor.graph.load import quiet
from sepfactor.graph.prepare import infer_shapes
from sepfactor.graph.writer import free_prefix, taken_names

_PREFIX = "sepfactor/int8"
_LARGEST = 2**31 - 1
_ROUNDING = 1e-6
_LEAST_SCALE = 1e-30
"""Smaller steps, times those of what is read, are nothing in float32."""


def quantized(
    model: ir.Model,
    chosen: Collection[str],
    grids: Mapping[str, Grid],
    weights: Mapping[str, Rounded],
) -> ir.Model:
    """A copy of ``model`` in which the chosen units compute in eight-bit integers.

    Args:
        model: in float32, opset 13 or above, with shapes inferred.
        chosen: names of units, see :func:`~sepfactor.graph.int8.units.int8_units`.
        grids: of every value that a chosen unit reads or writes, by name.
        weights: of every chosen unit that has one, by its name.

    Raises:
        KeyError: there is no such unit, or a grid is missing.
    """
    copy = model.clone()
    own = _named(copy, chosen)
    filler = Filler(copy.graph, free_prefix(PREFIX, taken_names(copy.graph)), grids, weights)
    filler.fill(own)
    grids, weights = filler.grids, filler.weights
    infer_shapes(copy)
    own = _named(copy, [unit.name for unit in own])
    writer = _Writer(copy.graph, free_prefix(_PREFIX, taken_names(copy.graph)), grids)
    reading: dict[str, set[ir.Node]] = {name: set() for unit in own for name in (*unit.reads, unit.name)}
    values = {str(value.name): value for unit in own for value in (*unit.inputs, unit.output)}
    made = {unit.name for unit in own}
    for unit in own:
        for name in unit.reads:
            reading[name].add(unit.node)
    for unit in own:
        if unit.is_weighted:
            writer.weights(unit, weights[unit.name])
        if unit.is_cut_off and _ends_where(grids[unit.name], unit.top):
            values[unit.name] = writer.cut_off(unit)
    for name, nodes in reading.items():
        writer.value(name, values[name], nodes, is_made=name in made)
    for unit in own:
        if (fills := unit.inputs[0].producer()) is not None and filler.made(fills):
            writer.fill_codes(fills)
    with quiet():
        ir.passes.common.RemoveUnusedNodesPass()(copy)
        infer_shapes(copy)
    return copy


def _ends_where(grid: Grid, top: float) -> bool:
    """Whether codes begin at zero and end no higher than this."""
    return not grid.zero_point and LARGEST_CODE * float(np.float32(grid.scale)) <= top * (1 + _ROUNDING)


def raw(name: str, prefix: str = _PREFIX) -> str:
    """What an output of the network is called where its node writes it, before it goes through codes."""
    return f"{prefix}/{name}/raw"


def _named(model: ir.Model, names: Collection[str]) -> list[Unit]:
    """The units of these names, in the order of the graph."""
    units, wanted = int8_units(model), set(names)
    if absent := wanted - set(units):
        raise KeyError(min(absent))
    return [unit for name, unit in units.items() if name in wanted]


class _Writer:
    def __init__(self, graph: ir.Graph, prefix: str, grids: Mapping[str, Grid]) -> None:
        self._graph, self._prefix, self._grids = graph, prefix, grids

    def value(self, name: str, value: ir.Value, readers: Collection[ir.Node], *, is_made: bool) -> None:
        """Put an activation through its codes, for the units that read it, and for all if one makes it.

        Args:
            name: it goes by.
            value: the activation.
            readers: nodes that read it as codes.
            is_made: whether a chosen unit writes it.
        """
        grid = self._grids[name]
        scale = self._constant(f"{name}.scale", np.array(grid.scale, np.float32))
        zero = self._constant(f"{name}.zero_point", np.array(grid.zero_point, np.uint8))
        uses = [(use.node, use.idx) for use in value.uses()]
        is_output = value.is_graph_output()
        codes = self._node("QuantizeLinear", [value, scale, zero], f"{name}/codes")
        made = [codes]
        for node, index in uses:
            if node in readers:
                made.append(self._back(codes, f"{name}/{len(made)}"))
                node.replace_input_with(index, made[-1].outputs[0])
        rest = [(node, index) for node, index in uses if node not in readers]
        if is_made and (rest or is_output):
            made.append(self._back(codes, f"{name}/float"))
            for node, index in rest:
                node.replace_input_with(index, made[-1].outputs[0])
            if is_output:
                self._as_output(name, value, made[-1].outputs[0])
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], made)
        else:
            self._graph.insert_after(producer, made)

    def fill_codes(self, fills: ir.Node) -> None:
        """Let channels of zeros be put behind codes, not before them: those are a quarter of the bytes."""
        filled, source = fills.outputs[0], fills.inputs[0]
        (use,) = filled.uses()
        quantize, codes = use.node, use.node.outputs[0]
        assert source is not None
        quantize.replace_input_with(0, source)
        codes.replace_all_uses_with(filled)
        fills.resize_inputs(3)
        fills.replace_input_with(0, codes)
        fills.replace_input_with(2, quantize.inputs[2])
        filled.type = filled.shape = codes.shape = None
        self._graph.remove(fills)
        self._graph.insert_after(quantize, fills)

    def cut_off(self, unit: Unit) -> ir.Value:
        """Take a Relu or a Clip out, where codes end where it cuts off: QuantizeLinear cuts off there.

        Returns:
            What the node before it writes, which is then put through codes instead.
        """
        before = unit.node.outputs[0]
        unit.output.replace_all_uses_with(before, replace_graph_outputs=True)
        self._graph.remove(unit.ends, safe=True)
        return before

    def _as_output(self, name: str, before: ir.Value, now: ir.Value) -> None:
        """Let ``now`` leave the graph in place of ``before``, under its name and with its shape."""
        number = next(i for i, value in enumerate(self._graph.outputs) if value is before)
        if before.name == name:
            before.name = raw(name, self._prefix)
        now.name, now.shape, now.type = name, before.shape, before.type
        self._graph.outputs[number] = now

    def weights(self, unit: Unit, weight: Rounded) -> None:
        """Put the weight and the bias of a unit into integers."""
        node, name = unit.node, unit.name
        read = np.float32(self._grids[unit.reads[0]].scale)
        bias = _bias(node) + weight.shift
        weight = _with_room(weight, bias, float(read), unit.weight_axis)
        step = self._constant(f"{name}.weight_scale", weight.scales)
        zeros = self._constant(f"{name}.weight_zero_point", np.zeros(weight.scales.shape, np.int8))
        stored = self._constant(f"{name}.weight", weight.codes)
        axis = unit.weight_axis
        made = [self._node("DequantizeLinear", [stored, step, zeros], f"{name}/weight", axis=axis)]
        node.replace_input_with(1, made[0].outputs[0])
        if bias.any() or len(node.inputs) > 2:
            step_of_products = read * weight.scales
            steps = np.rint(bias / step_of_products.astype(np.float64))
            inputs = [
                self._constant(f"{name}.bias", np.clip(steps, -_LARGEST, _LARGEST).astype(np.int32)),
                self._constant(f"{name}.bias_scale", step_of_products),
                self._constant(f"{name}.bias_zero_point", np.zeros(bias.shape, np.int32)),
            ]
            made.append(self._node("DequantizeLinear", inputs, f"{name}/bias", axis=0))
            if len(node.inputs) < 3:
                node.resize_inputs(3)
            node.replace_input_with(2, made[-1].outputs[0])
        self._graph.insert_before(node, made)

    def _back(self, codes: ir.Node, name: str) -> ir.Node:
        """A DequantizeLinear for a QuantizeLinear."""
        return self._node("DequantizeLinear", [codes.outputs[0], *codes.inputs[1:]], name)

    def _constant(self, name: str, array: np.ndarray) -> ir.Value:
        full = f"{self._prefix}/{name}"
        known = self._graph.initializers.get(full)
        if known is None:
            known = ir.val(full, const_value=ir.tensor(array.copy(), name=full))
            self._graph.register_initializer(known)
        return known

    def _node(self, op_type: str, inputs: Sequence[ir.Value | None], name: str, **attributes: int) -> ir.Node:
        full = f"{self._prefix}/{name}"
        return ir.node(op_type, inputs, attributes, name=full, outputs=[ir.val(full)])


def _with_room(weight: Rounded, bias: np.ndarray, read: float, axis: int) -> Rounded:
    """With steps so large that each bias is a whole number of them that 32 bits hold.

    A channel whose weights are next to nothing would lose a bias that is not.
    """
    least = np.maximum(np.abs(bias) / (_LARGEST / 2 * read), _LEAST_SCALE)
    scales = np.maximum(weight.scales, np.broadcast_to(least, weight.scales.shape)).astype(np.float32)
    shape = [1] * weight.codes.ndim
    shape[axis] = -1
    coarser = (weight.scales.astype(np.float64) / scales).reshape(shape)
    return replace(weight, scales=scales, codes=np.rint(weight.codes * coarser).astype(np.int8))


def _bias(node: ir.Node) -> np.ndarray:
    """The bias of a node in float64; a single zero where it has none."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or value.const_value is None:
        return np.zeros(1)
    return np.asarray(value.const_value.numpy(), np.float64).reshape(-1)
