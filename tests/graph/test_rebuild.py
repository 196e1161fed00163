"""A network in which convolutions were replaced at full rank computes what it computed before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Factorization, Scheme
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Rebuilt, Replacement, rebuild
from sepfactor.graph.save import publish, staged
from sepfactor.graph.survey import Site, survey
from sepfactor.graph.writer import conv_attributes
from tests.graph.build import (
    Feed,
    assert_same,
    check,
    interface,
    model,
    norm_of,
    normal,
    run,
    run_reference,
)
from tests.strategies import sizes, stages

TAG = {"sepfactor.scheme": "as tested"}
TYPES = {np.float16: "float16", np.float32: "float", np.float64: "double"}

AROUND = {
    "alone": ("[k] y = Conv{}", "y"),
    "nameless": ("y = Conv{}", "y"),
    "relu": ("[k] z = Conv{}  y = Relu(z)", "y"),
    "shortcut": ("[k] z = Conv{}  e = Sigmoid(z)  a = Add(z, e)  y = Relu(a)", "y"),
    "norm": ("[k] z = Conv{}  y = BatchNormalization(z, s, b, m, v)", "y"),
    "output twice read": ("[k] z = Conv{}  y = Relu(z)", "z y"),
}
"""A Conv in a small network, and what the network puts out. ``{}`` is its attributes and inputs."""


@dataclass(frozen=True)
class Network:
    proto: onnx.ModelProto
    feed: Feed
    dtype: np.dtype


@st.composite
def networks(draw: st.DrawFn, dtypes: tuple[type, ...] = (np.float32, np.float32, np.float16)) -> Network:
    stage = draw(stages(axes=draw(st.sampled_from((2, 2, 1)))))
    dtype = draw(st.sampled_from(dtypes))
    size = draw(sizes(stage))
    body, outputs = AROUND[draw(st.sampled_from(sorted(AROUND)))]
    weights = {"w": stage.weight.astype(dtype)}
    if draw(st.booleans()):
        weights["c"] = normal(stage.out_channels, dtype=dtype)
    if "Batch" in body:
        weights |= norm_of(stage.out_channels, dtype)
    attributes = ", ".join(f"{name} = {_text(value)}" for name, value in conv_attributes(stage).items())
    kind = TYPES[dtype]
    proto = model(
        body.format(f"<{attributes}>({', '.join(['x', *(n for n in 'wc' if n in weights)])})"),
        f"{kind}[N,{stage.in_channels},{','.join('HW'[: len(size)])}] x",
        ", ".join(
            f"{kind}[N,{stage.out_channels},{','.join('PQ'[: len(size)])}] {name}" for name in outputs.split()
        ),
        **weights,
    )
    x = normal(draw(st.integers(1, 2)), stage.in_channels, *size, dtype=dtype)
    return Network(proto, {"x": x}, np.dtype(dtype))


def _text(value: object) -> str:
    return str(value) if isinstance(value, int) else str(list(value))


def applicable(site: Site) -> Iterator[Scheme]:
    assert site.stage is not None, site.skipped
    return (scheme for scheme in SCHEMES if scheme.refuses(site.stage) is None)


def in_full(scheme: Scheme, site: Site) -> Factorization:
    """``site`` by ``scheme`` at full rank; for that it has to take the scheme."""
    assert site.stage is not None
    decomposition = scheme.decompose(site.stage)
    return Factorization(decomposition.build(decomposition.full_rank), site.bias)


def dense(site: Site) -> Factorization:
    assert site.stage is not None
    return Factorization.of(site.stage, site.bias)


def by_name(name: str) -> Scheme:
    return next(scheme for scheme in SCHEMES if scheme.name == name)


def prepared_sites(proto: onnx.ModelProto) -> tuple[ir.Model, list[Site]]:
    prepared = prepare(ir.from_proto(proto))
    return prepared, survey(prepared)


def written(rebuilt: Rebuilt) -> onnx.ModelProto:
    """As it is when it was written to a file and read again."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.onnx"
        with staged(rebuilt.model, target) as file:
            publish(file, target, overwrite=False)
        return onnx.load_from_string(ir.to_proto(load(target).model).SerializeToString())


def made_of(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.metadata_props]


def metadata(node: onnx.NodeProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in node.metadata_props}


def assert_well_made(
    after: onnx.ModelProto, before: onnx.ModelProto, replaced: Mapping[str, Factorization], rebuilt: Rebuilt
) -> None:
    """What holds of every rebuilt graph, by the outputs of the sites that were replaced."""
    check(after)
    assert interface(after) == interface(before)
    new = made_of(after)
    assert {node.op_type for node in new} <= {"Conv", "Add"}  # few channels: a 1-D Conv stays one
    assert all(metadata(node) == TAG and node.name for node in new)
    assert rebuilt.site_of == {node.output[0]: rebuilt.site_of[node.output[0]] for node in new}
    assert set(rebuilt.site_of.values()) == set(replaced)
    for output, factorization in replaced.items():
        own = [node for node in new if rebuilt.site_of[node.output[0]] == output]
        assert own[-1].output[0] == output
        convolutions = [node for node in own if node.op_type == "Conv"]
        additions = [node for node in own if node.op_type == "Add"]
        assert len(convolutions) == len(factorization.stages)
        assert len(additions) == len(factorization.chains) - 1
        assert all(len(node.input) == 2 for node in (*additions, *convolutions[:-1]))
        assert len(convolutions[-1].input) == (2 if factorization.bias is None else 3)
    names = [name for node in after.graph.node for name in node.output]
    names += [tensor.name for tensor in after.graph.initializer]
    names += [value.name for value in after.graph.input]
    assert len(set(names)) == len(names)
    used = {name for node in after.graph.node for name in node.input}
    assert {tensor.name for tensor in after.graph.initializer} <= used
    assert others(after) == others(before)


