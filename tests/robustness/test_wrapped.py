"""Convolutions in functions, branches, loops, fused or quantised: replaced, or left alone with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import sepfactor
from sepfactor.pipeline import Result
from tests import networks
from tests.graph.build import check, interface, model, normal, run
from tests.robustness.way import assert_near, attempt
from tests.timing import decide_times

IMAGES = {"image": networks.images(4)}


def compressed(source: onnx.ModelProto | Path, out: Path) -> Result:
    """Without loss, after a look at the file that came of it."""
    result = attempt(source, out, data=IMAGES, max_error=0)
    assert not isinstance(result, str), result
    assert result.report.totals.replaced == 1
    check(onnx.load(out))
    original = source if isinstance(source, onnx.ModelProto) else onnx.load(source)
    assert interface(onnx.load(out)) == interface(original)
    for one, other in zip(run(onnx.load(out), IMAGES), run(original, IMAGES), strict=True):
        assert_near(one, other, {"float32": 1e-4})
    return result


def in_a_function() -> onnx.ModelProto:
    """The plain network, its first two nodes in a function."""
    proto = networks.plain()
    inner = [proto.graph.node.pop(0) for _ in range(2)]
    imports = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("own", "Body", ["image", "w1"], ["b"], inner, imports))
    proto.graph.node.insert(0, helper.make_node("Body", ["image", "w1"], ["b"], domain="own"))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    return proto


def in_a_branch() -> onnx.ModelProto:
    """The plain network, its first node in a branch that is always taken."""
    proto = networks.plain()
    inner = proto.graph.node.pop(0)
    value = helper.make_tensor_value_info("a", TensorProto.FLOAT, ("batch", 16, 16, 16))
    branch = helper.make_graph([inner], "branch", [], [value])
    other = helper.make_graph([networks.conv("image", "w1", "a", pads=[2] * 4)], "other", [], [value])
    choice = helper.make_node("If", ["yes"], ["a"], then_branch=branch, else_branch=other)
    proto.graph.node.insert(0, choice)
    proto.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    return proto


def fused(folder: Path) -> onnx.ModelProto:
    """The plain network as onnxruntime fused and wrote it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    data = networks.plain().SerializeToString()
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "fused.onnx")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: in_a_function(), "'Body'"),
        (lambda _: in_a_branch(), "constant condition"),
        (fused, "FusedConv"),
    ],
    ids=["function", "branch", "fused"],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_taken_out_of_what_it_is_in(make: object, said: str, as_file: bool, tmp_path: Path) -> None:
    proto = make(tmp_path)  # type: ignore[operator]
    path = tmp_path / "in.onnx"
    onnx.save(proto, path)
    before = path.read_bytes()
    result = compressed(path if as_file else proto, tmp_path / "out.onnx")
    assert path.read_bytes() == before
    first, last = result.report.layers
    assert "first" in first.name or first.name.endswith("/Conv")
    assert (first.replaced, last.replaced) == (True, False)
    assert first.milliseconds_before is not None
    assert sum(said in note for note in result.report.notes) == 1
    assert {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node} <= {"Conv", "Add", "Relu"}


