"""Networks that onnxruntime cannot run: rewritten all the same, and said so.

The oracle is the same network with an operator that onnxruntime knows in place of the one it does not: the
product never sees it, and yet the file it wrote must answer to that like the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import sepfactor
from sepfactor.pipeline import Result
from tests import networks
from tests.graph.build import check, interface, run
from tests.robustness.graphs import Drawn
from tests.robustness.graphs import networks as drawn_networks
from tests.robustness.way import assert_near, attempt

IMAGES = {"image": networks.images(4)}
OWN = "my.own"
TOLERANCE = {"float32": 1e-4, "float16": 2e-2}


def strange(x: str, y: str, domain: str = OWN, name: str = "det/nms") -> onnx.NodeProto:
    return helper.make_node("Strange", [x], [y], name=name, domain=domain)


def renamed(proto: onnx.ModelProto, output: str, *shape: int | str) -> onnx.ModelProto:
    """With another output, and the domain imported."""
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, ("batch", *shape))
    proto.graph.output[0].CopyFrom(value)
    proto.opset_import.append(helper.make_opsetid(OWN, 1))
    return proto


def all_nodes(nodes: Any) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from all_nodes(attribute.g.node)


def understood(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With a Sigmoid in place of what onnxruntime does not know, or what it was before it got a domain."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    for place in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in all_nodes(place):
            if node.op_type == "Strange":
                node.op_type, node.domain = "Sigmoid", ""
            elif node.domain == OWN:
                node.domain = ""
    return proto


def behind(domain: str = OWN) -> onnx.ModelProto:
    proto = networks.plain()
    proto.graph.node.append(strange("map", "boxes", domain))
    return renamed(proto, "boxes", 8, 16, 16)


def in_the_middle() -> onnx.ModelProto:
    proto = networks.plain()
    proto.graph.node[-1].input[0] = "s"
    proto.graph.node.insert(2, strange("b", "s"))
    return renamed(proto, "map", 8, 16, 16)


def on_a_side_branch() -> onnx.ModelProto:
    proto = networks.plain()
    proto.graph.node.append(strange("b", "extra"))
    proto.graph.output.append(
        helper.make_tensor_value_info("extra", TensorProto.FLOAT, ("batch", 16, 16, 16))
    )
    return renamed(proto, "map", 8, 16, 16)


def in_a_branch() -> onnx.ModelProto:
    """In an If behind the network, together with a convolution."""
    proto = networks.plain(w3=networks.kernel(8, 8), zero=np.float32(0))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("q", "r")]
    inner = [networks.conv("map", "w3", "p", name="inner", pads=[1] * 4), strange("p", "q")]
    yes = helper.make_graph(inner, "yes", [], values[:1])
    no = helper.make_graph([helper.make_node("Relu", ["map"], ["r"])], "no", [], values[1:])
    proto.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["map"], ["mean"], keepdims=0),
            helper.make_node("Greater", ["mean", "zero"], ["some"]),
            helper.make_node("If", ["some"], ["boxes"], then_branch=yes, else_branch=no, name="choice"),
        ]
    )
    return renamed(proto, "boxes", 8, 16, 16)


def in_a_function() -> onnx.ModelProto:
    proto = networks.plain()
    imports = [helper.make_opsetid(OWN, 1), helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("f", "Body", ["t"], ["u"], [strange("t", "u")], imports))
    proto.graph.node.append(helper.make_node("Body", ["map"], ["boxes"], name="call", domain="f"))
    proto.opset_import.append(helper.make_opsetid("f", 1))
    return renamed(proto, "boxes", 8, 16, 16)


def compressed(proto: onnx.ModelProto, out: Path, **options: Any) -> Result:
    """Without loss, after a look at the file that came of it."""
    result = attempt(proto, out, **{"data": IMAGES, "max_error": 0} | options)
    assert not isinstance(result, str), result
    found = onnx.load(out)
    assert interface(found) == interface(proto)
    assert [p.SerializeToString() for p in found.opset_import] == [
        p.SerializeToString() for p in proto.opset_import
    ]
    return result


CASES = {
    "behind": (behind, "Strange (domain my.own)", 2),
    "default domain": (lambda: behind(""), "Strange", 2),
    "middle": (in_the_middle, "Strange (domain my.own)", 1),
    "side": (on_a_side_branch, "Strange (domain my.own)", 2),
    "branch": (in_a_branch, "Strange (domain my.own)", 2),
    "function": (in_a_function, "Strange (domain my.own)", 2),
}


@pytest.mark.parametrize("case", CASES)
def test_rewritten_and_said_so(case: str, tmp_path: Path) -> None:
    make, named, open_layers = CASES[case]
    proto = make()
    result = compressed(proto, tmp_path / "out.onnx")
    found = onnx.load(tmp_path / "out.onnx")
    assert [layer.replaced for layer in result.report.layers][:2] == [True, False]
    assert sum(f"CANNOT RUN THIS NETWORK: it does not know {named}." in n for n in result.report.notes) == 1
    assert result.report.stand_in
    assert "As measured on what stands in for it" in str(result.report)
    reasons = [str(layer.reason) for layer in result.report.layers]
    assert sum("which onnxruntime cannot run" not in reason for reason in reasons) == open_layers
    assert result.report.accuracy is not None
    assert all(o.snr_db > 100 for o in result.report.accuracy.outputs)
    for one, other in zip(run(understood(found), IMAGES), run(understood(proto), IMAGES), strict=True):
        assert_near(one, other, TOLERANCE)
    before = [node for node in proto.graph.node if node.op_type in ("Strange", "If", "Body")]
    after = [node for node in found.graph.node if node.op_type in ("Strange", "If", "Body")]
    assert [n.name for n in before] == [n.name for n in after]
    if case in ("behind", "middle", "side"):
        check(found)


def test_why_what_is_behind_stays(tmp_path: Path) -> None:
    layers = compressed(in_the_middle(), tmp_path / "out.onnx").report.layers
    assert str(layers[-1].reason) == "behind Strange ('det/nms'), which onnxruntime cannot run"
    layers = compressed(in_a_branch(), tmp_path / "branch.onnx").report.layers
    assert str(layers[-1].reason) == "inside If ('choice') with Strange in it, which onnxruntime cannot run"


def test_what_is_left_is_judged_and_timed(tmp_path: Path) -> None:
    """Outputs that are computed, and values that what is left out reads; here with a loss."""
    result = attempt(on_a_side_branch(), tmp_path / "o.onnx", data=IMAGES, rank=1, bench_seconds=0.05)
    assert not isinstance(result, str), result
    assert result.report.speed is not None
    assert result.report.accuracy is not None
    outputs = result.report.accuracy.outputs
    assert [output.name for output in outputs] == ["map", "b"]
    assert outputs[0].relative_error > 0.01
    assert all(layer.milliseconds_before is not None for layer in result.report.layers)


def test_metadata_stays(tmp_path: Path) -> None:
    proto = behind()
    helper.set_model_props(proto, {"classes": "cat,dog"})
    proto.graph.node[-1].attribute.append(helper.make_attribute("iou", 0.5))
    compressed(proto, tmp_path / "out.onnx")
    found = onnx.load(tmp_path / "out.onnx")
    assert [(p.key, p.value) for p in found.metadata_props][:1] == [("classes", "cat,dog")]
    assert found.graph.node[-1] == proto.graph.node[-1]


def test_bytes_and_files_with_external_data(tmp_path: Path) -> None:
    proto = behind()
    path = tmp_path / "in.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights", size_threshold=0)
    outs = [tmp_path / f"{name}.onnx" for name in ("of_bytes", "of_a_file")]
    for source, out in zip((behind().SerializeToString(), path), outs, strict=True):
        result = attempt(source, out, data=IMAGES, max_error=0)
        assert not isinstance(result, str), result
        assert result.report.totals.replaced == 1
    one, other = (run(understood(onnx.load(out)), IMAGES) for out in outs)
    assert_near(one[0], other[0], TOLERANCE)


@pytest.mark.parametrize("make", [behind, in_the_middle, lambda: in_type(TensorProto.BFLOAT16)])
def test_a_plan_gives_the_same_bytes(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    proto = make()
    options = {"data": IMAGES, "bench_seconds": 0}
    result = sepfactor.compress(proto, tmp_path / "one.onnx", rank=2, **options)
    assert result.report.totals.replaced
    planning, (plan,) = sepfactor.plan(proto, rank=2, data=IMAGES)
    assert planning.notes == result.report.notes
    sepfactor.apply(proto, plan, tmp_path / "other.onnx", **options)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_inspected_and_profiled() -> None:
    inspection = sepfactor.inspect(in_the_middle(), data=IMAGES)
    assert "CANNOT RUN" in inspection.notes[0]
    assert inspection.layers[0].milliseconds is not None
    assert "behind Strange" in str(inspection.layers[1].reason)
    profile = sepfactor.profile(in_the_middle(), data=IMAGES)
    assert profile.notes == inspection.notes
    assert [*profile.layers] == ["a"]


@pytest.mark.parametrize("linear_layers", [False, True])
def test_nothing_can_be_run(linear_layers: bool) -> None:
    said = attempt(networks.unknown_operator(), data=IMAGES, linear_layers=linear_layers)
    assert isinstance(said, str)
    assert "not a registered" in said
    assert "Export it without its custom operators" in said


def test_a_domain_that_is_not_imported() -> None:
    """Such a file is damaged, whoever knows the operator."""
    proto = behind()
    del proto.opset_import[-1]
    said = attempt(proto, data=IMAGES)
    assert isinstance(said, str)
    assert "operator sets of all its operators" in said


def test_what_is_left_cannot_be_run_either() -> None:
    """For another reason, which is the one that is told."""
    proto = behind()
    proto.graph.node[0].attribute.append(helper.make_attribute("whirl", 1))
    said = attempt(proto, data=IMAGES)
    assert isinstance(said, str)
    assert "whirl" in said


def test_budgets_hold_for_what_is_left(tmp_path: Path) -> None:
    result = attempt(in_the_middle(), tmp_path / "o.onnx", data={"image": networks.images(16)}, min_snr=15)
    assert not isinstance(result, str), result
    assert result.is_met
    assert result.report.totals.replaced == 1


def test_others_are_not_tried_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a session was opened only to see whether that can be done")

    monkeypatch.setattr("sepfactor.study.network._refused", refuse)
    result = attempt(networks.plain(), data=IMAGES, max_error=0)
    assert not isinstance(result, str), result
    assert not result.report.notes
    assert not result.report.stand_in


# Types


def separable() -> np.ndarray:
    """A column times a row, exactly so in whatever type."""
    rng = np.random.default_rng(0)
    mix, column, row = (rng.integers(-3, 4, shape) for shape in ((16, 3), 5, 5))
    return (mix[:, :, None, None] * np.outer(column, row)).astype(np.float32)


def in_type(kind: int, proto: onnx.ModelProto | None = None) -> onnx.ModelProto:
    """A network of float32 in another type."""
    proto = proto or networks.plain(w1=separable())
    tensors = [*proto.graph.initializer]
    tensors += [a.t for node in all_nodes(proto.graph.node) for a in node.attribute if a.HasField("t")]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, kind, values.shape, values.ravel().tolist()))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = kind
    proto.opset_import[0].version, proto.ir_version = 22, 10
    return proto


def in_float32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """As a runtime without loss would see a network of another type."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    del proto.graph.value_info[:]
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type in (TensorProto.BFLOAT16, TensorProto.DOUBLE):
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in all_nodes(proto.graph.node):
        for attribute in node.attribute:
            if attribute.name == "to":
                attribute.i = TensorProto.FLOAT
    return proto


