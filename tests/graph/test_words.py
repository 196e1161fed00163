"""What is said of a value stays with its name, whatever writes it in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sepfactor.factor import Factorization
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey
from tests.graph.build import model, norm_of, normal

X, Y = "float[N,4,9,8] x", "float[N,4,9,8] y"
CONV = "Conv<pads = [1,1,1,1]>"
CONSTANTS = {"w": normal(4, 4, 3, 3), "one": np.float32(1), "yes": np.array(True), **norm_of(4)}

ENDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a convolution": (f"y = {CONV}(x, w)", Y, ()),
    "a convolution that others read": (f"z = {CONV}(x, w)  y = Relu(z)", f"{Y}, {Y[:-1]}z", ("z",)),
    "a normalisation": (f"z = {CONV}(x, w)  y = BatchNormalization(z, s, b, m, v)", Y, ()),
    "a branch": (
        f"""y = If(yes) <then_branch = t () => ({Y[:-1]}d) {{d = {CONV}(x, w)}},
                        else_branch = e () => ({Y[:-1]}f) {{f = Neg(x)}}>""",
        Y,
        (),
    ),
    "a convolution in a body": (
        f"""y = Loop(two, yes, x) <body = l (int64 i, bool a, {Y[:-1]}b0) => (bool d, {Y[:-1]}inner)
            {{d = Identity(a)  inner = {CONV}(b0, w)}}>""",
        Y,
        ("inner",),
    ),
}


def said_of(proto: onnx.ModelProto) -> dict[str, tuple[str, dict[str, str]]]:
    return {
        value.name: (value.doc_string, {entry.key: entry.value for entry in value.metadata_props})
        for value in proto.graph.output
    }


@pytest.mark.parametrize(("body", "outputs", "others"), ENDS.values(), ids=ENDS.keys())
def test_of_what_is_replaced(body: str, outputs: str, others: tuple[str, ...]) -> None:
    constants: dict[str, Any] = {**CONSTANTS, "two": np.array(2)}
    proto = model(body, X, outputs, **{k: v for k, v in constants.items() if k in body})
    proto.ir_version = 11
    for value in (*proto.graph.input, *proto.graph.output):
        value.doc_string = f"of {value.name}"
        value.metadata_props.add(key="note", value=f"on {value.name}")
    for name in ("x", "y", *others):
        note = proto.graph.quantization_annotation.add(tensor_name=name)
        note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="one")
    prepared = prepare(load(proto).model)
    (site,) = survey(prepared)
    assert site.stage is not None
    whole = Replacement(site, Factorization.of(site.stage, site.bias), {"sepfactor.scheme": "as tested"})
    found = ir.to_proto(rebuild(prepared, [whole]).model)
    assert said_of(found) == said_of(proto)
    assert {value.name: value.doc_string for value in found.graph.input} == {"x": "of x"}
    annotated = {note.tensor_name for note in found.graph.quantization_annotation}
    assert annotated >= {"x", "y", *(name for name in others if name != "inner")}