def others(proto: onnx.ModelProto) -> list[tuple[str, ...]]:
    """The nodes that neither replacing nor folding may touch, with what they read and write."""
    return [
        (node.op_type, node.name, *node.input, *node.output)
        for node in proto.graph.node
        if not node.metadata_props and node.op_type not in ("Conv", "BatchNormalization")
    ]


def replace_all(proto: onnx.ModelProto, scheme: Scheme) -> tuple[onnx.ModelProto, Rebuilt]:
    """Every convolution that takes the scheme, at full rank; checked."""
    prepared, sites = prepared_sites(proto)
    untouched = ir.to_proto(prepared).SerializeToString(deterministic=True)
    replaced = {s.output: (s, in_full(scheme, s)) for s in sites if scheme in applicable(s)}
    rebuilt = rebuild(prepared, [Replacement(s, f, TAG) for s, f in replaced.values()])
    assert ir.to_proto(prepared).SerializeToString(deterministic=True) == untouched
    after = written(rebuilt)
    assert_well_made(after, proto, {output: f for output, (_, f) in replaced.items()}, rebuilt)
    return after, rebuilt


more = settings(max_examples=2 * settings().max_examples)


@more
@given(networks())
def test_every_scheme_at_full_rank_computes_the_same_in_onnxruntime(network: Network) -> None:
    expected = run(network.proto, network.feed)
    _, (site,) = prepared_sites(network.proto)
    for scheme in applicable(site):
        after, _ = replace_all(network.proto, scheme)
        assert_same(run(after, network.feed), expected)


@given(networks(dtypes=(np.float64, np.float32)))
def test_every_scheme_at_full_rank_computes_the_same_in_the_reference(network: Network) -> None:
    expected = run_reference(network.proto, network.feed)
    _, (site,) = prepared_sites(network.proto)
    for scheme in applicable(site):
        after, _ = replace_all(network.proto, scheme)
        assert_same(run_reference(after, network.feed), expected)


@given(networks(dtypes=(np.float32,)))
def test_a_site_replaced_by_itself_stays_what_it_was(network: Network) -> None:
    prepared, (site,) = prepared_sites(network.proto)
    after = written(rebuild(prepared, [Replacement(site, dense(site), TAG)]))
    assert_same(run(after, network.feed), run(network.proto, network.feed))
    (again,) = survey(ir.from_proto(after))
    found = again.stage
    assert found is not None
    assert site.stage is not None
    assert (again.kind, again.weight_shape) == (site.kind, site.weight_shape)
    np.testing.assert_array_equal(found.weight, site.stage.weight)
    assert conv_attributes(found) == conv_attributes(site.stage)


def test_nothing_replaced_is_the_prepared_graph() -> None:
    prepared, _ = prepared_sites(model("[k] y = Conv(x, w)", X, Y, w=normal(4, 4, 3, 3)))
    rebuilt = rebuild(prepared, [])
    assert rebuilt.site_of == {}
    assert [n.name for n in rebuilt.model.graph] == ["k"]


X, Y = "float[N,4,H,W] x", "float[N,4,P,Q] y"
FEED = {"x": normal(2, 4, 9, 8)}
PAIR = "[one] a = Conv<pads = [1,1,1,1]>(x, w)  [two] y = Conv<strides = [2,1]>(a, w)"


@pytest.mark.parametrize("name", ["spatial-vertical", "depthwise-pointwise", "tucker2"])
def test_sites_that_share_a_weight_are_replaced_each(name: str) -> None:
    proto = model(PAIR, X, Y, w=normal(4, 4, 3, 3))
    after, rebuilt = replace_all(proto, by_name(name))
    assert set(rebuilt.site_of.values()) == {"a", "y"}
    assert_same(run(after, FEED), run(proto, FEED))


@pytest.mark.parametrize("which", [0, 1])
def test_one_of_two_sites_that_share_a_weight(which: int) -> None:
    proto = model(PAIR, X, Y, w=normal(4, 4, 3, 3))
    prepared, sites = prepared_sites(proto)
    site = sites[which]
    rebuilt = rebuild(prepared, [Replacement(site, in_full(by_name("channel-out"), site), TAG)])
    after = written(rebuilt)
    assert "w" in {tensor.name for tensor in after.graph.initializer}
    assert_same(run(after, FEED), run(proto, FEED))


