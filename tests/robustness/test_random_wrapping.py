"""Random networks, parts of which are put into functions and branches: they come out as they went in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import Site, survey
from tests.graph.build import interface, run
from tests.robustness.graphs import Drawn, networks
from tests.robustness.way import assert_near

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

Wrap = Callable[[onnx.ModelProto, int, int], None]


def read_and_written(proto: onnx.ModelProto, begin: int, end: int) -> tuple[list[str], list[str]]:
    """What the nodes between read from before, and what of theirs is read after, or is an output."""
    graph = proto.graph
    inside, after = graph.node[begin:end], graph.node[end:]
    made = [name for node in inside for name in node.output if name]
    wanted = {name for node in after for name in _reads(node)} | {value.name for value in graph.output}
    read = dict.fromkeys(name for node in inside for name in _reads(node) if name not in made)
    return list(read), [name for name in made if name in wanted]


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names, those its branches take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        own = {name for inner in attribute.g.node for name in inner.output}
        yield from (name for inner in attribute.g.node for name in _reads(inner) if name not in own)


def into_function(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """A function of its own, whatever else there is."""
    inputs, outputs = read_and_written(proto, begin, end)
    name = f"Part{len(proto.functions)}"
    imports = [helper.make_opsetid(o.domain, o.version) for o in proto.opset_import]
    if name == "Part0":
        proto.opset_import.append(helper.make_opsetid("own", 1))
    inside = list(proto.graph.node[begin:end])
    proto.functions.append(helper.make_function("own", name, inputs, outputs, inside, imports))
    _replace(proto, begin, end, helper.make_node(name, inputs, outputs, domain="own"))


def into_branch(proto: onnx.ModelProto, begin: int, end: int) -> None:
    """The branch of an If that is always taken; the other gives the same by other names."""
    _, outputs = read_and_written(proto, begin, end)
    inside = list(proto.graph.node[begin:end])
    kind = proto.graph.input[0].type.tensor_type.elem_type
    values = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    branches = [helper.make_graph(inside, name, [], values) for name in ("taken", "other")]
    number = len(proto.graph.initializer)
    proto.graph.initializer.append(helper.make_tensor(f"yes{number}", onnx.TensorProto.BOOL, [], [True]))
    fresh = [
        helper.make_node("If", [f"yes{number}"], outputs, then_branch=branches[0], else_branch=branches[1])
    ]
    _replace(proto, begin, end, *fresh)


def _replace(proto: onnx.ModelProto, begin: int, end: int, *nodes: onnx.NodeProto) -> None:
    rest = [*proto.graph.node[:begin], *nodes, *proto.graph.node[end:]]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in rest]
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def seen(sites: list[Site]) -> list[tuple[object, ...]]:
    return sorted((s.weight_shape, s.skipped or "", str(s.stage and s.stage.pads)) for s in sites)


@relaxed
@given(
    networks(), st.lists(st.tuples(st.sampled_from((into_function, into_branch)), st.randoms()), max_size=3)
)
def test_convolutions_are_found_wherever_they_are(drawn: Drawn, steps: list[tuple[Wrap, object]]) -> None:
    wrapped = onnx.ModelProto.FromString(drawn.model.SerializeToString())
    for wrap, draw in steps:
        count = len(wrapped.graph.node)
        begin = draw.randrange(count)  # type: ignore[attr-defined]
        end = draw.randrange(begin, count) + 1  # type: ignore[attr-defined]
        if read_and_written(wrapped, begin, end)[1]:
            wrap(wrapped, begin, end)
    onnx.checker.check_model(wrapped)
    prepared = prepare(load(wrapped).model)
    plain = prepare(load(drawn.model).model)
    if not any("computed by Part" in (site.skipped or "") for site in survey(prepared)):
        assert seen(survey(prepared)) == seen(survey(plain))
    found = ir.to_proto(prepared)
    onnx.checker.check_model(found, full_check=True)
    assert interface(found) == interface(drawn.model)
    names = [site.output for site in survey(prepared)]
    assert len(set(names)) == len(names)
    fixed = drawn.model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    feed = {name: array[: 1 if fixed else 3] for name, array in drawn.feed.items()}
    for one, other in zip(run(found, feed), run(drawn.model, feed), strict=True):
        assert_near(one, other, TOLERANCE)
