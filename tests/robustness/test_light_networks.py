"""The structures of real networks that ship with onnx, their weights made by ConstantOfShape.

Each goes through once as it is, and once with random weights of low rank, which are found again.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import sepfactor
from sepfactor.factor import Factorization, Stage, select_schemes
from sepfactor.factor.scheme import Decomposition
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey
from tests.graph.build import check, run

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
RANK = 4
CONVOLUTIONS = {
    "bvlc_alexnet": 5,
    "densenet121": 121,
    "inception_v1": 57,
    "inception_v2": 69,
    "resnet50": 53,
    "shufflenet": 49,
    "squeezenet": 26,
    "vgg19": 16,
    "zfnet512": 5,
}
LARGE = ("vgg19", "zfnet512")
"""With fully connected layers of hundreds of megabytes."""

every_network = pytest.mark.parametrize(
    "name", [n for n in CONVOLUTIONS if n not in LARGE or os.environ.get("SEPFACTOR_LARGE")]
)


def network(name: str) -> onnx.ModelProto:
    return onnx.load(FOLDER / f"light_{name}.onnx")


def sample(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    constant = {tensor.name for tensor in proto.graph.initializer}
    (value,) = [value for value in proto.graph.input if value.name not in constant]
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return {value.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def lively(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With kernels that are a column times a row, mixed by matrices of low rank.

    What the last one answers is put out too: behind it are fully connected layers of equal numbers.
    """
    *_, last = (node for node in proto.graph.node if node.op_type == "Conv")
    proto.graph.output.append(onnx.ValueInfoProto(name=last.output[0]))
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    read = {node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    rng = np.random.default_rng(1)
    for node in [node for node in proto.graph.node if node.op_type == "ConstantOfShape"]:
        if node.output[0] in read:
            outs, ins, *kernel = shapes[node.input[0]].tolist()
            mix = rng.standard_normal((outs, RANK)) @ rng.standard_normal((RANK, ins)) / RANK**0.5
            column, row = (rng.uniform(0.5, 1.5, size) for size in kernel)
            weight = np.einsum("oi,p,q->oipq", mix, column, row) * np.sqrt(2 / (ins * np.prod(kernel)))
            proto.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), node.output[0]))
            proto.graph.node.remove(node)
    return proto


def decomposed(stage: Stage) -> Decomposition | None:
    taken = [s for s in select_schemes(["spatial-vertical", "channel-out"]) if s.refuses(stage) is None]
    return taken[0].decompose(stage) if taken else None


@every_network
def test_every_convolution_is_replaced_by_what_computes_the_same(name: str) -> None:
    proto = lively(network(name))
    feed = sample(proto)
    prepared = prepare(load(proto).model)
    sites = survey(prepared)
    assert len(sites) == CONVOLUTIONS[name]
    replacements = []
    for site in sites:
        assert site.stage is not None, site.skipped
        decomposition = decomposed(site.stage)
        if decomposition is not None:
            rank = tuple(min(RANK, most) for most in decomposition.full_rank)
            assert decomposition.error(rank) < 1e-3
            chains = decomposition.build(rank)
            replacements.append(Replacement(site, Factorization(chains, site.bias), {}))
    assert len(replacements) == len(sites) - 16 * (name == "shufflenet")  # its depthwise ones
    rebuilt = ir.to_proto(rebuild(prepared, replacements).model)
    (_, expected), (_, found) = run(proto, feed), run(rebuilt, feed)
    assert expected.std() > 1e-6
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["shufflenet", "squeezenet"])
def test_the_whole_way(name: str, tmp_path: Path) -> None:
    """As they are: every kernel holds one number, and is of rank one."""
    proto, out = network(name), tmp_path / "out.onnx"
    result = sepfactor.compress(proto, out, data=sample(proto), max_error=0, bench_seconds=0)
    assert len(result.report.layers) == CONVOLUTIONS[name]
    assert all(layer.replaced or layer.reason for layer in result.report.layers)
    assert result.report.totals.replaced
    check(out.read_bytes())
    (expected,), (found,) = (run(source, sample(proto)) for source in (proto, out.read_bytes()))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
