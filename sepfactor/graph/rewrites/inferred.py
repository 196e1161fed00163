"""What can be said of a value by the operators before it, where onnx's shape inference says nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import onnx_ir as ir

T = TypeVar("T")

_MOST_NODES = 400


class Inferred(ABC, Generic[T]):
    """Follows a value back until something is declared; each is looked at once."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, T | None] = {}

    def of(self, value: ir.Value | None) -> T | None:
        """What is known of a value; None where nothing is."""
        if value is None:
            return None
        declared = self.declared(value)
        if declared is not None:
            return declared
        if value not in self._known:
            self._known[value] = None  # for a graph that runs in a circle
            node = value.producer()
            if len(self._known) <= _MOST_NODES and node is not None and node.inputs:
                self._known[value] = self.made(node)
        return self._known[value]

    @abstractmethod
    def declared(self, value: ir.Value) -> T | None:
        """What the graph says of a value."""

    @abstractmethod
    def made(self, node: ir.Node) -> T | None:
        """What follows for an answer of an operator, which reads something, from what it reads."""
