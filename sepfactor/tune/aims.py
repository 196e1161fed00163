"""What a network that is tuned is to answer: the original's outputs, and its maps on the way there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)

_SCORES = ("Softmax", "Sigmoid", "LogSoftmax")
"""Operators at the end of which what goes in tells more than what comes out."""


Kind = Literal["map", "numbers", "scores", "probabilities"]


@dataclass(frozen=True)
class Aim:
    """A value of both networks.

    Attributes:
        original: its name in the original.
        own: its name in the network that is tuned.
        kind: a map on the way; or an output, or the scores that one is made of: scores or probabilities of
            classes, or numbers.
    """

    original: str
    own: str
    kind: Kind

    @property
    def is_output(self) -> bool:
        """Whether it is what the network is for."""
        return self.kind != "map"

    @property
    def is_classes(self) -> bool:
        """Whether it says of each class how likely that is."""
        return self.kind in ("scores", "probabilities")


def aims(
    original: ir.Model, model: ir.Model, wanted: Sequence[str], classes: Collection[str] = ()
) -> list[Aim]:
    """Outputs, or the scores they are made of; and maps that convolutions read in both.

    Shapes are not compared: those of maps may be other ones where averages come first.

    Args:
        original: the network to answer like.
        model: that was made of it; values that stand for the same have the same name.
        wanted: names of maps, in their order.
        classes: names of outputs that are scores or probabilities of classes.
    """
    theirs, own = _values(original), _values(model)
    outputs = [
        Aim(_scores(a), _scores(b), "scores" if str(a.name) in classes else "numbers")
        for a, b in zip(original.graph.outputs, model.graph.outputs, strict=True)
        if a.dtype in _FLOATS
    ]
    taken = {aim.original for aim in outputs}
    maps = [name for name in dict.fromkeys(wanted) if name in theirs and name in own and name not in taken]
    return [*(Aim(name, name, "map") for name in maps), *outputs]


def _values(model: ir.Model) -> set[str]:
    return {str(value.name) for node in model.graph for value in node.outputs}


def _scores(output: ir.Value) -> str:
    """What goes into the last operator, where that is a Softmax or its like; else the output itself."""
    maker = output.producer()
    if maker is not None and maker.op_type in _SCORES and maker.inputs[0] is not None:
        return str(maker.inputs[0].name)
    return str(output.name)
