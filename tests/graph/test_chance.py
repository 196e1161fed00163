"""Nodes that draw at random draw alike in all copies, and the file draws as the original does."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from sepfactor.graph.chance import seeded, seeds_for, unseeded
from sepfactor.graph.instrument import serialized
from tests.graph.build import model, session

TEXT = """
a = RandomNormalLike (x)
b = RandomUniformLike <seed = 3.0> (x)
c = Bernoulli (b)
s = Add (a, b)
y = Add (s, c)
"""
MORE = "z = Relu (x)\nw = RandomNormalLike (z)\n" + TEXT.replace("(x)", "(z)")
"""The same with a node before it that draws, too."""


def loaded(text: str) -> ir.Model:
    return ir.from_proto(model(text, "float[N, 4] x", "float[N, 4] y", opset=17))


def answers(one: ir.Model) -> list[np.ndarray]:
    open_one = session(bytes(serialized(one)))
    return [open_one.run(None, {"x": np.ones((1, 4), np.float32)})[0] for _ in range(3)]


def test_only_nodes_without_a_seed_are_given_one() -> None:
    assert list(seeds_for(loaded(TEXT))) == ["a", "c"]
    assert not seeds_for(loaded("y = Relu (x)"))


def test_a_node_draws_alike_wherever_it_is() -> None:
    one, other = loaded(TEXT), loaded(MORE)
    seeds = seeds_for(one)
    first, second = answers(seeded(one, seeds)), answers(seeded(other, seeds))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])  # each run draws anew


def test_seeds_are_taken_out_again() -> None:
    one = loaded(TEXT)
    seeds = seeds_for(one)
    assert bytes(serialized(unseeded(seeded(one, seeds), seeds))) == bytes(serialized(one))
