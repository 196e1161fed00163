"""What a file says beside its convolutions is in the result as it was, whatever wrote it and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sepfactor.pipeline import Result
from tests import networks
from tests.graph.build import check, interface, norm_of, run, with_weights_as_inputs
from tests.robustness.way import assert_near, attempt

IMAGES = {"image": networks.images(4)}


def compressed(proto: onnx.ModelProto, folder: Path) -> tuple[Result, onnx.ModelProto]:
    """Without loss, by way of files."""
    onnx.save(proto, folder / "in.onnx")
    result = attempt(folder / "in.onnx", folder / "out.onnx", data=IMAGES, max_error=0)
    assert not isinstance(result, str), result
    found = onnx.load(folder / "out.onnx")
    check(found)
    assert interface(found) == interface(proto)
    for one, other in zip(run(found, IMAGES), run(proto, IMAGES), strict=True):
        assert_near(one, other, {"float32": 1e-4})
    return result, found


def props(message: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in message.metadata_props}


def annotated() -> onnx.ModelProto:
    """The plain network with something said of everything in it."""
    proto = networks.plain()
    proto.ir_version = 11
    proto.producer_name, proto.producer_version, proto.domain = "somebody", "7.1", "com.example"
    proto.model_version, proto.doc_string = 42, "of the model"
    graph = proto.graph
    graph.value_info.append(helper.make_tensor_value_info("b", 1, ["batch", 16, 16, 16]))
    parts = [graph, *graph.input, *graph.output, *graph.node, *graph.initializer, *graph.value_info]
    for part in parts:
        part.doc_string = f"of {part.name}"
    for part in (proto, *parts):
        part.metadata_props.add(key="note", value=f"on {getattr(part, 'name', 'model')}")
    graph.input[0].type.denotation = "IMAGE"
    for tensor in ("b", "w2"):
        note = graph.quantization_annotation.add(tensor_name=tensor)
        note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w2")
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    proto.training_info.add().algorithm.name = "descent"
    return proto


def test_what_is_said_of_a_model_and_its_parts(tmp_path: Path) -> None:
    proto = annotated()
    result, found = compressed(proto, tmp_path)
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(found, name) == getattr(proto, name)
    assert list(found.opset_import) == list(proto.opset_import)
    own = {name: value for name, value in props(found).items() if not name.startswith("sepfactor.")}
    assert own == props(proto)
    before, after = proto.graph, found.graph
    assert (after.name, after.doc_string, props(after)) == (before.name, before.doc_string, props(before))
    assert list(after.input) == list(before.input)
    assert list(after.output) == list(before.output)
    assert list(after.node)[-2:] == list(before.node)[-2:]  # Relu and what is not replaced
    (kept,) = [tensor for tensor in after.initializer if tensor.name == "w2"]
    assert kept == before.initializer[1]
    (value,) = [value for value in after.value_info if value.name == "b"]
    assert value == before.value_info[0]
    annotations = {note.tensor_name: note for note in after.quantization_annotation}
    assert annotations == {note.tensor_name: note for note in before.quantization_annotation}
    assert any("training" in note for note in result.report.notes)


def test_what_is_said_of_a_node_that_is_replaced_is_said_of_those_in_its_place(tmp_path: Path) -> None:
    _, found = compressed(annotated(), tmp_path)
    made = [node for node in found.graph.node if node.name.startswith("body.first/")]
    assert made
    for node in made:
        assert node.doc_string == "of body.first"
        assert props(node)["note"] == "on body.first"
        assert props(node)["sepfactor.scheme"]


LEFTOVERS: dict[str, tuple[int, list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "dropout of opset 7": (7, [helper.make_node("Dropout", ["b"], ["d"], ratio=0.4)], {}),
    "dropout and its mask": (10, [helper.make_node("Dropout", ["b"], ["d", "mask"], ratio=0.4)], {}),
    "dropout of opset 13": (
        13,
        [helper.make_node("Dropout", ["b", "ratio", "training"], ["d", "mask"])],
        {"ratio": np.float32(0.4), "training": np.array(False)},
    ),
    "statistics of a norm, opset 9": (
        9,
        [helper.make_node("BatchNormalization", ["b", "s", "b_", "m", "v"], ["d", "m2", "v2", "m3", "v3"])],
        norm_of(16),
    ),
    "statistics of a norm, opset 15": (
        15,
        [
            helper.make_node(
                "BatchNormalization", ["b", "s", "b_", "m", "v"], ["d", "m2", "v2"], training_mode=1
            )
        ],
        norm_of(16),
    ),
}


@pytest.mark.parametrize(("opset", "nodes", "constants"), LEFTOVERS.values(), ids=LEFTOVERS.keys())
def test_what_training_left_behind(
    opset: int, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Between the first convolution and the last, read by it."""
    constants = {{"b": "b_"}.get(name, name): np.asarray(array) for name, array in constants.items()}
    proto = networks.plain(**constants)
    proto.opset_import[0].version = opset
    proto.graph.node[-1].input[0] = "d"
    for node in nodes:
        proto.graph.node.insert(2, node)
    onnx.checker.check_model(proto)
    result, found = compressed(proto, tmp_path)
    assert result.report.layers[0].replaced
    kinds = [node.op_type for node in found.graph.node]
    assert kinds.count("Dropout") == sum(node.op_type == "Dropout" for node in nodes)


NEWEST = 26
"""Of onnxruntime 1.31."""


@pytest.mark.parametrize("opset", [*range(1, 14), 17, 21, 24, NEWEST])
def test_every_operator_set(opset: int, tmp_path: Path) -> None:
    proto = networks.plain()
    proto.opset_import[0].version = opset
    if opset < 9:
        proto.ir_version = 3
        with_weights_as_inputs(proto)
    if opset < 6:  # onnxruntime has no Relu so old
        said = attempt(proto, data=IMAGES)
        assert isinstance(said, str)
        assert "version_converter" in said
        return
    result, found = compressed(proto, tmp_path)
    assert result.report.layers[0].replaced
    assert found.opset_import[0].version == opset


@pytest.mark.parametrize("version", range(1, 14))
def test_every_version_of_the_format(version: int, tmp_path: Path) -> None:
    proto = networks.plain()
    proto.ir_version = version
    if version < 4:
        with_weights_as_inputs(proto)
    result, found = compressed(proto, tmp_path)
    assert result.report.layers[0].replaced
    assert found.ir_version == max(version, 4)  # weights that are no inputs exist since 4


@pytest.mark.parametrize(("field", "hint"), [("ir", "Update onnxruntime"), ("opset", "Update onnxruntime")])
def test_the_future_is_refused_in_words(field: str, hint: str) -> None:
    proto = networks.plain()
    if field == "ir":
        proto.ir_version = 99
    else:
        proto.opset_import[0].version = 99
    said = attempt(proto, data=IMAGES)
    assert isinstance(said, str)
    assert hint in said


def test_the_standard_operators_by_their_other_name(tmp_path: Path) -> None:
    """What is joined is joined by an Add, which fuses, not by the Sum of the oldest operator sets."""
    proto = networks.plain()
    proto.opset_import[0].domain = "ai.onnx"
    for node in proto.graph.node:
        node.domain = "ai.onnx"
    options = {"rank": 2, "scheme": ["depthwise-pointwise"], "data": IMAGES}
    result = attempt(proto, tmp_path / "out.onnx", **options)
    assert not isinstance(result, str), result
    found = onnx.load(tmp_path / "out.onnx")
    check(found)
    assert {node.op_type for node in found.graph.node} == {"Conv", "Relu", "Add"}
