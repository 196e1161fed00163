"""Tiny networks, written as ONNX text."""

from __future__ import annotations

import onnx.parser


def model(body: str, inputs: str, outputs: str, opset: int = 21) -> bytes:
    text = f'<ir_version: 10, opset_import: ["": {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return onnx.parser.parse_model(text).SerializeToString()


def scaled(factor: float) -> bytes:
    """Class scores and a map, both times a factor; and the best class as an integer."""
    return model(
        f"""s = Constant<value = float[1] {{{factor}}}>()
            scores = Mul(x, s)
            map = Mul(image, s)
            best = ArgMax<axis = 1, keepdims = 0>(scores)""",
        "float[N,6] x, float[N,1,H,W] image",
        "float[N,1,H,W] map, float[N,6] scores, int64[N] best",
    )


TWO_CONVOLUTIONS = model(
    """shape1 = Constant<value = int64[4] {16,16,3,3}>()
       one = Constant<value = float[1] {0.01}>()
       w = Expand(one, shape1)
       a = Conv<pads = [1,1,1,1]>(x, w)
       b = Relu(a)
       y = Conv<pads = [1,1,1,1]>(b, w)""",
    "float[1,16,8,8] x",
    "float[1,16,8,8] y",
)
