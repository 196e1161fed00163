"""Work that a small file can ask for without end, counted before any of it is done.

Functions that call each other twice a level double with each level; a sparse tensor of two numbers may be of
any size; a Loop may turn as often as an int64 can say, and keep what each turn made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import onnx
from onnx import numpy_helper

from sepfactor.errors import ModelError
from sepfactor.graph.bodies import proto_bodies, with_bodies

_STANDARD = ("", "ai.onnx")

_NODES_FREE, _NODES_PER_NODE = 2000, 20
"""Nodes a model may have once its functions are written out: so many, and more by those the file holds."""

_BYTES_FREE, _BYTES_PER_BYTE = 2**26, 128
"""Bytes its sparse tensors may have once they are dense: so many, and more by the size of the file."""

_TURNS, _TURNS_KEPT = 2**20, 2**16
"""Turns of a Loop that nothing but its count ends; fewer where it keeps something of each."""

_Key = tuple[str, str, str]
_Holder: TypeAlias = onnx.GraphProto | onnx.FunctionProto


def check_work(proto: onnx.ModelProto, where: str) -> None:
    """Refuse a model of which a small part would take all time or memory there is.

    Args:
        proto: the model.
        where: what to call it.

    Raises:
        ModelError: its functions, sparse tensors or loops ask for too much; the message says which.
    """
    _check_functions(proto, where)
    _check_sparse(proto, where)
    holders: list[_Holder] = [proto.graph, *proto.functions]
    for holder in holders:
        _check_loops(holder, {}, where)


def _check_functions(proto: onnx.ModelProto, where: str) -> None:
    inside = {
        (function.domain, function.name, getattr(function, "overload", "")): [*_nodes(function)]
        for function in proto.functions
    }
    if not inside:
        return
    own = [*_nodes(proto.graph)]
    held = len(own) + sum(map(len, inside.values()))
    sizes = _written_out(inside)
    written = sum(sizes.get(_key(node), 1) for node in own)
    if written > _NODES_FREE + _NODES_PER_NODE * held:
        raise ModelError(
            f"{where} holds {held:,} nodes, but its functions call each other so often that there are "
            f"{_number(written)} once they are written out, as onnxruntime does. Export it without "
            "functions, or with fewer levels of them."
        )


def _written_out(inside: Mapping[_Key, list[onnx.NodeProto]]) -> dict[_Key, int]:
    """Nodes that a call of each function comes to; 1 of one that calls itself, which no one can write out."""
    sizes: dict[_Key, int] = {}
    begun: set[_Key] = set()
    for start in inside:
        front = [start]
        while front:
            key = front[-1]
            calls = {_key(node) for node in inside[key]} & inside.keys()
            waiting = [call for call in calls if call not in sizes and call not in begun]
            if key not in sizes and key not in begun and waiting:
                begun.add(key)
                front += waiting
                continue
            if key not in sizes:
                sizes[key] = sum(sizes.get(_key(node), 1) for node in inside[key])
            front.pop()
    return sizes


def _key(node: onnx.NodeProto) -> _Key:
    return node.domain, node.op_type, getattr(node, "overload", "")


def _nodes(holder: _Holder) -> Iterator[onnx.NodeProto]:
    return (node for body in with_bodies(holder) for node in body.node)


def _check_sparse(proto: onnx.ModelProto, where: str) -> None:
    dense = 0
    for tensor in _sparse(proto):
        numbers = math.prod(tensor.dims) if all(size >= 0 for size in tensor.dims) else 0
        dense += numbers * _item_size(tensor.values.data_type)
    if dense <= _BYTES_FREE:
        return
    held = proto.ByteSize()
    if dense > _BYTES_FREE + _BYTES_PER_BYTE * held:
        raise ModelError(
            f"{where} holds sparse tensors that take {_number(dense)} bytes once they are dense, as "
            f"onnxruntime makes them, in a file of {held:,}. Store what is needed of them, dense."
        )


def _sparse(proto: onnx.ModelProto) -> Iterator[onnx.SparseTensorProto]:
    for holder in (proto.graph, *proto.functions):
        for body in with_bodies(holder):
            if isinstance(body, onnx.GraphProto):
                yield from body.sparse_initializer
            for node in body.node:
                yield from (a.sparse_tensor for a in node.attribute if a.HasField("sparse_tensor"))


def _item_size(data_type: int) -> int:
    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    except (KeyError, ValueError):  # of no type there is; told where it is read
        return 1


def _check_loops(holder: _Holder, around: Mapping[str, onnx.TensorProto], where: str) -> None:
    """Of a graph, and of the bodies of its nodes, which may read its constants."""
    known = {**around, **_constants(holder)}
    for node in holder.node:
        if node.op_type == "Loop" and node.domain in _STANDARD:
            _check_loop(node, known, where)
        for body in proto_bodies(node):
            _check_loops(body, known, where)


def _check_loop(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto], where: str) -> None:
    count, condition, *states = [*node.input, "", ""][: max(len(node.input), 2)]
    body = next(proto_bodies(node), None)
    begins = not condition or _is_true(condition, known)
    if body is None or not begins or not _never_stops(body, known):
        return
    turns = _single(count, known) if count else math.inf
    if turns is None:  # fed, or computed
        return
    kept = len(body.output) > 1 + len(states)
    if turns > (_TURNS_KEPT if kept else _TURNS):
        name = node.name or (node.output[0] if node.output else "")
        said = "without end" if turns == math.inf else f"{_number(turns)} times"
        raise ModelError(
            f"{where} holds the Loop {name[:80]!r}, which turns {said}, with nothing to stop it"
            f"{', and keeps what each turn makes' if kept else ''}. Export it with the count it is used with."
        )


def _never_stops(body: onnx.GraphProto, known: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a Loop's body hands on the condition it was given, or a constant one."""
    if not body.output or len(body.input) < 2:
        return False
    known = {**known, **_constants(body)}
    sources = {node.output[0]: node.input[0] for node in body.node if _is_copy(node)}
    name, steps = body.output[0].name, 0
    while name in sources and steps <= len(sources):
        name, steps = sources[name], steps + 1
    return name == body.input[1].name or _is_true(name, known)


def _constants(holder: _Holder) -> dict[str, onnx.TensorProto]:
    fed = {value.name for value in holder.input} if isinstance(holder, onnx.GraphProto) else set()
    found = {}
    if isinstance(holder, onnx.GraphProto):
        found = {tensor.name: tensor for tensor in holder.initializer if tensor.name not in fed}
    for node in holder.node:
        for attribute in node.attribute if node.op_type == "Constant" and node.output else ():
            if attribute.name == "value":
                found[node.output[0]] = attribute.t
            elif attribute.name == "value_int":
                found[node.output[0]] = onnx.helper.make_tensor("", onnx.TensorProto.INT64, [], [attribute.i])
    return found


def _single(name: str, known: Mapping[str, onnx.TensorProto]) -> float | None:
    """The number of a constant of a single one; None of whatever else."""
    tensor = known.get(name)
    if tensor is None or math.prod(tensor.dims) != 1 or tensor.external_data:
        return None
    try:
        return float(numpy_helper.to_array(tensor).reshape(-1)[0])
    except (ValueError, TypeError, IndexError):  # damaged; told where it is read
        return None


def _is_true(name: str, known: Mapping[str, onnx.TensorProto]) -> bool:
    return bool(_single(name, known))


def _number(value: float) -> str:
    return f"{int(value):,}" if value < 10**15 else "more than 10^15"


def _is_copy(node: onnx.NodeProto) -> bool:
    return node.op_type == "Identity" and len(node.input) == len(node.output) == 1
