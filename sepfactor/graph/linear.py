"""Gemm and MatMul with constant weights: 1×1 convolutions over a map whose pixels are the rows.

All leading axes are rows: ``(…, C)`` is read as ``(1, C, 1, rows)``. A chain of 1×1 stages becomes as
many products; a bias is that of the Gemm at the end, or an Add behind the last MatMul.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.factor import Factorization, Stage
from sepfactor.factor.stage import Array, Ints
from sepfactor.graph.kind import Kind, Reading, Skip, check_numbers, constant, optional
from sepfactor.graph.writer import Writer


@dataclass(frozen=True)
class Linear(Kind):
    """A product of rows with a constant matrix."""

    name: str = "linear"

    is_blocked: ClassVar[bool] = False
    has_channels_second: ClassVar[bool] = False
    runs: ClassVar[int] = 128

    adds_bias: ClassVar[bool] = False
    """Whether a node of two axes multiplies and adds a bias at once."""

    def maps(self, value: NDArray[Any]) -> NDArray[Any]:
        """``(…, C)`` as ``(1, C, 1, rows)``."""
        return value.reshape(-1, value.shape[-1]).T[None, :, None]

    def shape(self, batch: int, channels: int, size: Ints) -> Ints:
        """``(rows, C)``."""
        return (batch * math.prod(size), channels)

    def own(self, numbers: Ints) -> Ints:
        """Nothing: a row has no axes."""
        return ()

    def write(self, writer: Writer, factorization: Factorization, x: ir.Value, output: ir.Value) -> None:
        """As products of matrices."""

        def product(
            stage: Stage, x: ir.Value, name: str, bias: Array | None, output: ir.Value | None
        ) -> ir.Value:
            matrix = writer.weight(stage.regrouped(1).weight[:, :, 0, 0].T, f"{name}.weight")
            if bias is None:
                return writer.emit("MatMul", [x, matrix], name, output=output)
            added = writer.weight(bias, f"{name}.bias")
            if self.adds_bias:
                return writer.emit("Gemm", [x, matrix, added], name, output=output)
            return writer.add(writer.emit("MatMul", [x, matrix], name), added, f"{name}.biased", output)

        writer.chains(factorization, x, output, product)


@dataclass(frozen=True)
class Gemm(Linear):
    """A product of two axes."""

    name: str = "gemm"

    adds_bias: ClassVar[bool] = True


GEMM, MATMUL = Gemm(), Linear("matmul")


def read_gemm(node: ir.Node, opset: int) -> Reading:
    """A Gemm as numbers: ``alpha``, ``beta`` and ``transB`` are in them. ``opset`` is that of the model.

    Raises:
        Skip: it cannot be replaced.
    """
    if node.attributes.get_int("transA", 0):
        raise Skip("transposes", "it transposes what it reads")
    matrix, dtype = _matrix(node, opset)
    weight = matrix if node.attributes.get_int("transB", 0) else matrix.T
    bias = optional(node, 2, "bias", opset)
    if bias is not None:
        bias = np.full(len(weight), bias.item()) if bias.size == 1 else bias
        if bias.shape not in ((len(weight),), (1, len(weight))):
            shapes = f"of shape {bias.shape}, for {len(weight)}"
            raise Skip("bias-shape", "its bias is not one number for each of its outputs", shapes)
        bias = _times(node, "beta", bias.reshape(-1), "bias")
    return Reading(GEMM, Stage.pointwise(_times(node, "alpha", weight, "weight")), bias, weight.shape, dtype)


def read_matmul(node: ir.Node, opset: int) -> Reading:
    """A MatMul as numbers; ``opset`` is that of the model.

    Raises:
        Skip: it cannot be replaced.
    """
    matrix, dtype = _matrix(node, opset)
    return Reading(MATMUL, Stage.pointwise(matrix.T), None, matrix.T.shape, dtype)


def _times(node: ir.Node, name: str, array: Array, what: str) -> Array:
    """Numbers with a factor that the node has for them."""
    factor = node.attributes.get_float(name, 1.0)
    with np.errstate(invalid="ignore"):  # zero times infinity
        product = factor * array
    check_numbers(product, f"{what} times its {name} of {factor:g}")
    return product


def _matrix(node: ir.Node, opset: int) -> tuple[Array, np.dtype[np.floating]]:
    if opset < 7:
        raise Skip("old-opset", f"it is of opset {opset}, in which onnxruntime adds no bias to a product")
    matrix, dtype = constant(node, 1, "weight", opset)
    if matrix.ndim != 2:
        raise Skip("axes", f"its weight has {matrix.ndim} axes: only a matrix is factored")
    if matrix.size == 0:
        raise Skip("empty-weight", "its weight is empty")
    return matrix, dtype