def quantised_weight() -> onnx.ModelProto:
    """The plain network, its last weight in whole numbers behind a DequantizeLinear."""
    proto = networks.plain(w2=np.random.default_rng(0).integers(-99, 99, (8, 16, 3, 3)).astype(np.int8))
    scale, zero = np.full(8, 0.01, np.float32), np.zeros(8, np.int8)
    for name, array in (("s", scale), ("z", zero)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    proto.graph.node[-1].input[1] = "w2f"
    proto.graph.node.insert(0, helper.make_node("DequantizeLinear", ["w2", "s", "z"], ["w2f"], axis=0))
    return proto


def in_a_loop() -> onnx.ModelProto:
    """A convolution run three times over, behind a plain one."""
    return model(
        """[outer] a = Conv<pads = [2,2,2,2]>(image, w)
           map = Loop(trips, yes, a) <body = b (int64 i, bool c, float[N,3,16,16] before)
               => (bool d, float[N,3,16,16] after)
               { d = Identity(c)  [inner] e = Conv<pads = [1,1,1,1]>(before, u)  after = Relu(e) }>""",
        "float[N,3,16,16] image",
        "float[N,3,P,Q] map",
        w=networks.kernel(3, 3, 5, separable=True),
        u=normal(3, 3, 3, 3) / 4,
        trips=np.array(3),
        yes=np.array(True),
    )


def in_an_open_branch() -> onnx.ModelProto:
    return model(
        """[outer] a = Conv<pads = [2,2,2,2]>(image, w)
           mean = ReduceMean<keepdims = 0>(a)  nought = Constant<value = float {0.0}>()
           some = Greater(mean, nought)
           map = If(some) <
             then_branch = t () => (float[N,3,16,16] d) { [inner] d = Conv<pads = [1,1,1,1]>(a, u) },
             else_branch = e () => (float[N,3,16,16] g) { g = Relu(a) }>""",
        "float[N,3,16,16] image",
        "float[N,3,P,Q] map",
        w=networks.kernel(3, 3, 5, separable=True),
        u=normal(3, 3, 3, 3) / 4,
    )


@pytest.mark.parametrize("make", [in_a_loop, in_an_open_branch], ids=["loop", "branch"])
def test_in_a_body_it_is_judged_like_any_other(make: object, tmp_path: Path) -> None:
    """Its kernel is of full rank, and nothing may be lost."""
    result = compressed(make(), tmp_path / "out.onnx")  # type: ignore[operator]
    outer, inner = result.report.layers
    assert (outer.replaced, inner.replaced) == (True, False)
    assert "nothing cheaper stays within 0 of its output" in str(inner.reason)
    assert inner.milliseconds_before is not None
    assert inner.map_size == (16, 16)


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [(quantised_weight, "head.last", "quantised: compress the float network first")],
    ids=["quantised"],
)
def test_left_alone_with_a_reason(make: object, name: str, reason: str, tmp_path: Path) -> None:
    """And what is around it is replaced all the same."""
    result = compressed(make(), tmp_path / "out.onnx")  # type: ignore[operator]
    layers = {layer.name: layer for layer in result.report.layers}
    assert any(layer.replaced for layer in result.report.layers)
    assert reason in str(layers[name].reason)


def test_dequantized_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And built again from the plan, which remembers."""
    decide_times(monkeypatch, 2.0)
    proto, (out, again) = quantised_weight(), (tmp_path / name for name in ("out.onnx", "again.onnx"))
    options = {"data": IMAGES, "dequantize": True, "rank": 12, "bench_seconds": 0}
    result = sepfactor.compress(proto, out, layers={"head.last": {"rank": 4}}, **options)
    assert [layer.replaced for layer in result.report.layers] == [True, True]
    assert "DequantizeLinear" not in {node.op_type for node in onnx.load(out).graph.node}
    for one, other in zip(run(onnx.load(out), IMAGES), run(proto, IMAGES), strict=True):
        assert np.linalg.norm(one - other) < 0.9 * np.linalg.norm(other)
    applied = sepfactor.apply(proto, result.plan, again, data=IMAGES, bench_seconds=0)
    assert applied.report.totals.replaced == 2
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("op_type", ["QLinearConv", "ConvInteger"])
def test_convolutions_of_whole_numbers(op_type: str) -> None:
    if op_type == "ConvInteger":
        body = "q, s, z = DynamicQuantizeLinear(x)  i = ConvInteger(q, w, z)  y = Cast<to = 1>(i)"
        more = {"w": np.ones((4, 4, 3, 3), np.uint8)}
    else:
        body = """q = QuantizeLinear(x, s, z)  i = QLinearConv(q, s, z, w, s, z, s, z)
                  y = DequantizeLinear(i, s, z)"""
        more = {"w": np.ones((4, 4, 3, 3), np.uint8), "s": np.float32(0.1), "z": np.uint8(128)}
    proto = model(body, "float[N,4,9,9] x", "float[N,C,P,Q] y", **more)
    result = attempt(proto, data={"x": normal(4, 4, 9, 9)})
    assert not isinstance(result, str), result
    (layer,) = result.report.layers
    assert "compress the float network first" in str(layer.reason)