@pytest.mark.parametrize(
    ("kind", "tolerance"), [(TensorProto.BFLOAT16, 2**-7), (TensorProto.DOUBLE, 1e-5)], ids=["bf16", "double"]
)
def test_types_onnxruntime_has_no_convolution_for(kind: int, tolerance: float, tmp_path: Path) -> None:
    proto = in_type(kind)
    result = compressed(proto, tmp_path / "out.onnx")
    assert result.report.layers[0].replaced
    found = onnx.load(tmp_path / "out.onnx")
    check(found)
    assert {tensor.data_type for tensor in found.graph.initializer} == {kind}
    name = TensorProto.DataType.Name(kind).lower()
    assert [f"it has no {name} kernel for Conv" in note for note in result.report.notes] == [True]
    (one,), (other,) = run(in_float32(found), IMAGES), run(in_float32(proto), IMAGES)
    assert_near(one, other, {"float32": tolerance})


def test_a_norm_folded_in_another_type(tmp_path: Path) -> None:
    """Numpy makes float32 of bfloat16 and a number: what is written must be of one type all the same."""
    values = {"s": np.float32([0.5, 2] * 8), "b": np.ones(16, np.float32), "v": np.ones(16, np.float32)}
    proto = networks.plain(w1=separable(), **values)
    norm = helper.make_node("BatchNormalization", ["a", "s", "b", "b", "v"], ["b"], epsilon=0.0)
    norm.output[0] = proto.graph.node[-1].input[0] = "normed"
    proto.graph.node[1].CopyFrom(norm)
    result = compressed(in_type(TensorProto.BFLOAT16, proto), tmp_path / "out.onnx")
    assert result.report.layers[0].replaced
    found = onnx.load(tmp_path / "out.onnx")
    check(found)
    assert {tensor.data_type for tensor in found.graph.initializer} == {TensorProto.BFLOAT16}


