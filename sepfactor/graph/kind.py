"""What an operator has to say of itself so that it can be factored like a 2-D convolution.

A *kind* is how the values around an operator are seen as maps ``(N, C, *size)``, and how stages become
nodes of its own sort again. Everything between (patches, moments, schemes, ranks, fits) knows maps and
stages only. A new kind is one file with a child of :class:`Kind` and a function that reads its nodes,
and one line in the survey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.codes import Reason
from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Array, Ints
from sepfactor.graph.computed import computed
from sepfactor.graph.writer import Writer

_FLOATS: dict[ir.DataType, np.dtype[np.floating]] = {
    kind: kind.numpy()
    for kind in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)
}

_HUGE = 1e12
"""No trained weight is so large; with activations to match, sums of squares overflow."""


@dataclass(frozen=True)
class Kind:
    """A 2-D Conv; children differ from it.

    Attributes:
        name: what tells kinds apart where times are remembered.
    """

    name: str = "conv"

    is_blocked: ClassVar[bool] = True
    """Whether neighbours of its own kind share onnxruntime's blocked layout with it."""

    has_channels_second: ClassVar[bool] = True
    """Whether the second axis of what it writes is that of channels."""

    runs: ClassVar[int] = 32
    """Of the network, that patches are drawn from while candidates are looked for."""

    def maps(self, value: NDArray[Any]) -> NDArray[Any]:
        """What it reads or writes as ``(N, C, H, W)``; a view where possible."""
        return value

    def shape(self, batch: int, channels: int, size: Ints) -> Ints:
        """The shape of a value that is ``batch`` maps of ``channels`` and ``size``."""
        return (batch, channels, *size)

    def own(self, numbers: Ints) -> Ints:
        """A number for each axis of a map (sizes, strides), without the axes a user does not know of."""
        return numbers

    def rewrites(self, stage: Stage) -> bool:
        """Whether a layer that stays as it is, is faster written anew by :meth:`write`."""
        return False

    def write(self, writer: Writer, factorization: Factorization, x: ir.Value, output: ir.Value) -> None:
        """Nodes that compute ``factorization`` of ``x`` into ``output``."""
        writer.chains(factorization, x, output, writer.conv)


CONV_2D = Kind()


@dataclass(frozen=True, eq=False)
class Reading:
    """A node as numbers.

    Attributes:
        kind: how it is seen and written. stage: of two axes or three. bias: ``(out,)`` or None.
        weight_shape: ``(out, in/group, *kernel)``, of its own axes.
        dtype: of the weights in the model.
    """

    kind: Kind
    stage: Stage
    bias: Array | None
    weight_shape: Ints
    dtype: np.dtype[np.floating]


FLOAT_FIRST = "compress the float network first, and quantise what comes out"
"""How to mend a network that holds whole numbers."""


class Skip(Exception):
    """Raised where a node is read, with the reason why it cannot be replaced.

    Attributes:
        reason: its arguments, see :class:`~sepfactor.codes.Reason`.
    """

    def __init__(self, code: str, text: str, detail: str = "") -> None:
        self.reason = Reason(code, text, detail)
        super().__init__(str(self.reason))


class Broken(Skip):
    """The same, for weights no network can work with."""


def constant(node: ir.Node, index: int, what: str, opset: int) -> tuple[Array, np.dtype[np.floating]]:
    """Input ``index`` of ``node``, in a model of ``opset``, as numbers, and their type in the model.

    Raises:
        Skip: it is no constant, or of no use; ``what`` it is, is for the message.
    """
    value = node.inputs[index] if len(node.inputs) > index else None
    tensor = value.const_value if value is not None else None
    if value is not None and tensor is None and (found := computed(value, opset)) is not None:
        tensor = ir.tensor(found)
    if value is None or tensor is None or value.is_graph_input():
        made = value.producer() if value is not None else None
        if made is not None and made.op_type == "DequantizeLinear":
            raise Skip("quantised", f"its {what} is quantised: {FLOAT_FIRST}; or give --dequantize")
        origin = f"computed by {made.op_type}" if made is not None else "fed at run time"
        raise Skip("not-constant", f"its {what} is not a constant: it is {origin}")
    if tensor.dtype not in _FLOATS:
        raise Skip("not-float", f"its {what} is of type {tensor.dtype.name.lower()}")
    with np.errstate(invalid="ignore"):  # a signalling NaN
        array = np.asarray(tensor.numpy(), dtype=np.float64)
    check_numbers(array, what)
    return array, _FLOATS[tensor.dtype]


def check_numbers(array: Array, what: str) -> None:
    """Fail where nothing can be computed with these numbers.

    Raises:
        Skip: they are too large. Broken: they are not finite.
    """
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise Broken("not-finite", f"its {what} holds {bad} NaN or infinite value{'s' * (bad > 1)}")
    if array.size and np.abs(array).max() > _HUGE:
        largest = f"up to {np.abs(array).max():.0e}"
        raise Skip("too-large", f"its {what} holds numbers too large to fit anything to", largest)


def optional(node: ir.Node, index: int, what: str, opset: int) -> Array | None:
    """The same where the input may be left out."""
    given = len(node.inputs) > index and node.inputs[index] is not None
    return constant(node, index, what, opset)[0] if given else None
