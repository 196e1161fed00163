"""A rewritten network held against what it was, in two runtimes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rewrites import REWRITES, Rewritten, apply
from tests.graph.build import Feed, as_bytes, assert_same, check, interface, run, run_reference

RULES = {rule.name: rule for rule in REWRITES}


def rewritten(proto: onnx.ModelProto, *names: str) -> Rewritten:
    """With rules by name, or with all."""
    return apply(prepare(load(proto).model), [RULES[name] for name in names] or REWRITES)


def run_plainly(source: Any, feed: Feed) -> list[np.ndarray]:
    """In onnxruntime without any optimisation of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(as_bytes(source), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feed))


def assert_rewrites(proto: onnx.ModelProto, feed: Feed, rule: str, times: int | None = 1) -> Rewritten:
    """The rule holds so often, and the network computes what it did, is valid, and looks the same outside.

    Where ``times`` is None, once is enough.
    """
    before = proto.SerializeToString(deterministic=True)
    result = rewritten(proto, rule)
    found = result.counts.get(rule, 0)
    assert found == times if times is not None else found, result.notes
    assert proto.SerializeToString(deterministic=True) == before
    check(result.model)
    assert interface(ir.to_proto(result.model)) == interface(proto)
    expected = run(proto, feed)
    for runtime in (run, run_plainly):
        assert_same(runtime(result.model, feed), expected)
    if _reference_can(proto, feed, expected):
        assert_same(run_reference(result.model, feed), expected)
    return result


def _reference_can(proto: onnx.ModelProto, feed: Feed, expected: list[np.ndarray]) -> bool:
    """It has no ConvTranspose of groups, and pads dilated kernels otherwise, among other things."""
    try:
        assert_same(run_reference(proto, feed), expected)
    except Exception:  # noqa: BLE001 -- whatever it stumbles upon
        return False
    return True


def assert_stays(proto: onnx.ModelProto, rule: str, reason: str | None = None) -> None:
    """The rule does nothing, for this reason, or without a word."""
    result = rewritten(proto, rule)
    assert not result.counts
    if reason is None:
        assert not result.notes
    else:
        assert any(reason in note for note in result.notes), result.notes


def operators(result: Rewritten) -> list[str]:
    """Of the main graph, in order."""
    return [node.op_type for node in result.model.graph]
