"""Outputs that are lists of dictionaries, as a ZipMap behind a classifier makes them.

onnx-ir has no type for them. They are worked with untyped, which onnxruntime does not mind, and what the file
says of their type is said again in the file that is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

_MAKERS = {("ai.onnx.ml", "ZipMap")}

_TYPE = "sepfactor.type"
"""Where a value keeps what the file said of its type, serialised."""

_UNKNOWN_DOMAIN = "sepfactor.untyped"
"""Of operators nobody infers anything of."""


def without_map_types(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    """The model without types that hold maps, itself if it has none; and those of outputs, by name."""
    values = (*proto.graph.output, *proto.graph.value_info)
    if not any(_holds_map(value.type) for value in values):
        return proto, {}
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    types = {}
    for value in made.graph.output:
        if _holds_map(value.type):
            types[value.name] = value.type.SerializeToString()
            value.ClearField("type")
    kept = [value for value in made.graph.value_info if not _holds_map(value.type)]
    del made.graph.value_info[:]
    made.graph.value_info.extend(kept)
    return made, types


def remember_types(model: ir.Model, types: dict[str, bytes]) -> None:
    """Keep them with the outputs of a model, and of its copies."""
    for value in model.graph.outputs:
        if value.name in types:
            value.meta[_TYPE] = types[value.name]


@contextmanager
def maps_untyped(model: ir.Model) -> Iterator[None]:
    """While types are inferred: of what makes maps none is."""
    makers = [node for node in model.graph.all_nodes() if (node.domain, node.op_type) in _MAKERS]
    domains = [node.domain for node in makers]
    try:
        for node in makers:
            node.domain = _UNKNOWN_DOMAIN
        if makers:
            model.opset_imports[_UNKNOWN_DOMAIN] = 1
        yield
    finally:
        model.opset_imports.pop(_UNKNOWN_DOMAIN, None)
        for node, domain in zip(makers, domains, strict=True):
            node.domain = domain


def write_types(model: ir.Model, file: Path) -> None:
    """Say in a file that ``model`` was written to what its outputs are."""
    types = {value.name: value.meta[_TYPE] for value in model.graph.outputs if _TYPE in value.meta}
    if not types:
        return
    proto = onnx.load(file, load_external_data=False)
    for value in proto.graph.output:
        if value.name in types:
            value.type.ParseFromString(types[value.name])
    file.write_bytes(proto.SerializeToString())


def _holds_map(about: onnx.TypeProto) -> bool:
    kind = about.WhichOneof("value")
    if kind == "sequence_type":
        return _holds_map(about.sequence_type.elem_type)
    if kind == "optional_type":
        return _holds_map(about.optional_type.elem_type)
    return bool(kind == "map_type")
