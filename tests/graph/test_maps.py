"""Classifiers that answer with dictionaries, as of a ZipMap, go the whole way and keep their interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.measure import OnnxRuntime
from tests.graph.build import interface, model, normal, session
from tests.robustness.way import attempt, pretend_faster

IMAGES = {"x": normal(4, 3, 12, 12)}
KEYS: dict[str, dict[str, Any]] = {
    "numbers": {"classlabels_int64s": [7, 3, 5, 1]},
    "names": {"classlabels_strings": ["cat", "ant", "dog", "bee"]},
}


def zipped(keys: dict[str, Any], *, shown: tuple[str, ...] = ("scores",)) -> onnx.ModelProto:
    """Two convolutions and a softmax behind which a ZipMap stands."""
    proto = model(
        """a = Conv<pads = [1,1,1,1]>(x, w)  b = Relu(a)  c = Conv<pads = [1,1,1,1]>(b, v)
           d = GlobalAveragePool(c)  e = Flatten(d)  p = Softmax<axis = 1>(e)""",
        "float[N,3,12,12] x",
        "float[N,4] p",
        w=normal(16, 3, 3, 3) / 4,
        v=normal(4, 16, 3, 3) / 4,
    )
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    proto.graph.node.append(helper.make_node("ZipMap", ["p"], ["scores"], domain="ai.onnx.ml", **keys))
    scores = onnx.ValueInfoProto(name="scores")
    about = scores.type.sequence_type.elem_type.map_type
    about.key_type = TensorProto.INT64 if "classlabels_int64s" in keys else TensorProto.STRING
    about.value_type.tensor_type.elem_type = TensorProto.FLOAT
    outputs = {"p": proto.graph.output[0], "scores": scores}
    chosen = [onnx.ValueInfoProto.FromString(outputs[name].SerializeToString()) for name in shown]
    del proto.graph.output[:]
    proto.graph.output.extend(chosen)
    return proto


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
@pytest.mark.parametrize("shown", [("scores",), ("scores", "p"), ("p",)])
def test_the_whole_way(keys, shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_faster(monkeypatch.setattr)
    proto = zipped(keys, shown=shown)
    before = proto.SerializeToString()
    result = attempt(proto, tmp_path / "out.onnx", data=IMAGES, rank=8, scheme=["spatial"])
    assert not isinstance(result, str), result
    assert proto.SerializeToString() == before
    found = onnx.load(tmp_path / "out.onnx")
    assert interface(found) == interface(proto)
    assert {entry.domain for entry in found.opset_import} == {"", "ai.onnx.ml"}
    answers = dict(zip(shown, session(found).run(None, IMAGES), strict=True))
    if "scores" in answers:
        assert [sorted(row) for row in answers["scores"]] == [sorted(next(iter(keys.values())))] * 4


def test_preparing_leaves_a_zip_map_what_it_is() -> None:
    prepared = prepare(load(zipped(KEYS["names"])).model)
    (made,) = [node for node in prepared.graph if node.op_type == "ZipMap"]
    assert made.domain == "ai.onnx.ml"
    assert set(prepared.opset_imports) == {"", "ai.onnx.ml"}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
def test_dictionaries_are_measured_as_the_rows_they_are_made_of(keys, tmp_path: Path) -> None:
    onnx.save(zipped(keys, shown=("scores", "p")), tmp_path / "in.onnx")
    scores, rows = OnnxRuntime().open(tmp_path / "in.onnx").run(IMAGES)
    order = np.argsort(np.array(next(iter(keys.values()))))
    np.testing.assert_array_equal(scores, rows[:, order])
