"""What a file says of its values: doc strings, metadata, quantisation annotations.

Whatever is put in place of a node writes a new value under the old name. What was said of that name still
holds, for the numbers are meant to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

_ANNOTATION = "quant_parameter_tensor_names"
"""Where onnx-ir keeps what ``quantization_annotation`` says of a value."""


@dataclass(frozen=True)
class _Said:
    doc_string: str | None
    metadata: dict[str, str]
    annotation: Any


@dataclass(frozen=True)
class Words:
    """What a model said of its values, by their names."""

    said: dict[str, _Said]

    @classmethod
    def of(cls, model: ir.Model) -> Words:
        """Of all values of a model, those of bodies included."""
        said = {}
        for value in _values(model):
            about = _Said(value.doc_string, dict(value.metadata_props), value.meta.get(_ANNOTATION))
            if value.name and (about.doc_string or about.metadata or about.annotation):
                said[value.name] = about
        return cls(said)

    def put_back(self, model: ir.Model) -> None:
        """Say it of values of these names of which nothing is said, in place."""
        for value in _values(model) if self.said else ():
            about = self.said.get(value.name or "")
            if about is None:
                continue
            value.doc_string = value.doc_string or about.doc_string
            for key, text in about.metadata.items():
                value.metadata_props.setdefault(key, text)
            if about.annotation and not value.meta.get(_ANNOTATION):
                value.meta[_ANNOTATION] = about.annotation


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs
