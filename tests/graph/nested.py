"""Networks with a convolution in the body of an If, Loop or Scan, and what it reads turn by turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tests.graph.build import Feed, model, normal, run

Map = np.ndarray
Turns = Callable[[Map], list[Map]]

MAP = "float[N,3,H,W]"
CONV = "Conv<pads = [1,1,1,1]>"
INNER = "[inner] c = Conv<pads = [1,1,1,1]>(s, w, bias)"
WEIGHTS = {"w": normal(3, 3, 3, 3) / 4, "u": normal(3, 3, 3, 3, seed=1) / 4, "bias": normal(3, seed=2) / 4}
ROWS = normal(2, 3, 1, 1)


@dataclass(frozen=True)
class Nested:
    """A network and what to feed it.

    Attributes:
        proto: the network; its inner convolution is called ``inner``, one before it answers with ``a``.
        feed: a sample. turns: what the inner one reads, given ``a``.
    """

    proto: onnx.ModelProto
    feed: Feed
    turns: Turns

    def reads(self) -> list[Map]:
        """What the inner convolution reads."""
        before = model(f"a = {CONV}(x, u)", f"{MAP} x", f"{MAP} a", **WEIGHTS)
        return self.turns(run(before, {"x": self.feed["x"]})[0])

    def answers(self) -> list[Map]:
        """What it answers."""
        return [conv(read) for read in self.reads()]


def conv(x: Map) -> Map:
    """What the inner convolution answers."""
    return run(model(f"y = {CONV}(x, w, bias)", f"{MAP} x", f"{MAP} y", **WEIGHTS), {"x": x})[0]


def chained(count: int, beside: Map | None = None) -> Turns:
    """Each turn reads the ReLU of what the one before answered, and perhaps the sum with a row."""

    def turns(a: Map) -> list[Map]:
        found = [a]
        for number in range(count - 1):
            found.append(np.maximum(conv(found[-1]), 0) + (0 if beside is None else beside[number]))
        return found

    return turns


def never(_: Map) -> list[Map]:
    return []


def once(a: Map) -> list[Map]:
    return [a]


def _network(body: str, turns: Turns, opset: int = 17, q: bool = True) -> Nested:
    """Of a body that makes ``b`` of ``a``, between two convolutions."""
    proto = model(
        f"[first] a = {CONV}(x, u)  {body}  [last] y = {CONV}(b, u)",
        f"{MAP} x, bool q",
        f"{MAP} y",
        opset=opset,
        yes=np.array(True),
        rows=ROWS,
        **{name: np.array(number) for number, name in enumerate(("none", "one", "two", "three"))},
        **WEIGHTS,
    )
    return Nested(proto, {"x": normal(2, 3, 6, 5), "q": np.array(q)}, turns)


def _if(source: str, then: str, made: str = "r") -> str:
    """If ``q`` holds, that which ``then`` makes, else a Sigmoid."""
    return f"""If(q) <then_branch = t () => ({MAP} {made}) {{ {then} }},
                      else_branch = e () => ({MAP} f) {{ f = Sigmoid({source}) }}>"""


def _loop(
    trips: str, start: str, body: str, state: str = "s", more: str = "", name: str = "l", made: str = "r"
) -> str:
    """Loop over a state, of which ``body`` makes the next; ``more`` is stacked."""
    return f"""Loop({trips}, yes, {start}) <body = {name} (int64 i{name}, bool k{name}, {MAP} {state})
               => (bool d{name}, {MAP} {made}{more}) {{ d{name} = Identity(k{name})  {body} }}>"""


def _scan(**more: Any) -> Nested:
    """Over rows that are added to the state turn by turn."""
    body = f"""b, stack = Scan<body = body ({MAP} s, float[3,1,1] row) => ({MAP} r, float[3,1,1] o)
               {{ {INNER}  p = Relu(c)  r = Add(p, row)  o = Neg(row) }}, num_scan_inputs = 1>(a, rows)"""
    nested = _network(body, chained(2, ROWS))
    (scan,) = [node for node in nested.proto.graph.node if node.op_type == "Scan"]
    scan.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in more.items())
    return nested


RELU = f"{INNER}  r = Relu(c)"
RELU_OF_A = RELU.replace("(s,", "(a,")
IF_INSIDE = f"r = {_if('s', RELU.replace('r =', 'n ='), 'n')}"
LOOP_INSIDE = f"r = {_loop('three', 'z', RELU.replace('r =', 'n ='), name='m', made='n')}"

NESTED = {
    "then": _network(f"b = {_if('a', RELU_OF_A)}", once),
    "else": _network(f"b = {_if('a', RELU_OF_A)}", never, q=False),
    "loop": _network(f"b = {_loop('three', 'a', RELU)}", chained(3)),
    "loop of no turns": _network(f"b = {_loop('none', 'a', RELU)}", never),
    "loop that stacks": _network(
        f"b, stack = {_loop('three', 'a', RELU, more=f', {MAP} c')}  top = ReduceMax(stack)", chained(3)
    ),
    "loop that stacks only": _network(
        f"""stack = Loop(two, yes) <body = l (int64 i, bool k) => (bool d, {MAP} r)
            {{ d = Identity(k)  {RELU_OF_A} }}>  b = ReduceMax<axes = [0], keepdims = 0>(stack)""",
        lambda a: [a, a],
    ),
    "loop without a condition": _network(
        f"b = {_loop('two', 'a', RELU).replace(', yes,', ', ,')}", chained(2)
    ),
    "if in a loop": _network(f"b = {_loop('two', 'a', IF_INSIDE)}", chained(2)),
    "loop in a loop": _network(f"b = {_loop('two', 'a', LOOP_INSIDE, state='z')}", chained(6)),
    "loop in an if": _network(f"b = {_if('a', LOOP_INSIDE.replace('z)', 'a)'))}", chained(3)),
    "scan": _scan(),
    "scan with axes": _scan(scan_output_axes=[1], scan_output_directions=[1]),
    "scan, of opset 8": _network(
        f"""e = Unsqueeze<axes = [0]>(a)  f = Unsqueeze<axes = [0]>(rows)
            g = Scan<body = body ({MAP} s, float[3,1,1] row) => ({MAP} r)
            {{ {INNER}  p = Relu(c)  r = Add(p, row) }}, num_scan_inputs = 1>(, e, f)
            b = Squeeze<axes = [0]>(g)""",
        chained(2, ROWS),
        opset=8,
    ),
    "then, of opset 8": _network(f"b = {_if('a', RELU_OF_A)}", once, opset=8),
    "else, of opset 8": _network(f"b = {_if('a', RELU_OF_A)}", never, opset=8, q=False),
    "loop, of opset 11": _network(f"b = {_loop('three', 'a', RELU)}", chained(3), opset=11),
}
"""By what the convolution is in."""
