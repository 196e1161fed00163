"""What onnxruntime makes of a rebuilt graph: its own optimised graph, read back."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.factor import SCHEMES, Chain, Factorization, Stage
from sepfactor.graph.lower import bench_model
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey
from tests.graph.build import assert_same, check, model, norm_of, normal, run, session

blocked = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="the blocked layout is of x86"
)

BLOCKED = "com.microsoft.nchwc"
LAYOUT = {"ReorderInput", "ReorderOutput"}

RELU = "[k] z = Conv<pads = [1,1,1,1]>(h, w, c)  r = Relu(z)"
SHORTCUT = "[k] z = Conv<pads = [1,1,1,1]>(h, w, c)  a = Add(z, h)  r = Relu(a)"
NORMED = "[k] n = Conv<pads = [1,1,1,1]>(h, w)  z = BatchNormalization(n, s, b, m, v)  r = Relu(z)"


def network(middle: str) -> onnx.ModelProto:
    """A body from ``h`` to ``r``, both of 64 channels, between two 1×1 convolutions."""
    weights = (
        {"w": normal(64, 64, 3, 3)} | norm_of(64)
        if "Batch" in middle
        else {
            "w": normal(64, 64, 3, 3),
            "c": normal(64),
        }
    )
    return model(
        f"[in] h = Conv(x, i)  {middle}  [out] y = Conv(r, o)",
        "float[1,16,10,10] x",
        "float[1,16,10,10] y",
        i=normal(64, 16, 1, 1),
        o=normal(16, 64, 1, 1),
        **weights,
    )


def optimised(source: object, folder: Path) -> list[tuple[str, str]]:
    """Domain and operator of every node that onnxruntime runs, changes of layout left out."""
    file = folder / "optimised.onnx"
    session(source, optimised=file)
    nodes = onnx.load(file).graph.node
    return [(node.domain, node.op_type) for node in nodes if node.op_type not in LAYOUT]


@blocked
@pytest.mark.parametrize("middle", [RELU, SHORTCUT, NORMED], ids=["relu", "shortcut", "norm"])
@pytest.mark.parametrize(
    ("name", "rank", "convolutions"),
    [
        ("spatial-vertical", (16,), 2),
        ("spatial-horizontal", (32,), 2),
        ("depthwise-pointwise", (1,), 2),
        ("depthwise-pointwise", (2,), 4),
        ("depthwise-pointwise", (3,), 6),
        ("pointwise-depthwise", (2,), 4),
        ("channel-out", (16,), 2),
        ("tucker2", (16, 32), 3),
        ("asymmetric-3d", (16, 16), 3),
    ],
)
def test_a_replacement_stays_blocked_and_everything_fuses(
    tmp_path: Path, middle: str, name: str, rank: tuple[int, ...], convolutions: int
) -> None:
    prepared = prepare(ir.from_proto(network(middle)))
    site = next(site for site in survey(prepared) if site.name == "k")
    scheme = next(scheme for scheme in SCHEMES if scheme.name == name)
    factorization = Factorization(scheme.decompose(site.stage).build(rank), site.bias)
    rebuilt = rebuild(prepared, [Replacement(site, factorization, {})])
    nodes = optimised(rebuilt.model, tmp_path)
    assert nodes.count((BLOCKED, "Conv")) == convolutions + 2
    rest = [node for node in nodes if node != (BLOCKED, "Conv")]
    # A convolution takes in one Add. The one that ends a sum has its own already, and leaves the shortcut's.
    spared = [("", "Add"), ("", "Relu")] if len(factorization.chains) > 1 and middle is SHORTCUT else []
    assert rest in ([], spared)


def stage(outs: int, ins: int, group: int = 1, strides: int = 1) -> Stage:
    weight = normal(outs, ins // group, 3, 3).astype(np.float64)
    return Stage(weight, (strides,) * 2, ((1, 1), (1, 1)), (1, 1), group)


BENCHED = {
    "32": stage(32, 32),
    "strided": stage(32, 16, strides=2),
    "depthwise": stage(32, 32, group=32),
    "three inputs": stage(32, 3),
    "three outputs": stage(3, 32),
    "narrow": stage(5, 6),
    "ragged": stage(18, 30),
}


@pytest.mark.parametrize("dense", BENCHED.values(), ids=BENCHED.keys())
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_bench_model_runs_what_it_is_to_time(dense: Stage, dtype: type) -> None:
    whole = Factorization((Chain((dense,)),), normal(dense.out_channels).astype(np.float64))
    candidates = [whole]
    for scheme in SCHEMES:
        if scheme.refuses(dense) is None:
            decomposition = scheme.decompose(dense)
            candidates.append(Factorization(decomposition.build(decomposition.full_rank), whole.bias))
    answers = []
    for factorization in candidates:
        source = bench_model(factorization, (9, 8), np.dtype(dtype))
        check(source)
        (x,) = session(source).get_inputs()
        assert x.name == "x"
        assert x.shape[2:] == [9, 8]
        answers.append(run(source, {"x": normal(*x.shape, dtype=dtype)}))
        assert_same(answers[-1], answers[0])
    assert answers[0][0].shape[2:] == dense.output_size((9, 8))
    # Where a neighbour could not be blocked there is none; a Relu is always there.
    assert answers[0][0].min() >= 0 or dense.out_channels >= 16


@blocked
@pytest.mark.parametrize("name", ["32", "strided", "depthwise"])
def test_a_bench_model_is_blocked(tmp_path: Path, name: str) -> None:
    dense = BENCHED[name]
    candidates = [Factorization.of(dense)]
    for scheme in SCHEMES:
        if scheme.refuses(dense) is None and dense.group == 1:
            decomposition = scheme.decompose(dense)
            rank = tuple(16 if wide else 2 for wide in decomposition.widths)
            candidates.append(Factorization(decomposition.build(rank)))
    for factorization in candidates:
        source = bench_model(factorization, (12, 12), np.dtype(np.float32))
        assert set(optimised(source, tmp_path)) == {(BLOCKED, "Conv")}
        (tmp_path / "optimised.onnx").unlink()
