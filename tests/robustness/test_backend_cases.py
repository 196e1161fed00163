"""The convolutions and products of ONNX's own backend tests, each through the whole way.

Their weights are inputs; here they are constants, as an exporter would write them. A Conv becomes a
site, and at full rank every scheme that does not refuse it reproduces the expected output; of any other
operator the survey says why it is left alone.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test.case.node
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from sepfactor.factor import SCHEMES, Factorization
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from tests.graph.build import as_bytes, run
from tests.robustness.way import assert_near, attempt, session_bytes

TOLERANCE = {"float32": 1e-4, "float16": 5e-3}
NODE_FILES = ("conv", "convtranspose", "convinteger", "qlinearconv", "deformconv", "causal_conv_with_state")
LINEAR_FILES = ("gemm", "matmul")
RELEASED = 21
"""An operator set that every onnxruntime of today knows."""

PACKAGE = Path(onnx.__file__).parent / "backend" / "test" / "data"


@dataclass(frozen=True, eq=False)
class Case:
    """A model, the value it is fed, what must come out, and which kind of convolution it is about."""

    name: str
    model: onnx.ModelProto
    feed: dict[str, np.ndarray]
    expected: list[np.ndarray]

    @property
    def family(self) -> str:
        kinds = [
            node.op_type for node in self.model.graph.node if re.search("Conv|Gemm|MatMul", node.op_type)
        ]
        return f"{kinds[0]} {next(iter(self.feed.values())).ndim - 2}-D"


def _node_cases() -> Iterator[Case]:
    for name in (*NODE_FILES, *LINEAR_FILES):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    for case in onnx.backend.test.case.node._NodeTestCases:
        if "conv" in case.name or case.name.startswith(("test_gemm_", "test_matmul_")):
            ((inputs, outputs),) = case.data_sets
            yield _baked(case.name, case.model, inputs, outputs)


def _exported_cases() -> Iterator[Case]:
    """Networks of one layer that PyTorch wrote for operator sets of its day; they ship with onnx.

    Those with a Gemm of before opset 7 are left out: onnxruntime has none.
    """
    for folder in sorted(
        p for p in PACKAGE.glob("pytorch-*/*") if re.search("conv|linear|addmm|mm$", p.name, re.IGNORECASE)
    ):
        inputs, outputs = (
            [_array(path) for path in sorted(folder.glob(f"test_data_set_0/{kind}_*.pb"))]
            for kind in ("input", "output")
        )
        model = onnx.load(folder / "model.onnx")
        if model.opset_import[0].version >= 7 or all(node.op_type != "Gemm" for node in model.graph.node):
            yield _baked(f"{folder.parent.name}/{folder.name}", model, inputs, outputs)


def _array(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def _baked(name: str, model: onnx.ModelProto, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> Case:
    """The first input stays one; the others become constants."""
    baked = onnx.ModelProto.FromString(model.SerializeToString())
    if name.endswith("_expanded"):  # into operators that are older than the set they are stamped with
        baked.opset_import[0].version = min(baked.opset_import[0].version, RELEASED)
    constant = {tensor.name for tensor in baked.graph.initializer}
    fed = [value for value in baked.graph.input if value.name not in constant]
    for value, array in zip(fed[1:], inputs[1:], strict=True):
        baked.graph.initializer.append(numpy_helper.from_array(array, value.name))
        baked.graph.input.remove(value)
    return Case(name, baked, {fed[0].name: inputs[0]}, outputs)


CASES = {case.name: case for case in (*_node_cases(), *_exported_cases())}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def sites_of(case: Case) -> tuple[object, list[Site]]:
    prepared = prepare(load(case.model).model)
    return prepared, survey(prepared, linear_layers=True)


@every_case
def test_full_rank_is_the_expected_output_or_there_is_a_reason(case: Case) -> None:
    prepared, sites = sites_of(case)
    assert sites, "a convolution that the survey does not even list"
    for site in sites:
        if site.stage is None:
            assert site.skipped
            continue
        refusals = {scheme.name: scheme.refuses(site.stage) for scheme in SCHEMES}
        for scheme in SCHEMES:
            if refusals[scheme.name] is not None:
                continue
            decomposition = scheme.decompose(site.stage)
            full = Factorization(decomposition.build(decomposition.full_rank), site.bias)
            rebuilt = rebuild(prepared, [Replacement(site, full, {})])
            assert rebuilt.site_of
            assert_outputs(as_bytes(rebuilt.model), case)


def assert_outputs(model: bytes, case: Case) -> None:
    """In both runtimes; but a ConvTranspose of several groups the reference gets wrong."""
    answers = [run(model, case.feed)]
    proto = onnx.load_from_string(model)
    transposed = [node for node in proto.graph.node if node.op_type == "ConvTranspose"]
    if not any(a.name == "group" and a.i > 1 for node in transposed for a in node.attribute):
        answers.append(ReferenceEvaluator(proto).run(None, case.feed))
    for found in answers:
        for one, expected in zip(found, case.expected, strict=True):
            assert_near(one, expected, TOLERANCE)


@every_case
@pytest.mark.parametrize("options", [{"max_error": 0}, {"rank": 1}], ids=str)
def test_the_whole_way(case: Case, options: dict[str, float]) -> None:
    result = attempt(case.model, data=case.feed, linear_layers=True, **options)
    if isinstance(result, str):
        pytest.skip(result)
    for layer in result.report.layers:
        assert layer.replaced or layer.reason
    if "max_error" in options:
        assert_outputs(session_bytes(result), case)
