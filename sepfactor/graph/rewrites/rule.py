"""What a rewriting is: a check that finds where it holds, and an edit that says what stands there then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Attributes: TypeAlias = Mapping[str, int | float | Sequence[int]]

RULE = "sepfactor.rewrite"
"""Where the ``metadata_props`` of a new node say which rule made it."""


class Edit:
    """Collects the new nodes and initialisers of one rewriting, under names of their own.

    Args:
        prefix: start of the names of all that is new.
        rule: name of the rule.
        opset: of the model.
    """

    def __init__(self, prefix: str, rule: str, opset: int) -> None:
        self.prefix, self.opset = prefix, opset
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self._rule = rule

    def constant(self, array: NDArray[Any], dtype: ir.DataType | None) -> ir.Value:
        """An initialiser with these numbers, of this type."""
        assert dtype is not None  # rules check the type of what they change
        name = f"{self.prefix}/c{len(self.initializers)}"
        tensor = ir.tensor(np.asarray(array, dtype=dtype.numpy(), order="C"), dtype=dtype, name=name)
        self.initializers.append(ir.val(name, const_value=tensor))
        return self.initializers[-1]

    def sizes(self, *values: int) -> ir.Value:
        """An initialiser of whole numbers, as Reshape reads them."""
        return self.constant(np.array(values, np.int64), ir.DataType.INT64)

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Attributes | Sequence[ir.Attr] = (),
        *,
        like: ir.Node | None = None,
    ) -> ir.Value:
        """A node of one output; returns that.

        Args:
            op_type: of the standard domain.
            inputs: what it reads.
            attributes: by name, or as another node has them.
            like: the node whose place it takes: its name and what is noted of it go on.
        """
        name = f"{self.prefix}/{len(self.nodes)}"
        given = (
            ir.convenience.convert_attributes(attributes) if isinstance(attributes, Mapping) else attributes
        )
        node = ir.Node(
            "",
            op_type,
            inputs,
            given,
            outputs=[ir.val(name)],
            name=like.name if like is not None and like.name else name,
            doc_string=like.doc_string if like is not None else None,
            metadata_props={**(like.metadata_props if like is not None else {}), RULE: self._rule},
        )
        self.nodes.append(node)
        return node.outputs[0]

    def again(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """The same operator with the same attributes, reading something else."""
        return self.emit(node.op_type, inputs, [*node.attributes.values()], like=node)


Build: TypeAlias = Callable[[Edit], Mapping[ir.Value, ir.Value]]
"""Emits the new nodes, and says which value each of theirs replaces: of the node that was checked, or of
others behind it. The new ones stand where that node did, and so read nothing that is made later."""


@dataclass(frozen=True)
class Rule:
    """One exact rewriting.

    Attributes:
        name: short, as reports and ``metadata_props`` have it.
        does: what it does, in a sentence without a full stop.
        check: given a node and the opset of the model, what to build in its place, a reason in words why
            a node that looks like it stays, or None for any other node. It changes nothing.
        opset: the least that what it writes needs.
    """

    name: str
    does: str
    check: Callable[[ir.Node, int], Build | str | None]
    opset: int = 7