def test_terms_are_parallel_pairs_of_multiplier_one_joined_two_by_two() -> None:
    proto = model("[k] y = Conv(x, w, c)", X, Y, w=normal(4, 4, 3, 3), c=normal(4))
    prepared, (site,) = prepared_sites(proto)
    assert site.stage is not None
    for name, depthwise_at in (("depthwise-pointwise", 0), ("pointwise-depthwise", 1)):
        decomposition = by_name(name).decompose(site.stage)
        for terms in (1, 2, 3):
            factorization = Factorization(decomposition.build((terms,)), site.bias)
            new = made_of(written(rebuild(prepared, [Replacement(site, factorization, TAG)])))
            convolutions = [n for n in new if n.op_type == "Conv"]
            assert len(convolutions) == 2 * terms
            assert [len(n.input) for n in convolutions] == [2] * (2 * terms - 1) + [3]
            groups = [[a.i for a in n.attribute if a.name == "group"] for n in convolutions]
            assert groups[depthwise_at::2] == [[4]] * terms
            assert groups[1 - depthwise_at :: 2] == [[1]] * terms
            assert [n.op_type for n in new if n.op_type != "Conv"] == ["Add"] * (terms - 1)


NAMES = {
    "a value": ("[k] z = Conv(x, w)  t = Relu(z)  y = Neg(t)", {"t": "k/sep/0"}),
    "another value": ("[k] z = Conv(x, w)  t = Relu(z)  y = Neg(t)", {"t": "k/sep/1.weight"}),
    "an initialiser": ("[k] z = Conv(x, w)  y = Add(z, t)", {"t": "k/sep/0.weight"}),
    "the site itself": ("[k] z = Conv(x, w)  y = Relu(z)", {"z": "k/sep/0"}),
    "its input": ("t = Relu(x)  [k] y = Conv(t, w)", {"t": "k/sep/1"}),
    "two prefixes": ("[k] z = Conv(x, w)  t = Relu(z)  y = Neg(t)", {"t": "k/sep/0", "z": "k/sep2/5"}),
    "the output": ("[k] z = Conv(x, w)  y = Relu(z)", {"y": "k/sep/0"}),
    "a node": ("[k] z = Conv(x, w)  [t] y = Relu(z)", {"t": "k/sep/0"}),
    "the name of another": ("[k] z = Conv(x, w)  y = Conv(z, w)", {"y": "k"}),
}


@pytest.mark.parametrize(("body", "renamed"), NAMES.values(), ids=NAMES.keys())
def test_names_that_are_taken(body: str, renamed: Mapping[str, str]) -> None:
    weights = {"w": normal(4, 4, 3, 3)} | ({"t": normal(4, 1, 1)} if "Add" in body else {})
    proto = model(body, X, Y, **weights)
    for node in proto.graph.node:
        node.name = renamed.get(node.name, node.name)
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value in (*proto.graph.initializer, *proto.graph.output):
        value.name = renamed.get(value.name, value.name)
    after, _ = replace_all(proto, by_name("spatial-horizontal"))
    assert_same(run(after, FEED), run(proto, FEED))


def test_names_that_are_taken_in_the_body_of_an_if() -> None:
    proto = model(
        """[k] z = Conv(x, w)
           y = If (q) <then_branch = t () => (float[N,4,P,Q] ty) { t = Relu(z)  ty = Neg(t) },
                       else_branch = e () => (float[N,4,P,Q] ey) { ey = Neg(z) }>""",
        f"{X}, bool q",
        Y,
        w=normal(4, 4, 3, 3),
    )
    inner = proto.graph.node[1].attribute[0].g.node
    inner[0].output[0] = inner[1].input[0] = "k/sep/0"
    prepared, (site,) = prepared_sites(proto)
    after = written(rebuild(prepared, [Replacement(site, in_full(by_name("channel-in"), site), TAG)]))
    check(after)
    assert not {"k/sep/0"} & {name for node in after.graph.node for name in node.output}
    for q in (True, False):
        feed = FEED | {"q": np.array(q)}
        assert_same(run(after, feed), run(proto, feed))


def test_a_network_that_was_rebuilt_is_rebuilt_again() -> None:
    proto = model(PAIR, X, Y, w=normal(4, 4, 3, 3))
    once, _ = replace_all(proto, by_name("channel-out"))
    for node in once.graph.node:
        node.ClearField("metadata_props")
    twice, rebuilt = replace_all(once, by_name("spatial-vertical"))
    assert len(rebuilt.site_of) == 4
    assert_same(run(twice, FEED), run(proto, FEED))


def test_half_precision_weights_are_written_as_such() -> None:
    weight = normal(4, 4, 3, 3, dtype=np.float16)
    proto = model("[k] y = Conv(x, w)", "float16[N,4,H,W] x", "float16[N,4,P,Q] y", w=weight)
    after, _ = replace_all(proto, by_name("channel-out"))
    assert {tensor.data_type for tensor in after.graph.initializer} == {onnx.TensorProto.FLOAT16}
