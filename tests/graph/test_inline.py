"""Whatever a convolution is wrapped in, it comes out, and the network answers as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper

import sepfactor
from sepfactor.graph.external import external_tensors, read_external
from sepfactor.graph.inline import inlined
from sepfactor.graph.load import load
from sepfactor.graph.prepare import may_change_speed, prepare
from sepfactor.graph.survey import Site, survey
from tests.graph.build import assert_same, check, interface, model, normal, run, run_reference
from tests.robustness.way import attempt

X, Y = "float[N,4,9,8] x", "float[N,C,P,Q] y"
W, U = normal(4, 4, 3, 3) / 6, normal(4, 4, 3, 3, seed=1) / 6
FEED = {"x": normal(2, 4, 9, 8)}
SAME = "Conv<pads = [1,1,1,1]>"


def unwrapped(proto: onnx.ModelProto, feed: Any = FEED, oracle: Any = run) -> tuple[onnx.ModelProto, str]:
    """What became of it, and what is said, after checking all that holds whatever it was."""
    original = ir.from_proto(proto)
    before = ir.to_proto(original).SerializeToString(deterministic=True)
    plain, notes = inlined(original)
    after = ir.to_proto(plain)
    assert ir.to_proto(original).SerializeToString(deterministic=True) == before
    check(after)
    assert_same(run(after, feed), oracle(proto, feed))
    assert interface(after) == interface(proto)
    assert inlined(plain) == (plain, ())
    return after, " ".join(notes)


def sites(proto: onnx.ModelProto) -> list[Site]:
    return survey(prepare(load(proto).model))


def operators(proto: onnx.ModelProto) -> str:
    return " ".join(node.op_type for node in proto.graph.node)


def with_functions(
    body: str, *functions: onnx.FunctionProto, inputs: str = X, outputs: str = Y, **weights: Any
) -> onnx.ModelProto:
    """Calls are written ``own.Name(…)``."""
    proto = model("y = Relu(x)", inputs, outputs, **{"w": W, "u": U, **weights})
    header = f'<ir_version: 8, opset_import: ["": 17, "own": 1]> g ({inputs}) => ({outputs})'
    text = onnx.parser.parse_model(f"{header} {{ {body} }}")
    text.graph.initializer.extend(proto.graph.initializer)
    text.functions.extend(functions)
    onnx.checker.check_model(text)
    return text


def function(name: str, inputs: str, outputs: str, body: str, *attributes: str) -> onnx.FunctionProto:
    header = '<domain: "own", opset_import: ["": 17, "own": 1]>'
    given = f"<{', '.join(attributes)}>" if attributes else ""
    return onnx.parser.parse_function(f"{header} {name} {given} ({inputs}) => ({outputs}) {{ {body} }}")


BLOCK = function("Block", "x, w", "y", f"[c] a = {SAME}(x, w)  y = Relu(a)")
STRIDED = function(
    "Strided", "x, w", "y", "[c] y = Conv<pads = [1,1,1,1], strides: ints = @steps>(x, w)", "steps"
)
PAIR = function("Pair", "x, w, u", "z, y", "y = own.Block(x, w)  z = own.Block(y, u)")
SCALED = function("Scaled", "x", "y", "k = Constant<value = float {2.0}>()  y = Mul(x, k)")
OWN_WEIGHT = function(
    "Own",
    "x",
    "y",
    f"k = Constant<value = float[4,4,1,1] {{{', '.join(['0.5', '-1'] * 8)}}}>()  y = Conv(x, k)",
)
BRANCHED = function(
    "Branched",
    "x, w, q",
    "y",
    f"""y = If(q) <then_branch = t () => (float[N,4,P,Q] d) {{ d = {SAME}(x, w) }},
                  else_branch = e () => (float[N,4,P,Q] d2) {{ d2 = Relu(x) }}>""",
)

CALLS = {
    "one": (with_functions("y = own.Block(x, w)", BLOCK), 1),
    "twice, and around another": (
        with_functions(f"a = own.Block(x, w)  b = {SAME}(a, u)  y = own.Block(b, u)", BLOCK),
        3,
    ),
    "an attribute": (with_functions("y = own.Strided<steps = [2,1]>(x, w)", STRIDED), 1),
    "a function that calls one": (
        with_functions("a, b = own.Pair(x, w, u)  y = Add(a, b)", PAIR, BLOCK),
        2,
    ),
    "a weight of its own": (with_functions("y = own.Own(x)", OWN_WEIGHT), 1),
    "names that are taken": (
        with_functions(f"a = own.Block(x, w)  c = {SAME}(a, w)  y = own.Block(c, w)", BLOCK, a2=W),
        3,
    ),
    "an output of the graph": (
        with_functions("y, z = own.Pair(x, w, u)", PAIR, BLOCK, outputs=f"{Y}, float[N,C,P,Q] z"),
        2,
    ),
}


@pytest.mark.parametrize(("proto", "count"), CALLS.values(), ids=CALLS.keys())
def test_functions_are_written_out(proto: onnx.ModelProto, count: int) -> None:
    after, said = unwrapped(proto)
    assert not after.functions
    assert all(node.domain == "" for node in after.graph.node)
    assert "'Block'" in said or count == 1
    found = sites(proto)
    assert len(found) == count
    assert not any(site.skipped for site in found)
    assert len({site.name for site in found}) == count
    assert all(site.name.split("/")[0] in said or site.name == site.output for site in found)


def test_a_function_without_convolutions_stays() -> None:
    proto = with_functions("a = own.Block(x, w)  y = own.Scaled(a)", BLOCK, SCALED)
    after, said = unwrapped(proto)
    assert [f.name for f in after.functions] == ["Scaled"]
    assert "'Scaled'" not in said
    untouched = with_functions(f"a = {SAME}(x, w)  y = own.Scaled(a)", SCALED)
    original = ir.from_proto(untouched)
    assert inlined(original) == (original, ())


def test_a_function_called_in_a_branch_and_a_branch_in_a_function() -> None:
    inside = with_functions("y = own.Branched(x, w, q)", BRANCHED, inputs=f"{X}, bool q")
    around = with_functions(
        """y = If(q) <then_branch = t () => (float[N,4,P,Q] d) { d = own.Block(x, w) },
                      else_branch = e () => (float[N,4,P,Q] f) { f = own.Block(x, u) }>""",
        BLOCK,
        inputs=f"{X}, bool q",
    )
    for proto in (inside, around):
        for q in (True, False):
            after, _ = unwrapped(proto, FEED | {"q": np.array(q)})
            assert not after.functions
        found = sites(proto)
        assert {(site.skipped, site.nested) for site in found} == {(None, True)}
        assert len({site.output for site in found}) == len(found)


def test_what_cannot_be_written_out_stays_and_is_said() -> None:
    old = onnx.FunctionProto.FromString(BLOCK.SerializeToString())
    proto = with_functions("y = own.Block(x, w)", old)
    proto.functions[0].opset_import[0].version = 13  # a Relu of 13 is older than that of 14
    original = ir.from_proto(proto)
    plain, notes = inlined(original)
    assert plain is original
    (said,) = notes
    assert "'Block'" in said
    assert "could not be written out" in said
    (site,) = survey(prepare(plain))
    assert str(site.skipped) == "inside a model-local function"


def test_operator_sets_in_which_all_means_the_same() -> None:
    proto = with_functions("y = own.Block(x, w)", BLOCK)
    proto.functions[0].opset_import[0].version = 16
    after, _ = unwrapped(proto)
    assert operators(after) == "Conv Relu"


def test_functions_that_call_each_other_are_refused_in_words() -> None:
    loop = function("Loop1", "x, w", "y", f"a = {SAME}(x, w)  y = own.Loop2(a, w)")
    back = function("Loop2", "x, w", "y", "y = own.Loop1(x, w)")
    proto = model("y = Relu(x)", X, Y, w=W)
    proto.functions.extend((loop, back))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    _, (said,) = inlined(ir.from_proto(proto))
    assert "Cyclic" in said


TWO = "float[N,4,P,Q]"
IFS = {
    "yes": (f"y = If(yes) <then_branch = t () => ({TWO} d) {{ d = {SAME}(x, w) }}, REST>", "Conv"),
    "the same names in both": (
        f"""y = If(no) <then_branch = t () => ({TWO} f) {{ e = Relu(x)  f = {SAME}(e, w) }},
                        else_branch = b () => ({TWO} f) {{ e = {SAME}(x, u)  f = Relu(e) }}>""",
        "Conv Relu",
    ),
    "an If in an If": (
        f"""y = If(yes) <then_branch = t () => ({TWO} d) {{
              a = {SAME}(x, w)
              d = If(no) <then_branch = t2 () => ({TWO} h) {{ h = Relu(a) }},
                          else_branch = e2 () => ({TWO} i) {{ i = {SAME}(a, u) }}> }}, REST>""",
        "Conv Conv",
    ),
    "a weight of the branch": (
        f"""y = If(yes) <then_branch = t () => ({TWO} d) <float[4,4,1,1] v = {{{", ".join(["0.5"] * 16)}}}>
              {{ d = Conv(x, v) }}, REST>""",
        "Conv",
    ),
    "one value twice": (
        f"""a, b = If(yes) <then_branch = t () => ({TWO} d, {TWO} d) {{ d = {SAME}(x, w) }},
                            else_branch = e () => ({TWO} k, {TWO} l) {{ k = Relu(x) l = Relu(x) }}>
            y = Add(a, b)""",
        "Conv Identity Add",
    ),
    "open": (
        f"""y = If(q) <then_branch = t () => ({TWO} d) {{
              d = If(yes) <then_branch = t2 () => ({TWO} h) {{ h = {SAME}(x, w) }},
                           else_branch = e2 () => ({TWO} i) {{ i = Relu(x) }}> }}, REST>""",
        "If",
    ),
}


@pytest.mark.parametrize(("body", "left"), IFS.values(), ids=IFS.keys())
def test_an_if_of_a_constant_condition_is_the_branch_it_takes(body: str, left: str) -> None:
    body = body.replace("REST", f"else_branch = z () => ({TWO} r) {{ r = Relu(x) }}")
    proto = model(body, f"{X}, bool q", Y, w=W, u=U, yes=np.array(True), no=np.array([False]))
    # onnxruntime itself stumbles over one value twice, when it takes the branch.
    after, said = unwrapped(proto, FEED | {"q": np.array(True)}, run_reference)
    assert operators(after) == left
    assert "of a constant condition" in said
    assert all((site.skipped, site.nested) == (None, left == "If") for site in sites(proto))


def test_a_condition_that_may_be_fed_is_no_constant() -> None:
    body = f"""y = If(yes) <then_branch = t () => ({TWO} d) {{ d = {SAME}(x, w) }},
                            else_branch = z () => ({TWO} r) {{ r = Relu(x) }}>"""
    proto = model(body, f"{X}, bool yes", Y, w=W, yes=np.array(True))
    original = ir.from_proto(proto)
    assert inlined(original) == (original, ())


ENDS = {
    "": "y = Identity(a)",
    "Relu": "y = Relu(a)",
    "Sigmoid": "y = Sigmoid(a)",
    "Tanh": "y = Tanh(a)",
    "LeakyRelu": "y = LeakyRelu<alpha = 0.3>(a)",
    "HardSigmoid": "y = HardSigmoid<alpha = 0.4, beta = 0.3>(a)",
    "Clip": "y = Clip(a, low, high)",
}


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("with_sum", [False, True])
def test_a_fused_convolution_comes_apart(kind: str, with_sum: bool, opset: int) -> None:
    """As onnxruntime fused it where it does, and with a sum as only its own format says it."""
    if with_sum and onnxruntime.__version__.startswith(("1.20", "1.21", "1.22", "1.23")):
        pytest.skip("an onnxruntime that does not run it")
    params = {"LeakyRelu": [0.3], "HardSigmoid": [0.4, 0.3], "Clip": [-0.2, 0.7]}.get(kind, [])
    fused = helper.make_node(
        "FusedConv", ["x", "w", "c", "x"][: 3 + with_sum], ["y"], domain="com.microsoft", pads=[1] * 4
    )
    if kind:
        fused.attribute.append(helper.make_attribute("activation", kind))
    if params:
        fused.attribute.append(helper.make_attribute("activation_params", params))
    proto = model("y = Relu(x)", X, Y, opset=opset, w=W, c=normal(4))
    proto.graph.node[0].CopyFrom(fused)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    after, said = unwrapped(proto)
    assert operators(after) == " ".join(["Conv", *["Add"] * with_sum, *[kind] * bool(kind)])
    assert "FusedConv" in said
    (site,) = sites(proto)
    assert site.skipped is None
    assert not may_change_speed(load(proto).model, prepare(load(proto).model))


def test_a_model_that_onnxruntime_optimised_and_wrote(tmp_path: Any) -> None:
    ends = "  ".join(
        f"a{i} = {SAME}(b{i}, w)  b{i + 1} = " + end.removeprefix("y = ").replace("(a", f"(a{i}")
        for i, end in enumerate(ENDS.values())
    )
    proto = model(
        f"b0 = Identity(x)  {ends}  s = {SAME}(b{len(ENDS)}, u)  t = Add(s, b1)  y = Relu(t)",
        X, Y, w=W, u=U, low=np.float32(-0.2), high=np.float32(0.7),
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fused = onnx.load(tmp_path / "fused.onnx")
    assert "FusedConv" in operators(fused)
    after, _ = unwrapped(fused)
    assert "FusedConv" not in operators(after)
    assert_same(run(after, FEED), run(proto, FEED))
    assert not any(site.skipped for site in sites(fused))


@pytest.mark.parametrize("change", [{"activation": "Whirl"}, {"activation": "LeakyRelu"}])
def test_an_activation_unheard_of_stays(change: dict[str, str]) -> None:
    fused = helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", **change)
    proto = model("y = Relu(x)", X, Y, w=W)
    proto.graph.node[0].CopyFrom(fused)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    original = ir.from_proto(proto)
    assert inlined(original) == (original, ())
    (site,) = survey(prepare(original))
    assert "FusedConv" in str(site.skipped)


def branched(condition: str) -> onnx.ModelProto:
    """An If whose branches call unlike weights alike, behind a Constant whose tensor is called otherwise."""
    body = f"""k = Constant<value = float {{2.0}}>()  s = Mul(x, k)
               y = If({condition}) <then_branch = t () => ({TWO} d) {{ [one] d = {SAME}(s, v) }},
                                    else_branch = e () => ({TWO} f) {{ [two] g = {SAME}(s, v)
                                    l = Constant<value = string {{"l"}}>()  f = Relu(g) }}>"""
    proto = model(body, f"{X}, bool q", Y, yes=np.array(True))
    proto.graph.node[0].attribute[0].t.name = "value"
    for attribute, weight in zip(proto.graph.node[2].attribute, (W, U), strict=True):
        attribute.g.initializer.append(onnx.numpy_helper.from_array(weight, "v"))
        attribute.g.initializer.append(onnx.helper.make_tensor("text", onnx.TensorProto.STRING, [1], [b"t"]))
    return proto


@pytest.mark.parametrize("condition", ["q", "yes"])
def test_what_is_renamed_is_renamed_in_a_copy(condition: str, tmp_path: Path) -> None:
    proto = branched(condition)
    before = proto.SerializeToString(deterministic=True)
    data = [{"x": image[None], "q": np.array(i % 2 == 0)} for i, image in enumerate(normal(6, 4, 9, 8))]
    assert sites(proto)
    assert proto.SerializeToString(deterministic=True) == before
    sepfactor.inspect(proto, data=data)
    assert proto.SerializeToString(deterministic=True) == before
    result = attempt(proto, tmp_path / "out.onnx", data=data, rank=2)
    assert not isinstance(result, str), result
    assert proto.SerializeToString(deterministic=True) == before
    check(proto)


@pytest.mark.parametrize("condition", ["q", "yes"])
def test_so_it_is_of_a_graph_in_memory(condition: str) -> None:
    proto = branched(condition)
    original = ir.from_proto(proto)
    held = [value.const_value for graph in original.graphs() for value in graph.initializers.values()]
    names = [tensor.name for tensor in held]
    prepared = prepare(load(original).model)
    ir.to_proto(prepared)
    assert [tensor.name for tensor in held] == names
    assert ir.to_proto(original).SerializeToString() == ir.to_proto(ir.from_proto(proto)).SerializeToString()


def test_what_is_renamed_stays_in_its_file(tmp_path: Path) -> None:
    plain = branched("q")
    path = tmp_path / "net.onnx"
    onnx.save(branched("q"), path, save_as_external_data=True, size_threshold=100, location="w.bin")
    for source in (path, ir.load(path)):
        found = load(source).model
        kept = [*external_tensors(found)]
        assert len({tensor.name for tensor in kept}) == 2
        assert all(tensor._array is None for tensor in kept)  # type: ignore[attr-defined]
        for q in (True, False):
            feed = FEED | {"q": np.array(q)}
            read_external(copy := found.clone())
            assert_same(run(copy, feed), run(plain, feed))
