"""Tensors kept in files beside a model: they stay there while they are large.

A network of many gigabytes may hold a few convolutions. It is never read whole: its large tensors stay in
their file through every view of it that is made and run, and are copied from file to file at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, Message

LARGE = 2**20
"""Bytes from which a tensor stays in its file while a model is worked on."""


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Wherever they are: initialisers and attributes, subgraphs and functions included."""
    found: list[object] = [v.const_value for graph in model.graphs() for v in graph.initializers.values()]
    places: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for place in places:
        for node in place.all_nodes():
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR:
                    found.append(attribute.value)
                elif attribute.type == ir.AttributeType.TENSORS:
                    found += attribute.value or ()
    return (tensor for tensor in found if isinstance(tensor, ir.ExternalTensor))


def files_beside(model: Path) -> list[Path]:
    """The files in which the network of a file says it keeps weights; none where it cannot be read."""
    try:
        proto = onnx.load(model, load_external_data=False) if model.is_file() else onnx.ModelProto()
    except (OSError, ValueError, DecodeError):  # said when it is loaded
        return []
    return [model.parent / name for name in dict.fromkeys(entry.value for entry in locations(proto))]


def locations(message: Message) -> Iterator[onnx.StringStringEntryProto]:
    """Where tensors say in which file they are, wherever in a message they are."""
    if isinstance(message, onnx.TensorProto):
        yield from (entry for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in (value,) if isinstance(value, Message) else value:
                yield from locations(inner)


def read_external(model: ir.Model, below: float = float("inf")) -> None:
    """Read initialisers smaller than ``below`` bytes into memory, in place."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes < below:
                (value.const_value,) = ir.external_data.convert_tensors_from_external([tensor])


def in_one_folder(model: ir.Model) -> tuple[ir.Model, Path | None]:
    """A model that can be run from memory, and the folder where the files of its large tensors are.

    Small tensors are read, and all of them where they lie in several folders.
    """
    if next(external_tensors(model), None) is None:
        return model, None
    model = model.clone()
    read_external(model, below=LARGE)
    folders = {str(tensor.base_dir) for tensor in external_tensors(model)}
    if len(folders) > 1:
        read_external(model)
        folders = set()
    return model, Path(folders.pop()).absolute() if folders else None