def test_what_is_judged_is_what_is_written(tmp_path: Path) -> None:
    """Weights rounded to bfloat16: the error that is told is that of the file."""
    proto = in_type(TensorProto.BFLOAT16)
    result = compressed(proto, tmp_path / "out.onnx", eval_data=IMAGES)
    assert result.report.accuracy is not None
    found, expected = (run(in_float32(p), IMAGES)[0] for p in (onnx.load(tmp_path / "out.onnx"), proto))
    told = result.report.accuracy.outputs[0].max_abs
    assert told == pytest.approx(np.abs(found - expected).max(), rel=1e-3)
    assert told > 1e-3


def test_bfloat16_between_casts_constants_and_branches(tmp_path: Path) -> None:
    """Float32 outside, as exporters of mixed precision write it, and Constant nodes; types in a body."""
    proto = in_type(TensorProto.BFLOAT16, in_a_branch())
    proto.graph.initializer[-1].name = "zero"
    graph = proto.graph
    for node in all_nodes(graph.node):
        if node.op_type == "Strange":
            node.op_type, node.domain = "Relu", ""
    graph.node[0].input[0] = "x"
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["x"], to=TensorProto.BFLOAT16))
    graph.node[-1].output[0] = "before"
    graph.node.append(helper.make_node("Cast", ["before"], ["boxes"], to=TensorProto.FLOAT))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            for value in attribute.g.output:
                value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    result = compressed(proto, tmp_path / "out.onnx")
    assert result.report.layers[0].replaced
    found = onnx.load(tmp_path / "out.onnx")
    assert {tensor.data_type for tensor in found.graph.initializer} == {TensorProto.BFLOAT16}
    assert {node.op_type for node in found.graph.node} >= {"If", "Cast"}


def test_both_at_once(tmp_path: Path) -> None:
    proto = in_type(TensorProto.BFLOAT16, in_the_middle())
    result = compressed(proto, tmp_path / "out.onnx")
    assert [layer.replaced for layer in result.report.layers] == [True, False]
    assert ["CANNOT RUN" in note for note in result.report.notes] == [True, False]
    assert "no bfloat16 kernel for Conv either" in result.report.notes[1]


# Random networks

WAYS: tuple[dict[str, Any], ...] = (
    {"max_error": 0},
    {"max_error": 0, "linear_layers": True},
    {"rank": 2},
    {"rank": 2, "linear_layers": True, "dequantize": True},
    {"min_snr": 10.0},
    {"max_macs": "60%", "force": True},
)


@st.composite
def partly_strange(draw: st.DrawFn) -> tuple[Drawn, onnx.ModelProto]:
    """A random network, and the same with some operators in a domain of its own."""
    drawn = draw(drawn_networks())
    proto = onnx.ModelProto.FromString(drawn.model.SerializeToString())
    nodes = [*proto.graph.node]
    for index in draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=2)):
        nodes[index].domain = OWN
    proto.opset_import.append(helper.make_opsetid(OWN, 1))
    return drawn, proto


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(partly_strange(), st.sampled_from(WAYS))
def test_random_networks(case: tuple[Drawn, onnx.ModelProto], options: dict[str, Any]) -> None:
    drawn, proto = case
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        result = attempt(proto, out, data=drawn.feed, limit=3, **options)
        if isinstance(result, str):
            event("refused")
            return
        event(f"replaced {min(result.report.totals.replaced, 3)}")
        if not out.exists():
            return
        found = onnx.load(out)
    assert interface(found) == interface(proto)
    fixed = proto.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    feed = {name: array[: 1 if fixed else 3] for name, array in drawn.feed.items()}
    rounds = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    if rounds or options.get("max_error") != 0:
        assert all(np.isfinite(one).all() for one in run(understood(found), feed))
        return
    for one, other in zip(run(understood(found), feed), run(drawn.model, feed), strict=True):
        assert_near(one, other, TOLERANCE)


def test_a_tensor_of_no_type_is_refused_in_words() -> None:
    """A damaged file, which fuzzing found: looking for types must not stumble over it."""
    proto = networks.plain()
    nothing = onnx.helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [1.0])
    nothing.data_type = onnx.TensorProto.UNDEFINED
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("value", nothing))
    said = attempt(proto)
    assert isinstance(said, str)
    assert "not valid ONNX" in said
